"""The types of a check: a pure function of the facts, with a stable id, a level, a threshold and a fix.

The shape is that of `audit/check.py`. One thing is added: a check that finds nothing says so with the figures that it
looked at, and one that cannot decide says why.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from bakehouse.doctor.doctor_options import Limits
from bakehouse.doctor.facts import Facts, Input

Level = Literal["error", "warning", "info"]
LEVELS: tuple[Level, ...] = ("error", "warning", "info")
Result = Literal["error", "warning", "info", "healthy", "undecided"]
"""What one examination came to: an ailment of some level, none, or not known."""


@dataclass(frozen=True)
class CheckFinding:
    """One thing that a check found. What is None is taken from the check."""

    why: str
    """One sentence with figures."""
    result: Result | None = None
    key: str = ""
    """Distinguishes several findings of one check: a file, a trigger, a program."""
    values: Mapping[str, str] = field(default_factory=dict)
    """Values of placeholders in the command template that are this finding's own, quoted for a shell: `{file}`."""
    fix: str | None = None
    """Command template; empty where no command can help."""
    advice: str | None = None
    """What to do where no command can do it."""


CheckFn = Callable[[Facts, Limits], Iterable[CheckFinding]]


@dataclass(frozen=True)
class Check:
    """One row of the table of checks."""

    id: str
    level: Level
    title: str
    """The name of the ailment."""
    run: CheckFn
    requires: Input
    """The check is skipped without this input."""
    threshold: str = ""
    """When the check reports; names of `Limits` in braces."""
    fix: str = ""
    """Command template with `{run}`, `{recipe}`, `{file}` and other placeholders."""
    advice: str = ""
    """What to do where no command can do it."""
    heuristic: bool = False
    """A rule of thumb: its findings need a look at the images."""

    def threshold_text(self, limits: Limits) -> str:
        """Return the threshold with its figures."""
        return self.threshold.format(**limits.model_dump())


def healthy(why: str, key: str = "") -> CheckFinding:
    """Return that there is no ailment, with the figures that show it."""
    return CheckFinding(why, "healthy", key)


def undecided(why: str, key: str = "") -> CheckFinding:
    """Return that the check cannot decide, with the reason and what would decide it."""
    return CheckFinding(why, "undecided", key)
