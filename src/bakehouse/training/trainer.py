"""Train a recipe: set up or resume the run, loop, save the weights."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path

from bakehouse.core.events import Event, Finished, Noted, Started, Warned
from bakehouse.core.run_folder import Run
from bakehouse.data.image_records import ImageSet
from bakehouse.recipe import Recipe
from bakehouse.training.class_images import prepare_class_images
from bakehouse.training.device_checks import check_devices, check_files, with_devices
from bakehouse.training.evaluator_protocol import EvaluatorFactory, check_evaluator
from bakehouse.training.event_recorder import explained, record
from bakehouse.training.export_weights import WeightsWriter, weights_path
from bakehouse.training.loop import run_loop
from bakehouse.training.mirror import mirrored, mirroring
from bakehouse.training.offload import PrefetchCallback
from bakehouse.training.prepare import build_components, load_base
from bakehouse.training.ranks import ALONE, Ranks
from bakehouse.training.resume import check_weights, newest_state, restore
from bakehouse.training.run_setup import OpenRun, open_run, resolve_batch_size
from bakehouse.training.samples import batch_generator
from bakehouse.training.step_callbacks import Callback, OnMain, SampleCallback, StateCallback, WeightsCallback
from bakehouse.training.training_state import save_state


def train(
    recipe: Recipe,
    folder: Path | str,
    images: ImageSet | None = None,
    *,
    evaluator: EvaluatorFactory | None = None,
    ranks: Ranks = ALONE,
) -> Iterator[Event]:
    """Train `recipe` in the run folder `folder`, recording every event in its events.jsonl.

    `evaluator` evaluates each of the weights where the recipe has `stop.when = "learned"`; pass
    `bakehouse.evaluation.TrainingEvaluator`. `images` replace those in the recipe's folders. With several processes
    (`joined_ranks`) all call this alike; rank 0 writes the run and yields its events.

    Raises:
        UsageError: the folder holds another run, the recipe cannot be trained, or it needs an evaluator; the copy at
            `save.mirror` is of another run.
        BakehouseError: another process trains in the folder, or the training failed; what was saved stays, and the same
            call resumes from it.
    """
    check_evaluator(recipe, evaluator)
    recipe = with_devices(recipe, ranks)
    with open_run(Run(Path(folder)), recipe, images, ranks) as opened:
        events = _train(opened, evaluator, shard=recipe.train.shard)
        if not ranks.is_main:
            yield from explained(opened, events)
            return
        with mirroring(opened, recipe) as mirror:
            yield from record(opened, mirrored(events, mirror))


def _train(opened: OpenRun, make_evaluator: EvaluatorFactory | None, *, shard: bool | None) -> Iterator[Event]:
    """Train an opened run; `shard` is `train.shard` as it is given now, which may change when a run is resumed."""
    run, title, ranks = opened.run, opened.plan.recipe.title, opened.ranks
    yield from _warn(opened.warnings)
    sharded = check_devices(opened.plan.recipe, ranks, shard)
    saved = yield from ranks.main_events(newest_state(run))
    check_files(opened, saved)
    plan = yield from resolve_batch_size(opened)
    recipe, started_at = plan.recipe, time.time()
    final = weights_path(recipe, run, title)
    if saved:
        yield from ranks.main_events(check_weights(run, saved, final))
        if ranks.on_main(final.exists) and (saved.step >= plan.steps or saved.ended):
            yield Finished(step=saved.step, seconds=0.0, weights=str(final.relative_to(run.folder)))
            return
    evaluates = ranks.is_main and recipe.stop.when == "learned"
    evaluator = make_evaluator(recipe, run) if make_evaluator and evaluates else None

    base = yield from load_base(recipe, sharded=sharded)
    model = base.model
    opened.check_base(model)
    yield from _warn([*plan.warnings, *model.notes])
    class_images = yield from prepare_class_images(plan, model, ranks)
    opened.check_class_images(class_images)
    components, state = yield from build_components(
        plan, model, class_images, precision=base.precision, ranks=ranks, sharded=sharded
    )
    yield from restore(state, saved, opened)

    writer, generate = WeightsWriter(plan, model, run, started_at), batch_generator(model, state)
    # In this order: a state is only saved when all that belongs to its step is.
    writing: list[Callback] = [
        SampleCallback(plan, model, generate, run),
        WeightsCallback(plan, model, generate, writer, evaluator),
        *components.objective.callbacks(run),
        StateCallback(plan, run),
    ]
    callbacks: list[Callback] = [OnMain(writing, ranks)]
    if base.encoders:
        callbacks.append(PrefetchCallback(plan, components.objective, base.encoders))
    device = str(base.device) if ranks.count == 1 else f"{ranks.count} x {base.device.type}"
    yield Started(run=str(run.folder), step=state.step, steps=plan.steps, epochs=plan.epochs, device=device)

    def save() -> Event:
        if state.step == 0:
            return Noted(message="stopped before the first step")
        save_state(state, run.states)
        return Noted(message=f"stopped after step {state.step}: its state is saved, the same command resumes from it")

    def finish() -> Generator[Event, None, None]:
        facts = yield from components.objective.finish(state, run)
        yield from writer.save(state, title, facts)
        save_state(state, run.states)

    def steps_and_weights() -> Generator[Event, None, None]:
        yield from run_loop(components, state, callbacks)
        yield from ranks.main_events(finish())

    yield from ranks.until_interrupted(steps_and_weights(), save)
    if ranks.is_main:
        yield Finished(step=state.step, seconds=time.time() - started_at, weights=str(final.relative_to(run.folder)))


def _warn(messages: Sequence[str]) -> Iterator[Event]:
    return (Warned(message=m) for m in messages)
