"""What becomes of everything in an adapter file: each tensor and setting is applied, carried along, or refused by name.

Reading makes the account; whatever uses a file asks it. Nothing is left out without a word.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from bakehouse.core.errors import UsageError
from bakehouse.core.pluralize import listed

Verdict = Literal["carried", "refused"]

BUNDLED = "bundle_emb."
"""How the keys of embeddings begin that an adapter file brings along: `bundle_emb.WORD.string_to_param.*`."""
_SHOWN = 4


@dataclass(frozen=True)
class Entry:
    """A tensor or a setting that does not act on the weights."""

    name: str
    verdict: Verdict
    """`carried`: it changes no weight here, and goes along into files made of this one. `refused`: what it does is not
    known here, so that the result would be another than its maker's."""
    why: str


@dataclass(frozen=True)
class Account:
    """The tensors and settings of a file that are not applied. What is not named here is."""

    entries: tuple[Entry, ...] = ()

    def __add__(self, other: Account) -> Account:
        return Account((*self.entries, *other.entries))

    @property
    def notes(self) -> tuple[str, ...]:
        """What is carried along and not applied, a sentence for each reason."""
        return tuple(f"{listed(names, _SHOWN)}: {why}" for why, names in self._reasons("carried"))

    @property
    def refusals(self) -> tuple[str, ...]:
        """What cannot be applied, a sentence for each reason."""
        return tuple(f"{listed(names, _SHOWN)}: {why}" for why, names in self._reasons("refused"))

    def check(self, source: str) -> None:
        """Refuses a file that cannot be applied whole.

        Raises:
            UsageError: names what cannot be applied, and why.
        """
        refused = [e for e in self.entries if e.verdict == "refused"]
        if refused:
            raise UsageError(
                f"{source} holds what cannot be applied here: {'; '.join(self.refusals)}",
                hint="to use the rest alone, leave it out: `bakehouse weights convert FILE --drop PATTERN -o PLACE`",
            )

    def _reasons(self, verdict: Verdict) -> list[tuple[str, list[str]]]:
        found: dict[str, list[str]] = {}
        for entry in self.entries:
            if entry.verdict == verdict:
                found.setdefault(entry.why, []).append(entry.name)
        return list(found.items())

    def to_json(self) -> list[dict[str, str]]:
        """Every entry, as plain values."""
        return [{"name": e.name, "verdict": e.verdict, "why": e.why} for e in self.entries]


def account_of_keys(keys: Iterable[str]) -> Account:
    """The account of keys that belong to no module: embeddings are carried, anything else is refused."""
    entries = []
    for key in keys:
        if key.startswith(BUNDLED):
            entries.append(
                Entry(key, "carried", "an embedding of a word, which is not read: the word is a plain one in a prompt")
            )
        else:
            entries.append(Entry(key, "refused", "no tensor of an adapter that is known here"))
    return Account(tuple(entries))
