"""The audit as one HTML page without external files: the most effective fixes, then each finding with its images."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from bakehouse.audit.all_checks import CHECK_GROUPS
from bakehouse.audit.report import Changes, Finding, Report
from bakehouse.core.checks import LEVELS, Level, by_reason
from bakehouse.core.files import write_html
from bakehouse.core.html_pages import render, webp_uri

MAX_THUMBNAILS = 12
"""Files of a finding that are shown as images; the others are named."""
MAX_FILES = 400
"""Files of a finding that are named."""


@dataclass(frozen=True)
class _LevelText:
    """How the page names a level."""

    level: Level
    name: str
    plural: str
    meaning: str


_LEVELS: Mapping[Level, _LevelText] = {
    text.level: text
    for text in (
        _LevelText("error", "Error", "Errors", "stop a training or ruin its result"),
        _LevelText("warning", "Warning", "Warnings", "make the result worse"),
        _LevelText("info", "Note", "Notes", "need no action"),
    )
}


@dataclass(frozen=True)
class _Thumbnail:
    """One image of a finding with its figure."""

    name: str
    note: str
    uri: str


@dataclass(frozen=True)
class _Card:
    """One finding as the page shows it."""

    finding: Finding
    badge: str
    anchor: str
    """Target of links to the check: its id on its first finding, else empty."""
    thumbnails: tuple[_Thumbnail, ...]
    files: tuple[tuple[str, str], ...]
    """Names and figures of the files that are named."""
    unnamed: int
    """How many more files there are."""


def write_html_report(report: Report, page: Path, *, changes: Changes | None = None) -> Path:
    """Write the report as an HTML page; it has images if the audit kept thumbnails.

    Args:
        report: of `audit`, with `thumbnails=True` for images.
        page: the file to write.
        changes: show only these.

    Raises:
        BakehouseError: the file cannot be written.
    """
    return write_html(page, render_html_report(report, changes))


def render_html_report(report: Report, changes: Changes | None = None) -> str:
    """Return the page's HTML."""
    name = Path(report.folder).resolve().name
    return render(
        "bakehouse.audit",
        "html_report.html.j2",
        title=f"Audit of {name}",
        name=name,
        report=report,
        tiles=[(text, len(report.of_level(level))) for level, text in _LEVELS.items()],
        fixes=report.fixes(),
        changes=changes,
        fewer=[] if changes is None else [(f, len(old)) for f, new, old in changes.changed if old and not new],
        filters=[("all", "All"), *((level, _LEVELS[level].plural) for level in LEVELS)],
        groups=_groups(report, report.findings if changes is None else changes.worse),
        skipped=by_reason(report.skipped),
    )


def _groups(report: Report, findings: Iterable[Finding]) -> list[tuple[str, list[_Card]]]:
    """Return the findings by groups of checks, with the title of each group that has any."""
    cards: dict[str, list[_Card]] = {}
    anchored: set[str] = set()
    for finding in findings:
        anchor = "" if finding.id in anchored else finding.id
        anchored.add(finding.id)
        cards.setdefault(finding.id[0], []).append(_card(report, finding, anchor))
    return [(title, cards[letter]) for letter, title in CHECK_GROUPS.items() if letter in cards]


def _card(report: Report, finding: Finding, anchor: str) -> _Card:
    shown = [name for name in finding.files if name in report.thumbnails][:MAX_THUMBNAILS]
    return _Card(
        finding,
        badge=_LEVELS[finding.level].name,
        anchor=anchor,
        thumbnails=tuple(
            _Thumbnail(name, finding.notes.get(name, ""), webp_uri(report.thumbnails[name])) for name in shown
        ),
        files=tuple((name, finding.notes.get(name, "")) for name in finding.files[:MAX_FILES]),
        unnamed=max(0, len(finding.files) - MAX_FILES),
    )
