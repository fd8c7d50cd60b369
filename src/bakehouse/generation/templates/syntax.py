r"""The language of templates: slots, and variants, wildcards and variables as users of Dynamic Prompts write them.

{subject}                       a slot: a name and nothing else
{a|b|c}, {0.5::a|2::b}          one of them; with weights
{2$$a|b|c}, {1-2$$ and $$a|b}   several of them without repeats, a range, another separator than `, `
__hair__, __people/*__          a line of a wildcard file, or of several files; {2$$__hair__} takes two lines
${light={soft|hard}}            a variable, drawn whenever `${light}` is used; `=!` draws it once, `?=` keeps a value
# a comment                     a line of its own, in a text of several lines

`\` in front of one of `{ } | _ $` makes it plain text. What is not of this language, such as A1111's `(a:1.2)`,
`[a:b:8]` and `<lora:a:1>`, is left as it is.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass

from bakehouse.core.errors import UsageError

_ESCAPED = "{}|_$"
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_SLOT = re.compile(r"\{\s*([A-Za-z][A-Za-z0-9_]*)\s*\}")
_WILDCARD = re.compile(r"__([~@!]?)((?!_)[\w\-./*]+?)(?:\(([^()]*)\))?__")
_VARIABLE = re.compile(r"\$\{\s*([A-Za-z]\w*)\s*")
_COUNT = re.compile(r"\s*(?:(\d+)\s*-\s*(\d+)|(\d+)\s*-|-\s*(\d+)|(\d+))\s*\$\$")
_SEPARATOR = re.compile(r"([^{}|$]*)\$\$")
_WEIGHT = re.compile(r"\s*(\d+(?:\.\d*)?|\.\d+)::")
_COMMENT = re.compile(r"^[ \t]*#.*(?:\n|\Z)", re.MULTILINE)
_MOST_NESTED = 50


@dataclass(frozen=True)
class Text:
    """Plain text."""

    text: str


@dataclass(frozen=True)
class Slot:
    """A place that is filled in: `{subject}`. It has the same words wherever it occurs in a prompt."""

    name: str


@dataclass(frozen=True)
class Wildcard:
    """A line of wildcard files; `values` are the variables that it passes to the line, `__dress(color=red)__`."""

    pattern: str
    values: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Option:
    """One of the options of a choice."""

    weight: float
    nodes: Nodes


@dataclass(frozen=True)
class Choice:
    """`low` to `high` of the options, in a random order."""

    options: tuple[Option, ...]
    low: int = 1
    high: int | None = 1
    """None: as many as there are."""
    separator: str = ", "


@dataclass(frozen=True)
class SetVariable:
    """`${name=...}`; it leaves no text."""

    name: str
    nodes: Nodes
    once: bool
    """Drawn now, not whenever it is used."""
    keep: bool
    """Does nothing if the variable has a value."""


@dataclass(frozen=True)
class Variable:
    """`${name}`, or `${name:default}`."""

    name: str
    default: Nodes | None = None


Node = Text | Slot | Wildcard | Choice | SetVariable | Variable
Nodes = tuple[Node, ...]


class TemplateSyntaxError(UsageError):
    """A template that cannot be read. Whoever knows its file adds where it is."""


def parse(text: str) -> Nodes:
    """Return the nodes of a template.

    Raises:
        TemplateSyntaxError: names the character at which it cannot be read, and what is allowed.
    """
    if "\n" in text:
        text = _COMMENT.sub("", text)
    parser = _Parser(text)
    nodes = parser.nodes("", 0)
    if parser.at < len(text):
        raise parser.problem("a } without its {", parser.at, r"write \} for a brace in the prompt")
    return nodes


def is_plain(nodes: Nodes) -> bool:
    """Return whether a template is text alone, with nothing to fill in or to draw."""
    return all(isinstance(node, Text) for node in nodes)


def walk(nodes: Nodes) -> Iterator[Node]:
    """Yield all nodes, those inside others too."""
    for node in nodes:
        yield node
        match node:
            case Choice():
                for option in node.options:
                    yield from walk(option.nodes)
            case SetVariable():
                yield from walk(node.nodes)
            case Variable() if node.default is not None:
                yield from walk(node.default)
            case _:
                pass


class _Parser:
    """Reads a text from left to right; `at` is the next character."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0

    def problem(self, what: str, at: int, hint: str = "") -> TemplateSyntaxError:
        """Return an error that shows the text from the character `at`."""
        shown = " ".join(self.text[at : at + 30].split())
        return TemplateSyntaxError(f"character {at + 1}, {shown!r}: {what}", hint=hint)

    def nodes(self, ends: str, depth: int) -> Nodes:
        """Return the nodes up to one of the characters in `ends`, or to a `}` or the end of the text."""
        if depth > _MOST_NESTED:
            raise self.problem(f"braces are nested more than {_MOST_NESTED} deep", self.at)
        found: list[Node] = []
        plain: list[str] = []

        def add(node: Node) -> None:
            if plain:
                found.append(Text("".join(plain)))
                plain.clear()
            found.append(node)

        while self.at < len(self.text):
            here = self.text[self.at]
            if here == "}" or here in ends:
                break
            if here == "\\" and self.at + 1 < len(self.text):
                following = self.text[self.at + 1]
                plain.append(following if following in _ESCAPED else here + following)
                self.at += 2
            elif here == "{":
                add(self._braces(depth))
            elif here == "_" and (wildcard := _WILDCARD.match(self.text, self.at)):
                add(self._wildcard(wildcard))
            elif here == "$" and _VARIABLE.match(self.text, self.at):
                add(self._variable(depth))
            else:
                plain.append(here)
                self.at += 1
        if plain:
            found.append(Text("".join(plain)))
        return tuple(found)

    def _braces(self, depth: int) -> Node:
        begin = self.at
        if slot := _SLOT.match(self.text, begin):
            self.at = slot.end()
            return Slot(slot[1])
        self.at += 1
        self._sampler(begin)
        before_count, separator = self.at, ", "
        low, high = self._count(begin)
        if self.at > before_count and (given := _SEPARATOR.match(self.text, self.at)):
            separator, self.at = given[1], given.end()
        options = [self._option(depth)]
        while self.at < len(self.text) and self.text[self.at] == "|":
            self.at += 1
            options.append(self._option(depth))
        self._close(begin)
        if len(options) == 1 and not options[0].nodes:
            raise self.problem("empty braces", begin, r"a slot is {subject}, a choice {red|blue}, a plain brace \{")
        if not sum(option.weight for option in options):
            raise self.problem("every option has the weight 0", begin)
        return Choice(tuple(options), low, high, separator)

    def _sampler(self, begin: int) -> None:
        """Skip the mark of the random sampler; refuse those whose choices depend on the images before."""
        mark = self.text[self.at : self.at + 1]
        if mark in ("@", "!"):
            raise self._ordered(mark, begin)
        self.at += mark == "~"

    def _ordered(self, mark: str, begin: int) -> TemplateSyntaxError:
        what = "takes the options in turn" if mark == "@" else "makes every combination"
        because = "but here a prompt depends on its image's seed alone"
        return self.problem(f"{mark!r} {what}, {because}", begin, f"leave {mark!r} out")

    def _count(self, begin: int) -> tuple[int, int | None]:
        """Return how many options are drawn, and read past the `$$` behind it."""
        found = _COUNT.match(self.text, self.at)
        if found is None:
            return 1, 1
        self.at = found.end()
        first, last, at_least, at_most, exact = (None if n is None else int(n) for n in found.groups())
        if exact is not None:
            return exact, exact
        if first is not None and last is not None:
            if first > last:
                raise self.problem(f"from {first} to {last}: the first number must be the smaller one", begin)
            return first, last
        return (at_least, None) if at_least is not None else (min(1, at_most or 0), at_most)

    def _option(self, depth: int) -> Option:
        weight = _WEIGHT.match(self.text, self.at)
        if weight:
            self.at = weight.end()
        value = float(weight[1]) if weight else 1.0
        if not math.isfinite(value):
            raise self.problem("the weight is too large", self.at)
        return Option(value, self.nodes("|", depth + 1))

    def _wildcard(self, found: re.Match[str]) -> Wildcard:
        if found[1] in ("@", "!"):
            raise self._ordered(found[1], self.at)
        values = []
        for part in (found[3] or "").split(","):
            name, equals, value = part.partition("=")
            if part.strip() and (not equals or not _NAME.fullmatch(name.strip())):
                raise self.problem(f"{part.strip()!r} is not a variable", self.at, "write __dress(color=red)__")
            if part.strip():
                values.append((name.strip(), value.strip()))
        self.at = found.end()
        return Wildcard(found[2], tuple(values))

    def _variable(self, depth: int) -> Node:
        begin = self.at
        opening = _VARIABLE.match(self.text, begin)
        assert opening is not None  # the caller has looked
        self.at = opening.end()
        keep = self.text.startswith("?=", self.at)
        sign = self.text[self.at + keep : self.at + keep + 1]
        if sign == "=":
            self.at += 1 + keep
            once = self.text.startswith("!", self.at)
            self.at += once
            node: Node = SetVariable(opening[1], _stripped(self.nodes("", depth + 1)), once, keep)
        elif sign == ":":
            self.at += 1
            node = Variable(opening[1], self.nodes("", depth + 1))
        else:
            node = Variable(opening[1])
        self._close(begin)
        return node

    def _close(self, begin: int) -> None:
        if not self.text.startswith("}", self.at):
            raise self.problem("a { without its }", begin, r"close it, or write \{ for a brace in the prompt")
        self.at += 1


def _stripped(nodes: Nodes) -> Nodes:
    """Return nodes without spaces at their ends: `${light= soft }` is `soft`."""
    if nodes and isinstance(nodes[0], Text):
        nodes = (Text(nodes[0].text.lstrip()), *nodes[1:])
    if nodes and isinstance(nodes[-1], Text):
        nodes = (*nodes[:-1], Text(nodes[-1].text.rstrip()))
    return nodes
