"""C: a run's training, by its events, its captions and its plan."""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterable, Sequence

import numpy as np

from bakehouse.core.message_text import counted
from bakehouse.doctor.check import CheckFinding, healthy, undecided
from bakehouse.doctor.doctor_options import Limits
from bakehouse.doctor.facts import Facts, InputFacts, PlanFacts, RunFacts
from bakehouse.doctor.run_commands import length, run_values, slower

MIN_STEPS = 20
"""With fewer steps no trend of the loss is calculated: a fifth of them is too few to average."""
_NOT_A_NUMBER = ("not a number", "NaN or infinite", "NaN or infinity")
"""Parts of the messages of `training.nan_check` and `training.export_weights`."""
_STANDARD_ERRORS = 3.0


def loss_not_a_number(facts: Facts, limits: Limits) -> Iterable[CheckFinding]:
    """C01: a training that ended with a loss or weights that are NaN."""
    run = _run(facts)
    failure = run.failed.error if run.failed else ""
    losses = [s.loss for s in run.steps]
    if any(words in failure for words in _NOT_A_NUMBER):
        last = ", ".join(f"{loss:.3g}" for loss in losses[-3:])
        why = f"step {run.failed.step if run.failed else 0} of {run.planned_steps}: {failure.splitlines()[0]}"
        why += f" (last losses {last})" if last else ""
        yield CheckFinding(why, values=run_values(run) | {"setting": _setting_against_nan(run, failure)})
    elif bad := [s.step for s in run.steps if not math.isfinite(s.loss)]:
        why = f"{len(bad)} of {counted(len(losses), 'loss')} are NaN or infinite, first at step {bad[0]}"
        yield CheckFinding(why, values=run_values(run) | {"setting": _setting_against_nan(run, "")})
    elif losses:
        yield healthy(f"all {counted(len(losses), 'loss')} are finite")
    else:
        yield undecided("the run has no steps yet")


def _setting_against_nan(run: RunFacts, failure: str) -> str:
    """Return the options that the diagnosis names: the precision, or a third of the learning rate."""
    if "precision" in failure:
        return "--set train.precision=fp32"
    return slower(run, 3)


def unfinished(facts: Facts, limits: Limits) -> Iterable[CheckFinding]:
    """C02: a training that did not reach its end."""
    run = _run(facts)
    done = run.steps[-1].step if run.steps else 0
    if run.finished:
        yield healthy(f"finished after {counted(done, 'step')}")
    elif run.failed:
        if any(words in run.failed.error for words in _NOT_A_NUMBER):
            return  # C01 tells it
        why = f"it failed after step {run.failed.step} of {run.planned_steps}: {run.failed.error.splitlines()[0]}"
        yield CheckFinding(why, "error", values=run_values(run))
    elif run.started:
        yield CheckFinding(f"step {done} of {run.planned_steps}, and not finished", values=run_values(run))
    else:
        yield CheckFinding("the training was never started", values=run_values(run))


def learning_rate(facts: Facts, limits: Limits) -> Iterable[CheckFinding]:
    """C03: a learning rate far from the plan's."""
    run, plan = _run(facts), _plan(facts)
    given, usual = run.recipe.optimizer.lr, plan.lr
    name = run.recipe.optimizer.name
    if given is None or usual is None:
        yield undecided("the recipe trains no UNet, or the optimizer has its own learning rate")
        return
    ratio = given / usual
    figures = f"optimizer.lr = {given:g}, the plan's for {name} is {usual:g}"
    values = run_values(run) | {"usual": f"{usual:g}"}
    if ratio >= limits.rate:
        yield CheckFinding(f"{figures}: {ratio:.3g} times as high", key="high", values=values)
    elif ratio <= 1 / limits.rate:
        yield CheckFinding(f"{figures}: {1 / ratio:.3g} times as low", key="low", values=values)
    else:
        yield healthy(figures)


def loss_rises(facts: Facts, limits: Limits) -> Iterable[CheckFinding]:
    """C04: a loss that is higher at the end than at the beginning, beyond chance."""
    run = _run(facts)
    losses = [s.subject_loss for s in run.steps if s.subject_loss is not None and math.isfinite(s.subject_loss)]
    if len(losses) < MIN_STEPS:
        yield undecided(f"{counted(len(losses), 'step')} with a loss of the subject; a trend needs {MIN_STEPS}")
        return
    fifth = len(losses) // 5
    (first, error_first), (last, error_last) = _mean(losses[:fifth]), _mean(losses[-fifth:])
    figures = f"loss of the subject {first:.3g} in the first {counted(fifth, 'step')}, {last:.3g} in the last"
    beyond_chance = last - first > _STANDARD_ERRORS * math.hypot(error_first, error_last)
    if beyond_chance and last > (1 + limits.loss_rise) * first:
        yield CheckFinding(f"{figures}: {100 * (last / first - 1):.0f} % higher", values=run_values(run))
    else:
        yield healthy(figures)


def _mean(values: Sequence[float]) -> tuple[float, float]:
    """Return the mean and its standard error."""
    x = np.asarray(values, dtype=np.float64)
    return float(x.mean()), float(x.std(ddof=1) / math.sqrt(len(x))) if len(x) > 1 else math.inf


def exposures(facts: Facts, limits: Limits) -> Iterable[CheckFinding]:
    """C05: far fewer or far more images shown than the plan has."""
    run, inputs, plan = _run(facts), _inputs(facts), _plan(facts)
    figures = f"{inputs.exposures:,} images shown, the plan of these {counted(inputs.images, 'image')} shows "
    figures += f"{plan.exposures:,}"
    factor = plan.exposures / max(1, inputs.exposures)
    values = run_values(run) | {"length": length(run, factor)}
    if inputs.exposures * limits.exposures <= plan.exposures:
        why = f"{figures}: {100 * inputs.exposures / plan.exposures:.0f} % of it"
        yield CheckFinding(why, key="few", values=values)
    elif inputs.exposures > limits.exposures * plan.exposures:
        why = f"{figures}: {inputs.exposures / plan.exposures:.1f} times as many"
        yield CheckFinding(why, key="many", values=values)
    else:
        yield healthy(figures)


def trigger_not_in_captions(facts: Facts, limits: Limits) -> Iterable[CheckFinding]:
    """C06: triggers that no caption, or only a part of the captions, had."""
    for trigger in _inputs(facts).triggers:
        figures = f"{trigger.word!r} is in the captions of {trigger.with_it} of {counted(trigger.images, 'image')}"
        example = f"; a caption without it: {trigger.example!r}" if trigger.example else ""
        values = {"folder": shlex.quote(trigger.folder), "subject": shlex.quote(trigger.subject)}
        if not trigger.with_it:
            yield CheckFinding(f"{figures}{example}", "error", trigger.word, values)
        elif trigger.with_it < limits.trigger_share * trigger.images:
            yield CheckFinding(f"{figures}{example}", "warning", trigger.word, values)
        else:
            yield healthy(figures, trigger.word)


def captions_alike(facts: Facts, limits: Limits) -> Iterable[CheckFinding]:
    """C07: captions that say the same of nearly all images."""
    run, inputs = _run(facts), _inputs(facts)
    caption, most = max(inputs.captions.items(), key=lambda item: item[1], default=("", 0))
    figures = f"{counted(len(inputs.captions), 'different caption')} of {counted(inputs.images, 'image')}"
    values = run_values(run)
    if inputs.images < limits.captions:
        yield undecided(f"{counted(inputs.images, 'image')}; captions are compared from {limits.captions} on")
    elif most < limits.captions_alike * inputs.images:
        yield healthy(f"{figures}, beside the triggers")
    elif run.recipe.kind == "dreambooth":
        yield healthy(f"one caption for {most} of {counted(inputs.images, 'image')}, as DreamBooth has it")
    else:
        says = repr(caption) if caption else "nothing but the trigger"
        why = f"{most} of {counted(inputs.images, 'caption')} say {says}: what the images share, backgrounds too, "
        yield CheckFinding(f"{why}becomes part of the trigger", values=values)


def no_class_images(facts: Facts, limits: Limits) -> Iterable[CheckFinding]:
    """C08: class images that were wanted and never shown, or are usual for this kind of subject and left out."""
    run, plan = _run(facts), _plan(facts)
    prior = run.recipe.prior
    wanted = prior.source not in (None, "none")
    shown = sum(s.prior_loss is not None for s in run.steps)
    figures = f"{counted(shown, 'step')} of {len(run.steps)} with class images"
    usual = "class" if plan.prior == "none" else plan.prior
    values = run_values(run) | {"prior": f"prior.source={usual}"}
    if not run.steps:
        yield undecided("the run has no steps yet")
    elif wanted and not shown:
        yield CheckFinding(f"prior.source = {prior.source!r}, but {figures}", "error", "shown", values)
    elif wanted and prior.weight == 0:
        yield CheckFinding(
            f"{figures}, and prior.weight = 0: they teach nothing",
            key="weight",
            values=values | {"prior": "prior.weight=1"},
        )
    elif not wanted and plan.prior != "none":
        why = f"prior.source = 'none'; usual for {run.recipe.kind} on {run.recipe.model.base} is {plan.prior!r}"
        yield CheckFinding(f"{why}: the class may become the subject", key="source", values=values)
    elif wanted:
        yield healthy(f"{figures}, prior.weight = {prior.weight:g}")
    else:
        yield healthy(f"no class images, as is usual for {run.recipe.kind} on {run.recipe.model.base}")


# --- helpers ----------------------------------------------------------------------------------------------------------


def _run(facts: Facts) -> RunFacts:
    assert facts.run is not None
    return facts.run


def _inputs(facts: Facts) -> InputFacts:
    found = _run(facts).inputs
    assert found is not None
    return found


def _plan(facts: Facts) -> PlanFacts:
    found = _run(facts).plan
    assert found is not None
    return found
