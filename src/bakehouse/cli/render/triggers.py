"""Output of `triggers explain`."""

from __future__ import annotations

from rich.table import Table

from bakehouse.captions.triggers import Absorption, Explanation, Finding
from bakehouse.cli.render.consoles import print_json, print_table
from bakehouse.cli.render.printing import echo
from bakehouse.core.pluralize import counted, listed

_SHOWN = 8
"""Items in a cell; `--json` lists all."""


def print_explanation(explanation: Explanation, *, json: bool = False, quiet: bool = False) -> None:
    """Print a table of triggers, then the findings with their remedies; `quiet` prints problems only."""
    if json:
        print_json(explanation.to_json())
        return
    if not quiet:
        print_table(_table(explanation))
        echo()
    for finding in explanation.findings:
        if not (quiet and finding.level == "note"):
            _print_finding(finding)
    if not explanation.findings:
        echo("no problems found")


def _table(explanation: Explanation) -> Table:
    title = f"{counted(explanation.images, 'image')}, {explanation.shows:g} shown per epoch"
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    table.add_column("trigger", style="bold", no_wrap=True)
    table.add_column("images", justify="right")
    table.add_column("shown", justify="right")
    table.add_column("strategy")
    table.add_column("will learn (share of its images)")
    table.add_column("may also learn", style="dim")
    table.add_column("left to the prompt", style="dim")
    for t in explanation.triggers:
        missed = t.strategy in ("fluid", "static") and t.realised not in ("", t.strategy)
        strategy = f"{t.kind}, {t.strategy}" + (f"; effectively {t.realised}" if missed else "")
        along, kept = (
            listed([f"{tag} {share:.0%}" for tag, share in s.items()], _SHOWN) for s in (t.comes_along, t.keeps)
        )
        absorbed = listed([_absorbed(a) for a in t.absorbs], _SHOWN) or "only what no tag names"
        table.add_row(t.word, str(t.images), f"{t.shows:g}", strategy, absorbed, along, kept)
    return table


def _absorbed(found: Absorption) -> str:
    """Return `red dress 100%`, with a star if other triggers' declarations cause it."""
    return f"{found.what} {found.strength:.0%}" + ("" if found.declared else " *")


def _print_finding(finding: Finding) -> None:
    echo(f"{finding.level} {finding.id}: {finding.message}")
    for n, remedy in enumerate(finding.remedies, 1):
        echo(f"  {n}. {remedy.what}: {remedy.setting}")
