"""The range test itself: a short training whose rate rises with every step, while fixed pictures are watched."""

from __future__ import annotations

import dataclasses
from collections.abc import Generator, Iterator
from dataclasses import dataclass

import torch

from bakehouse.core.errors import UsageError
from bakehouse.core.events import Event, Progress, Step, Warned
from bakehouse.data.image_records import ImageSet
from bakehouse.recipe import Plan, Recipe, make_plan, scan_concepts
from bakehouse.recipe.hardware import pick_device, pick_precision
from bakehouse.recipe.lr_schedule import ScheduleSpec
from bakehouse.training.loop import Parts, train
from bakehouse.training.lr_finder.suggestion import RateTest, Reading, bursts, suggest
from bakehouse.training.lr_finder.validation_loss import Watch
from bakehouse.training.nan_check import NotANumberError
from bakehouse.training.out_of_memory import is_out_of_memory, out_of_memory
from bakehouse.training.trainer import load_base, prepare
from bakehouse.training.training_state import TrainState

STEPS = 64
READ_EVERY = 2
"""Steps between two readings."""
SPAN = 50.0
"""The ramp goes from the plan's own rate divided by this to the rate times this."""


@dataclass(frozen=True, kw_only=True)
class Probed(Event):
    """A reading of the range test; figures in units of the loss, as changes since the start."""

    step: int
    lr: float
    subject: float
    drift: float


@dataclass(frozen=True, kw_only=True)
class RateFound(Event):
    """The range test is done."""

    lr: float | None
    text_lr: float | None
    steps: int
    """Of the run that the rates are for."""
    trough: float
    burst: float | None
    base_loss: float
    """What the figures of the readings are changes of."""
    why: str


class _Ramp(ScheduleSpec):
    """From 1 to `ratio` by a constant factor a step."""

    ratio: float

    def factor(self, step: int, total: int) -> float:
        return float(self.ratio ** (step / max(1, total - 1)))


def find_rate(
    recipe: Recipe,
    images: ImageSet | None = None,
    *,
    steps: int = STEPS,
    low: float | None = None,
    high: float | None = None,
) -> Generator[Event, None, RateTest]:
    """Finds the recipe's learning rate by a range test; yields events and returns the suggestion with its readings.

    The text encoder's rate, the rates of blocks and LoRA+ keep their ratio to the UNet's. The same seed gives the same
    readings on the same machine. Nothing is left behind but the caches of encoded and class images.

    Args:
        recipe: what shall be trained. Its own rates are not looked at but for their ratio.
        images: instead of those in the recipe's folders.
        steps: of the ramp.
        low: the rate to begin with; left out, a fiftieth of the plan's.
        high: the rate to end with; left out, fifty times the plan's.

    Raises:
        UsageError: the optimizer needs no range test, the range is none, or the recipe cannot be trained.
        BakehouseError: nothing was learned at any rate, or memory ran out.
    """
    refuse(recipe)
    whole = _plan(recipe, images if images is not None else scan_concepts(recipe))
    plan, ratio = _ramped(whole, recipe, steps, low, high)
    try:
        base_loss, readings = yield from _probe(plan)
    except (RuntimeError, MemoryError) as e:
        if not is_out_of_memory(e):
            raise
        raise out_of_memory(plan.recipe, 0) from e
    found = suggest(readings, base_loss, steps=whole.steps, text_ratio=ratio)
    if whole.recipe.optimizer.lr is None:
        found = dataclasses.replace(found, lr=None)
    facts = {name: value for name, value in found.to_json().items() if name != "readings"}
    yield RateFound(**facts)
    return found


def refuse(recipe: Recipe) -> None:
    """Refuses an optimizer of which a range test says nothing.

    Raises:
        UsageError: it estimates its rate itself, or keeps an average over all rates it has seen.
    """
    spec, row = recipe.optimizer, recipe.optimizer.row
    if row.finds_rate:
        raise UsageError(
            f"optimizer.name = {spec.name!r} finds its rate itself while it trains: there is nothing to test",
            hint=f"leave optimizer.lr at {row.lr:g}; for a fixed rate take --set optimizer.name=adamw",
        )
    if row.schedule_free:
        raise UsageError(
            f"optimizer.name = {spec.name!r} learns an average over all its steps, so no rate of a ramp is seen alone",
            hint="find AdamW's rate, which it begins with too: --set optimizer.name=adamw",
        )


def _plan(recipe: Recipe, images: ImageSet) -> Plan:
    """The run whose rate is looked for."""
    plan = make_plan(recipe.with_values({"optimizer.lr": None, "optimizer.text_lr": None}), images)
    if plan.recipe.train.batch == "auto":
        # A step's images count, not how many of them come at a time; one at a time fits wherever the recipe does.
        plan = plan.with_batch(1, plan.recipe.train.accumulation, "")
    return plan


def _ramped(plan: Plan, recipe: Recipe, steps: int, low: float | None, high: float | None) -> tuple[Plan, float | None]:
    """What the ramp trains, and the text encoder's rate as a share of the UNet's: None where it does not learn, 1
    where it alone does.
    """
    if steps < 4 * READ_EVERY:
        raise UsageError(f"steps = {steps}: a ramp needs {4 * READ_EVERY}; {STEPS} are usual")
    usual, given = plan.recipe.optimizer, recipe.optimizer
    rate = usual.lr if usual.lr is not None else usual.text_lr
    assert rate is not None
    low = rate / SPAN if low is None else low
    high = rate * SPAN if high is None else high
    if not 0 < low < high:
        raise UsageError(f"low = {low:g} and high = {high:g}: the ramp rises, so low must be above 0 and below high")
    ratio = None if usual.text_lr is None else usual.text_lr / rate
    if None not in (ratio, usual.lr) and given.lr is not None and given.text_lr is not None:
        ratio = given.text_lr / given.lr
    rates = {"lr": low, "text_lr": None if ratio is None else low * ratio}
    changes = {"optimizer": usual.model_copy(update=rates), "schedule": _Ramp(ratio=high / low)}
    plan = dataclasses.replace(plan, recipe=plan.recipe.model_copy(update=changes), steps=steps)
    return plan, ratio


def _probe(plan: Plan) -> Generator[Event, None, tuple[float, list[Reading]]]:
    """Trains along the ramp until the weights burst; the loss at the start, and the readings."""
    recipe = plan.recipe
    device = torch.device(pick_device(recipe.train.device))
    precision = pick_precision(recipe.train.precision, str(device))
    yield Progress(what="loading the base model", done=0, total=1)
    model, helpers = load_base(recipe, device, precision)
    yield Progress(what="loading the base model", done=1, total=1)
    yield from (Warned(message=m) for m in [*plan.warnings, *getattr(model, "notes", ())])
    parts, state = yield from prepare(plan, model, precision=precision, helpers=helpers)
    watch = Watch(parts, state)
    readings: list[Reading] = []
    for event in _until_broken(parts, state):
        if not isinstance(event, Step) or event.step % READ_EVERY:
            continue
        reading = Reading(_rate(parts, event.step), *watch.read())
        readings.append(reading)
        yield Probed(step=event.step, **vars(reading))
        yield Progress(what="trying rates", done=event.step, total=plan.steps)
        if bursts(readings, watch.base_loss):
            break
    return watch.base_loss, readings


def _until_broken(parts: Parts, state: TrainState) -> Iterator[Event]:
    """A loss that is not a number is the end of the ramp, not of the test."""
    try:
        yield from train(parts, state)
    except NotANumberError:
        return


def _rate(parts: Parts, step: int) -> float:
    """The peak rate at a step, 1-based: the UNet's, or the text encoder's where it alone learns."""
    recipe = parts.plan.recipe
    return (recipe.optimizer.lr or 0.0) * recipe.schedule.factor(step - 1, parts.plan.steps)
