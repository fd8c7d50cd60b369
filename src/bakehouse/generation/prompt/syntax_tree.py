"""The syntax tree of a prompt. `str` of a tree, and of each node, is what was written."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import cast

from bakehouse.generation.prompt.readable_text import NetworkTag


@dataclass(frozen=True, slots=True)
class Token:
    """Some characters of a prompt."""

    text: str
    """As it is read."""
    source: str
    """As it was written, with the comments and tags that followed it."""
    at: int
    """Where it begins, as an index in the prompt."""


class _Written:
    """A node; `str` of it is what was written."""

    __slots__ = ()

    def __str__(self) -> str:
        return written((cast("Node", self),))


@dataclass(frozen=True, slots=True)
class Text(_Written):
    r"""Text without brackets. Escapes such as `\(` are still in it."""

    token: Token


@dataclass(frozen=True, slots=True)
class BreakWord(_Written):
    """`BREAK` and the white space around it."""

    token: Token


@dataclass(frozen=True, slots=True)
class Stray(_Written):
    """An unmatched bracket."""

    token: Token


@dataclass(frozen=True, slots=True)
class Emphasized(_Written):
    """`(content)`, `(content:weight)` or `[content]`."""

    opening: Token
    content: tuple[Node, ...]
    colon: Token | None
    """Before the weight, if there is one."""
    weight: tuple[Node, ...]
    """What was written as weight; it may hold a switch: `(a:[1.2:1.4:0.5])`."""
    closing: Token
    nests: bool = True
    """Whether it may stand inside a switch or alternation; A1111 does not let brackets with surplus colons do so."""


@dataclass(frozen=True, slots=True)
class Switch(_Written):
    """`[before:after:when]`, `[after:when]` or `[before::when]`."""

    opening: Token
    before: tuple[Node, ...]
    colon: Token | None
    """Between before and after; None: nothing was written before."""
    after: tuple[Node, ...]
    second_colon: Token
    when: Token
    """A step; with a decimal point a share of all steps."""
    closing: Token


@dataclass(frozen=True, slots=True)
class Alternation(_Written):
    """`[a|b|c]`: another one at each step, in turns."""

    opening: Token
    options: tuple[tuple[Node, ...], ...]
    bars: tuple[Token, ...]
    closing: Token


Node = Text | BreakWord | Stray | Emphasized | Switch | Alternation


@dataclass(frozen=True, slots=True)
class Subprompt:
    """One of the prompts between `AND`s."""

    nodes: tuple[Node, ...]
    ending: str = ""
    """As written: the weight and white space at the end."""
    weight: float = 1.0
    weight_at: int | None = None
    """Where the colon of the weight is; None: no weight was written."""
    unscheduled_because_of: Token | None = None
    """A character for which A1111 reads no switch and no alternation in the whole subprompt: a `|` outside of
    brackets, or a backslash that escapes nothing."""

    def __str__(self) -> str:
        return written(self.nodes) + self.ending


@dataclass(frozen=True, slots=True)
class Prompt:
    """A whole prompt."""

    subprompts: tuple[Subprompt, ...]
    ands: tuple[Token, ...] = ()
    """The words `AND` between them."""
    tags: tuple[NetworkTag, ...] = ()
    """`<lora:...>` and the like; they are part of the source of the token before them."""

    def __str__(self) -> str:
        first, *others = map(str, self.subprompts)
        return first + "".join(f"{word.source}{other}" for word, other in zip(self.ands, others, strict=True))


def parts(node: Node) -> tuple[Token | Node, ...]:
    """Return what a node consists of, in the order in which it was written."""
    match node:
        case Emphasized():
            return node.opening, *node.content, *_present(node.colon), *node.weight, node.closing
        case Switch():
            first = (*node.before, *_present(node.colon))
            return node.opening, *first, *node.after, node.second_colon, node.when, node.closing
        case Alternation():
            separated = [x for bar, o in zip(node.bars, node.options[1:], strict=True) for x in (bar, *o)]
            return node.opening, *node.options[0], *separated, node.closing
        case _:
            return (node.token,)


def _present(token: Token | None) -> tuple[Token, ...]:
    return () if token is None else (token,)


def written(nodes: Sequence[Node]) -> str:
    """Return nodes as they were written."""
    return "".join(token.source for token in tokens(nodes))


def tokens(nodes: Sequence[Node]) -> Iterator[Token]:
    """Yield all tokens of nodes in order."""
    # Without recursion: brackets may be nested as deep as a prompt is long.
    waiting: list[Token | Node] = list(reversed(nodes))
    while waiting:
        item = waiting.pop()
        if isinstance(item, Token):
            yield item
        else:
            waiting.extend(reversed(parts(item)))


def walk(nodes: Sequence[Node]) -> Iterator[Node]:
    """Yield all nodes, each before those inside it."""
    waiting: list[Token | Node] = list(reversed(nodes))
    while waiting:
        item = waiting.pop()
        if not isinstance(item, Token):
            yield item
            waiting.extend(reversed(parts(item)))
