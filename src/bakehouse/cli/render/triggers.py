"""What triggers will absorb, for the eye and as JSON."""

from __future__ import annotations

from rich.table import Table

from bakehouse.captions.triggers import Absorption, Explanation, Finding
from bakehouse.cli.render.consoles import print_json, print_table
from bakehouse.cli.render.printing import say
from bakehouse.core.pluralize import counted, listed

_SHOWN = 8
"""Things in a cell; `--json` has all."""


def print_explanation(explanation: Explanation, *, json: bool = False, quiet: bool = False) -> None:
    """A table of triggers, then what is wrong with the ways out; `quiet` leaves out what is all right."""
    if json:
        print_json(explanation.to_json())
        return
    if not quiet:
        print_table(_table(explanation))
        say()
    for finding in explanation.findings:
        if not (quiet and finding.level == "note"):
            _print_finding(finding)
    if not explanation.findings:
        say("nothing stands in the way")


def _table(explanation: Explanation) -> Table:
    title = f"{counted(explanation.images, 'image')}, {explanation.shows:g} shows an epoch"
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    table.add_column("trigger", style="bold", no_wrap=True)
    table.add_column("images", justify="right")
    table.add_column("shows", justify="right")
    table.add_column("strategy")
    table.add_column("will absorb (share of its shows)")
    table.add_column("may come along", style="dim")
    table.add_column("prompts decide on", style="dim")
    for t in explanation.triggers:
        missed = t.strategy in ("fluid", "static") and t.realised not in ("", t.strategy)
        strategy = f"{t.kind}, {t.strategy}" + (f"; in fact {t.realised}" if missed else "")
        along, kept = (
            listed([f"{tag} {share:.0%}" for tag, share in s.items()], _SHOWN) for s in (t.comes_along, t.keeps)
        )
        absorbed = listed([_absorbed(a) for a in t.absorbs], _SHOWN) or "only what no tag says"
        table.add_row(t.word, str(t.images), f"{t.shows:g}", strategy, absorbed, along, kept)
    return table


def _absorbed(found: Absorption) -> str:
    """`red dress 100%`; with a star what came to the trigger by the others' declarations."""
    return f"{found.what} {found.strength:.0%}" + ("" if found.declared else " *")


def _print_finding(finding: Finding) -> None:
    say(f"{finding.level} {finding.id}: {finding.message}")
    for n, remedy in enumerate(finding.remedies, 1):
        say(f"  {n}. {remedy.what}: {remedy.setting}")
