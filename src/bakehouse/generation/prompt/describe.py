"""A syntax tree in words, to explain a prompt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bakehouse.generation.prompt.emphasis import STEP
from bakehouse.generation.prompt.schedule import last_step_before
from bakehouse.generation.prompt.syntax_tree import (
    Alternation,
    BreakWord,
    Emphasized,
    Node,
    Prompt,
    Stray,
    Switch,
    Text,
    written,
)

_DEEPEST = 40
"""Levels that are described; deeper brackets are shown as they were written."""


@dataclass(frozen=True)
class Description:
    """A part of a prompt and what is in it."""

    text: str
    inside: tuple[Description, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return plain values for `--json`."""
        return {"text": self.text, **({"inside": [one.to_json() for one in self.inside]} if self.inside else {})}

    def lines(self, depth: int = 0) -> list[str]:
        """Return the description and all in it, one line each, indented by two spaces a level."""
        return ["  " * depth + self.text, *(line for one in self.inside for line in one.lines(depth + 1))]


def describe(prompt: Prompt, steps: int) -> list[Description]:
    """Return a description of each prompt between ANDs."""
    found = []
    for number, subprompt in enumerate(prompt.subprompts):
        name = "AND" if number else "prompt"
        weight = "" if subprompt.weight == 1 and len(prompt.subprompts) == 1 else f", weight {subprompt.weight:g}"
        found.append(Description(name + weight, _described(subprompt.nodes, steps, 0)))
    return found


def _described(nodes: Sequence[Node], steps: int, depth: int) -> tuple[Description, ...]:
    if depth > _DEEPEST:
        return (Description(f"brackets {written(nodes)!r}"),)
    return tuple(_node(node, steps, depth) for node in _joined(nodes))


def _joined(nodes: Sequence[Node]) -> list[Node | str]:
    """Return nodes with neighbouring texts as one."""
    joined: list[Node | str] = []
    for node in nodes:
        if isinstance(node, Text) and joined and isinstance(joined[-1], str):
            joined[-1] += node.token.text
        else:
            joined.append(node.token.text if isinstance(node, Text) else node)
    return joined


def _node(node: Node | str, steps: int, depth: int) -> Description:
    deeper = depth + 1
    match node:
        case str():
            return Description(f"text {node!r}")
        case Text():
            return Description(f"text {node.token.text!r}")
        case BreakWord():
            return Description("BREAK: starts the next chunk")
        case Stray():
            return Description(f"unmatched bracket {node.token.text!r}")
        case Emphasized():
            return Description(_emphasis(node), _described(node.content, steps, deeper))
        case Switch():
            last = last_step_before(node.when.text, steps)
            sides = (f"up to step {last}", node.before), (f"from step {last + 1} on", node.after)
            inside = [Description(when, _described(side, steps, deeper + 1)) for when, side in sides if side]
            return Description(f"switch after step {last} of {steps}", tuple(inside))
        case Alternation():
            options = node.options
            inside = [
                Description(f"step {number}, and every {len(options)} steps", _described(option, steps, deeper + 1))
                for number, option in enumerate(options, 1)
            ]
            return Description(f"alternation of {len(options)}", tuple(inside))


def _emphasis(node: Emphasized) -> str:
    if node.colon is not None:
        return f"emphasis {written(node.weight).strip()}"
    return f"emphasis {STEP}" if node.opening.text == "(" else f"emphasis 1/{STEP}"
