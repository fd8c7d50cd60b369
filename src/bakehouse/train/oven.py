"""The straight line from a recipe to a finished run; the same call again goes on where it stopped."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from bakehouse.adapters import Adapter, FullAdapter, inject
from bakehouse.core.errors import BakehouseError, UsageError
from bakehouse.core.events import Event, Failed, Finished, Noted, Progress, Started, Stopped, Warned
from bakehouse.core.files import read_json, write_json, write_text
from bakehouse.core.lock import locked
from bakehouse.core.run import Run
from bakehouse.data.buckets import whole
from bakehouse.data.records import ImageRecord, ImageSet
from bakehouse.families.denoiser import Denoiser
from bakehouse.families.load import load_model
from bakehouse.families.quantize import quantize_base
from bakehouse.families.text_to_image import model_key
from bakehouse.losses import denoising_loss
from bakehouse.recipe import Plan, PlannedImage, Recipe, make_plan, scan_concepts, to_toml
from bakehouse.recipe.machine import pick_device, pick_precision
from bakehouse.train.averaging import averaged
from bakehouse.train.checkpoint import TrainState, checkpoints, ended_at, restore_state, save_state
from bakehouse.train.class_images import class_image_path, make_class_images
from bakehouse.train.feeder import Feeder
from bakehouse.train.latents import LatentCache
from bakehouse.train.loop import Hook, Parts, train
from bakehouse.train.memory import is_out_of_memory, largest_batch, out_of_memory, trial_of
from bakehouse.train.offload import AheadOfTime, Helpers, wants_offload
from bakehouse.train.precision import DTYPES, Precision
from bakehouse.train.prompts import PromptEncoder
from bakehouse.train.samples import cut_prompts, drawer, make_samples
from bakehouse.train.stopping import Examiner, NewExaminer, check_examiner
from bakehouse.train.tensorboard import TensorBoard
from bakehouse.train.weights import WeightsWriter


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
    plan = make_plan(recipe, images if images is not None else scan_concepts(recipe))
    check_examiner(recipe, examiner)
    with locked(run.folder, "training") as told:
        claim(run, plan)
        run.sweep()
        yield from _with_failures_noted(dataclasses.replace(plan, warnings=(*told, *plan.warnings)), run, examiner)


def _with_failures_noted(plan: Plan, run: Run, examiner: NewExaminer | None) -> Iterator[Event]:
    """The work; what ends it early is noted in the run with the state to go on from."""
    step = 0
    try:
        for event in _bake(plan, run, examiner):
            step = getattr(event, "step", step)
            yield event
    except (RuntimeError, MemoryError) as e:
        if not is_out_of_memory(e):
            raise
        failure = out_of_memory(_settled_recipe(plan, run), step)
        run.append(Failed(step=step, error=failure.message, last_good=None))
        raise failure from e
    except BakehouseError as e:
        last = checkpoints(run.checkpoints)
        run.append(Failed(step=step, error=str(e), last_good=str(last[-1].relative_to(run.folder)) if last else None))
        if last and not e.hint:
            e.hint = f"the last good state is {last[-1]}"
        raise


def claim(run: Run, plan: Plan) -> None:
    """Makes the run's folder, or checks that it is this very run's.

    Raises:
        UsageError: the folder belongs to another recipe, or its images have changed.
    """
    facts = plan.to_json()
    if not run.recipe.is_file():
        # With nothing left open: what a later version would decide otherwise stays what this run was made with.
        write_text(run.recipe, to_toml(plan))
    elif run.plan.is_file():
        _check_images(run, read_json(run.plan)["images"], facts["images"])
    before, now = Recipe.load(run.recipe).model_dump(mode="json"), plan.recipe.model_dump(mode="json")
    changed = sorted(_differences(before, now))
    if changed:
        raise UsageError(
            f"{run.folder} holds a run of another recipe; it differs in: {', '.join(changed)}",
            hint="choose another folder with --run, or go on with the recipe in it: bakehouse train " + str(run.recipe),
        )
    if not run.plan.is_file():
        write_json(run.plan, facts)


def _check_images(run: Run, before: Sequence[Mapping[str, Any]], now: Sequence[Mapping[str, Any]]) -> None:
    old, new = ({i["path"]: i["sha256"] for i in images} for images in (before, now))
    if old != new:
        names = sorted(Path(p).name for p in old.keys() | new.keys() if old.get(p) != new.get(p))
        raise UsageError(
            f"{run.folder}: the images have changed since this run began: {', '.join(names[:5])}"
            + (f" and {len(names) - 5} more" if len(names) > 5 else ""),
            hint="put them back to go on, or choose another folder with --run to begin anew",
        )


def _differences(a: Any, b: Any, path: str = "") -> Iterator[str]:
    """Dotted keys in which two settings differ."""
    if isinstance(a, dict) and isinstance(b, dict):
        for key in a.keys() | b.keys():
            yield from _differences(a.get(key), b.get(key), f"{path}.{key}" if path else key)
    elif a != b:
        yield path


def _bake(plan: Plan, run: Run, examiner: NewExaminer | None) -> Iterator[Event]:
    """Yields events, and notes them in the run's folder."""
    board = TensorBoard(run) if plan.recipe.save.tensorboard else None
    for event in _work(plan, run, examiner):
        if isinstance(event, Started):
            run.rewind(event.step)
            if board:
                board.rewind(event.step)
        run.append(event)
        if board:
            board.note(event)
        yield event
    if board:
        board.close()


def _work(plan: Plan, run: Run, new_examiner: NewExaminer | None) -> Iterator[Event]:
    plan = yield from _settled(plan, run)
    recipe = plan.recipe
    began = time.time()
    final = WeightsWriter.path_of(plan, run, recipe.title)
    last = checkpoints(run.checkpoints)
    if last and final.exists() and (_step_of(last[-1]) >= plan.steps or ended_at(last[-1])):
        yield Finished(step=_step_of(last[-1]), seconds=0.0, weights=str(final.relative_to(run.folder)))
        return
    device = torch.device(pick_device(recipe.train.device))
    precision = pick_precision(recipe.train.precision, str(device))
    examiner = new_examiner(recipe, run) if new_examiner and recipe.stop.when == "learned" else None
    yield Progress(what="loading the base model", done=0, total=1)
    model, helpers = load_base(recipe, device, precision)
    yield Progress(what="loading the base model", done=1, total=1)
    yield from (Warned(message=m) for m in [*plan.warnings, *model.notes, *cut_prompts(recipe, model)])
    writer = WeightsWriter(plan, model, run, began)
    hooks = _hooks(plan, run, model, writer, examiner)
    parts, state = yield from prepare(plan, model, run, precision=precision, hooks=hooks, helpers=helpers)
    yield Started(run=str(run.folder), step=state.step, steps=plan.steps, epochs=plan.epochs, device=str(device))
    if state.step == 0 and recipe.sample.at_start:
        yield from make_samples(recipe, model, state.adapter, run, 0)
    if examiner:
        yield from examiner.begin(drawer(recipe, model, state))
    yield from train(parts, state)
    yield from writer.save(state, recipe.title)
    save_state(state, run.checkpoints)
    yield Finished(step=state.step, seconds=time.time() - began, weights=str(final.relative_to(run.folder)))


def _settled(plan: Plan, run: Run) -> Generator[Event, None, Plan]:
    """The plan with a number for its batch. What was found out once holds for the run, whatever is free tomorrow."""
    if plan.recipe.train.batch != "auto":
        return plan
    if not run.settled.is_file():
        batch = yield from _found_batch(plan, run)
        write_json(run.settled, {"batch": batch, "accumulation": plan.recipe.train.accumulation // batch})
    plan = plan.with_batch(**read_json(run.settled), reason="the largest that fits, found by trying")
    write_json(run.plan, plan.to_json())
    train = plan.recipe.train
    yield Noted(message=f"train.batch = {train.batch} x {train.accumulation}: the largest that fits, found by trying")
    return plan


def _settled_recipe(plan: Plan, run: Run) -> Recipe:
    """The recipe as it was tried: with the batch that was found, if one was."""
    if plan.recipe.train.batch != "auto" or not run.settled.is_file():
        return plan.recipe
    return plan.with_batch(**read_json(run.settled), reason="").recipe


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


def prepare(
    plan: Plan,
    model: Denoiser,
    run: Run,
    *,
    precision: str = "fp32",
    hooks: tuple[Hook, ...] = (),
    helpers: Helpers | None = None,
) -> Generator[Event, None, tuple[Parts, TrainState]]:
    """Makes class images, encodes, injects, restores: all that the loop needs, returned at the end."""
    recipe = plan.recipe
    yield from make_class_images(plan.class_images, model)
    pictures = class_pictures(plan, model)
    if recipe.noise.zero_terminal_snr:
        # Behind the class images, which show what the base draws; before all that is derived from a schedule: loss, SNR
        # weights, samples, and the settings of a saved model.
        model.use_zero_terminal_snr()
    latents = LatentCache([*plan.subject_images, *(p for p, _ in pictures)], recipe.data)
    yield from latents.fill(model)
    arithmetic = Precision(precision, model.device)
    state, notes = _state(plan, run, model, arithmetic)
    yield from (Warned(message=m) for m in notes)
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
    model.parts()["lora_unet"].to(device)
    return Helpers(model, text_learns=recipe.adapter.text)


def class_pictures(plan: Plan, model: Denoiser) -> list[tuple[PlannedImage, str]]:
    """The class images in the order's numbering, each with its caption: the user's own, then those made."""
    recipe = plan.recipe
    named = recipe.prior.prompt or next((c.class_name for c in recipe.concepts if c.class_name), "")
    own = [(i, i.record.captions[0] if i.record.captions else named) for i in plan.images if i.prior]
    made = []
    for image in plan.class_images:
        path = class_image_path(image, model)
        record = ImageRecord(path, image.width, image.height, sha256=image.key(model_key(model)) + f"/{image.seed}")
        made.append((PlannedImage(record, whole((image.width, image.height)), 0, prior=True), image.prompt))
    return own + made


def _fresh_state(plan: Plan, model: Denoiser, precision: Precision) -> TrainState:
    """An adapter that has learned nothing, and its optimizer."""
    recipe = plan.recipe
    generator = torch.Generator().manual_seed(recipe.seed)
    adapter: Adapter = inject(recipe.adapter, model.parts(), generator=generator)
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


def _state(plan: Plan, run: Run, model: Denoiser, precision: Precision) -> tuple[TrainState, list[str]]:
    """A fresh state, or the last checkpoint's; and what should be said about it."""
    state = _fresh_state(plan, model, precision)
    found = checkpoints(run.checkpoints)
    if not found:
        return state, []
    noted = restore_state(state, found[-1])
    threads = torch.get_num_threads()
    if model.device.type == "cpu" and noted["threads"] != threads:
        return state, [
            f"this run used {noted['threads']} threads before and uses {threads} now: "
            "the result will differ in its last bits"
        ]
    return state, []


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


def _step_of(checkpoint: Path) -> int:
    return int(checkpoint.name.removeprefix("step-"))
