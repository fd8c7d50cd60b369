r"""Text to syntax tree, by A1111's rules (1.10): tags, then AND and weights, then brackets.

Brackets nest: `[` and `(` have a partner if all between them has one. A pair in `[ ]` is a switch if it ends in `:` and
a number and has no other colon than the one between before and after; an alternation if it has `|` and no colon; else
emphasis. A switch or alternation holds only pairs that are such themselves. If a `|` is left over, or a backslash that
escapes nothing, A1111 reads no switches at all. Nothing is an error.
"""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass, field

from bakehouse.generation.prompt.readable_text import ReadableText, without_comments, without_tags
from bakehouse.generation.prompt.syntax_tree import (
    Alternation,
    BreakWord,
    Emphasized,
    Node,
    Prompt,
    Stray,
    Subprompt,
    Switch,
    Text,
    Token,
)

_AND = re.compile(r"\bAND\b")
_BREAK = re.compile(r"\s*\bBREAK\b\s*")
_LEXEME = re.compile(r"[\[\]():|]|(?:[^\\\[\]():|]|\\.)+|\\")
_PARTNER = {")": "(", "]": "["}
_WHEN = re.compile(r"\s*[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?\s*")
_EMPHASIS_WEIGHT = re.compile(r"\s*[+-]?[.\d]+\s*")
_WEIGHT_AT_END = re.compile(r"\s*(:)\s*([-+]?(?:\d+\.?|\d*\.\d+))\s*\Z")


def parse_prompt(written: str) -> Prompt:
    """Parse any text."""
    prompt, tags = without_tags(without_comments(written))
    if not prompt.text:
        return Prompt((Subprompt((), ending=written),), tags=tags)
    words = list(_AND.finditer(prompt.text))
    edges = [0, *(edge for word in words for edge in word.span()), len(prompt.text)]
    subprompts = [_subprompt(prompt, start, end) for start, end in zip(edges[::2], edges[1::2], strict=True)]
    ands = [_token(prompt, *word.span()) for word in words]
    return Prompt(tuple(subprompts), tuple(ands), tags)


def parse_negative(written: str) -> Prompt:
    """Parse a negative prompt, in which A1111 reads neither tags nor AND nor a weight at the end."""
    prompt = without_comments(written)
    return Prompt((_brackets(prompt, 0, len(prompt.text)) if prompt.text else Subprompt((), ending=written),))


def _token(prompt: ReadableText, start: int, end: int) -> Token:
    at = prompt.places[start] if start < len(prompt.places) else len(prompt.written)
    return Token(prompt.text[start:end], prompt.source(start, end), at)


def _subprompt(prompt: ReadableText, start: int, end: int) -> Subprompt:
    """Parse one of the prompts between ANDs: brackets, and a weight at the end."""
    text = prompt.text[start:end]
    found = _WEIGHT_AT_END.search(text)
    length = found.start() if found else len(text.rstrip())
    body = _brackets(prompt, start, start + length)
    ending = prompt.source(start + length, end) if length < len(text) else ""
    if found is None:
        return Subprompt(body.nodes, ending, unscheduled_because_of=body.unscheduled_because_of)
    at = prompt.places[start + found.start(1)]
    return Subprompt(body.nodes, ending, float(found[2]), at, body.unscheduled_because_of)


def _brackets(prompt: ReadableText, start: int, end: int) -> Subprompt:
    parser = _Brackets(prompt, start, end)
    nodes = parser.parse()
    if parser.spoiler is None or not parser.scheduled:
        return Subprompt(nodes)
    return Subprompt(_Brackets(prompt, start, end, scheduling=False).parse(), unscheduled_because_of=parser.spoiler)


@dataclass
class _Open:
    """A bracket that is not closed yet, and what follows it: nodes, colons and bars."""

    opening: Token
    items: list[Node | Token] = field(default_factory=list)
    nests: bool = True
    """Whether all in it may stand inside a switch."""


class _Brackets:
    """Reads the brackets of one subprompt."""

    def __init__(self, prompt: ReadableText, start: int, end: int, *, scheduling: bool = True) -> None:
        self.spoiler: Token | None = None
        """The first character for which A1111 gives up on switches."""
        self.scheduled = False
        """Whether there is a switch or an alternation."""
        self._prompt, self._start, self._end = prompt, start, end
        self._scheduling = scheduling

    def parse(self) -> tuple[Node, ...]:
        """Return the nodes of the subprompt."""
        root: list[Node | Token] = []
        stack: list[_Open] = []
        for lexeme in _LEXEME.finditer(self._prompt.text, self._start, self._end):
            token = _token(self._prompt, *lexeme.span())
            items = stack[-1].items if stack else root
            if token.text in ("(", "["):
                stack.append(_Open(token))
            elif token.text in _PARTNER:
                if stack and stack[-1].opening.text == _PARTNER[token.text]:
                    closed = stack.pop()
                    node = self._pair(closed, token)
                    (stack[-1].items if stack else root).append(node)
                    if stack and isinstance(node, Emphasized):
                        stack[-1].nests &= node.nests
                else:  # neither this bracket nor any that is open has a partner
                    self._give_up(stack, root)
                    root.append(Stray(token))
            elif token.text in (":", "|"):
                items.append(token)
            else:
                if token.text == "\\":
                    self._spoil(token)
                items += self._text(lexeme.start(), lexeme.end())
        self._give_up(stack, root)
        return self._plain(root)

    def _give_up(self, stack: list[_Open], root: list[Node | Token]) -> None:
        for frame in stack:
            root += [Stray(frame.opening), *frame.items]
        stack.clear()

    def _spoil(self, token: Token) -> None:
        if self.spoiler is None or token.at < self.spoiler.at:
            self.spoiler = token

    def _text(self, start: int, end: int) -> list[Node]:
        """Return text between brackets, with its BREAKs apart."""
        nodes: list[Node] = []
        at = start
        for word in _BREAK.finditer(self._prompt.text, start, end):
            if at < word.start():
                nodes.append(Text(_token(self._prompt, at, word.start())))
            nodes.append(BreakWord(_token(self._prompt, *word.span())))
            at = word.end()
        if at < end:
            nodes.append(Text(_token(self._prompt, at, end)))
        return nodes

    def _plain(self, items: list[Node | Token]) -> tuple[Node, ...]:
        """Return items as nodes: colons and bars that separate nothing are text."""
        nodes: list[Node] = []
        for item in items:
            if isinstance(item, Token):
                if item.text == "|":
                    self._spoil(item)
                nodes.append(Text(item))
            else:
                nodes.append(item)
        return tuple(nodes)

    def _pair(self, frame: _Open, closing: Token) -> Node:
        colons = [i for i, item in enumerate(frame.items) if isinstance(item, Token) and item.text == ":"]
        bars = [i for i, item in enumerate(frame.items) if isinstance(item, Token) and item.text == "|"]
        if frame.opening.text == "[" and frame.nests and self._scheduling:
            if bars and not colons:
                self.scheduled = True
                return self._alternation(frame, bars, closing)
            if 1 <= len(colons) <= 2 and not bars and (when := self._when(frame.items[colons[-1] + 1 :])):
                self.scheduled = True
                return self._switch(frame, colons, when, closing)
        return self._emphasized(frame, colons, bars, closing)

    def _alternation(self, frame: _Open, bars: list[int], closing: Token) -> Alternation:
        edges = [-1, *bars, len(frame.items)]
        options = [self._plain(frame.items[a + 1 : b]) for a, b in itertools.pairwise(edges)]
        separators = [item for item in frame.items if isinstance(item, Token)]
        return Alternation(frame.opening, tuple(options), tuple(separators), closing)

    def _switch(self, frame: _Open, colons: list[int], when: Token, closing: Token) -> Switch:
        first, last = (colons[0] if len(colons) == 2 else -1), colons[-1]
        separators = [item for item in frame.items if isinstance(item, Token)]
        colon = separators[0] if len(colons) == 2 else None
        before = self._plain(frame.items[:first]) if first >= 0 else ()
        after = self._plain(frame.items[first + 1 : last])
        return Switch(frame.opening, before, colon, after, separators[-1], when, closing)

    @staticmethod
    def _when(items: list[Node | Token]) -> Token | None:
        """Return the number that ends a switch, if it is one."""
        only = items[0] if len(items) == 1 else None
        return only.token if isinstance(only, Text) and _WHEN.fullmatch(only.token.text) else None

    def _emphasized(self, frame: _Open, colons: list[int], bars: list[int], closing: Token) -> Emphasized:
        most = 1 if frame.opening.text == "(" else 0
        nests = frame.nests and len(colons) <= most and not bars
        last = colons[-1] if colons else len(frame.items)
        separator = frame.items[last] if colons else None
        weight = frame.items[last + 1 :]
        if frame.opening.text != "(" or separator is None or not _may_be_weight(weight):
            return Emphasized(frame.opening, self._plain(frame.items), None, (), closing, nests)
        assert isinstance(separator, Token)
        content = self._plain(frame.items[:last])
        return Emphasized(frame.opening, content, separator, self._plain(weight), closing, nests)


def _may_be_weight(items: list[Node | Token]) -> bool:
    """Return whether items can be a weight: a number, or something that changes with the steps."""
    if any(isinstance(item, Switch | Alternation) for item in items):
        return True
    return len(items) == 1 and isinstance(items[0], Text) and bool(_EMPHASIS_WEIGHT.fullmatch(items[0].token.text))
