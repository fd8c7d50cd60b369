"""What a check is: a pure function of the facts, with an id that stays, a threshold, and the command that mends it."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from bakehouse.audit.audit_options import AuditSpec, Limits
from bakehouse.audit.image_facts import Facts
from bakehouse.core.pluralize import counted

Level = Literal["error", "warning", "info"]
LEVELS: tuple[Level, ...] = ("error", "warning", "info")
Need = Literal["", "faces", "text", "triggers", "vocabulary", "masks", "quality"]


@dataclass(frozen=True)
class Hit:
    """One thing that a check found."""

    why: str
    """One sentence with figures."""
    files: tuple[str, ...] = ()
    """By their names in the dataset, in its order; empty where it is about the whole."""
    notes: Mapping[str, str] = field(default_factory=dict)
    """The figure of single files: `loses 23 %`."""
    level: Level | None = None
    """Where it is another than the check's."""
    key: str = ""
    """What tells it from other hits of the same check: a trigger, a folder."""
    mend: str | None = None
    """Where it is another command than the check's, written as there; empty where there is nothing to mend."""
    advice: str | None = None
    """Where it is other advice than the check's: what to do where no command can decide it; empty where nothing is."""


CheckFn = Callable[[Facts, AuditSpec], Iterable[Hit]]


@dataclass(frozen=True)
class Check:
    """One row of the table."""

    id: str
    level: Level
    title: str
    run: CheckFn
    threshold: str = ""
    """From where on; names of `Limits` in braces."""
    mend: str = ""
    """The command, with `{folder}` and other placeholders, words of captions `quoted`; empty where there is none."""
    advice: str = ""
    """What to do where no command can decide it."""
    instead: str = ""
    """What to do instead of dropping, where most images have it."""
    needs: Need = ""
    """What must be there for it to be run."""
    looks: Need = ""
    """What it looks at besides, where that is there."""
    unsure: bool = False
    """A rule of thumb: look before you believe it."""

    def threshold_text(self, limits: Limits) -> str:
        """The threshold in words and figures."""
        return self.threshold.format(**limits.model_dump())


def each(
    found: Mapping[str, str],
    why: str,
    *,
    level: Level | None = None,
    key: str = "",
    mend: str | None = None,
    advice: str | None = None,
) -> Iterable[Hit]:
    """One hit for several files, each with its figure; none where there are none.

    Args:
        found: figures by file.
        why: with `{n}`, as `counted` writes it.
        level: where it is another than the check's.
        key: of the hit.
        mend: of the hit.
        advice: of the hit.
    """
    if found:
        yield Hit(why.replace("{n}", counted(len(found), "image")), tuple(found), dict(found), level, key, mend, advice)


def quoted(text: str) -> str:
    """Words of a dataset as one word of a command's template: safe in a shell, and no placeholder of the template."""
    plain = not set(text) & set('"$`!\\\n')
    return (f'"{text}"' if plain else shlex.quote(text)).replace("{", "{{").replace("}", "}}")


def percent(share: float) -> str:
    """`8 %`, `0.4 %`, with a space that does not break."""
    value = 100 * share
    return f"{value:.1f}\u00a0%" if 0 < value < 1 else f"{value:.0f}\u00a0%"
