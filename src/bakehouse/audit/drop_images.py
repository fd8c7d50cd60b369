"""`dataset drop`: remove the files that findings of the audit name; they can be restored by `dataset undo`."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import PurePosixPath
from typing import Annotated

from pydantic import Field, field_validator

from bakehouse.audit.audit_options import AuditSpec
from bakehouse.core.errors import did_you_mean
from bakehouse.core.settings import Spec
from bakehouse.curation.changeset import Edit, Proposal, Remove
from bakehouse.curation.sidecars import remove_with_sidecars
from bakehouse.data.image_records import ImageRecord, ImageSet


class Drop(Spec):
    """Remove the files that findings of the audit name, with their captions and masks."""

    findings: Annotated[tuple[str, ...], Field(min_length=1)]
    """Ids: `B05`, `F02`; with a key, only that finding of the check: `B10 none`."""
    audit: AuditSpec = AuditSpec()
    """The settings of the audit, so that it finds the same."""

    @field_validator("findings")
    @classmethod
    def _known(cls, values: tuple[str, ...]) -> tuple[str, ...]:
        from bakehouse.audit.all_checks import CHECKS

        ids = [check.id for check in CHECKS]
        split = [value.strip().partition(" ") for value in values]
        for number, _, _ in split:
            if number.upper() not in ids:
                raise ValueError(f"unknown check {number!r}{did_you_mean(number.upper(), ids)}")
        return tuple(f"{number.upper()} {key}".strip() for number, _, key in split)

    def propose(self, images: ImageSet) -> Iterator[Proposal]:
        """Yield one proposal for each file."""
        from bakehouse.audit.all_checks import CHECKS
        from bakehouse.audit.run_audit import audit

        numbers = {name.partition(" ")[0] for name in self.findings}
        inputs = {kind for check in CHECKS if check.id in numbers for kind in (check.requires, check.uses)}
        # Detectors are slow: those that these checks do not need are switched off.
        off = {kind: False for kind in ("faces", "text") if kind not in inputs}
        records = {str(images.name(record.path)): record for record in images}
        seen: set[str] = set()
        for finding in audit(images.root, self.audit.model_copy(update=off)).findings:
            if finding.id not in self.findings and finding.name not in self.findings:
                continue
            for name in finding.files:
                if name not in seen and (images.root / name).is_file():
                    seen.add(name)
                    why = f"{finding.id}: {finding.notes.get(name, finding.title)}"
                    yield Proposal(PurePosixPath(name), why, partial(_removal, name, records.get(name), images))


def _removal(name: str, record: ImageRecord | None, images: ImageSet) -> list[Edit]:
    """Return the edits that remove a file: an image with its sidecars, a mask or a caption alone."""
    if record is not None:
        return remove_with_sidecars(record, images)
    unusable = any(str(images.name(s.path)) == name for s in images.skipped)
    return (
        remove_with_sidecars(ImageRecord(images.root / name, 0, 0, ""), images)
        if unusable
        else [Remove(PurePosixPath(name))]
    )
