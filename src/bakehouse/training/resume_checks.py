"""Checks of a run that is resumed: recipe, images, base model and class images are those that it was started with."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from bakehouse.core.errors import BakehouseError, UsageError
from bakehouse.core.files import read_json
from bakehouse.core.message_text import listed
from bakehouse.core.run_folder import Run
from bakehouse.data.image_records import ImageSet
from bakehouse.models.denoiser import Denoiser
from bakehouse.recipe import Recipe, make_plan, scan_concepts
from bakehouse.training.class_images import CaptionedImage
from bakehouse.training.run_inputs import (
    RunInputs,
    SourceImage,
    decisive_settings,
    read_sources,
    start_sha256,
    without_devices,
)

_LISTED = 5
"""Names in one message."""
NEW_RUN = "start a new run with --run OTHER"


# --- the recipe -------------------------------------------------------------------------------------------------------


def check_recipe_file(run: Run, settings: dict[str, Any]) -> None:
    """Check that a run's recipe.toml was not edited; `settings` are the decisive ones that the run was started with.

    Raises:
        UsageError: it was.
    """
    if not run.recipe.is_file():
        return
    changed = list(_differences(settings, decisive_settings(Recipe.load(run.recipe))))
    if changed:
        raise UsageError(
            f"{run.recipe} was edited after the run was started: {', '.join(changed)}",
            hint="undo the edit to resume (if the file is moved away, it is written again), or train with the edited "
            f"recipe in a new run: bakehouse train {shlex.quote(str(run.recipe))} --run OTHER",
        )


def check_recipe(run: Run, inputs: RunInputs, recipe: Recipe) -> None:
    """Check that `recipe` is the run's: as the user gave it then, as resolved, or with the same plan on its images.

    Raises:
        UsageError: it is another recipe.
    """
    settings = decisive_settings(inputs.plan.recipe)
    if (
        without_devices(recipe.settings(mode="json")) == without_devices(inputs.requested)
        or decisive_settings(recipe) == settings
    ):
        return
    check_settings(run, settings, decisive_settings(make_plan(recipe, inputs.raw_images()).recipe))


def check_settings(run: Run, before: dict[str, Any], now: dict[str, Any]) -> None:
    """Check that the decisive settings of two recipes are the same.

    Raises:
        UsageError: they are not; names each difference.
    """
    changed = list(_differences(before, now))
    if changed:
        raise UsageError(
            f"{run.folder} holds a run of another recipe; it differs in: {', '.join(changed)}",
            hint="choose another folder with --run, or resume with the run's own recipe: "
            f"bakehouse train {shlex.quote(str(run.recipe))}",
        )


def _differences(before: Any, now: Any, path: str = "") -> Iterator[str]:
    """Yield the dotted keys in which two settings differ, in their order, with both values."""
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


def check_sources(run: Run, inputs: RunInputs, images: ImageSet | None) -> list[str]:
    """Compare the run's images with their files now, and return warnings of harmless changes.

    Raises:
        UsageError: files have changed that are read again.
    """
    recipe = inputs.plan.recipe
    found = images if images is not None else scan_concepts(recipe)
    before = {s.record.path: s for s in inputs.sources}
    now = {s.record.path: s for s in read_sources(recipe, found)}
    changes = [(str(path), _source_change(before.get(path), now.get(path))) for path in {**before, **now}]
    _refuse_changes(run, [*changes, ("adapter.start", _change(inputs.start_sha256, start_sha256(recipe)))])
    recaptioned = [p.name for p in before if before[p].record.captions != now[p].record.captions]
    if not recaptioned:
        return []
    return [
        f"captions have changed since this run was started: {listed(recaptioned, _LISTED)}. The run keeps the "
        f"captions that it was started with; to train on the new ones, {NEW_RUN}"
    ]


def check_listed_images(run: Run, inputs: RunInputs) -> None:
    """Compare the images with those in plan.json, which is all that earlier versions kept.

    Raises:
        UsageError: some have changed.
    """
    try:
        before = {i["path"]: i["sha256"] for i in read_json(run.plan)["images"]}
    except (BakehouseError, KeyError, TypeError):
        return  # plan.json is written again; a saved state with a digest of its inputs still verifies these.
    now = {str(i.record.path): i.record.sha256 for i in inputs.plan.images}
    _refuse_changes(run, [(p, _change(before.get(p), now.get(p))) for p in {**before, **now}])


def _source_change(before: SourceImage | None, now: SourceImage | None) -> str:
    if before is None or now is None:
        return "added" if before is None else "missing or unreadable"
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
    """Raise UsageError if a file has changed; `changes` are paths and what changed, empty for nothing."""
    changed = [f"{path} ({what})" for path, what in changes if what]
    if changed:
        raise UsageError(
            f"{run.folder}: the images have changed since this run was started: {listed(changed, _LISTED)}",
            hint=f"restore them to resume, or {NEW_RUN}",
        )


def check_base(run: Run, inputs: RunInputs, model: Denoiser) -> RunInputs:
    """Compare the base model's hashes with the run's, or save them in a new run; returns the inputs with them.

    Raises:
        UsageError: the base model has changed.
    """
    now = dict(model.origin)
    if not inputs.base:
        return replace(inputs, base=now).save(run)
    if inputs.base != now:
        changed = [name for name in {**inputs.base, **now} if inputs.base.get(name) != now.get(name)]
        files = listed(changed, _LISTED)
        raise UsageError(
            f"{run.folder}: the base model {model.name} has changed since this run was started: {files}",
            hint=f"restore its files to resume, or {NEW_RUN}",
        )
    return inputs


def check_class_images(run: Run, inputs: RunInputs, class_images: Sequence[CaptionedImage]) -> RunInputs:
    """Compare generated class images with the run's hashes, or save these in a new run; returns the inputs with them.

    Raises:
        UsageError: some have changed.
    """
    count = len(inputs.plan.class_images)
    records = [c.image.record for c in class_images[len(class_images) - count :]]  # behind the user's own
    paths = {"/".join(r.path.parts[-2:]): r for r in records}
    now = {name: record.sha256 for name, record in paths.items()}
    if not inputs.class_images:
        return replace(inputs, class_images=now).save(run) if now else inputs
    changed = [str(paths[name].path) for name in now if inputs.class_images.get(name) != now[name]]
    if changed:
        raise UsageError(
            f"{run.folder}: class images have changed since this run was started: {listed(changed, _LISTED)}",
            hint=f"restore them to resume, or {NEW_RUN}",
        )
    return inputs
