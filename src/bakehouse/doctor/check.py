"""The types of a check: a pure function of the facts, with a stable id, a level, a threshold and a fix.

Unlike in an audit, a check that finds nothing says so with its figures, and one that cannot decide says why.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from bakehouse.core.checks import BaseCheck
from bakehouse.doctor.doctor_options import Limits
from bakehouse.doctor.facts import Facts, Input

Result = Literal["error", "warning", "info", "healthy", "undecided"]
"""What a check found: a problem of some level, none, or that it cannot tell."""


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
class Check(BaseCheck[CheckFn]):
    """One row of the table of checks."""

    requires: Input = field(kw_only=True)
    """The check is skipped without this input."""


def healthy(why: str, key: str = "") -> CheckFinding:
    """Return that a check found no problem, with its figures."""
    return CheckFinding(why, "healthy", key)


def undecided(why: str, key: str = "") -> CheckFinding:
    """Return that the check cannot decide, with the reason and what would decide it."""
    return CheckFinding(why, "undecided", key)
