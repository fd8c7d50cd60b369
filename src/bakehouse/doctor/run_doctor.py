"""Examine a run or adapter files: gather the facts, then run every check on them."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from pathlib import Path
from typing import get_args

from bakehouse.core.checks import LEVELS
from bakehouse.core.events import Event
from bakehouse.doctor.all_checks import CHECKS
from bakehouse.doctor.check import Check, CheckFinding, Result
from bakehouse.doctor.doctor_options import DoctorSpec, Limits
from bakehouse.doctor.facts import Facts, Input
from bakehouse.doctor.gather_facts import gather_facts
from bakehouse.doctor.report import Finding, Report
from bakehouse.doctor.run_or_files import RunOrFiles, run_or_files

_ORDER: tuple[Result, ...] = get_args(Result)
_NOT_GIVEN = "not known"


def examine(paths: Sequence[Path | str], spec: DoctorSpec | None = None) -> Generator[Event, None, Report]:
    """Examine a run, or adapter files alone and by pairs; yield events of images that are generated.

    Nothing is changed; with `spec.draw` images are generated into the run's report/.

    Args:
        paths: one run folder (or its recipe.toml), or one or more adapter files.
        spec: how to examine.

    Raises:
        UsageError: a path is neither, or a base model or program is unknown.
        BakehouseError: a file is damaged.
    """
    spec = spec or DoctorSpec()
    examined = run_or_files(paths)
    facts = yield from gather_facts(examined, spec)
    return run_checks(facts, examined, spec.limits)


def run_checks(facts: Facts, examined: RunOrFiles, limits: Limits | None = None) -> Report:
    """Run every check that applies on facts that were gathered; a pure function."""
    limits = limits or Limits()
    findings: list[Finding] = []
    skipped: dict[str, str] = {}
    for check in CHECKS:
        if not _is_for(check, examined):
            continue
        if not _has(facts, check.requires):
            skipped[check.id] = facts.missing.get(check.requires, _NOT_GIVEN)
            continue
        findings += [_finding(check, one, limits) for one in check.run(facts, limits)]
    findings.sort(key=lambda f: (_ORDER.index(f.result), f.id))
    named = (str(examined.run.folder),) if examined.run is not None else tuple(map(str, examined.files))
    return Report(named, tuple(findings), skipped)


def _is_for(check: Check, examined: RunOrFiles) -> bool:
    match check.id[0]:
        case "A":
            return True
        case "B":
            return len(examined.files) > 1
        case _:
            return examined.run is not None


def _has(facts: Facts, name: Input) -> bool:
    """Whether the facts have what a check needs."""
    run, evaluation = facts.run, facts.evaluation
    match name:
        case "adapter":
            return bool(facts.adapters)
        case "base":
            return any(a.base is not None for a in facts.adapters)
        case "pair":
            return bool(facts.pairs)
        case "run":
            return run is not None
        case "inputs":
            return run is not None and run.inputs is not None
        case "plan":
            return run is not None and run.inputs is not None and run.plan is not None
        case "evaluation":
            return evaluation is not None
        case "other images":
            return evaluation is not None and evaluation.other_shift is not None
        case "faces":
            return evaluation is not None and evaluation.faces is not None
        case "outfits":
            return facts.outfits is not None


def _finding(check: Check, found: CheckFinding, limits: Limits) -> Finding:
    result = found.result or check.level
    is_problem = result in LEVELS
    fix = check.fix if found.fix is None else found.fix
    advice = check.advice if found.advice is None else found.advice
    return Finding(
        id=check.id,
        result=result,
        title=check.title,
        why=found.why,
        threshold=check.threshold_text(limits),
        fix=fix.format(**found.values) if is_problem else "",
        advice=advice if is_problem else "",
        heuristic=check.heuristic,
        key=found.key,
    )
