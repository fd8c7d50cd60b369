"""An audit: the facts, then every check over them."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from bakehouse.audit.all_checks import CHECKS
from bakehouse.audit.audit_options import AuditSpec
from bakehouse.audit.check import LEVELS, Check, Hit
from bakehouse.audit.detectors import Finders, installed_finders
from bakehouse.audit.gather_facts import Progress, gather
from bakehouse.audit.image_facts import Facts
from bakehouse.audit.report import Finding, Report
from bakehouse.core.errors import UsageError
from bakehouse.data.scan import check_image_folder, list_files

_MOST_DROPPED = 2 / 3
"""Of the images that are taught: where a finding names more, dropping them is no advice."""


def audit(
    folder: Path | str,
    spec: AuditSpec | None = None,
    *,
    finders: Finders | None = None,
    thumbnails: bool = False,
    progress: Progress | None = None,
) -> Report:
    """Looks at a dataset and says what is wrong with it; changes nothing.

    Args:
        folder: the dataset, subfolders too.
        spec: how the images will be used.
        finders: of faces and text; left out, those that are installed.
        thumbnails: keep a small picture of each image, for `write_page`.
        progress: called with (done, total) after each image.

    Raises:
        UsageError: no such folder, nothing in it, or a vocabulary or tokenizer that is not there.
    """
    spec = spec or AuditSpec()
    check_image_folder(Path(folder))
    found = list_files(Path(folder))
    if finders is None:
        finders = installed_finders(spec, len(found.images) + len(found.unnamed))
    facts = gather(folder, spec, finders=finders, thumbnails=thumbnails, progress=progress)
    if not facts.images:
        raise UsageError(f"{folder} has no images", hint="png, jpg, webp, gif, avif, heic, bmp and tiff are read")
    return examine(facts, spec, finders.missing)


def examine(facts: Facts, spec: AuditSpec, missing: Mapping[str, str] | None = None) -> Report:
    """Every check over facts; pure.

    Args:
        facts: as gathered.
        spec: as gathered with.
        missing: why finders were not at work.
    """
    findings: list[Finding] = []
    passed: list[str] = []
    skipped: dict[str, str] = {}
    words = _words(facts, spec)
    for check in CHECKS:
        if reason := _not_run(check, facts, spec, missing or {}):
            skipped[check.id] = reason
            continue
        hits = list(check.run(facts, spec))
        findings += [_finding(check, _kept(check, hit, facts), spec, words) for hit in hits]
        if not hits:
            passed.append(check.id)
    findings.sort(key=lambda f: (LEVELS.index(f.level), f.id))
    return Report(
        folder=str(facts.root),
        images=len(facts.usable),
        unusable=len(facts.images) - len(facts.usable),
        findings=tuple(findings),
        passed=tuple(passed),
        skipped=skipped,
        settings=spec.settings(mode="json"),
        thumbnails=facts.thumbnails,
    )


def _words(facts: Facts, spec: AuditSpec) -> dict[str, object]:
    """What commands have to name, ready for a shell."""
    folder = str(facts.root)
    subject = shlex.quote(spec.triggers[0].head if spec.triggers else "zwx person")
    kind = "character" if spec.kind in ("outfits", "pack") else spec.kind
    asked = f"{shlex.quote(folder)} --subject {subject} --kind {kind} --base {shlex.quote(spec.base)}"
    return {
        "folder": shlex.quote(folder),
        "copy": shlex.quote(f"{folder.rstrip('/')}-plain"),
        "resolution": spec.buckets.resolution,
        "use": _use(spec, subject),
        # What a recipe says is mended in that recipe.
        "plan": shlex.quote(spec.recipe) if spec.recipe else asked,
        "recipe": shlex.quote(spec.recipe or "recipe.toml"),
    }


def _use(spec: AuditSpec, subject: str) -> str:
    """The options with which `drop` finds what this audit finds."""
    use = f"--kind {spec.kind} --resolution {spec.buckets.resolution}"
    use += f" --batch {spec.batch}" if spec.batch > 1 else ""
    use += " --faces" if spec.faces else ""
    use += " --text" if spec.text else ""
    if spec.recipe:
        return f"--recipe {shlex.quote(spec.recipe)} {use}"
    use += f" --base {shlex.quote(spec.base)}" if spec.base != AuditSpec().base else ""
    return use + (f" --subject {subject}" if spec.triggers and not spec.declared else "")


def _kept(check: Check, hit: Hit, facts: Facts) -> Hit:
    """The same, but dropping is not advised for most of the images: too few would be left to learn from."""
    mend = check.mend if hit.mend is None else hit.mend
    named = sum(image.name in hit.files for image in facts.taught)
    if not mend.startswith("bakehouse dataset drop ") or named <= _MOST_DROPPED * len(facts.taught):
        return hit
    return replace(hit, mend="", advice=check.instead)


def _finding(check: Check, hit: Hit, spec: AuditSpec, words: Mapping[str, object]) -> Finding:
    return Finding(
        id=check.id,
        level=hit.level or check.level,
        title=check.title,
        why=hit.why,
        files=hit.files,
        notes=dict(hit.notes),
        threshold=check.threshold_text(spec.limits),
        mend=(check.mend if hit.mend is None else hit.mend).format(**words),
        advice=check.advice if hit.advice is None else hit.advice,
        unsure=check.unsure,
        key=hit.key,
    )


def _not_run(check: Check, facts: Facts, spec: AuditSpec, missing: Mapping[str, str]) -> str:
    """Why a check has nothing to go by; empty where it can be run."""
    match check.needs:
        case "faces" | "text" if check.needs not in facts.looked_for:
            return missing.get(check.needs, "nobody looked")
        case "triggers" if not spec.triggers:
            return "no trigger is declared: --subject WORDS, a triggers.toml in the folder, or --recipe"
        case "vocabulary" if not spec.vocabulary:
            return "nobody said what the base model knows: --vocabulary selected_tags.csv (taggers bring it), or crumb"
        case "masks" if not facts.masks:
            return "there are no masks"
        case "quality" if not any(mask.checked for mask in facts.masks):
            return "OpenCV is not installed: pip install 'bakehouse[curate]'" if facts.masks else "there are no masks"
    return ""
