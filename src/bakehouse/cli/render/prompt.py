"""Output of `bakehouse prompt`: the syntax tree, then what guides each step."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bakehouse.cli.render.consoles import print_json, print_warnings
from bakehouse.cli.render.safe_printing import echo
from bakehouse.core.message_text import counted

if TYPE_CHECKING:
    from bakehouse.generation.explain_prompt import ExplainedSteps, ExplainedText, PromptExplanation

_RANGES = 12
"""Ranges of steps that are shown; `--json` has all."""
_CHUNK = 75


def print_prompt(explained: PromptExplanation, *, json: bool = False, quiet: bool = False) -> None:
    """Print an explanation; `quiet` leaves out the tree."""
    if json:
        print_json(explained.to_json())
        return
    print_warnings(explained.warnings)
    if not quiet:
        for description in explained.tree:
            echo("\n".join(description.lines()))
        for description in explained.negative_tree:
            echo("\n".join(["negative", *description.lines()[1:]]))
        for tag, path in explained.adapters:
            rank = "" if tag.rank is None else f", first {tag.rank} ranks"
            echo(f"adapter {tag.name}: text encoder {tag.text:g}, UNet {tag.unet:g}{rank} ({path or 'not found'})")
        for name, path in explained.embeddings:
            echo(f"embedding {name} ({path})")
        echo()
    for steps in explained.steps[:_RANGES]:
        _print_steps(steps)
    rest = len(explained.steps) - _RANGES
    if rest > 0:
        echo(f"and {counted(rest, 'more range')} of steps; --json shows all")


def _print_steps(steps: ExplainedSteps) -> None:
    echo(f"step {steps.first}" if steps.first == steps.last else f"steps {steps.first} to {steps.last}")
    several = len(steps.conditions) > 1
    for condition in steps.conditions:
        weight = f"weight {condition.weight:g}: " if several or condition.weight != 1 else ""
        echo(f"  {weight}{_text(condition)}")
    if steps.negative.pieces:
        echo(f"  negative: {_text(steps.negative)}")


def _text(text: ExplainedText) -> str:
    pieces = [piece.strip() if weight == 1 else f"({piece.strip()}:{weight:.4g})" for piece, weight in text.pieces]
    shown = " ".join(piece for piece in pieces if piece) or "(empty)"
    chunks = " + ".join(f"{tokens} of {_CHUNK}" for tokens in text.chunks)
    return f"{shown}  [{chunks} tokens]"
