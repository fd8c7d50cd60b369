r"""Weights of a text with brackets, by A1111's rules.

`(x)` multiplies by 1.1, `[x]` divides by it, `(x:1.3)` multiplies by 1.3; `\(`, `\)`, `\[`, `\]` and `\\` are the
characters themselves, and another backslash is nothing. Round and square brackets are paired separately. One that is
never closed reaches to the end.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from bakehouse.data.weighted_prompt import Break, Emphasis, Piece, PromptText, WeightedText

STEP = 1.1
"""The factor of a pair of round brackets without a weight."""
_FACTORS = {"(": STEP, "[": 1 / STEP}
_PARTNER = {")": "(", "]": "["}
_BREAK_WEIGHT = -1.0
_PART = re.compile(
    r"\\(?P<escaped>[()\[\]\\]?)|:\s*(?P<weight>[+-]?[.\d]+)\s*\)|(?P<bracket>[()\[\]])|(?P<text>[^\\()\[\]:]+|:)"
)
_BREAK = re.compile(r"\s*\bBREAK\b\s*")


@dataclass
class _Run:
    """Text that is still to be weighted."""

    text: str
    weight: float = 1.0


class Weighing:
    """What reading the brackets of a text finds."""

    def __init__(self) -> None:
        self.runs: list[_Run] = []
        self.unclosed: list[tuple[int, str]] = []
        """Index and character of each bracket that is never closed."""
        self.unopened: list[tuple[int, str]] = []
        """Of each that closes nothing."""
        self.not_numbers: list[tuple[int, str]] = []
        """Index and text of weights that are no number: `(a:1.2.3)`."""
        self.lost_breaks = 0
        """BREAKs inside brackets: their weight is no longer -1, by which A1111 knows them, so that they are words."""
        # For each open bracket: where it is, and the number of runs before it.
        self._open: dict[str, list[tuple[int, int]]] = {"(": [], "[": []}

    def read(self, text: str) -> Weighing:
        """Read a text."""
        for part in _PART.finditer(text):
            if part["escaped"] is not None:
                self.runs.append(_Run(part["escaped"]))
            elif part["bracket"] in self._open:
                self._open[part["bracket"]].append((part.start(), len(self.runs)))
            elif not self._closes(part):
                self.runs += _with_breaks(part[0])
        for bracket, factor in _FACTORS.items():
            for at, first in self._open[bracket]:
                self.unclosed.append((at, bracket))
                self._multiply(first, factor)
        self.lost_breaks = sum(run.text == "BREAK" and not _is_break(run) for run in self.runs)
        return self

    def _closes(self, part: re.Match[str]) -> bool:
        """Close a bracket, if a part of the text does that."""
        weight = part["weight"]
        partner = _PARTNER.get(part["bracket"]) if weight is None else "("
        if partner is None:
            return False
        if not self._open[partner]:
            self.unopened.append((part.end() - 1, part[0][-1]))
            return False
        factor = _FACTORS[partner] if weight is None else _number(weight)
        if factor is None:
            self.not_numbers.append((part.start(), weight))
            self.runs.append(_Run(part[0][:-1]))
            factor = STEP
        self._multiply(self._open[partner].pop()[1], factor)
        return True

    def _multiply(self, first: int, factor: float) -> None:
        for run in self.runs[first:]:
            run.weight *= factor


def weighted(text: str, emphasis: Emphasis = "original") -> PromptText:
    """Return the pieces of a text, each with its weight; neighbours of one weight are one piece.

    With emphasis `none` the text is one piece of weight 1, brackets and BREAK included.
    """
    if emphasis == "none":
        return PromptText((WeightedText(text),) if text else (), emphasis)
    merged: list[_Run] = []
    for run in weigh(text).runs:
        if merged and merged[-1].weight == run.weight:
            merged[-1].text += run.text
        else:
            merged.append(_Run(run.text, run.weight))
    return PromptText(tuple(_piece(run) for run in merged if run.text), emphasis)


def _piece(run: _Run) -> Piece:
    return Break() if _is_break(run) else WeightedText(run.text, run.weight)


def _is_break(run: _Run) -> bool:
    return run.text == "BREAK" and run.weight == _BREAK_WEIGHT


def weigh(text: str) -> Weighing:
    """Read the brackets of a text."""
    return Weighing().read(text)


def _with_breaks(text: str) -> list[_Run]:
    first, *others = _BREAK.split(text)
    return [_Run(first), *(run for other in others for run in (_Run("BREAK", _BREAK_WEIGHT), _Run(other)))]


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def escape(text: str) -> str:
    r"""Return text whose brackets and backslashes are read as themselves: `mira \(character\)`."""
    return re.sub(r"([()\[\]\\])", r"\\\1", text)
