"""What the checks of datasets (`audit`) and of runs and adapter files (`doctor`) have in common."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar

from bakehouse.core.settings import Spec

Level = Literal["error", "warning", "info"]
LEVELS: tuple[Level, ...] = ("error", "warning", "info")
RunT = TypeVar("RunT", bound=Callable[..., Iterable[Any]])


@dataclass(frozen=True)
class BaseCheck(Generic[RunT]):
    """One row of a table of checks."""

    id: str
    """Stable; its letter is that of its group of checks: `A01`."""
    level: Level
    title: str
    """The name of the problem."""
    run: RunT
    """A pure function from the facts to findings."""
    threshold: str = ""
    """When the check reports; names of limits in braces."""
    fix: str = ""
    """Command template with placeholders in braces; empty where no command can help."""
    advice: str = ""
    """What to do where no command can."""
    heuristic: bool = False
    """A rule of thumb: its findings need a look at the images."""

    def threshold_text(self, limits: Spec) -> str:
        """Return the threshold with its figures."""
        return self.threshold.format(**limits.model_dump())


@dataclass(frozen=True, kw_only=True)
class BaseFinding:
    """One thing that a check found, ready to be shown."""

    id: str
    title: str
    """The name of the problem."""
    why: str
    """One sentence with figures."""
    threshold: str = ""
    fix: str = ""
    """The command that helps; empty where nothing has to be done or no command can."""
    advice: str = ""
    """What to do where no command can."""
    heuristic: bool = False
    """Found by a rule of thumb: needs a look at the images."""
    key: str = ""
    """Distinguishes several findings of one check: a trigger, a folder, a file."""

    @property
    def name(self) -> str:
        """Id and key, the same in every report: `B02`, or `B02 face`."""
        return f"{self.id} {self.key}".strip()


def exit_code(levels: Iterable[str], *, strict: bool = False) -> int:
    """Return 1 if one of the levels is `error` (with `strict`, also `warning`), else 0."""
    return int(bool({*levels} & {*LEVELS[: 2 if strict else 1]}))


def by_reason(skipped: Mapping[str, str]) -> dict[str, list[str]]:
    """Return the ids of skipped checks by the reason why they were skipped."""
    reasons: dict[str, list[str]] = {}
    for check, reason in skipped.items():
        reasons.setdefault(reason, []).append(check)
    return reasons
