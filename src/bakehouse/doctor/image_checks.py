"""D: the images of a run: what `bakehouse evaluate` scored, and images of each trigger."""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterable

from bakehouse.doctor.check import CheckFinding, healthy, undecided
from bakehouse.doctor.doctor_options import Limits
from bakehouse.doctor.facts import EvaluationFacts, Facts
from bakehouse.doctor.run_commands import length, run_values, slower
from bakehouse.evaluation.checkpoint_scores import ScoredCheckpoint
from bakehouse.evaluation.metrics import Interval
from bakehouse.evaluation.selection import (
    LEARNED_FIDELITY,
    MAX_BROKEN,
    MAX_CLASS_SHIFT,
    MAX_DRIFT,
    VISIBLE_EFFECT,
    broken_limits,
    cell_name,
    limit_checks,
)
from bakehouse.evaluation.trigger_groups import TriggerScores

BURNT_LIMITS = ("prompt retention", "near copies", "broken images")
"""Limits of the evaluation that a burnt model breaks; drift and class shift are problems of their own."""
RELIABLE_PHOTOS = 0.8
"""Share of a trigger's photos that the scorer must tell from the others', or its images say nothing."""


def nothing_changes(facts: Facts, limits: Limits) -> Iterable[CheckFinding]:
    """D01: a trigger that changes no image."""
    evaluation = _evaluation(facts)
    cells = [c for c in evaluation.report.cells if not math.isnan(c.effect.value)]
    if not cells:
        yield undecided("the scorer cannot tell the subject from the base's images of its class")
        return
    strongest = max(cells, key=lambda c: (c.images, c.effect.value))
    figures = f"with the trigger, images move {_percent(strongest.effect)} of the way from the class to the subject"
    figures += f" ({cell_name(strongest)}, limit {100 * VISIBLE_EFFECT:.0f} %)"
    if strongest.effect.high < VISIBLE_EFFECT and not broken_limits(strongest):
        run = facts.run
        finds_rate = run is not None and run.recipe.optimizer.row.finds_rate
        fix = "bakehouse train {recipe} --run {next} {length}" if finds_rate else None  # no rate to search for
        yield CheckFinding(figures, values=_values(facts), fix=fix)
    elif strongest.effect.low < VISIBLE_EFFECT and not broken_limits(strongest):
        yield undecided(f"{figures}: {_more_images(facts)}")
    else:
        yield healthy(figures)


def undertrained(facts: Facts, limits: Limits) -> Iterable[CheckFinding]:
    """D02: a subject that shows too little."""
    shown = _evaluation(facts).shown
    figures = f"{cell_name(shown)}: subject fidelity {_percent(shown.fidelity)}, learned from "
    figures += f"{100 * LEARNED_FIDELITY:.0f} %; the subject shows in {_percent(shown.shown)} of the images"
    if math.isnan(shown.fidelity.value):
        yield undecided("the scorer cannot tell the subject from what the untouched base draws from words alone")
    elif shown.fidelity.high < LEARNED_FIDELITY:
        yield CheckFinding(figures, values=_values(facts) | {"settings": _more_training(facts, limits)})
    elif shown.fidelity.low < LEARNED_FIDELITY:
        yield undecided(f"{figures}: {_more_images(facts)}")
    else:
        yield healthy(figures)


def burnt(facts: Facts, limits: Limits) -> Iterable[CheckFinding]:
    """D03: images that are broken, copies of the training images, or deaf to prompts."""
    shown = _evaluation(facts).shown
    checks = [c for c in limit_checks(shown) if c.name in BURNT_LIMITS and not math.isnan(c.figure.value)]
    over = [c.text for c in checks if c.state == "broken"]
    open_ = [c.text for c in checks if c.state == "open"]
    if over:
        gentler = _gentler(_evaluation(facts))
        fix = None
        values = _values(facts) | {"settings": _less_training(facts, limits)}
        if gentler is not None:
            fix = "bakehouse generate {weights} {prompt} --weight {strength}"
            weights = f"{facts.run.folder.rstrip('/')}/{gentler.weights}" if facts.run else gentler.weights
            values |= {"weights": shlex.quote(weights), "strength": f"{gentler.strength:g}"}
        yield CheckFinding(f"{cell_name(shown)}: {', '.join(over)}", values=values, fix=fix)
    elif open_:
        yield undecided(f"{cell_name(shown)}: {', '.join(open_)}: {_more_images(facts)}")
    elif checks:
        yield healthy(f"{cell_name(shown)}: {', '.join(c.text for c in checks)}")
    else:
        yield undecided("the evaluation has no figures of prompts, copies or broken images")


def _gentler(evaluation: EvaluationFacts) -> ScoredCheckpoint | None:
    """Return the best checkpoint and strength that breaks no limit and is closer to the subject than words alone."""
    kept = [c for c in evaluation.report.cells if c.fidelity.low > 0 and not broken_limits(c)]
    return max(kept, key=lambda c: c.fidelity.value, default=None)


def class_became_subject(facts: Facts, limits: Limits) -> Iterable[CheckFinding]:
    """D04: a class word that brings the subject without its trigger."""
    shown = _evaluation(facts).shown
    drift = shown.drift
    parts = {"likeness": drift.likeness, "attributes": drift.attributes}
    known = {name: p for name, p in parts.items() if not math.isnan(p.value)}
    if not known:
        yield undecided("the scorer cannot tell the subject from the base's images of its class")
        return
    name, worst = max(known.items(), key=lambda item: item[1].low)
    most = max(drift.each.items(), key=lambda item: item[1], default=None)
    detail = f"; its {most[0]} shows {most[1]:.0f} points more often" if most and most[1] > MAX_DRIFT else ""
    figures = f"without the trigger, images of the class moved {worst.value:.0f} points towards the subject by {name} "
    figures += f"({worst.low:.0f} to {worst.high:.0f}, limit {MAX_DRIFT:g}){detail}"
    if worst.low > MAX_DRIFT:
        yield CheckFinding(figures, values=_values(facts) | {"prior": _more_prior(facts)})
    elif worst.high > MAX_DRIFT:
        yield undecided(f"{figures}: {_more_images(facts)}")
    else:
        yield healthy(figures)


def style_leak(facts: Facts, limits: Limits) -> Iterable[CheckFinding]:
    """D05: images of other subjects that take on the look of the training images."""
    shift = _evaluation(facts).other_shift
    assert shift is not None
    figures = f"images of other subjects moved by {shift.value:.0f} % of the distance from the base to the subject "
    figures += f"({shift.low:.0f} to {shift.high:.0f}, limit {MAX_CLASS_SHIFT:g})"
    if shift.low > MAX_CLASS_SHIFT:
        yield CheckFinding(figures, values=_values(facts) | {"prior": _more_prior(facts)})
    elif shift.high > MAX_CLASS_SHIFT:
        yield undecided(f"{figures}: {_more_images(facts)}")
    else:
        yield healthy(figures)


def blurred_face(facts: Facts, limits: Limits) -> Iterable[CheckFinding]:
    """D06: faces that are smeared, or softer than in the photos and in the base's images."""
    faces = _evaluation(facts).faces
    assert faces is not None
    values = _values(facts)
    if faces.broken is not None:
        of_base = f", in {_percent(faces.broken_of_base)} of the base's" if faces.broken_of_base else ""
        figures = f"smeared faces in {_percent(faces.broken)} of the images{of_base} (limit {100 * MAX_BROKEN:.0f} %)"
        if faces.broken.low > max(MAX_BROKEN, faces.broken_of_base.high if faces.broken_of_base else 0.0):
            yield CheckFinding(figures, key="smeared", values=values)
        else:
            yield healthy(figures, "smeared")
    if faces.sharpness is not None:
        figures = f"faces have {_percent(faces.sharpness)} of the sharpness in photos and the base's images"
        figures += f" (limit {100 * limits.face_sharpness:.0f} %)"
        if faces.sharpness.high < limits.face_sharpness:
            yield CheckFinding(figures, key="soft", values=values)
        elif faces.sharpness.low < limits.face_sharpness:
            yield undecided(f"{figures}: {_more_images(facts)}", "soft")
        else:
            yield healthy(figures, "soft")


# --- several triggers -------------------------------------------------------------------------------------------------


def two_alike(facts: Facts, limits: Limits) -> Iterable[CheckFinding]:
    """D07: two triggers whose images cannot be told apart."""
    outfits = _outfits(facts)
    for (one, two), separation in outfits.separation.items():
        key = f"{one} {two}"
        figures = f"images of {one!r} and {two!r} are {_percent(separation)} as far apart as their photos"
        figures += f" (limit {100 * limits.separation:.0f} %)"
        if math.isnan(separation.value) or not _told_apart(outfits, one, two):
            yield undecided(f"the scorer cannot tell the photos of {one!r} and {two!r} apart", key)
        elif separation.high < limits.separation:
            yield CheckFinding(figures, key=key, values=_values(facts))
        elif separation.low < limits.separation:
            yield undecided(f"{figures}: {_more_of_each(facts, outfits)}", key)
        else:
            yield healthy(figures, key)


def one_everywhere(facts: Facts, limits: Limits) -> Iterable[CheckFinding]:
    """D08: a trigger whose photos the images of all others show."""
    outfits = _outfits(facts)
    for outfit in outfits.groups:
        others = [o for o in outfits.groups if o.word != outfit.word]
        shares = ", ".join(f"{_percent(o.shows[outfit.word])} of those of {o.word!r}" for o in others)
        figures = f"{outfit.word!r} shows in {_percent(outfit.shows[outfit.word])} of its images and in {shares}"
        if not all(_told_apart(outfits, outfit.word, o.word) for o in others):
            yield undecided(f"the scorer cannot tell the photos of {outfit.word!r} from others", outfit.word)
        elif all(o.shows[outfit.word].low > limits.taken_over for o in others):
            yield CheckFinding(figures, key=outfit.word, values=_values(facts))
        elif all(o.shows[outfit.word].value > limits.taken_over for o in others):
            yield undecided(f"{figures}: {_more_of_each(facts, outfits)}", outfit.word)
        else:
            yield healthy(figures, outfit.word)


def _told_apart(outfits: TriggerScores, *words: str) -> bool:
    return all(o.in_photos >= RELIABLE_PHOTOS for o in outfits.groups if o.word in words)


# --- helpers ----------------------------------------------------------------------------------------------------------


def _evaluation(facts: Facts) -> EvaluationFacts:
    assert facts.evaluation is not None
    return facts.evaluation


def _outfits(facts: Facts) -> TriggerScores:
    assert facts.outfits is not None
    return facts.outfits


def _values(facts: Facts) -> dict[str, str]:
    assert facts.run is not None
    values = run_values(facts.run)
    balance = values["recipe"] if len(facts.run.recipe.concepts) > 1 else values["folder"]
    return values | {"length": length(facts.run, 2), "balance": balance}


def _more_training(facts: Facts, limits: Limits) -> str:
    """Return the options of a training that learns more: the plan's rate if the run's is far below it, else longer."""
    assert facts.run is not None
    run, plan = facts.run, facts.run.plan
    lr, usual = run.recipe.optimizer.lr, plan.lr if plan else None
    if lr and usual and lr * limits.rate <= usual:
        return f"--set optimizer.lr={usual:g}"
    lacking = plan.exposures / max(1, run.inputs.exposures) if plan and run.inputs else 2.0
    return length(run, max(2.0, lacking))


def _less_training(facts: Facts, limits: Limits) -> str:
    """Return the options of a gentler training: the plan's rate or length if the run's is far above, else half the
    rate.
    """
    assert facts.run is not None
    run, plan = facts.run, facts.run.plan
    lr, usual = run.recipe.optimizer.lr, plan.lr if plan else None
    if lr and usual and lr >= limits.rate * usual:
        return f"--set optimizer.lr={usual:g}"
    if plan and run.inputs and run.inputs.exposures > limits.exposures * plan.exposures:
        return length(run, plan.exposures / run.inputs.exposures)
    return slower(run, 2)


def _more_prior(facts: Facts) -> str:
    """Return the setting that keeps the class more: class images where there were none, else twice their weight."""
    assert facts.run is not None
    prior = facts.run.recipe.prior
    if prior.source in (None, "none"):
        captioned = facts.run.plan is not None and facts.run.plan.prior == "captions"
        return f"prior.source={'captions' if captioned else 'class'}"
    return f"prior.weight={min(10.0, 2 * prior.weight) or 1:g}"


def _more_images(facts: Facts) -> str:
    evaluation, run = _evaluation(facts), facts.run
    assert run is not None
    images = 2 * max(evaluation.report.spec.images, evaluation.shown.images)
    return f"bakehouse evaluate {shlex.quote(run.folder)} --set images={images}"


def _more_of_each(facts: Facts, outfits: TriggerScores) -> str:
    assert facts.run is not None
    images = 2 * max(o.images for o in outfits.groups)
    return f"bakehouse doctor {shlex.quote(facts.run.folder)} --draw {images}"


def _percent(figure: Interval) -> str:
    """Return a share with its interval: `31 % (26 to 37)`."""
    return f"{100 * figure.value:.0f} % ({100 * figure.low:.0f} to {100 * figure.high:.0f})"
