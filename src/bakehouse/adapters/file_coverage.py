"""Coverage of an adapter file: each tensor and setting is applied, carried along, or refused by name.

It is determined when a file is read, and checked wherever a file is used: nothing is ignored silently.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from bakehouse.core.errors import UsageError
from bakehouse.core.message_text import listed

Verdict = Literal["carried", "refused"]

BUNDLED = "bundle_emb."
"""Prefix of the keys of embeddings in an adapter file: `bundle_emb.WORD.string_to_param.*`."""
_SHOWN = 4


@dataclass(frozen=True)
class UnappliedItem:
    """A tensor or a setting that is not applied."""

    name: str
    verdict: Verdict
    """`carried`: it changes no weight, and is copied into files made from this one.
    `refused`: its effect is unknown, so that the result would differ from the author's."""
    why: str


@dataclass(frozen=True)
class Coverage:
    """The tensors and settings of a file that are not applied; all others are."""

    entries: tuple[UnappliedItem, ...] = ()

    def __add__(self, other: Coverage) -> Coverage:
        return Coverage((*self.entries, *other.entries))

    @property
    def notes(self) -> tuple[str, ...]:
        """What is carried and not applied, a sentence for each reason."""
        return tuple(f"{listed(names, _SHOWN)}: {why}" for why, names in self._reasons("carried"))

    @property
    def refusals(self) -> tuple[str, ...]:
        """What cannot be applied, a sentence for each reason."""
        return tuple(f"{listed(names, _SHOWN)}: {why}" for why, names in self._reasons("refused"))

    def check(self, source: str) -> None:
        """Check that nothing is refused.

        Raises:
            UsageError: something is; names it and the reason.
        """
        refused = [e for e in self.entries if e.verdict == "refused"]
        if refused:
            raise UsageError(
                f"{source} holds tensors or settings that cannot be applied: {'; '.join(self.refusals)}",
                hint="to use the file without them: `bakehouse weights convert FILE --drop PATTERN -o PATH`",
            )

    def _reasons(self, verdict: Verdict) -> list[tuple[str, list[str]]]:
        found: dict[str, list[str]] = {}
        for entry in self.entries:
            if entry.verdict == verdict:
                found.setdefault(entry.why, []).append(entry.name)
        return list(found.items())

    def to_json(self) -> list[dict[str, str]]:
        """Return every entry as plain values."""
        return [{"name": e.name, "verdict": e.verdict, "why": e.why} for e in self.entries]


def coverage_of_keys(keys: Iterable[str]) -> Coverage:
    """Return the coverage of keys that belong to no module: embeddings are carried, others refused."""
    entries = []
    for key in keys:
        if key.startswith(BUNDLED):
            entries.append(UnappliedItem(key, "carried", "vectors of a word, which change no module"))
        else:
            entries.append(UnappliedItem(key, "refused", "not a tensor of a supported adapter"))
    return Coverage(tuple(entries))
