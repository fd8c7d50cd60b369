"""What an audit comes to: findings, the best fixes, the exit code, and what has changed since an earlier one."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bakehouse.audit.check import LEVELS, Level
from bakehouse.core.errors import BakehouseError, UsageError
from bakehouse.core.files import read_json

VERSION = 1
_SEVERITY: Mapping[Level, float] = {"error": 10.0, "warning": 3.0, "info": 0.0}
_UNSURE = 0.5
"""What a rule of thumb counts beside a fact."""


@dataclass(frozen=True)
class Finding:
    """One thing that one check found."""

    id: str
    level: Level
    title: str
    why: str
    """One sentence with figures."""
    files: tuple[str, ...] = ()
    """Empty where it is about the whole dataset."""
    notes: Mapping[str, str] = field(default_factory=dict)
    """The figure of single files."""
    threshold: str = ""
    mend: str = ""
    """The command that mends it; empty where there is nothing to mend."""
    advice: str = ""
    """What to do where no command can decide it."""
    unsure: bool = False
    """By a rule of thumb: look before you believe it."""
    key: str = ""
    """What tells it from other findings of the same check."""

    @property
    def name(self) -> str:
        """`B02`, or `B02 face`: the same in every audit."""
        return f"{self.id} {self.key}".strip()

    def benefit(self, images: int) -> float:
        """Images affected x severity; one about the whole affects all of `images`."""
        affected = len(self.files) or images
        return affected * _SEVERITY[self.level] * (_UNSURE if self.unsure else 1.0)


@dataclass(frozen=True)
class Fix:
    """A command, and what it mends."""

    command: str
    findings: tuple[str, ...]
    images: int
    benefit: float


@dataclass(frozen=True)
class Changes:
    """Two audits side by side."""

    new: tuple[Finding, ...]
    gone: tuple[Finding, ...]
    changed: tuple[tuple[Finding, tuple[str, ...], tuple[str, ...]], ...]
    """A finding as it is now, files that came, files that went."""

    @property
    def worse(self) -> tuple[Finding, ...]:
        """What was not there before: new findings, and those with new files."""
        return (*self.new, *(f for f, came, _ in self.changed if came))

    def __bool__(self) -> bool:
        return bool(self.new or self.gone or self.changed)


@dataclass(frozen=True)
class Report:
    """One audit of one dataset."""

    folder: str
    images: int
    """Usable ones."""
    unusable: int
    findings: tuple[Finding, ...]
    """Errors first, then by id."""
    passed: tuple[str, ...]
    """Ids of checks that found nothing."""
    skipped: Mapping[str, str] = field(default_factory=dict)
    """Checks that were not run, and how to have them run."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    thumbnails: Mapping[str, bytes] = field(default_factory=dict, compare=False, repr=False)

    def of_level(self, level: Level) -> tuple[Finding, ...]:
        """The findings of one level."""
        return tuple(f for f in self.findings if f.level == level)

    def exit_code(self, *, strict: bool = False) -> int:
        """0 where nothing is worse than advice, 1 where there are errors (or, if `strict`, warnings)."""
        return exit_code(self.findings, strict=strict)

    def fixes(self, most: int = 5) -> tuple[Fix, ...]:
        """The commands that help most: images affected x severity, summed over what each mends."""
        by_command: dict[str, list[Finding]] = {}
        for finding in self.findings:
            if finding.mend and finding.benefit(self.images) > 0:
                by_command.setdefault(finding.mend, []).append(finding)
        fixes = [_fix(command, found, self.images) for command, found in by_command.items()]
        return tuple(sorted(fixes, key=lambda fix: (-fix.benefit, fix.command))[:most])

    def since(self, earlier: Report) -> Changes:
        """What is new, gone or otherwise than in an earlier report."""
        before = {(f.name, f.level): f for f in earlier.findings}
        now = {(f.name, f.level): f for f in self.findings}
        changed = []
        for name in now.keys() & before.keys():
            new, old = now[name], before[name]
            came = tuple(f for f in new.files if f not in set(old.files))
            went = tuple(f for f in old.files if f not in set(new.files))
            # A finding without files is told by its figures.
            if came or went or (not new.files and new.why != old.why):
                changed.append((new, came, went))
        return Changes(
            new=tuple(f for name, f in now.items() if name not in before),
            gone=tuple(f for name, f in before.items() if name not in now),
            changed=tuple(sorted(changed, key=lambda c: c[0].name)),
        )

    def to_json(self) -> dict[str, Any]:
        """For `--json` and `--against`."""
        return {
            "version": VERSION,
            "folder": self.folder,
            "images": self.images,
            "unusable": self.unusable,
            "exit_code": self.exit_code(),
            "findings": [dataclasses.asdict(f) for f in self.findings],
            "fixes": [dataclasses.asdict(fix) for fix in self.fixes()],
            "passed": list(self.passed),
            "skipped": dict(self.skipped),
            "settings": dict(self.settings),
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Report:
        """From what `to_json` gave.

        Raises:
            KeyError, TypeError: it is something else.
        """
        findings = tuple(
            Finding(**{**f, "files": tuple(f["files"]), "notes": dict(f["notes"])}) for f in values["findings"]
        )
        return cls(
            folder=str(values["folder"]),
            images=int(values["images"]),
            unusable=int(values["unusable"]),
            findings=findings,
            passed=tuple(values["passed"]),
            skipped=dict(values["skipped"]),
            settings=dict(values["settings"]),
        )


def exit_code(findings: Sequence[Finding], *, strict: bool = False) -> int:
    """Of some findings: 1 where one of them is an error (or, if `strict`, a warning), else 0."""
    bad = LEVELS[: 2 if strict else 1]
    return int(any(f.level in bad for f in findings))


def read_report(path: Path) -> Report:
    """An earlier report, as `--json` gave it.

    Raises:
        UsageError: not there, or no report.
    """
    if not path.is_file():
        hint = "`bakehouse dataset audit FOLDER --json > audit.json` writes one"
        raise UsageError(f"{path} does not exist", hint=hint)
    try:
        values = read_json(path)
        values = values.get("report", values)  # what `--against` itself wrote will do
        if values["version"] != VERSION:
            raise UsageError(f"{path} is a report of version {values['version']}, not {VERSION}", hint="make it again")
        return Report.from_json(values)
    except (BakehouseError, KeyError, TypeError, AttributeError) as e:
        if isinstance(e, UsageError):
            raise
        raise UsageError(f"{path} is no report of an audit", hint="`--json` writes one") from e


def _fix(command: str, found: Sequence[Finding], images: int) -> Fix:
    files = {name for f in found for name in f.files}
    whole = any(not f.files for f in found)
    names = tuple(dict.fromkeys(f.id for f in found))
    return Fix(command, names, images if whole else len(files), sum(f.benefit(images) for f in found))
