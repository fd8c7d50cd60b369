"""Print an audit: findings, the most effective fixes, skipped checks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.table import Table
from rich.text import Text

from bakehouse.audit import Changes, Finding, Report
from bakehouse.cli.render.consoles import print_json, print_table, stderr_console
from bakehouse.cli.render.safe_printing import echo
from bakehouse.core.checks import LEVELS
from bakehouse.core.message_text import counted, listed

_STYLES = {"error": "bold red", "warning": "yellow", "info": "dim"}
_NAMED = 3
"""Files that a line of the table names."""


def print_audit(
    report: Report, *, changes: Changes | None = None, page: Path | None = None, json: bool = False, quiet: bool = False
) -> None:
    """Print the findings as a table, or as JSON; with `changes` only those that are new, have grown, or are gone."""
    if json:
        print_json(_document(report, changes))
        return
    shown = report.findings if changes is None else changes.worse
    if shown:
        print_table(_table(shown))
    if changes is not None:
        _print_gone(changes)
    elif not quiet:
        _print_fixes(report)
        _print_skipped(report)
    if page:
        echo(f"wrote {page}")
    echo(_summary(report))


def _document(report: Report, changes: Changes | None) -> dict[str, object]:
    if changes is None:
        return report.to_json()
    return {
        "new": [f.name for f in changes.new],
        "gone": [f.name for f in changes.gone],
        "changed": [{"finding": f.name, "came": added, "went": removed} for f, added, removed in changes.changed],
        "report": report.to_json(),
    }


def _table(findings: Sequence[Finding]) -> Table:
    table = Table(box=None, pad_edge=False, title_justify="left")
    table.add_column("id", no_wrap=True)
    table.add_column("files", justify="right", no_wrap=True)
    table.add_column("finding", overflow="fold")
    table.add_column("fix", overflow="fold", style="cyan")
    for finding in findings:
        table.add_row(
            Text(finding.id, _STYLES[finding.level]),
            str(len(finding.files) or ""),
            _message(finding),
            finding.fix or finding.advice,
        )
    return table


def _message(finding: Finding) -> Text:
    named = listed(finding.files, _NAMED)
    return Text.assemble(
        (finding.level, _STYLES[finding.level]),
        f" {finding.why}",
        (" (heuristic)" if finding.heuristic else "", "dim"),
        (f"\n{named}" if named else "", "dim"),
    )


def _print_fixes(report: Report) -> None:
    fixes = report.fixes()
    if fixes:
        echo("\nmost effective fixes, by images affected and severity:")
    for i, fix in enumerate(fixes, 1):
        echo(f"  {i}. {fix.command}\n     fixes {', '.join(fix.findings)} on {counted(fix.images, 'image')}")


def _print_skipped(report: Report) -> None:
    reasons: dict[str, list[str]] = {}
    for check, reason in report.skipped.items():
        reasons.setdefault(reason, []).append(check)
    for reason, checks in reasons.items():
        stderr_console().print(f"checks skipped: {' '.join(checks)}: {reason}", style="dim", soft_wrap=True)


def _print_gone(changes: Changes) -> None:
    for finding in changes.gone:
        echo(f"no longer found: {finding.name}: {finding.why}")
    for finding, added, removed in changes.changed:
        if removed:
            echo(f"{finding.name}: {counted(len(removed), 'file')} fewer" + (f", {len(added)} more" if added else ""))
    if not changes:
        echo("no changes since the earlier audit")


def _summary(report: Report) -> str:
    found = ", ".join(counted(len(report.of_level(level)), word) for level, word in zip(LEVELS, _WORDS, strict=True))
    checks = f"{counted(len(report.passed), 'check')} passed, {counted(len(report.skipped), 'check')} skipped"
    return f"{counted(report.images, 'image')}: {found}; {checks}"


_WORDS = ("error", "warning", "note")
