"""Learning-rate range test: a short training whose learning rate rises with every step until it diverges."""

from __future__ import annotations

import dataclasses
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import Any

from bakehouse.core.errors import UsageError
from bakehouse.core.events import Event, Progress, Step, Warned
from bakehouse.data.image_records import ImageSet
from bakehouse.recipe import Plan, Recipe, make_plan, scan_concepts
from bakehouse.recipe.lr_schedule import ScheduleSpec
from bakehouse.training.class_images import prepare_class_images
from bakehouse.training.loop import run_loop
from bakehouse.training.lr_finder.suggestion import LRMeasurement, RangeTestResult, diverged, suggest
from bakehouse.training.lr_finder.validation_loss import ValidationSet
from bakehouse.training.nan_check import NotANumberError
from bakehouse.training.offload import PrefetchCallback
from bakehouse.training.out_of_memory import is_out_of_memory, out_of_memory_error
from bakehouse.training.prepare import build_components, load_base

STEPS = 64
MEASURE_EVERY = 2
"""Steps between two measurements."""
SPAN = 50.0
"""The ramp goes from the plan's learning rate divided by this to the learning rate times this."""


@dataclass(frozen=True, kw_only=True)
class RateMeasured(Event):
    """A measurement of the range test, in units of the loss."""

    step: int
    lr: float
    subject: float
    drift: float


@dataclass(frozen=True, kw_only=True)
class RateFound(Event):
    """The result of the range test."""

    lr: float | None
    text_lr: float | None
    steps: int
    """Length of the run that the learning rates are for."""
    trough: float
    burst: float | None
    """The learning rate at which training diverged, if it did."""
    base_loss: float
    """The validation loss at the start; measurements are changes of it."""
    why: str


class _Ramp(ScheduleSpec):
    """From 1 to `ratio` by a constant factor a step."""

    ratio: float

    def factor(self, step: int, total: int) -> float:
        return float(self.ratio ** (step / max(1, total - 1)))


def find_lr(
    recipe: Recipe,
    images: ImageSet | None = None,
    *,
    steps: int = STEPS,
    low: float | None = None,
    high: float | None = None,
) -> Generator[Event, None, RangeTestResult]:
    """Find the recipe's learning rate by a range test; yields events and returns the suggestion with its measurements.

    The learning rates of the text encoder, of blocks and of LoRA+ keep their ratio to the UNet's. The same seed gives
    the same measurements on the same machine. Only the caches of encoded and class images are written.

    Args:
        recipe: what to train. Of its learning rates only the ratio of `text_lr` to `lr` is used.
        images: instead of those in the recipe's folders.
        steps: length of the ramp.
        low: the first learning rate; default: a fiftieth of the plan's.
        high: the last learning rate; default: fifty times the plan's.

    Raises:
        UsageError: the optimizer needs no range test, the range is empty, or the recipe cannot be trained.
        BakehouseError: nothing was learned at any learning rate, or the device is out of memory.
    """
    if recipe.kind == "slider":
        raise UsageError(
            "a range test needs images to validate on, and a slider is trained without",
            hint="leave optimizer.lr out to use the plan's",
        )
    check_optimizer(recipe)
    if recipe.adapter.kind == "none" or (recipe.kind == "embedding" and "adapter" not in recipe.model_fields_set):
        raise UsageError(
            "a range test finds the learning rate of a network, and an embedding alone trains none",
            hint="leave embedding.lr out to use the plan's",
        )
    full_plan = _plan(recipe, images if images is not None else scan_concepts(recipe))
    plan, ratio = _ramp_plan(full_plan, recipe, steps, low, high)
    try:
        base_loss, measurements = yield from _measure(plan)
    except (RuntimeError, MemoryError) as e:
        if not is_out_of_memory(e):
            raise
        raise out_of_memory_error(plan.recipe, 0) from e
    found = suggest(measurements, base_loss, steps=full_plan.steps, text_ratio=ratio)
    if full_plan.recipe.optimizer.lr is None:
        found = dataclasses.replace(found, lr=None)
    yield RateFound(
        lr=found.lr,
        text_lr=found.text_lr,
        steps=found.steps,
        trough=found.trough,
        burst=found.diverged_at,
        base_loss=found.base_loss,
        why=found.why,
    )
    return found


def check_optimizer(recipe: Recipe) -> None:
    """Check that a range test works for the recipe's optimizer.

    Raises:
        UsageError: it estimates the learning rate itself, or averages the weights over all steps.
    """
    spec, row = recipe.optimizer, recipe.optimizer.row
    if row.finds_rate:
        raise UsageError(
            f"optimizer.name = {spec.name!r} finds its learning rate itself while it trains: there is nothing to test",
            hint=f"leave optimizer.lr at {row.lr:g}; for a fixed learning rate use --set optimizer.name=adamw",
        )
    if row.schedule_free:
        raise UsageError(
            f"optimizer.name = {spec.name!r} trains an average over all its steps, so a ramp says nothing about single "
            "learning rates",
            hint="test AdamW, whose learning rate it can start with: --set optimizer.name=adamw",
        )


def _plan(recipe: Recipe, images: ImageSet) -> Plan:
    """Return the plan of the run that the learning rate is for."""
    plan = make_plan(recipe.with_values({"optimizer.lr": None, "optimizer.text_lr": None}), images)
    if plan.recipe.train.batch == "auto":
        # The result depends on the images of a step, not on its batches; batches of one image need the least memory.
        plan = plan.with_batch(1, plan.recipe.train.accumulation, "")
    return plan


def _ramp_plan(
    plan: Plan, recipe: Recipe, steps: int, low: float | None, high: float | None
) -> tuple[Plan, float | None]:
    """Return the plan of the ramp, and the text encoder's share of the UNet's learning rate.

    The share is None if the text encoder is frozen, and 1 if only the text encoder trains.
    """
    if steps < 4 * MEASURE_EVERY:
        raise UsageError(f"steps = {steps}: a ramp needs at least {4 * MEASURE_EVERY}; {STEPS} are usual")
    usual, given = plan.recipe.optimizer, recipe.optimizer
    peak_lr = usual.lr if usual.lr is not None else usual.text_lr
    assert peak_lr is not None
    low = peak_lr / SPAN if low is None else low
    high = peak_lr * SPAN if high is None else high
    if not 0 < low < high:
        raise UsageError(f"low = {low:g}, high = {high:g}: low must be above 0 and below high")
    ratio = None if usual.text_lr is None else usual.text_lr / peak_lr
    if None not in (ratio, usual.lr) and given.lr is not None and given.text_lr is not None:
        ratio = given.text_lr / given.lr
    rates = {"lr": low, "text_lr": None if ratio is None else low * ratio}
    changes: dict[str, Any] = {"optimizer": usual.model_copy(update=rates), "schedule": _Ramp(ratio=high / low)}
    embedding = plan.recipe.embedding
    if embedding.lr is not None:  # keeps its ratio to the network's
        changes["embedding"] = embedding.model_copy(update={"lr": low * embedding.lr / peak_lr})
    plan = dataclasses.replace(plan, recipe=plan.recipe.model_copy(update=changes), steps=steps)
    return plan, ratio


def _measure(plan: Plan) -> Generator[Event, None, tuple[float, list[LRMeasurement]]]:
    """Train along the ramp until it diverges; returns the loss at the start and the measurements."""
    base = yield from load_base(plan.recipe)
    model = base.model
    yield from (Warned(message=m) for m in [*plan.warnings, *model.notes])
    class_images = yield from prepare_class_images(plan, model)
    components, state = yield from build_components(plan, model, class_images, precision=base.precision)
    callbacks = [PrefetchCallback(plan, components.objective, base.encoders)] if base.encoders else []
    validation = ValidationSet(components, state)
    measurements: list[LRMeasurement] = []
    for event in _until_not_finite(run_loop(components, state, callbacks)):
        if not isinstance(event, Step) or event.step % MEASURE_EVERY:
            continue
        measurement = LRMeasurement(_lr(plan, event.step), *validation.evaluate())
        measurements.append(measurement)
        yield RateMeasured(step=event.step, **vars(measurement))
        yield Progress(what="testing learning rates", done=event.step, total=plan.steps)
        if diverged(measurements, validation.base_loss):
            break
    return validation.base_loss, measurements


def _until_not_finite(events: Iterator[Event]) -> Iterator[Event]:
    """Pass on events; a loss that is not a number ends the ramp and is no error."""
    try:
        yield from events
    except NotANumberError:
        return


def _lr(plan: Plan, step: int) -> float:
    """Return the learning rate in a step, counted from 1: the UNet's, or the text encoder's if only that trains."""
    return (plan.recipe.optimizer.lr or 0.0) * plan.recipe.schedule.factor(step - 1, plan.steps)
