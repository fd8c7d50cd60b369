"""A prompt in parts that are shown in different ways: what is text, what is syntax, and how much each part weighs."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Literal

from bakehouse.generation.prompt.emphasis import STEP
from bakehouse.generation.prompt.parser import parse_negative, parse_prompt
from bakehouse.generation.prompt.readable_text import without_comments, without_tags
from bakehouse.generation.prompt.syntax_tree import (
    Alternation,
    BreakWord,
    Emphasized,
    Node,
    Stray,
    Switch,
    Token,
    parts,
    written,
)

PartKind = Literal["text", "syntax", "switch", "alternation", "break", "and", "tag", "comment", "stray"]
"""`syntax` are brackets, colons and weights; `switch` and `alternation` the text inside of them; `stray` a bracket
without a partner."""
_Kind = tuple[PartKind, float]


@dataclass(frozen=True)
class PromptPart:
    """Characters of a prompt that are shown alike."""

    text: str
    kind: PartKind
    weight: float = 1.0

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {"text": self.text, "kind": self.kind, "weight": round(self.weight, 4)}


def highlight(prompt: str, *, negative: bool = False) -> list[PromptPart]:
    """Return a prompt in parts; joined, they are the prompt.

    Args:
        prompt: in A1111's language; any text can be read.
        negative: read it as a negative prompt, without tags and AND.
    """
    tree = (parse_negative if negative else parse_prompt)(prompt)
    readable = without_comments(prompt)
    readable = readable if negative else without_tags(readable)[0]
    kinds: list[_Kind] = [("comment", 1.0)] * len(prompt)
    for read, place in zip(readable.text, readable.places, strict=True):
        if prompt[place] == read:  # a comment is read as the end of its line
            kinds[place] = "text", 1.0
    place_number = {place: number for number, place in enumerate(readable.places)}

    def mark(token: Token, kind: PartKind, weight: float) -> None:
        first = place_number.get(token.at, len(readable.places))
        for place in readable.places[first : first + len(token.text)]:
            if kinds[place][0] != "comment":
                kinds[place] = kind, weight

    for subprompt in tree.subprompts:
        _mark_all(subprompt.nodes, mark)
        if subprompt.weight_at is not None:
            mark(Token(subprompt.ending.lstrip(), "", subprompt.weight_at), "syntax", 1.0)
    for token in tree.ands:
        mark(token, "and", 1.0)
    for tag in tree.tags:
        kinds[tag.at : tag.at + len(tag.source)] = [("tag", 1.0)] * len(tag.source)
    return [
        PromptPart("".join(character for character, _ in run), *kind)
        for kind, run in groupby(zip(prompt, kinds, strict=True), key=lambda one: one[1])
    ]


def _mark_all(nodes: Sequence[Node], mark: Callable[[Token, PartKind, float], None]) -> None:
    # Without recursion: brackets may be nested as deep as a prompt is long.
    waiting: list[tuple[Token | Node, PartKind, float]] = [(node, "text", 1.0) for node in nodes]
    while waiting:
        item, kind, weight = waiting.pop()
        match item:
            case Token():
                mark(item, kind, weight)
            case BreakWord():
                mark(item.token, "break", weight)
            case Stray():
                mark(item.token, "stray", weight)
            case Emphasized():
                inner = weight * _factor(item)
                waiting += [(one, kind, inner) for one in item.content]
                signs = (item.opening, item.colon, *item.weight, item.closing)
                waiting += [(one, "syntax", inner) for one in signs if one is not None]
            case Switch() | Alternation():
                inside: PartKind = "switch" if isinstance(item, Switch) else "alternation"
                waiting += [(one, "syntax" if isinstance(one, Token) else inside, weight) for one in parts(item)]
            case _:
                waiting += [(one, kind, weight) for one in parts(item)]


def _factor(node: Emphasized) -> float:
    if node.colon is not None:
        try:
            value = float(written(node.weight))
        except ValueError:
            return 1.0  # a weight that changes with the steps
        return value if math.isfinite(value) else 1.0
    return STEP if node.opening.text == "(" else 1 / STEP
