"""Whether a run can go on: its inputs are compared with their sources, and its newest whole state is found."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from bakehouse.core.errors import BakehouseError, UsageError
from bakehouse.core.files import DamagedError, read_json, sha256_file, write_json, write_text
from bakehouse.core.pluralize import listed
from bakehouse.core.run_folder import Run
from bakehouse.data.image_records import ImageSet
from bakehouse.models.denoiser import Denoiser
from bakehouse.recipe import PlannedImage, Recipe, make_plan, scan_concepts, to_toml
from bakehouse.training.run_inputs import Inputs, Source, deciding, read_sources, start_sha256
from bakehouse.training.training_state import Checkpoint, TrainState, find_state, restore_state

_SHOWN = 5
"""Names in one message."""
_OTHER = "start a new run with --run OTHER"


def open_inputs(
    run: Run, recipe: Recipe, images: ImageSet | None, planned: Inputs | None = None
) -> tuple[Inputs, list[str]]:
    """What the run in `run` is trained with, and what should be said about it; makes the folder's files if need be.

    Args:
        run: a run's folder, locked; it may be empty.
        recipe: as the user gives it now.
        images: instead of those in the recipe's folders.
        planned: what `recipe` comes to, if that is known already.

    Raises:
        UsageError: the folder belongs to another recipe, or files that the run depends on have changed.
    """
    try:
        kept = Inputs.load(run)
    except DamagedError as damage:
        inputs, notes = _begin(run, planned or Inputs.of(recipe, images), damage)
    else:
        _check_recipe_file(run, kept)
        _check_recipe(run, kept, recipe)
        inputs, notes = kept, _compare(run, kept, images)
    if not run.recipe.is_file():
        # With nothing left open: what a later version would decide otherwise stays what this run was made with.
        write_text(run.recipe, to_toml(inputs.plan))
    write_json(run.plan, inputs.plan.to_json())
    return inputs, notes


def _begin(run: Run, inputs: Inputs, damage: DamagedError) -> tuple[Inputs, list[str]]:
    """A new run; or one of a version that kept no inputs, or whose inputs are lost: as far as its other files tell."""
    notes = []
    if run.recipe.is_file():
        _refuse(run, _differences(deciding(Recipe.load(run.recipe)), deciding(inputs.plan.recipe)))
        if run.plan.is_file():
            _check_listed(run, inputs)
        last = find_state(run.checkpoints).newest
        unproven = last is not None and "inputs" in last.notes
        inputs = replace(inputs, unproven=unproven)
        notes.append(_lost_inputs(run, damage, earlier=not unproven and not run.inputs.exists()))
    if not inputs.batch and (found := run.folder / "settled.json").is_file():
        inputs = replace(inputs, batch=read_json(found))
    return inputs.save(run), notes


def _lost_inputs(run: Run, damage: DamagedError, *, earlier: bool) -> str:
    if earlier:
        return (
            f"{run.folder} was begun by an earlier version, which kept no hashes of captions, masks and base model: "
            "they are taken as they are now, and checked from now on"
        )
    moved = f", and moved to {run.set_aside(run.inputs)}" if run.inputs.exists() else ""
    return (
        f"{damage}{moved}; it is written again from the recipe and the images as they are now, which have to be those "
        "that the run's states were trained with"
    )


def _check_listed(run: Run, inputs: Inputs) -> None:
    """Compares the images with those in plan.json, which is all that earlier versions kept."""
    try:
        before = {i["path"]: i["sha256"] for i in read_json(run.plan)["images"]}
    except (BakehouseError, KeyError, TypeError):
        return  # It is written again; states that know their inputs tell whether these are right.
    now = {str(i.record.path): i.record.sha256 for i in inputs.plan.images}
    _refuse_changes(run, [(p, _change(before.get(p), now.get(p))) for p in {**before, **now}])


# --- the recipe -------------------------------------------------------------------------------------------------------


def _check_recipe_file(run: Run, kept: Inputs) -> None:
    """A run's recipe is a record of what it is trained with: edits would tell of another training."""
    if not run.recipe.is_file():
        return
    changed = list(_differences(deciding(kept.plan.recipe), deciding(Recipe.load(run.recipe))))
    if changed:
        raise UsageError(
            f"{run.recipe} was edited after the run began: {', '.join(changed)}",
            hint="undo the edit to resume (if the file is moved away it is written again), or train with the edited "
            f"recipe in a new run: bakehouse train {run.recipe} --run OTHER",
        )


def _check_recipe(run: Run, kept: Inputs, recipe: Recipe) -> None:
    """Whether the user's recipe is the run's: as given then, with nothing left open, or as planned on its images."""
    if recipe.settings(mode="json") == kept.asked or deciding(recipe) == deciding(kept.plan.recipe):
        return
    planned = make_plan(recipe, kept.raw_images()).recipe
    _refuse(run, _differences(deciding(kept.plan.recipe), deciding(planned)))


def _refuse(run: Run, differences: Iterator[str]) -> None:
    changed = list(differences)
    if changed:
        raise UsageError(
            f"{run.folder} holds a run of another recipe; it differs in: {', '.join(changed)}",
            hint="choose another folder with --run, or go on with the recipe in it: bakehouse train " + str(run.recipe),
        )


def _differences(before: Any, now: Any, path: str = "") -> Iterator[str]:
    """Dotted keys in which two settings differ, in their order, with both values."""
    if isinstance(before, dict) and isinstance(now, dict):
        for key in {**before, **now}:
            yield from _differences(before.get(key), now.get(key), f"{path}.{key}" if path else key)
    elif isinstance(before, list) and isinstance(now, list) and len(before) == len(now):
        for i, pair in enumerate(zip(before, now, strict=True)):
            yield from _differences(*pair, f"{path}.{i}")
    elif before != now:
        yield f"{path} = {_short(now)} (the run has {_short(before)})"


def _short(value: Any) -> str:
    text = "nothing" if value is None else repr(value)
    return text if len(text) <= 40 else text[:37] + "..."


# --- files ------------------------------------------------------------------------------------------------------------


def _compare(run: Run, kept: Inputs, images: ImageSet | None) -> list[str]:
    """Compares the run's inputs with their sources; returns what has changed there and does not matter here.

    Raises:
        UsageError: files have changed that are read again.
    """
    recipe = kept.plan.recipe
    found = images if images is not None else scan_concepts(recipe)
    before = {s.record.path: s for s in kept.sources}
    now = {s.record.path: s for s in read_sources(recipe, found)}
    changes = [(str(path), _source_change(before.get(path), now.get(path))) for path in {**before, **now}]
    _refuse_changes(run, [*changes, ("adapter.start", _change(kept.start_sha256, start_sha256(recipe)))])
    retold = [p.name for p in before if before[p].record.captions != now[p].record.captions]
    if not retold:
        return []
    return [
        f"captions have changed since this run began: {listed(retold, _SHOWN)}. It goes on with those it began with; "
        f"to train on the new ones, {_OTHER}"
    ]


def _source_change(before: Source | None, now: Source | None) -> str:
    if before is None or now is None:
        return "added" if before is None else "gone or unreadable"
    if before.record.sha256 != now.record.sha256:
        return "changed"
    if before.mask_sha256 != now.mask_sha256:
        return f"its mask was {_change(before.mask_sha256, now.mask_sha256)}"
    return "its face box in metadata.jsonl was changed" if before.face != now.face else ""


def _change(before: str | None, now: str | None) -> str:
    if before == now:
        return ""
    return "added" if not before else "removed" if not now else "changed"


def _refuse_changes(run: Run, changes: Sequence[tuple[str, str]]) -> None:
    """Raises UsageError where a file has changed; `changes` are paths and what happened to them, empty for nothing."""
    changed = [f"{path} ({what})" for path, what in changes if what]
    if changed:
        raise UsageError(
            f"{run.folder}: the images have changed since this run began: {listed(changed, _SHOWN)}",
            hint=f"put them back as they were to go on, or {_OTHER}",
        )


def with_base(run: Run, inputs: Inputs, model: Denoiser) -> Inputs:
    """The inputs with the base model's hashes: noted where a run begins, compared where it goes on.

    Raises:
        UsageError: it is another model than the run began with.
    """
    now = dict(model.origin)
    if not inputs.base:
        return replace(inputs, base=now).save(run)
    if inputs.base != now:
        files = [name for name in {**inputs.base, **now} if inputs.base.get(name) != now.get(name)]
        raise UsageError(
            f"{run.folder}: the base model {model.name} has changed since this run began: {listed(files, _SHOWN)}",
            hint=f"put its files back as they were to go on, or {_OTHER}",
        )
    return inputs


def with_class_images(run: Run, inputs: Inputs, pictures: Sequence[PlannedImage]) -> Inputs:
    """The inputs with the hashes of class images: noted where a run begins, compared where it goes on.

    Raises:
        UsageError: some are not the pictures that the run began with.
    """
    paths = {"/".join(p.record.path.parts[-2:]): p.record for p in pictures}
    now = {name: record.sha256 for name, record in paths.items()}
    if not inputs.class_images:
        return replace(inputs, class_images=now).save(run) if now else inputs
    changed = [str(paths[name].path) for name in now if inputs.class_images.get(name) != now[name]]
    if changed:
        raise UsageError(
            f"{run.folder}: class images are not those that this run began with: {listed(changed, _SHOWN)}",
            hint=f"put them back as they were to go on, or {_OTHER}",
        )
    return inputs


# --- the state --------------------------------------------------------------------------------------------------------


def newest_state(run: Run) -> tuple[Checkpoint | None, list[str]]:
    """The state to go on from, None at the beginning, and what should be said about it. Damaged ones are set aside.

    Raises:
        BakehouseError: there are states, and none is whole.
    """
    found = find_state(run.checkpoints)
    if found.newest is None and found.damaged:
        raise BakehouseError(
            f"{run.folder}: no state to go on from is whole: " + "; ".join(map(str, found.damaged)),
            hint=f"restore {run.checkpoints} from a copy, or remove that folder: the same command then trains from the "
            "first step, to the same weights",
        )
    notes = []
    for damage in found.damaged:
        notes.append(f"{damage}; the state is not used, it was moved to {run.set_aside(damage.path.parent)}")
    if found.newest is not None and found.damaged:
        notes.append(f"resuming from {found.newest.path}, the newest state that is whole")
    if found.newest is not None and not found.newest.hashed:
        notes.append(
            f"{found.newest.path} was saved by an earlier version, without hashes: damage to it is not noticed"
        )
    return found.newest, notes


def changed_weights(run: Run, checkpoint: Checkpoint) -> list[Path]:
    """Files in weights/ that are not what was saved. What was deleted is no news; parts of a model's folder are."""
    found = []
    for name, digest in checkpoint.saved.items():
        path = run.weights / name
        whole = run.weights / Path(name).parts[0]
        if whole.exists() and not (path.is_file() and sha256_file(path) == digest):
            found.append(path)
    return found


def restore(state: TrainState, checkpoint: Checkpoint, run: Run, inputs: Inputs) -> list[str]:
    """Puts a checkpoint into `state`; returns what should be said about it.

    Raises:
        BakehouseError: it belongs to a training with other inputs.
    """
    if checkpoint.notes.get("inputs", state.inputs) != state.inputs:
        raise BakehouseError(
            f"{checkpoint.path} was trained with other inputs than {run.inputs} lists: other images, captions, "
            "settings or another base model",
            hint=f"put the run's own files back, or {_OTHER}",
        )
    restore_state(state, checkpoint)
    if inputs.unproven:
        replace(inputs, unproven=False).save(run)
    before, threads = checkpoint.notes["threads"], torch.get_num_threads()
    if all(p.device.type == "cpu" for p in state.parameters()) and before != threads:
        return [
            f"this run used {before} threads before and uses {threads} now: the result will differ in its last bits"
        ]
    return []
