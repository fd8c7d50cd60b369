"""Print an examination: problems with the command that helps, what is healthy, and what is not known."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from bakehouse.cli.render.consoles import print_json, print_table, stdout_console
from bakehouse.cli.render.safe_printing import echo
from bakehouse.core.checks import by_reason
from bakehouse.core.message_text import counted

if TYPE_CHECKING:
    from bakehouse.doctor import Finding, Report

_INDENT = "     "
_STYLES = {"error": "bold red", "warning": "yellow", "info": "dim", "healthy": "green", "undecided": "dim"}


def print_report(report: Report, *, json: bool = False, quiet: bool = False) -> None:
    """Print the findings as text, or as JSON; with `quiet` only the problems."""
    if json:
        print_json(report.to_json())
        return
    for finding in report.problems:
        _print_problem(finding)
    if not quiet:
        for title, findings in (("healthy", report.healthy), ("not decided", report.undecided)):
            if findings:
                echo(f"\n{title}:")
                print_table(_table(findings))
        _print_skipped(report)
        echo()
    echo(_summary(report))


def _print_problem(finding: Finding) -> None:
    """Print a problem, its figures and what helps. A command stays on one line, so that it can be pasted."""
    style = _STYLES[finding.result]
    note = " (heuristic)" if finding.heuristic else ""
    title = Text.assemble((f"{finding.id}  ", style), (f"{finding.result}: {finding.title}", style), (note, "dim"))
    console = stdout_console()
    for line in (title, f"{_INDENT}{finding.why}", Text(f"{_INDENT}{finding.fix or finding.advice}", "cyan")):
        console.print(line, soft_wrap=True)


def _table(findings: Sequence[Finding]) -> Table:
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column("id", no_wrap=True)
    table.add_column("finding", overflow="fold")
    for finding in findings:
        table.add_row(Text(finding.id, _STYLES[finding.result]), Text(finding.why))
    return table


def _print_skipped(report: Report) -> None:
    reasons = by_reason(report.skipped)
    if reasons:
        echo("\nnot checked:")
    for reason, checks in reasons.items():
        echo(f"{' '.join(checks)}: {reason}")


def _summary(report: Report) -> str:
    levels = (("error", report.of_level("error")), ("warning", report.of_level("warning")))
    found = [counted(len(findings), word) for word, findings in levels if findings]
    notes = report.of_level("info")
    verdict = ", ".join(found) if found else "healthy"
    more = [counted(len(notes), "note")] if notes else []
    more.append(f"{len(report.healthy)} healthy")
    more += [f"{len(report.undecided)} not decided"] if report.undecided else []
    more += [f"{len(report.skipped)} not checked"] if report.skipped else []
    return f"{', '.join(report.subject)}: {verdict} ({', '.join(more)})"
