"""What an import gives: a recipe, where each of its values came from, and a word on everything else."""

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
"""What becomes of a key, in words."""

LOST: frozenset[Status] = frozenset({"unsupported", "unknown"})
"""The training may come out otherwise than it would have: what `--strict` refuses."""


@dataclass(frozen=True)
class Note:
    """What became of one key."""

    key: str
    """As it stands in the settings: `--noise_offset`, `[optimizer_args.args] learning_rate`."""
    value: Any
    status: Status
    why: str = ""
    sets: tuple[str, ...] = ()
    """Keys of the recipe that it sets."""
    off: bool = False
    """The value is the key's own default or off: nothing is lost whatever its status, and it is worth no line."""

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
    """Whose settings they are: `kohya`."""
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
        """What could not be taken over."""
        return tuple(n for n in self.notes if n.is_lost)

    def to_toml(self, *, beside: Path | None = None) -> str:
        """The recipe as a file: every value with its origin, what was lost at the top."""
        head = [f"# Made by `bakehouse import` from {self.title}: {', '.join(self.sources)}"]
        if self.lost:
            head += ["# Not taken over:", *(f"#   {_one_line(str(note))}" for note in self.lost)]
        return "\n".join([*head, "", recipe_to_toml(self.recipe, beside=beside, reasons=self.origins)])

    def to_json(self) -> dict[str, Any]:
        """For `--json`."""
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
