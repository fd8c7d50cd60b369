"""The types of a check: a pure function of the facts, with a stable id, a level, a threshold and a fix."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from bakehouse.audit.audit_options import AuditSpec
from bakehouse.audit.facts import Facts
from bakehouse.core.checks import BaseCheck, Level
from bakehouse.core.message_text import counted

Input = Literal["", "faces", "text", "triggers", "vocabulary", "masks", "quality"]
"""What a check may need beside the images: results of detectors, declared triggers, a vocabulary, masks."""


@dataclass(frozen=True)
class CheckFinding:
    """One thing that a check found. What is None is taken from the check."""

    why: str
    """One sentence with figures."""
    files: tuple[str, ...] = ()
    """Names in the dataset, in its order; empty where the finding is about the whole dataset."""
    notes: Mapping[str, str] = field(default_factory=dict)
    """The figure of each file: `loses 23 %`."""
    level: Level | None = None
    key: str = ""
    """Distinguishes several findings of one check: a trigger, a folder."""
    fix: str | None = None
    """Command template; empty where nothing has to be fixed or no command can fix it."""
    advice: str | None = None
    """What to do where no command can fix it; empty where nothing has to be done."""


CheckFn = Callable[[Facts, AuditSpec], Iterable[CheckFinding]]


@dataclass(frozen=True)
class Check(BaseCheck[CheckFn]):
    """One row of the table of checks; tags in `fix` are escaped by `quote_argument`."""

    advice_instead_of_drop: str = ""
    """What to do where most images are affected, so that dropping them is no option."""
    requires: Input = ""
    """The check is skipped without this input."""
    uses: Input = ""
    """Optional input, used where it is available."""


def image_findings(
    notes: Mapping[str, str],
    why: str,
    *,
    level: Level | None = None,
    key: str = "",
    fix: str | None = None,
    advice: str | None = None,
) -> Iterable[CheckFinding]:
    """Yield one finding about the images of `notes`, or none if there are none.

    Args:
        notes: the figure of each image, by name.
        why: the sentence; `{n}` becomes the number of images, `3 images`.
        level: if it differs from the check's.
        key: of the finding.
        fix: if it differs from the check's.
        advice: if it differs from the check's.
    """
    if notes:
        text = why.replace("{n}", counted(len(notes), "image"))
        yield CheckFinding(text, tuple(notes), dict(notes), level, key, fix, advice)


def quote_argument(text: str) -> str:
    """Return a tag or path as one argument of a command template: quoted for a shell, braces escaped."""
    plain = not set(text) & set('"$`!\\\n')
    return (f'"{text}"' if plain else shlex.quote(text)).replace("{", "{{").replace("}", "}}")


def percent(share: float) -> str:
    """Return `8 %` or `0.4 %`, with a space that does not break."""
    value = 100 * share
    return f"{value:.1f}\u00a0%" if 0 < value < 1 else f"{value:.0f}\u00a0%"
