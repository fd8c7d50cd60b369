"""The result of an examination: ailments, what is healthy, what could not be decided, and the exit code."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from bakehouse.doctor.check import LEVELS, Level, Result

VERSION = 1


@dataclass(frozen=True)
class Finding:
    """The result of a check, ready to be shown."""

    id: str
    result: Result
    title: str
    """The name of the ailment."""
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
    """Distinguishes several findings of one check: a file, a trigger, a program."""

    @property
    def name(self) -> str:
        """Id and key, the same in every examination: `C06 zwx`."""
        return f"{self.id} {self.key}".strip()

    @property
    def is_ailment(self) -> bool:
        return self.result in LEVELS


@dataclass(frozen=True)
class Report:
    """The result of one examination."""

    subject: tuple[str, ...]
    """The run folder, or the adapter files."""
    findings: tuple[Finding, ...]
    """Ailments first, errors before warnings; then what is healthy, then what could not be decided."""
    skipped: Mapping[str, str] = field(default_factory=dict)
    """Ids of checks that were not run, with the reason and the command that makes what they need."""

    @property
    def ailments(self) -> tuple[Finding, ...]:
        return tuple(f for f in self.findings if f.is_ailment)

    @property
    def healthy(self) -> tuple[Finding, ...]:
        return tuple(f for f in self.findings if f.result == "healthy")

    @property
    def undecided(self) -> tuple[Finding, ...]:
        return tuple(f for f in self.findings if f.result == "undecided")

    def of_level(self, level: Level) -> tuple[Finding, ...]:
        """Return the ailments of one level."""
        return tuple(f for f in self.findings if f.result == level)

    @property
    def is_healthy(self) -> bool:
        """Whether no error and no warning was found."""
        return not (self.of_level("error") or self.of_level("warning"))

    def exit_code(self, *, strict: bool = False) -> int:
        """Return 1 if there are errors (with `strict`, also warnings), else 0."""
        return int(bool(self.of_level("error") or (strict and self.of_level("warning"))))

    def to_json(self) -> dict[str, Any]:
        """Return the report as `--json` prints it."""
        return {
            "version": VERSION,
            "subject": list(self.subject),
            "healthy": self.is_healthy,
            "exit_code": self.exit_code(),
            "findings": [dataclasses.asdict(f) for f in self.findings],
            "skipped": dict(self.skipped),
        }
