"""The result of an audit: findings, the most effective fixes, the exit code, and changes since an earlier audit."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bakehouse.core.checks import BaseFinding, Level, exit_code
from bakehouse.core.errors import BakehouseError, UsageError
from bakehouse.core.files import read_json

VERSION = 1
_SEVERITY: Mapping[Level, float] = {"error": 10.0, "warning": 3.0, "info": 0.0}
_HEURISTIC_WEIGHT = 0.5
"""Weight of a heuristic finding beside a certain one."""
_JSON_KEYS = {"heuristic": "unsure"}
"""Fields of a finding whose key in JSON differs."""


@dataclass(frozen=True, kw_only=True)
class Finding(BaseFinding):
    """One thing that a check found in a dataset."""

    level: Level
    files: tuple[str, ...] = ()
    """Names in the dataset; empty where the finding is about the whole dataset."""
    notes: Mapping[str, str] = field(default_factory=dict)
    """The figure of each file."""

    def benefit(self, images: int) -> float:
        """Return images affected x severity; a finding about the whole dataset affects all `images`."""
        affected = len(self.files) or images
        return affected * _SEVERITY[self.level] * (_HEURISTIC_WEIGHT if self.heuristic else 1.0)

    def to_json(self) -> dict[str, Any]:
        """Return the finding as `--json` prints it."""
        return {_JSON_KEYS.get(name, name): value for name, value in dataclasses.asdict(self).items()}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Finding:
        """Return a finding from `to_json`; reports of older versions have `mend` for `fix`.

        Raises:
            KeyError, TypeError: the values are of something else.
        """
        fields = {key: name for name, key in _JSON_KEYS.items()} | {"mend": "fix"}
        given = {fields.get(key, key): value for key, value in values.items()}
        return cls(**{**given, "files": tuple(given["files"]), "notes": dict(given["notes"])})


@dataclass(frozen=True)
class Fix:
    """A command, the findings that it fixes, and how much that helps."""

    command: str
    findings: tuple[str, ...]
    images: int
    benefit: float


@dataclass(frozen=True)
class Changes:
    """The difference between two audits."""

    new: tuple[Finding, ...]
    gone: tuple[Finding, ...]
    changed: tuple[tuple[Finding, tuple[str, ...], tuple[str, ...]], ...]
    """A finding as it is now, its new files, and the files that it no longer names."""

    @property
    def worse(self) -> tuple[Finding, ...]:
        """New findings, and findings with new files."""
        return (*self.new, *(f for f, added, _ in self.changed if added))

    def __bool__(self) -> bool:
        return bool(self.new or self.gone or self.changed)


@dataclass(frozen=True)
class Report:
    """The result of one audit."""

    folder: str
    images: int
    """Number of usable images."""
    unusable: int
    findings: tuple[Finding, ...]
    """Errors first, then by id."""
    passed: tuple[str, ...]
    """Ids of checks that found nothing."""
    skipped: Mapping[str, str] = field(default_factory=dict)
    """Ids of checks that were not run, with the reason and the option that runs them."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    thumbnails: Mapping[str, bytes] = field(default_factory=dict, compare=False, repr=False)

    def of_level(self, level: Level) -> tuple[Finding, ...]:
        """Return the findings of one level."""
        return tuple(f for f in self.findings if f.level == level)

    def exit_code(self, *, strict: bool = False) -> int:
        """Return 1 if there are errors (with `strict`, also warnings), else 0."""
        return exit_code((f.level for f in self.findings), strict=strict)

    def fixes(self, most: int = 5) -> tuple[Fix, ...]:
        """Return the `most` most effective commands, by images affected x severity of all that each fixes."""
        by_command: dict[str, list[Finding]] = {}
        for finding in self.findings:
            if finding.fix and finding.benefit(self.images) > 0:
                by_command.setdefault(finding.fix, []).append(finding)
        fixes = [_fix(command, found, self.images) for command, found in by_command.items()]
        return tuple(sorted(fixes, key=lambda fix: (-fix.benefit, fix.command))[:most])

    def since(self, earlier: Report) -> Changes:
        """Return the findings that are new, gone or changed since an earlier report."""
        before = {(f.name, f.level): f for f in earlier.findings}
        now = {(f.name, f.level): f for f in self.findings}
        changed = []
        for name in now.keys() & before.keys():
            new, old = now[name], before[name]
            added = tuple(f for f in new.files if f not in set(old.files))
            removed = tuple(f for f in old.files if f not in set(new.files))
            # A finding without files has changed if its figures have.
            if added or removed or (not new.files and new.why != old.why):
                changed.append((new, added, removed))
        return Changes(
            new=tuple(f for name, f in now.items() if name not in before),
            gone=tuple(f for name, f in before.items() if name not in now),
            changed=tuple(sorted(changed, key=lambda c: c[0].name)),
        )

    def to_json(self) -> dict[str, Any]:
        """Return the report as `--json` prints it and `--against` reads it."""
        return {
            "version": VERSION,
            "folder": self.folder,
            "images": self.images,
            "unusable": self.unusable,
            "exit_code": self.exit_code(),
            "findings": [f.to_json() for f in self.findings],
            "fixes": [dataclasses.asdict(fix) for fix in self.fixes()],
            "passed": list(self.passed),
            "skipped": dict(self.skipped),
            "settings": dict(self.settings),
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Report:
        """Return a report from `to_json`.

        Raises:
            KeyError, TypeError: the values are of something else.
        """
        return cls(
            folder=str(values["folder"]),
            images=int(values["images"]),
            unusable=int(values["unusable"]),
            findings=tuple(Finding.from_json(f) for f in values["findings"]),
            passed=tuple(values["passed"]),
            skipped=dict(values["skipped"]),
            settings=dict(values["settings"]),
        )


def read_report(path: Path) -> Report:
    """Read an earlier report that `--json` printed.

    Raises:
        UsageError: the file is missing or not a report.
    """
    if not path.is_file():
        hint = "`bakehouse dataset audit FOLDER --json > audit.json` writes one"
        raise UsageError(f"{path} does not exist", hint=hint)
    try:
        values = read_json(path)
        values = values.get("report", values)  # with --against, --json prints the report inside the changes
        if values["version"] != VERSION:
            raise UsageError(
                f"{path} is a report of version {values['version']}, not {VERSION}", hint="run the audit again"
            )
        return Report.from_json(values)
    except (BakehouseError, KeyError, TypeError, AttributeError) as e:
        if isinstance(e, UsageError):
            raise
        raise UsageError(
            f"{path} is not a report of an audit",
            hint="`bakehouse dataset audit FOLDER --json > audit.json` writes one",
        ) from e


def _fix(command: str, found: Sequence[Finding], images: int) -> Fix:
    files = {name for f in found for name in f.files}
    whole = any(not f.files for f in found)
    names = tuple(dict.fromkeys(f.id for f in found))
    return Fix(command, names, images if whole else len(files), sum(f.benefit(images) for f in found))
