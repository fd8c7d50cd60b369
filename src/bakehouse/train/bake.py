"""The straight line from a recipe to a finished run; the same call again goes on where it stopped."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import torch

from bakehouse.adapters import Adapter, FullAdapter, inject
from bakehouse.core.errors import BakehouseError, UsageError
from bakehouse.core.events import Event, Failed, Finished, Progress, Started, Warned
from bakehouse.core.files import read_json, write_json, write_text
from bakehouse.core.lock import locked
from bakehouse.core.run import Run
from bakehouse.data.buckets import whole
from bakehouse.data.records import ImageRecord, ImageSet
from bakehouse.families.denoiser import Denoiser
from bakehouse.families.load import load_model
from bakehouse.losses import denoising_loss
from bakehouse.recipe import Plan, PlannedImage, Recipe, make_plan, recipe_to_toml, scan_concepts
from bakehouse.recipe.estimate import pick_device
from bakehouse.train.checkpoint import TrainState, checkpoints, restore_state, save_state
from bakehouse.train.averaging import averaged
from bakehouse.train.class_images import class_image_path, make_class_images
from bakehouse.train.feeder import Feeder
from bakehouse.train.latents import LatentCache
from bakehouse.train.loop import Hook, Parts, train
from bakehouse.train.precision import DTYPES, Precision, pick_precision
from bakehouse.train.prompts import PromptEncoder
from bakehouse.train.samples import make_samples
from bakehouse.train.tensorboard import TensorBoard
from bakehouse.train.weights import WeightsWriter


def bake(recipe: Recipe, folder: Path | str, images: ImageSet | None = None) -> Iterator[Event]:
    """Trains `recipe` into the run folder `folder`, noting every event in its events.jsonl.

    Raises:
        UsageError: the folder holds another run, or the recipe cannot be trained.
        BakehouseError: another process is at work in the folder, or the work failed; what was saved stays, and the
            same call goes on from it.
    """
    run = Run(Path(folder))
    plan = make_plan(recipe, images if images is not None else scan_concepts(recipe))
    with locked(run.folder, "training") as told:
        claim(run, recipe, plan)
        run.sweep()
        yield from _with_failures_noted(dataclasses.replace(plan, warnings=(*told, *plan.warnings)), run)


def _with_failures_noted(plan: Plan, run: Run) -> Iterator[Event]:
    """The work; what ends it early is noted in the run with the state to go on from."""
    step = 0
    try:
        for event in _bake(plan, run):
            step = getattr(event, "step", step)
            yield event
    except torch.OutOfMemoryError as e:
        run.append(Failed(step=step, error="out of memory", last_good=None))
        raise BakehouseError("the device is out of memory", hint=smaller(plan.recipe)) from e
    except BakehouseError as e:
        last = checkpoints(run.checkpoints)
        run.append(Failed(step=step, error=str(e), last_good=str(last[-1].relative_to(run.folder)) if last else None))
        if last and not e.hint:
            e.hint = f"the last good state is {last[-1]}"
        raise


def smaller(recipe: Recipe) -> str:
    """The first setting that would fit where this recipe did not, dearest last."""
    train = recipe.train
    batch = train.batch or 1
    if not train.gradient_checkpointing:
        return "try --set train.gradient_checkpointing=true: a third slower, far less memory"
    if batch > 1:
        fewer = f"train.batch={batch // 2} --set train.accumulation={train.accumulation * batch // (batch // 2)}"
        return f"try --set {fewer}: the same gradients, half the memory"
    if recipe.adapter.kind == "full":
        return "a full fine-tune keeps four numbers a weight: try --set adapter.kind=lora"
    if recipe.adapter.text:
        return "try --set adapter.text=false: the text encoder is then needed once a caption only"
    return f"try a smaller picture: --set buckets.resolution={recipe.buckets.resolution * 3 // 4 // 64 * 64}"


def claim(run: Run, recipe: Recipe, plan: Plan) -> None:
    """Makes the run's folder, or checks that it is this very run's.

    Raises:
        UsageError: the folder belongs to another recipe, or its images have changed.
    """
    facts = plan.to_json()
    if not run.recipe.is_file():
        write_text(run.recipe, recipe_to_toml(recipe))
        write_json(run.plan, facts)
        return
    before, now = Recipe.load(run.recipe).model_dump(mode="json"), recipe.model_dump(mode="json")
    changed = sorted(_differences(before, now))
    if changed:
        raise UsageError(
            f"{run.folder} holds a run of another recipe; it differs in: {', '.join(changed)}",
            hint="choose another folder with --run, or go on with the recipe in it: bakehouse train " + str(run.recipe),
        )
    if not run.plan.is_file():
        write_json(run.plan, facts)
        return
    old = {i["path"]: i["sha256"] for i in read_json(run.plan)["images"]}
    new = {i["path"]: i["sha256"] for i in facts["images"]}
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


def _bake(plan: Plan, run: Run) -> Iterator[Event]:
    """Yields events, and notes them in the run's folder."""
    board = TensorBoard(run) if plan.recipe.save.tensorboard else None
    for event in _work(plan, run):
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


def _work(plan: Plan, run: Run) -> Iterator[Event]:
    recipe = plan.recipe
    began = time.time()
    final = WeightsWriter.path_of(plan, run, recipe.title)
    last = checkpoints(run.checkpoints)
    if last and _step_of(last[-1]) >= plan.steps and final.exists():
        yield Finished(step=plan.steps, seconds=0.0, weights=str(final.relative_to(run.folder)))
        return
    device = torch.device(pick_device(recipe.train.device))
    precision = pick_precision(recipe.train.precision, device)
    yield Progress(what="loading the base model", done=0, total=1)
    model = _load(recipe, device, precision)
    yield Progress(what="loading the base model", done=1, total=1)
    yield from (Warned(message=m) for m in [*plan.warnings, *getattr(model, "notes", ())])
    writer = WeightsWriter(plan, model, run, began)
    parts, state = yield from prepare(plan, model, run, precision=precision, hooks=_hooks(plan, run, model, writer))
    yield Started(run=str(run.folder), step=state.step, steps=plan.steps, epochs=plan.epochs, device=str(device))
    if state.step == 0 and recipe.sample.at_start:
        yield from make_samples(recipe, model, state.adapter, run, 0)
    yield from train(parts, state)
    yield from writer.save(state, recipe.title)
    save_state(state, run.checkpoints)
    yield Finished(step=state.step, seconds=time.time() - began, weights=str(final.relative_to(run.folder)))


def prepare(
    plan: Plan, model: Denoiser, run: Run, *, precision: str = "fp32", hooks: tuple[Hook, ...] = ()
) -> Generator[Event, None, tuple[Parts, TrainState]]:
    """Makes class images, encodes, injects, restores: all that the loop needs, returned at the end."""
    recipe = plan.recipe
    yield from make_class_images(plan.class_images, model)
    pictures = class_pictures(plan, model)
    latents = LatentCache([*plan.subject_images, *(p for p, _ in pictures)], recipe.data)
    yield from latents.fill(model)
    state, notes = _state(plan, run, model)
    yield from (Warned(message=m) for m in notes)
    schedule = model.schedule
    if recipe.noise.zero_terminal_snr:
        # Before anything is derived from it, so that weights use the SNR that is trained with.
        schedule = schedule.rescaled_to_zero_terminal_snr()
    parts = Parts(
        plan=plan,
        model=model,
        loss=denoising_loss(recipe.loss, recipe.noise, schedule),
        feeder=Feeder(plan, pictures, latents),
        prompts=PromptEncoder(
            model,
            state.adapter,
            clip_skip=recipe.model.clip_skip,
            chunks=recipe.model.max_tokens // 75,
        ),
        precision=Precision(precision, model.device),
        hooks=hooks,
    )
    return parts, state


def _load(recipe: Recipe, device: torch.device, precision: str) -> Denoiser:
    """The base model; what learns stays fp32, what is frozen may be half as large."""
    frozen = recipe.adapter.kind != "full"
    dtype = DTYPES[precision] if frozen else torch.float32
    model = load_model(recipe.model.base, device=str(device), dtype=dtype, vae=recipe.model.vae)
    train = recipe.train
    if train.gradient_checkpointing:
        model.use_gradient_checkpointing()
    if train.channels_last or (train.channels_last is None and device.type == "cuda"):
        model.use_channels_last()
    model.use_attention(train.attention)
    if train.compile:
        model.use_compiler()
    return model


def class_pictures(plan: Plan, model: Denoiser) -> list[tuple[PlannedImage, str]]:
    """The class images in the order's numbering, each with its caption: the user's own, then those made."""
    recipe = plan.recipe
    named = recipe.prior.prompt or next((c.class_name for c in recipe.concepts if c.class_name), "")
    own = [(i, i.record.captions[0] if i.record.captions else named) for i in plan.images if i.prior]
    made = []
    for image in plan.class_images:
        path = class_image_path(image, model)
        record = ImageRecord(path, image.width, image.height, sha256=image.key(model.fingerprint) + f"/{image.seed}")
        made.append((PlannedImage(record, whole((image.width, image.height)), 0, prior=True), image.prompt))
    return own + made


def _state(plan: Plan, run: Run, model: Denoiser) -> tuple[TrainState, list[str]]:
    """A fresh state, or the last checkpoint's; and what should be said about it."""
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
    ema = [p.detach().clone() for p in adapter.parameters()] if recipe.train.ema else []
    state = TrainState(0, adapter, optimizer, ema)
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


def _hooks(plan: Plan, run: Run, model: Denoiser, writer: WeightsWriter) -> tuple[Hook, ...]:
    """Samples, weights, state: in this order, so that a state is only there when all before it is."""
    recipe = plan.recipe
    last_state = time.monotonic()

    def samples(state: TrainState) -> Iterator[Event]:
        if _due(state.step, plan, recipe.sample.every_epochs, recipe.sample.every_steps):
            with averaged(state):
                yield from make_samples(recipe, model, state.adapter, run, state.step)

    def weights(state: TrainState) -> Iterator[Event]:
        if state.step < plan.steps and _due(state.step, plan, recipe.save.every_epochs, recipe.save.every_steps):
            at_epoch = state.step % plan.steps_per_epoch == 0
            suffix = f"{state.step // plan.steps_per_epoch:06d}" if at_epoch else f"step{state.step:08d}"
            yield from writer.save(state, f"{recipe.title}-{suffix}")
            writer.prune()

    def checkpoint(state: TrainState) -> Iterator[Event]:
        nonlocal last_state
        at_epoch = state.step % plan.steps_per_epoch == 0
        if at_epoch or time.monotonic() - last_state > recipe.save.state_every_seconds:
            save_state(state, run.checkpoints)
            last_state = time.monotonic()
        yield from ()

    return samples, weights, checkpoint


def _due(step: int, plan: Plan, every_epochs: int, every_steps: int) -> bool:
    """Whether something that happens every so often happens after `step`."""
    if every_steps and step % every_steps == 0:
        return True
    epoch, within = divmod(step, plan.steps_per_epoch)
    return bool(every_epochs) and within == 0 and epoch % every_epochs == 0


def _step_of(checkpoint: Path) -> int:
    return int(checkpoint.name.removeprefix("step-"))
