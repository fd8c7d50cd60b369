"""The result of an examination: problems, what is healthy, what could not be decided, and the exit code."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from bakehouse.core.checks import LEVELS, BaseFinding, Level, exit_code
from bakehouse.doctor.check import Result

VERSION = 1


@dataclass(frozen=True, kw_only=True)
class Finding(BaseFinding):
    """The result of a check."""

    result: Result

    @property
    def is_problem(self) -> bool:
        return self.result in LEVELS


@dataclass(frozen=True)
class Report:
    """The result of one examination."""

    subject: tuple[str, ...]
    """The run folder, or the adapter files."""
    findings: tuple[Finding, ...]
    """Problems first, errors before warnings; then what is healthy, then what could not be decided."""
    skipped: Mapping[str, str] = field(default_factory=dict)
    """Ids of checks that were not run, with the reason and the command that makes what they need."""

    @property
    def problems(self) -> tuple[Finding, ...]:
        return tuple(f for f in self.findings if f.is_problem)

    @property
    def healthy(self) -> tuple[Finding, ...]:
        return tuple(f for f in self.findings if f.result == "healthy")

    @property
    def undecided(self) -> tuple[Finding, ...]:
        return tuple(f for f in self.findings if f.result == "undecided")

    def of_level(self, level: Level) -> tuple[Finding, ...]:
        """Return the problems of one level."""
        return tuple(f for f in self.findings if f.result == level)

    @property
    def is_healthy(self) -> bool:
        """Whether no error and no warning was found."""
        return not self.exit_code(strict=True)

    def exit_code(self, *, strict: bool = False) -> int:
        """Return 1 if there are errors (with `strict`, also warnings), else 0."""
        return exit_code((f.result for f in self.findings), strict=strict)

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
