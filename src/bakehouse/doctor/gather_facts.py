"""Gather the facts of adapter files or of a run; missing facts are named with the command that produces them."""

from __future__ import annotations

import dataclasses
import itertools
import shlex
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bakehouse.core.errors import BakehouseError
from bakehouse.core.events import Event
from bakehouse.core.run_folder import Run
from bakehouse.doctor.adapter_facts import known_program, read_adapter_facts
from bakehouse.doctor.doctor_options import DoctorSpec
from bakehouse.doctor.facts import EvaluationFacts, Facts, Input, RunFacts
from bakehouse.doctor.pair_facts import compare
from bakehouse.doctor.run_or_files import RunOrFiles

if TYPE_CHECKING:
    from bakehouse.evaluation.trigger_groups import TriggerScores


def gather_facts(examined: RunOrFiles, spec: DoctorSpec) -> Generator[Event, None, Facts]:
    """Gather all facts; yield the events of images that are generated.

    Raises:
        UsageError: something is not what it should be.
        BakehouseError: a file is damaged.
    """
    programs = tuple(map(known_program, spec.programs))
    if examined.run is None:
        return dataclasses.replace(_of_files(examined.files, spec.base), programs=programs)
    facts = yield from _of_run(examined.run, spec)
    return dataclasses.replace(facts, programs=programs)


def _of_files(files: Sequence[Path], base: str | None) -> Facts:
    read = [read_adapter_facts(path, base) for path in files]
    reasons = [reason for _, _, reason in read if reason]
    missing: dict[Input, str] = {"base": reasons[0]} if reasons else {}
    pairs = tuple(compare(a[:2], b[:2]) for a, b in itertools.combinations(read, 2))
    return Facts(adapters=tuple(facts for facts, _, _ in read), pairs=pairs, missing=missing)


def _of_run(run: Run, spec: DoctorSpec) -> Generator[Event, None, Facts]:
    from bakehouse.doctor.run_facts import read_run_facts

    of_run, missing = read_run_facts(run)
    of_file, why_not = _weights(run, of_run, spec)
    evaluation = outfits = None
    if of_run.recipe.kind == "slider":
        reason = f"the run is a slider: bakehouse evaluate {shlex.quote(str(run.folder))} measures its range"
        missing |= dict.fromkeys(_OF_IMAGES, reason)
    else:
        evaluation, more = yield from _evaluation(run, of_run, spec)
        missing |= more
        outfits, reason = yield from _outfits(run, of_run, spec)
        missing |= {"outfits": reason} if reason else {}
    return dataclasses.replace(
        of_file, run=of_run, evaluation=evaluation, outfits=outfits, missing={**why_not, **missing}
    )


_OF_IMAGES: tuple[Input, ...] = ("evaluation", "other images", "faces", "outfits")


def _weights(run: Run, of_run: RunFacts, spec: DoctorSpec) -> tuple[Facts, dict[Input, str]]:
    """Return the facts of the run's selected weights, or why there are none."""
    from bakehouse.generation.run_weights import selected_weights

    try:
        path, _ = selected_weights(run)
    except BakehouseError as e:
        return Facts(), {"adapter": e.message, "base": e.message}
    if path.is_dir():
        reason = f"the run trained whole models, such as {path.name}: there is no adapter file"
        return Facts(), {"adapter": reason, "base": reason}
    # A base that the run names and that is gone is no error here: the other checks do without.
    try:
        facts, _, reason = read_adapter_facts(path, spec.base or of_run.recipe.model.base)
    except BakehouseError as e:
        if spec.base is not None:
            raise
        facts, _, reason = *read_adapter_facts(path)[:2], e.message
    return Facts(adapters=(facts,)), {"base": reason} if reason else {}


def _evaluation(
    run: Run, of_run: RunFacts, spec: DoctorSpec
) -> Generator[Event, None, tuple[EvaluationFacts | None, dict[Input, str]]]:
    """Return the facts of the run's evaluation, or why there are none; with `draw` a small one is made."""
    from bakehouse.doctor.image_facts import installed_face_detector, look_at_images, read_evaluation
    from bakehouse.evaluation import evaluate, scorer_for

    if spec.draw and not (run.report / "scores.json").is_file():
        yield from evaluate(run, changes={"images": spec.draw}, device=spec.device)
    try:
        facts = read_evaluation(run)
    except BakehouseError as e:
        reason = f"{e.message}; {e.hint}" if e.hint else e.message
        return None, dict.fromkeys(("evaluation", "other images", "faces"), reason)
    try:
        scorer = scorer_for(of_run.recipe.model.base)
    except BakehouseError as e:
        return facts, dict.fromkeys(("other images", "faces"), str(e))
    return look_at_images(facts, scorer, installed_face_detector())


def _outfits(run: Run, of_run: RunFacts, spec: DoctorSpec) -> Generator[Event, None, tuple[TriggerScores | None, str]]:
    """Return the comparison of the run's triggers, or why there is none; with `draw` their images are generated."""
    from bakehouse.evaluation import scorer_for
    from bakehouse.evaluation.trigger_groups import saved_trigger_scores, score_triggers, trigger_groups
    from bakehouse.generation.run_weights import selected_weights
    from bakehouse.training.run_inputs import RunInputs

    try:
        images = [i.record for i in RunInputs.load(run).plan.subject_images]
        groups = trigger_groups(of_run.recipe, images)
        if not groups:
            return None, "the run has no two triggers that stand for different images"
        weights = selected_weights(run)
        if spec.draw:
            scorer = scorer_for(of_run.recipe.model.base)
            made = yield from score_triggers(
                run, of_run.recipe, groups, weights, count=spec.draw, scorer=scorer, device=spec.device
            )
            return made, ""
        saved = saved_trigger_scores(run, groups, weights)
    except BakehouseError as e:
        if spec.draw:
            raise
        return None, e.message
    command = f"bakehouse doctor {shlex.quote(str(run.folder))} --draw 8"
    return saved, "" if saved else f"no images of each trigger yet: {command}"
