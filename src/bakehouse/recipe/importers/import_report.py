"""Result of an import: the recipe, the origin of each value, and a note on every other key."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from bakehouse.recipe.recipe import Recipe
from bakehouse.recipe.write_recipe import recipe_to_toml

Status = Literal["set", "built in", "no effect", "command line", "unsupported", "unknown"]

STATUS_WORDS: Mapping[Status, str] = {
    "set": "set in the recipe",
    "built in": "built in",
    "no effect": "no effect here",
    "command line": "given on the command line",
    "unsupported": "not supported",
    "unknown": "not recognised",
}
"""Each status in words, for the report."""

LOST: frozenset[Status] = frozenset({"unsupported", "unknown"})
"""Statuses of keys without which the training may differ: `--strict` refuses them."""


@dataclass(frozen=True)
class Note:
    """What became of one key."""

    key: str
    """The key as in the settings: `--noise_offset`, `[optimizer_args.args] learning_rate`."""
    value: Any
    status: Status
    why: str = ""
    sets: tuple[str, ...] = ()
    """Keys of the recipe that it sets."""
    off: bool = False
    """The value is the key's own default or off, so that nothing is lost and the report leaves it out."""

    def __str__(self) -> str:
        shown = f"{self.key} = {self.value!r}" if self.value is not True else self.key
        return f"{shown}: {STATUS_WORDS[self.status]}{f': {self.why}' if self.why else ''}"

    @property
    def is_lost(self) -> bool:
        return self.status in LOST and not self.off


@dataclass(frozen=True)
class Imported:
    """A recipe made of another trainer's settings."""

    trainer: str
    """The trainer's name in `TRAINERS`: `kohya`."""
    title: str
    """The same in words: `kohya sd-scripts`."""
    sources: tuple[str, ...]
    """The files that were read."""
    recipe: Recipe
    origins: Mapping[str, str] = field(default_factory=dict)
    """Dotted keys of the recipe and where their values came from."""
    notes: tuple[Note, ...] = ()

    @property
    def lost(self) -> tuple[Note, ...]:
        """Notes on keys that could not be converted."""
        return tuple(n for n in self.notes if n.is_lost)

    def to_toml(self, *, beside: Path | None = None) -> str:
        """Return the recipe as TOML: every value with its origin, and lost keys at the top."""
        head = [f"# Made by `bakehouse import` from {self.title}: {', '.join(self.sources)}"]
        if self.lost:
            head += ["# Not taken over:", *(f"#   {_one_line(str(note))}" for note in self.lost)]
        return "\n".join([*head, "", recipe_to_toml(self.recipe, beside=beside, reasons=self.origins)])

    def to_json(self) -> dict[str, Any]:
        """Return the result as `--json` prints it."""
        return {
            "from": self.trainer,
            "sources": list(self.sources),
            "recipe": self.recipe.settings(mode="json"),
            "origins": dict(self.origins),
            "keys": [
                {"key": n.key, "value": n.value, "fate": n.status, "why": n.why, "to": list(n.sets), "lost": n.is_lost}
                for n in self.notes
            ],
        }


def _one_line(text: str) -> str:
    return " ".join(text.split())
