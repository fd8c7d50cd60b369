"""Draws a prompt from a template: each choice is a function of the image's seed, never of other images."""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence

from bakehouse.core.errors import UsageError
from bakehouse.generation.templates.syntax import (
    Choice,
    Nodes,
    Option,
    SetVariable,
    Slot,
    Text,
    Variable,
    Wildcard,
    is_plain,
    parse,
)
from bakehouse.generation.templates.wildcards import Wildcards, unknown_slot

_EMPTY_TAGS = re.compile(r"(?:[ \t]*,){2,}")


class Resolver:
    """Resolves the templates of one image. A slot has the same words in all of them, and so has a variable."""

    def __init__(self, seed: int, stream: str, slots: Mapping[str, str], wildcards: Wildcards) -> None:
        """Begin to draw.

        Args:
            seed: the image's.
            stream: what is drawn, such as `negative`: another stream draws other numbers from the same seed.
            slots: what fills each slot; templates themselves.
            wildcards: what `__name__` stands for.
        """
        self._random = random.Random(f"{stream} {seed}")
        self._slots = slots
        self._wildcards = wildcards
        self._filled: dict[str, str] = {}
        self._variables: dict[str, str | Nodes] = {}

    def resolve(self, template: Nodes) -> str:
        """Return the prompt; tags that came out empty, and line breaks, are taken out. Plain text is left as it is.

        Raises:
            UsageError: a slot, variable or wildcard is unknown, or leads back to itself.
        """
        if is_plain(template):
            return "".join(node.text for node in template if isinstance(node, Text))
        return _tidy(self._text(template, ()))

    def _text(self, nodes: Nodes, inside: tuple[str, ...]) -> str:
        """Return the text that nodes resolve to; `inside` are the slots and wildcards around them."""
        parts = []
        for node in nodes:
            match node:
                case Text():
                    parts.append(node.text)
                case Slot():
                    parts.append(self._slot(node.name, inside))
                case Wildcard():
                    parts.append(self._wildcard(node, inside))
                case Choice():
                    parts.append(self._choice(node, inside))
                case SetVariable():
                    if not (node.keep and node.name in self._variables):
                        self._variables[node.name] = self._text(node.nodes, inside) if node.once else node.nodes
                case Variable():
                    parts.append(self._variable(node, inside))
        return "".join(parts)

    def _slot(self, name: str, inside: tuple[str, ...]) -> str:
        if name not in self._filled:
            if name not in self._slots:
                raise unknown_slot(name, self._slots)
            if f"{{{name}}}" in inside:
                raise UsageError(f"the slot {{{name}}} leads back to itself: {self._slots[name]!r}")
            self._filled[name] = self._text(parse(self._slots[name]), (*inside, f"{{{name}}}"))
        return self._filled[name]

    def _wildcard(self, node: Wildcard, inside: tuple[str, ...]) -> str:
        before = dict(self._variables)
        self._variables.update(node.values)
        drawn = self._draw(self._options(node.pattern, inside), 1)
        if not drawn:
            raise UsageError(f"__{node.pattern}__ has no line to draw: each has the weight 0, or uses this wildcard")
        name, line = drawn[0]
        text = self._text(line.nodes, (*inside, name))
        if node.values:
            self._variables = before
        return text

    def _options(self, pattern: str, inside: tuple[str, ...]) -> list[tuple[str, Option]]:
        if pattern in inside:
            raise UsageError(f"wildcards lead back to themselves: {' -> '.join((*inside, pattern))}")
        return [(name, line.option) for name, line in self._wildcards.lines(pattern, inside=inside)]

    def _choice(self, node: Choice, inside: tuple[str, ...]) -> str:
        options = [("", option) for option in node.options]
        only = node.options[0].nodes
        if len(node.options) == 1 and len(only) == 1 and isinstance(only[0], Wildcard):
            options = self._options(only[0].pattern, inside)  # {2$$__hair__}: two different lines
        high = len(options) if node.high is None else min(node.high, len(options))
        count = node.low + int(self._random.random() * (high - node.low + 1)) if high > node.low else node.low
        drawn = self._draw(options, count)
        texts = [self._text(option.nodes, (*inside, name) if name else inside) for name, option in drawn]
        return texts[0] if len(texts) == 1 else node.separator.join(text.strip() for text in texts)

    def _draw(self, options: Sequence[tuple[str, Option]], count: int) -> list[tuple[str, Option]]:
        """Return `count` different options in proportion to their weights, or as many as have one.

        Only `Random.random` is used, whose numbers are the same in every version of Python.
        """
        left = [pair for pair in options if pair[1].weight > 0]
        drawn: list[tuple[str, Option]] = []
        while left and len(drawn) < count:
            at = self._random.random() * sum(option.weight for _, option in left)
            chosen = len(left) - 1
            for i, (_, option) in enumerate(left):
                at -= option.weight
                if at < 0:
                    chosen = i
                    break
            drawn.append(left.pop(chosen))
        return drawn

    def _variable(self, node: Variable, inside: tuple[str, ...]) -> str:
        value = self._variables.get(node.name, node.default)
        if value is None:
            raise UsageError(
                f"${{{node.name}}} has no value",
                hint=f"set it before, ${{{node.name}=red}}, or give a default, ${{{node.name}:red}}",
            )
        if isinstance(value, str):
            return value
        if f"${node.name}" in inside:
            raise UsageError(f"the variable ${{{node.name}}} leads back to itself")
        return self._text(value, (*inside, f"${node.name}"))


def _tidy(text: str) -> str:
    lines = " ".join(line.strip() for line in text.splitlines())
    single = re.sub(r"[ \t]{2,}", " ", _EMPTY_TAGS.sub(",", lines))
    return re.sub(r"[ \t]+,", ",", single).strip(" ,\t")
