"""The audit as one page that needs nothing beside itself: the fixes first, then each finding with its pictures."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from html import escape
from importlib import resources
from pathlib import Path

from bakehouse.audit.all_checks import FAMILIES
from bakehouse.audit.check import LEVELS, Level
from bakehouse.audit.report import Changes, Finding, Fix, Report
from bakehouse.core.files import write_html
from bakehouse.core.pluralize import counted

PICTURED = 12
"""Files of a finding that are shown; the rest is named."""
NAMED = 400
"""Files of a finding that are named."""

_WORDS: Mapping[Level, tuple[str, str]] = {
    "error": ("Errors", "stop a training or spoil it"),
    "warning": ("Warnings", "make it worse than it could be"),
    "info": ("Facts", "are good to know"),
}


def write_page(report: Report, page: Path, *, changes: Changes | None = None) -> Path:
    """Writes the report as HTML; pictures are there if the audit kept thumbnails.

    Args:
        report: of `audit`, with `thumbnails=True` to have pictures.
        page: the file to write.
        changes: show only these, and say so.

    Raises:
        BakehouseError: it cannot be written.
    """
    return write_html(page, make_page(report, changes))


def make_page(report: Report, changes: Changes | None = None) -> str:
    """The page as text."""
    css = resources.files("bakehouse.audit").joinpath("page.css").read_text("utf-8")
    title = escape(f"Audit of {Path(report.folder).resolve().name}")
    parts = (
        _header(report),
        _fixes(report) if changes is None else _changed(changes),
        _findings(report, report.findings if changes is None else changes.worse),
        _not_run(report),
        _passed(report),
    )
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{title}</title><style>{css}</style></head><body><main>{''.join(parts)}</main></body></html>\n"
    )


def _header(report: Report) -> str:
    tiles = "".join(_tile(level, len(report.of_level(level))) for level in LEVELS)
    unusable = f", {report.unusable} more cannot be used" if report.unusable else ""
    return (
        f"<header><h1>{escape(Path(report.folder).resolve().name)}</h1>"
        f'<p class="lead">{counted(report.images, "image")}{unusable}. {len(report.passed)} checks found nothing, '
        f"{len(report.skipped)} were not run.</p>"
        f'<div class="tiles">{tiles}</div></header>'
    )


def _tile(level: Level, count: int) -> str:
    word, meaning = _WORDS[level]
    tone = level if count else "none"
    return f'<div class="tile {tone}"><b>{count}</b><span>{word}</span><small>{meaning}</small></div>'


def _fixes(report: Report) -> str:
    fixes = report.fixes()
    if not fixes:
        return '<section class="card good"><h2>Nothing to mend</h2><p>No finding is worse than a fact.</p></section>'
    rows = "".join(_fix(i, fix) for i, fix in enumerate(fixes, 1))
    lead = '<p class="lead">By images affected and how bad it is.</p>'
    return f"<section><h2>What helps most</h2>{lead}<ol>{rows}</ol></section>"


def _fix(number: int, fix: Fix) -> str:
    mends = ", ".join(f'<a href="#{name}">{name}</a>' for name in fix.findings)
    return (
        f'<li class="card fix"><span class="rank">{number}</span><div><code>{_command(fix.command)}</code>'
        f"<p>mends {mends} on {counted(fix.images, 'image')}</p></div></li>"
    )


def _command(text: str) -> str:
    """A command, or one a line, each word by itself: see `code span` in the style."""
    return "\n".join(" ".join(f"<span>{escape(w)}</span>" for w in line.split(" ")) for line in text.split("\n"))


def _changed(changes: Changes) -> str:
    if not changes:
        return '<section class="card good"><h2>Nothing has changed</h2><p>since the earlier audit.</p></section>'
    gone = "".join(f"<li><b>{f.name}</b> {escape(f.why)}</li>" for f in changes.gone)
    fewer = "".join(
        f"<li><b>{f.name}</b> {counted(len(went), 'file')} fewer</li>"
        for f, came, went in changes.changed
        if went and not came
    )
    mended = f"<ul>{gone}{fewer}</ul>" if gone or fewer else "<p>Nothing is gone.</p>"
    below = "<p>What is new or more stands below.</p>"
    return f'<section class="card since"><h2>Since the earlier audit</h2>{mended}{below}</section>'


# --- findings ---------------------------------------------------------------------------------------------------------


def _findings(report: Report, findings: Iterable[Finding]) -> str:
    found = list(findings)
    if not found:
        return ""
    buttons = "".join(
        f'<label><input type="radio" name="level" id="show-{value}"{checked}>{text}</label>'
        for value, text, checked in (("all", "All", " checked"), *((level, _WORDS[level][0], "") for level in LEVELS))
    )
    cards = []
    for letter, family in FAMILIES.items():
        mine = [f for f in found if f.id.startswith(letter)]
        if mine:
            firsts = {f.id: f for f in reversed(mine)}
            cards.append(f"<h3>{family}</h3>{''.join(_card(report, f, first=firsts[f.id] is f) for f in mine)}")
    return f'<section><h2>Findings</h2><div class="levels">{buttons}</div>{"".join(cards)}</section>'


def _card(report: Report, finding: Finding, *, first: bool) -> str:
    """One finding; the first one of an id is where links to it lead."""
    badge = {"error": "Error", "warning": "Warning", "info": "Fact"}[finding.level]
    anchor = f' id="{finding.id}"' if first else ""
    unsure = '<span class="unsure">a rule of thumb: look first</span>' if finding.unsure else ""
    limit = f'<p class="limit">Limit: {escape(finding.threshold)}</p>' if finding.threshold else ""
    mend = f"<pre>{_command(finding.mend)}</pre>" if finding.mend else ""
    advice = f'<p class="advice">{escape(finding.advice)}</p>' if finding.advice else ""
    return (
        f'<article class="card finding {finding.level}"{anchor}>'
        f'<div class="head"><span class="badge">{badge}</span>'
        f"<b>{finding.id}</b> <span>{escape(finding.title)}</span>{unsure}</div>"
        f"<p>{escape(finding.why)}</p>{_pictures(report, finding)}{limit}{mend}{advice}{_names(finding)}</article>"
    )


def _pictures(report: Report, finding: Finding) -> str:
    shown = [name for name in finding.files if name in report.thumbnails][:PICTURED]
    if not shown:
        return ""
    return f'<div class="strip">{"".join(_figure(report, name, finding.notes.get(name, "")) for name in shown)}</div>'


def _figure(report: Report, name: str, note: str) -> str:
    data = base64.b64encode(report.thumbnails[name]).decode()
    label = f'<bdi title="{escape(name)}">{escape(name)}</bdi>'
    caption = f"{label}<span>{escape(note)}</span>" if note else label
    picture = f'<img src="data:image/webp;base64,{data}" alt="{escape(name)}" loading="lazy">'
    return f"<figure>{picture}<figcaption>{caption}</figcaption></figure>"


def _names(finding: Finding) -> str:
    if not finding.files:
        return ""
    rows = "".join(
        f"<li><bdi>{escape(name)}</bdi>{f' <span>{escape(note)}</span>' if note else ''}</li>"
        for name, note in ((name, finding.notes.get(name, "")) for name in finding.files[:NAMED])
    )
    rest = len(finding.files) - NAMED
    more = f"<li>and {rest:,} more; --json names all of them</li>" if rest > 0 else ""
    return f"<details><summary>{counted(len(finding.files), 'file')}</summary><ul>{rows}{more}</ul></details>"


# --- the rest ---------------------------------------------------------------------------------------------------------


def _not_run(report: Report) -> str:
    if not report.skipped:
        return ""
    by_reason: dict[str, list[str]] = {}
    for check, reason in report.skipped.items():
        by_reason.setdefault(reason, []).append(check)
    rows = "".join(f"<dt>{', '.join(ids)}</dt><dd>{escape(reason)}</dd>" for reason, ids in by_reason.items())
    return f"<section><h2>Not run</h2><dl>{rows}</dl></section>"


def _passed(report: Report) -> str:
    return f'<section><h2>Passed</h2><p class="ids">{" ".join(report.passed)}</p></section>' if report.passed else ""
