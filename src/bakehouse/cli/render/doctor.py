"""Print an examination: ailments with the command that helps, what is healthy, and what is not known."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from bakehouse.cli.render.consoles import print_json, print_table
from bakehouse.cli.render.safe_printing import echo
from bakehouse.core.message_text import counted

if TYPE_CHECKING:
    from bakehouse.doctor import Finding, Report

_STYLES = {"error": "bold red", "warning": "yellow", "info": "dim", "healthy": "green", "undecided": "dim"}


def print_report(report: Report, *, json: bool = False, quiet: bool = False) -> None:
    """Print the findings as a table, or as JSON; with `quiet` only the ailments."""
    if json:
        print_json(report.to_json())
        return
    if report.ailments:
        print_table(_table(report.ailments))
    if not quiet:
        if report.healthy:
            echo("\nhealthy:")
            print_table(_table(report.healthy))
        if report.undecided:
            echo("\nnot decided:")
            print_table(_table(report.undecided))
        _print_skipped(report)
        echo()
    echo(_summary(report))


def _table(findings: Sequence[Finding]) -> Table:
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column("id", no_wrap=True)
    table.add_column("finding", overflow="fold")
    for finding in findings:
        table.add_row(Text(finding.id, _STYLES[finding.result]), _message(finding))
    return table


def _message(finding: Finding) -> Text:
    if not finding.is_ailment:
        return Text(finding.why)
    help_line = f"\n$ {finding.fix}" if finding.fix else f"\n{finding.advice}" if finding.advice else ""
    return Text.assemble(
        (f"{finding.result}: {finding.title}", _STYLES[finding.result]),
        (" (heuristic)" if finding.heuristic else "", "dim"),
        f"\n{finding.why}",
        (help_line, "cyan"),
    )


def _print_skipped(report: Report) -> None:
    reasons: dict[str, list[str]] = {}
    for check, reason in report.skipped.items():
        reasons.setdefault(reason, []).append(check)
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
