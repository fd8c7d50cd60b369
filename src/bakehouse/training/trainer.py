"""The straight line from a recipe to a finished run; the same call again goes on where it stopped."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path

import torch

from bakehouse.adapters import Adapter, FullAdapter, inject
from bakehouse.core.errors import BakehouseError
from bakehouse.core.events import Event, Failed, Finished, Noted, Progress, Started, Stopped, Warned
from bakehouse.core.files import DamagedError, sha256_file, write_json
from bakehouse.core.folder_lock import locked
from bakehouse.core.pluralize import counted
from bakehouse.core.run_folder import Run
from bakehouse.data.buckets import unchanged_placement
from bakehouse.data.image_records import ImageRecord, ImageSet
from bakehouse.losses import denoising_loss
from bakehouse.models.denoiser import Denoiser
from bakehouse.models.load import load_model
from bakehouse.models.quantize import quantize_base
from bakehouse.recipe import Plan, PlannedImage, Recipe
from bakehouse.recipe.hardware import pick_device, pick_precision
from bakehouse.training.batch_builder import Feeder
from bakehouse.training.class_images import class_image_path, make_class_images
from bakehouse.training.early_stopping import Examiner, NewExaminer, check_examiner
from bakehouse.training.ema import averaged
from bakehouse.training.export_weights import WeightsWriter
from bakehouse.training.latent_cache import LatentCache
from bakehouse.training.loop import Hook, Parts, train
from bakehouse.training.offload import AheadOfTime, Helpers, wants_offload
from bakehouse.training.out_of_memory import is_out_of_memory, largest_batch, out_of_memory, trial_of
from bakehouse.training.precision import DTYPES, Precision
from bakehouse.training.resume import changed_weights, newest_state, open_inputs, restore, with_base, with_class_images
from bakehouse.training.run_inputs import Inputs
from bakehouse.training.samples import cut_prompts, drawer, make_samples
from bakehouse.training.tensorboard import TensorBoard
from bakehouse.training.text_cache import PromptEncoder
from bakehouse.training.training_state import Checkpoint, TrainState, find_state, save_state


def bake(
    recipe: Recipe, folder: Path | str, images: ImageSet | None = None, *, examiner: NewExaminer | None = None
) -> Iterator[Event]:
    """Trains `recipe` into the run folder `folder`, noting every event in its events.jsonl.

    `examiner` judges the run on the way where the recipe ends with `stop.when = "learned"`: `evaluate.Examiner` does.

    Raises:
        UsageError: the folder holds another run, the recipe cannot be trained, or wants an examiner that is not given.
        BakehouseError: another process is at work in the folder, or the work failed; what was saved stays, and the
            same call goes on from it.
    """
    run = Run(Path(folder))
    # What cannot be trained is refused before there is a folder.
    planned = None if run.inputs.exists() else Inputs.of(recipe, images)
    check_examiner(recipe, examiner)
    with locked(run.folder, "training") as told:
        run.remove_partial_files()
        inputs, notes = open_inputs(run, recipe, images, planned)
        yield from _with_failures_noted(_noted(run, _work(inputs, [*told, *notes], run, examiner), inputs), run, inputs)


def _with_failures_noted(work: Iterator[Event], run: Run, inputs: Inputs) -> Iterator[Event]:
    """The work; what ends it early is noted in the run with the state to go on from."""
    step = 0
    try:
        for event in work:
            step = getattr(event, "step", step)
            yield event
    except (RuntimeError, MemoryError) as e:
        if not is_out_of_memory(e):
            raise
        failure = out_of_memory(_settled_recipe(run, inputs), step)
        run.append(Failed(step=step, error=failure.message, last_good=None))
        raise failure from e
    except BakehouseError as e:
        last = find_state(run.checkpoints).newest
        place = str(last.path.relative_to(run.folder)) if last else None
        run.append(Failed(step=step, error=str(e), last_good=place))
        if last and not e.hint:
            e.hint = f"the last good state is {last.path}"
        raise


def _noted(run: Run, work: Iterator[Event], inputs: Inputs) -> Iterator[Event]:
    """Passes events on, and notes them in the run's folder."""
    board = TensorBoard(run) if inputs.plan.recipe.save.tensorboard else None
    for event in work:
        if isinstance(event, Started):
            damaged = run.rewind(event.step)
            if damaged:
                run.append(lost := _lost_history(run, damaged))
                yield lost
            if board:
                board.rewind(event.step)
        run.append(event)
        if board:
            board.note(event)
        yield event
    if board:
        board.close()


def _lost_history(run: Run, lines: int) -> Warned:
    what = f"{run.events}: {counted(lines, 'damaged line')} dropped"
    return Warned(message=f"{what}; curves may have gaps, the training is not affected")


def _work(
    inputs: Inputs, notes: Sequence[str], run: Run, new_examiner: NewExaminer | None
) -> Generator[Event, None, None]:
    last, damage = newest_state(run)
    yield from (Warned(message=m) for m in [*notes, *damage])
    inputs, plan = yield from _settled(inputs, run)
    recipe = plan.recipe
    began = time.time()
    final = WeightsWriter.path_of(plan, run, recipe.title)
    if last:
        yield from _check_weights(run, last, final)
    if last and final.exists() and (last.step >= plan.steps or last.ended):
        yield Finished(step=last.step, seconds=0.0, weights=str(final.relative_to(run.folder)))
        return
    device = torch.device(pick_device(recipe.train.device))
    precision = pick_precision(recipe.train.precision, str(device))
    examiner = new_examiner(recipe, run) if new_examiner and recipe.stop.when == "learned" else None
    yield Progress(what="loading the base model", done=0, total=1)
    model, helpers = load_base(recipe, device, precision)
    yield Progress(what="loading the base model", done=1, total=1)
    inputs = with_base(run, inputs, model)
    yield from (Warned(message=m) for m in [*plan.warnings, *model.notes, *cut_prompts(recipe, model)])
    writer = WeightsWriter(plan, model, run, began)
    hooks = _hooks(plan, run, model, writer, examiner)
    resumed = Resumed(run, inputs, last)
    parts, state = yield from prepare(plan, model, precision=precision, hooks=hooks, helpers=helpers, resumed=resumed)
    yield Started(run=str(run.folder), step=state.step, steps=plan.steps, epochs=plan.epochs, device=str(device))
    if state.step == 0 and recipe.sample.at_start:
        yield from make_samples(recipe, model, state.adapter, run, 0)
    if examiner:
        yield from examiner.begin(drawer(recipe, model, state))
    yield from train(parts, state)
    yield from writer.save(state, recipe.title)
    save_state(state, run.checkpoints)
    yield Finished(step=state.step, seconds=time.time() - began, weights=str(final.relative_to(run.folder)))


def _check_weights(run: Run, last: Checkpoint, final: Path) -> Iterator[Event]:
    """Names weights that are damaged. The last ones are moved away: they are saved again from the last state."""
    for path in changed_weights(run, last):
        what = f"{path} was changed or damaged after it was saved (its sha256 does not match)"
        if path == final or final in path.parents:
            if final.exists():
                what += f"; it was moved to {run.set_aside(final)}, and is saved again from {last.path}"
            yield Warned(message=what)
        else:
            yield Warned(message=f"{what}; the training does not depend on it")


def _settled(inputs: Inputs, run: Run) -> Generator[Event, None, tuple[Inputs, Plan]]:
    """The plan with a number for its batch. What was found out once holds for the run, whatever is free tomorrow."""
    plan = inputs.plan
    if plan.recipe.train.batch != "auto":
        return inputs, plan
    if not inputs.batch:
        batch = yield from _found_batch(plan, run)
        found = {"batch": batch, "accumulation": plan.recipe.train.accumulation // batch}
        inputs = dataclasses.replace(inputs, batch=found).save(run)
    plan = plan.with_batch(**inputs.batch, reason="the largest that fits, found by trying")
    write_json(run.plan, plan.to_json())
    train = plan.recipe.train
    yield Noted(message=f"train.batch = {train.batch} x {train.accumulation}: the largest that fits, found by trying")
    return inputs, plan


def _settled_recipe(run: Run, inputs: Inputs) -> Recipe:
    """The recipe as it was tried: with the batch that was found, if one was."""
    with contextlib.suppress(DamagedError):
        inputs = Inputs.load(run)
    batch = inputs.batch
    return inputs.plan.with_batch(**batch, reason="").recipe if batch else inputs.plan.recipe


def _found_batch(plan: Plan, run: Run) -> Generator[Event, None, int]:
    """Loads the model for a trial and lets it go again."""
    device = torch.device(pick_device(plan.recipe.train.device))
    if device.type == "cpu":
        return (yield from largest_batch(plan, lambda _: None, device))
    name = pick_precision(plan.recipe.train.precision, str(device))
    model, _ = load_base(plan.recipe, device, name)
    precision = Precision(name, model.device)
    state = _fresh_state(plan, model, precision)
    loss = denoising_loss(plan.recipe.loss, plan.recipe.noise, model.schedule)
    trial = trial_of(plan, model, state.adapter, state.optimizer, precision, loss)
    return (yield from largest_batch(plan, trial, device))


@dataclasses.dataclass(frozen=True)
class Resumed:
    """The run that a training belongs to."""

    run: Run
    inputs: Inputs
    last: Checkpoint | None
    """The state to go on from; None at the beginning."""


def prepare(
    plan: Plan,
    model: Denoiser,
    *,
    precision: str = "fp32",
    hooks: tuple[Hook, ...] = (),
    helpers: Helpers | None = None,
    resumed: Resumed | None = None,
) -> Generator[Event, None, tuple[Parts, TrainState]]:
    """Makes class images, encodes, injects, restores: all that the loop needs, returned at the end.

    Without `resumed` the training belongs to no run: it begins at the first step.
    """
    recipe = plan.recipe
    yield from make_class_images(plan.class_images, model)
    pictures = class_pictures(plan, model)
    if recipe.noise.zero_terminal_snr:
        # Behind the class images, which show what the base draws; before all that is derived from a schedule: loss, SNR
        # weights, samples, and the settings of a saved model.
        model.use_zero_terminal_snr()
    inputs = with_class_images(resumed.run, resumed.inputs, _made(plan, pictures)) if resumed else None
    latents = LatentCache([*plan.subject_images, *(p for p, _ in pictures)], recipe.data)
    yield from latents.fill(model)
    arithmetic = Precision(precision, model.device)
    state = _fresh_state(plan, model, arithmetic)
    if resumed and inputs:
        state.inputs = inputs.digest
        if resumed.last:
            yield from (Warned(message=m) for m in restore(state, resumed.last, resumed.run, inputs))
    feeder = Feeder(plan, pictures, latents)
    prompts = PromptEncoder(
        model, state.adapter, clip_skip=recipe.model.clip_skip, chunks=recipe.model.max_tokens // 75
    )
    if helpers is not None:
        ahead = AheadOfTime(feeder, prompts, helpers)
        yield from ahead.begin(state.step)
        hooks = (*hooks, ahead)
    parts = Parts(
        plan=plan,
        model=model,
        loss=denoising_loss(recipe.loss, recipe.noise, model.schedule),
        feeder=feeder,
        prompts=prompts,
        precision=arithmetic,
        hooks=hooks,
    )
    return parts, state


def load_base(recipe: Recipe, device: torch.device, precision: str) -> tuple[Denoiser, Helpers | None]:
    """The base model; what learns stays fp32, what is frozen may be half as large.

    What shall be small on the device, or not there at all, is loaded beside it.
    """
    frozen = recipe.adapter.kind != "full"
    dtype = DTYPES[precision] if frozen else torch.float32
    beside = wants_offload(recipe.train.offload, device) or recipe.model.quantize
    place = "cpu" if beside else str(device)
    spec = recipe.model
    model = load_model(spec.base, device=place, dtype=dtype, vae=spec.vae, prediction=spec.prediction)
    return model, equip(model, recipe, device)


def equip(model: Denoiser, recipe: Recipe, device: torch.device) -> Helpers | None:
    """Brings a loaded model onto its device as the recipe wants it: quantised, checkpointed, compiled, helpers away.

    Returns who keeps the helpers away, if anybody does. Adapters come afterwards.
    """
    train = recipe.train
    if recipe.model.quantize:
        quantize_base(model, text=recipe.adapter.text)
    if train.gradient_checkpointing:
        model.use_gradient_checkpointing()
    if train.channels_last or (train.channels_last is None and device.type in ("cpu", "cuda")):
        model.use_channels_last()
    model.use_attention(train.attention)
    if train.compile:
        model.use_compiler()
    if not wants_offload(train.offload, device):
        model.to(device)
        return None
    model.trainable_modules()["lora_unet"].to(device)
    return Helpers(model, text_learns=recipe.adapter.text)


def class_pictures(plan: Plan, model: Denoiser) -> list[tuple[PlannedImage, str]]:
    """The class images in the order's numbering, each with its caption: the user's own, then those made."""
    recipe = plan.recipe
    named = recipe.prior.prompt or next((c.class_name for c in recipe.concepts if c.class_name), "")
    own = [(i, i.record.captions[0] if i.record.captions else named) for i in plan.images if i.prior]
    made = []
    for image in plan.class_images:
        path = class_image_path(image, model)
        record = ImageRecord(path, image.width, image.height, sha256=sha256_file(path))
        made.append(
            (PlannedImage(record, unchanged_placement((image.width, image.height)), 0, prior=True), image.prompt)
        )
    return own + made


def _made(plan: Plan, pictures: Sequence[tuple[PlannedImage, str]]) -> list[PlannedImage]:
    """Of the class images those that the base model made: they come last."""
    return [image for image, _ in pictures[len(pictures) - len(plan.class_images) :]]


def _fresh_state(plan: Plan, model: Denoiser, precision: Precision) -> TrainState:
    """An adapter that has learned nothing, and its optimizer."""
    recipe = plan.recipe
    generator = torch.Generator().manual_seed(recipe.seed)
    adapter: Adapter = inject(recipe.adapter, model.trainable_modules(), generator=generator)
    adapter.to(model.device)
    if isinstance(adapter, FullAdapter) and recipe.prior.target == "base" and plan.order.prior_buckets:
        adapter.keep_base()
    adapter.train()
    spec = recipe.optimizer
    groups = adapter.parameter_groups(spec.lr or spec.row.lr, spec.text_lr)
    optimizer = spec.build(groups)
    for group in optimizer.param_groups:
        group.setdefault("initial_lr", group["lr"])
    if recipe.train.fused_backward:
        precision.step_on_the_way(optimizer, list(adapter.parameters()))
    ema = [p.detach().clone() for p in adapter.parameters()] if recipe.train.ema else []
    return TrainState(0, adapter, optimizer, ema, precision)


def _hooks(plan: Plan, run: Run, model: Denoiser, writer: WeightsWriter, examiner: Examiner | None) -> tuple[Hook, ...]:
    """Samples, weights, their judgement, state: in this order, so that a state is only there when all before it is."""
    recipe = plan.recipe
    last_state = time.monotonic()

    def samples(state: TrainState) -> Iterator[Event]:
        if _due(state.step, plan, recipe.sample.every_epochs, recipe.sample.every_steps):
            with averaged(state):
                yield from make_samples(recipe, model, state.adapter, run, state.step)

    def weights(state: TrainState) -> Iterator[Event]:
        if state.step >= plan.steps or not _due(state.step, plan, recipe.save.every_epochs, recipe.save.every_steps):
            return
        number, unit = _counted(state.step, plan)
        name = f"{recipe.title}-{number:06d}" if unit == "epoch" else f"{recipe.title}-step{number:08d}"
        yield from writer.save(state, name)
        writer.prune()
        if examiner:
            path = writer.path_of(plan, run, name)
            state.ended = yield from examiner.examine(path, number, unit, drawer(recipe, model, state))
        if state.ended:
            yield Stopped(step=state.step, why=state.ended)

    def checkpoint(state: TrainState) -> Iterator[Event]:
        nonlocal last_state
        at_epoch = state.step % plan.steps_per_epoch == 0
        if at_epoch or time.monotonic() - last_state > recipe.save.state_every_seconds:
            save_state(state, run.checkpoints)
            last_state = time.monotonic()
        yield from ()

    return samples, weights, checkpoint


def _counted(step: int, plan: Plan) -> tuple[int, str]:
    """What weights saved after `step` are counted in: whole epochs, or else steps."""
    epoch, within = divmod(step, plan.steps_per_epoch)
    return (step, "step") if within else (epoch, "epoch")


def _due(step: int, plan: Plan, every_epochs: int, every_steps: int) -> bool:
    """Whether something that happens every so often happens after `step`."""
    if every_steps and step % every_steps == 0:
        return True
    epoch, within = divmod(step, plan.steps_per_epoch)
    return bool(every_epochs) and within == 0 and epoch % every_epochs == 0
