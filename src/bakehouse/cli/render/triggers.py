"""Output of `triggers explain`: what each trigger will absorb, as a table or as JSON."""

from __future__ import annotations

from rich.table import Table

from bakehouse.captions.triggers import Absorption, Explanation, TriggerFinding
from bakehouse.cli.render.consoles import print_json, print_table
from bakehouse.cli.render.safe_printing import echo
from bakehouse.core.message_text import counted, listed

_SHOWN = 8
"""Things in a cell; `--json` has all."""


def print_explanation(explanation: Explanation, *, json: bool = False, quiet: bool = False) -> None:
    """Print the table of triggers, then the findings with their remedies; `quiet` leaves out the table and notes."""
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
        echo("no findings")


def _table(explanation: Explanation) -> Table:
    title = f"{counted(explanation.images, 'image')}, {explanation.exposures:g} exposures per epoch"
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    table.add_column("trigger", style="bold", no_wrap=True)
    table.add_column("images", justify="right")
    table.add_column("exposures", justify="right")
    table.add_column("strategy")
    table.add_column("will absorb (share of its exposures)")
    table.add_column("may co-occur", style="dim")
    table.add_column("controlled by prompts", style="dim")
    for t in explanation.triggers:
        missed = t.strategy in ("fluid", "static") and t.effective_strategy not in ("", t.strategy)
        strategy = f"{t.kind}, {t.strategy}" + (f"; effectively {t.effective_strategy}" if missed else "")
        co_occurring, captioned = (
            listed([f"{tag} {share:.0%}" for tag, share in shares.items()], _SHOWN)
            for shares in (t.co_occurring, t.captioned)
        )
        absorbed = listed([_absorbed(a) for a in t.absorbs], _SHOWN) or "only untagged traits"
        table.add_row(t.word, str(t.images), f"{t.exposures:g}", strategy, absorbed, co_occurring, captioned)
    return table


def _absorbed(found: Absorption) -> str:
    """Return `red dress 100%`, with a star if the trigger absorbs it without declaring it."""
    return f"{found.trait} {found.strength:.0%}" + ("" if found.declared else " *")


def _print_finding(finding: TriggerFinding) -> None:
    echo(f"{finding.level} {finding.id}: {finding.message}")
    for n, remedy in enumerate(finding.remedies, 1):
        echo(f"  {n}. {remedy.action}: {remedy.setting}")
