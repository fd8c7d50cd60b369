"""Run an audit: collect the facts of a dataset, then run every check on them."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from bakehouse.audit.all_checks import CHECKS
from bakehouse.audit.audit_options import AuditSpec
from bakehouse.audit.check import Check, CheckFinding
from bakehouse.audit.detector_availability import Detectors, installed_detectors
from bakehouse.audit.facts import Facts
from bakehouse.audit.gather_facts import Progress, collect_facts
from bakehouse.audit.report import Finding, Report
from bakehouse.core.checks import LEVELS
from bakehouse.core.errors import UsageError
from bakehouse.data.scan import check_image_folder, list_files

_MAX_DROPPED = 2 / 3
"""Share of the training images above which dropping the affected ones is not advised."""


def audit(
    folder: Path | str,
    spec: AuditSpec | None = None,
    *,
    detectors: Detectors | None = None,
    thumbnails: bool = False,
    progress: Progress | None = None,
) -> Report:
    """Audit a dataset; nothing is changed.

    Args:
        folder: the dataset, subfolders too.
        spec: how the images will be used.
        detectors: of faces and text; None: those that are installed.
        thumbnails: keep a thumbnail of each image, for `write_html_report`.
        progress: called with (done, total) after each image.

    Raises:
        UsageError: the folder is missing or has no images, or the vocabulary or tokenizer is missing.
    """
    spec = spec or AuditSpec()
    check_image_folder(Path(folder))
    found = list_files(Path(folder))
    if detectors is None:
        detectors = installed_detectors(spec, len(found.images) + len(found.unnamed))
    facts = collect_facts(folder, spec, detectors=detectors, thumbnails=thumbnails, progress=progress)
    if not facts.images:
        raise UsageError(f"{folder} has no images", hint="supported: png, jpg, webp, gif, avif, heic, bmp, tiff")
    return run_checks(facts, spec, detectors.missing)


def run_checks(facts: Facts, spec: AuditSpec, missing: Mapping[str, str] | None = None) -> Report:
    """Run every check on facts that were collected; a pure function.

    Args:
        facts: of `collect_facts`.
        spec: the settings that they were collected with.
        missing: why detectors did not run, by `faces` and `text`.
    """
    findings: list[Finding] = []
    passed: list[str] = []
    skipped: dict[str, str] = {}
    placeholders = _placeholders(facts, spec)
    for check in CHECKS:
        if reason := _skip_reason(check, facts, spec, missing or {}):
            skipped[check.id] = reason
            continue
        found = list(check.run(facts, spec))
        findings += [_finding(check, _without_mass_drop(check, one, facts), spec, placeholders) for one in found]
        if not found:
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


def _placeholders(facts: Facts, spec: AuditSpec) -> dict[str, object]:
    """Return the values of the placeholders in command templates, quoted for a shell."""
    folder = str(facts.root)
    subject = shlex.quote(spec.triggers[0].head if spec.triggers else "zwx person")
    kind, is_sorted = spec.kind, all(group.name for group in facts.train_groups)
    if kind in ("outfits", "pack") and not is_sorted:
        kind = "character"  # without a folder for each group, the plan cannot tell them apart
    inputs = shlex.quote(folder) + ("" if kind == "pack" else f" --subject {subject}")  # a pack's folders name them
    inputs += f" --kind {kind} --base {shlex.quote(spec.base)}"
    return {
        "folder": shlex.quote(folder),
        "tagger": shlex.quote(facts.tagger),
        "copy": shlex.quote(f"{folder.rstrip('/')}-plain"),
        "resolution": spec.buckets.resolution,
        "use": _drop_options(spec, subject),
        # Settings of a recipe are fixed in that recipe.
        "plan": shlex.quote(spec.recipe) if spec.recipe else inputs,
        "recipe": shlex.quote(spec.recipe or "recipe.toml"),
    }


def _drop_options(spec: AuditSpec, subject: str) -> str:
    """Return the options with which `dataset drop` finds the same as this audit."""
    options = f"--kind {spec.kind} --resolution {spec.buckets.resolution}"
    options += f" --batch {spec.batch}" if spec.batch > 1 else ""
    options += " --faces" if spec.faces else ""
    options += " --text" if spec.text else ""
    if spec.recipe:
        return f"--recipe {shlex.quote(spec.recipe)} {options}"
    options += f" --base {shlex.quote(spec.base)}" if spec.base != AuditSpec().base else ""
    return options + (f" --subject {subject}" if spec.triggers and not spec.declared else "")


def _without_mass_drop(check: Check, found: CheckFinding, facts: Facts) -> CheckFinding:
    """Return the finding without a drop command if it names most of the images: too few would be left to train on."""
    fix = check.fix if found.fix is None else found.fix
    named = sum(image.name in found.files for image in facts.train_images)
    if not fix.startswith("bakehouse dataset drop ") or named <= _MAX_DROPPED * len(facts.train_images):
        return found
    return replace(found, fix="", advice=check.advice_instead_of_drop)


def _finding(check: Check, found: CheckFinding, spec: AuditSpec, placeholders: Mapping[str, object]) -> Finding:
    return Finding(
        id=check.id,
        level=found.level or check.level,
        title=check.title,
        why=found.why,
        files=found.files,
        notes=dict(found.notes),
        threshold=check.threshold_text(spec.limits),
        fix=(check.fix if found.fix is None else found.fix).format(**placeholders),
        advice=check.advice if found.advice is None else found.advice,
        heuristic=check.heuristic,
        key=found.key,
    )


def _skip_reason(check: Check, facts: Facts, spec: AuditSpec, missing: Mapping[str, str]) -> str:
    """Return why a check cannot run; empty if it can."""
    match check.requires:
        case "faces" | "text" if check.requires not in facts.detected:
            return missing.get(check.requires, "no detector ran")
        case "triggers" if not spec.triggers:
            return "no triggers given: pass --subject WORDS or --recipe FILE, or add a triggers.toml to the folder"
        case "vocabulary" if not spec.vocabulary:
            return (
                "no vocabulary of the base model given: pass --vocabulary crumb, a tagger's name, or selected_tags.csv"
            )
        case "masks" if not facts.masks:
            return "the dataset has no masks"
        case "quality" if not any(mask.checked for mask in facts.masks):
            return (
                "OpenCV is not installed: pip install 'bakehouse[curate]'"
                if facts.masks
                else "the dataset has no masks"
            )
    return ""
