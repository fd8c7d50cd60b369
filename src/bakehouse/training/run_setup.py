"""What is decided before a run trains: its folder is opened or verified, its inputs and its batch size are settled."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, replace

from bakehouse.core.events import Event, Noted
from bakehouse.core.files import DamagedError, read_json, write_json, write_text
from bakehouse.core.folder_lock import locked
from bakehouse.core.run_folder import Run
from bakehouse.data.image_records import ImageSet
from bakehouse.models.denoiser import Denoiser
from bakehouse.recipe import Plan, Recipe, plan_to_toml
from bakehouse.training.batch_size_finder import find_batch_size
from bakehouse.training.class_images import CaptionedImage
from bakehouse.training.ranks import ALONE, Ranks
from bakehouse.training.resume_checks import (
    check_base,
    check_class_images,
    check_listed_images,
    check_recipe,
    check_recipe_file,
    check_settings,
    check_sources,
)
from bakehouse.training.run_inputs import RunInputs, decisive_settings
from bakehouse.training.training_state import find_states


@dataclass
class OpenRun:
    """A run whose folder is locked by this process, or by rank 0 for all."""

    run: Run
    inputs: RunInputs
    warnings: Sequence[str]
    ranks: Ranks = ALONE
    redoes_step: bool = False
    """The run resumes from a state that was saved before all that follows its step was done."""

    @property
    def plan(self) -> Plan:
        """The run's plan, with the batch once it is found."""
        return self.inputs.resolved_plan

    def check_base(self, model: Denoiser) -> None:
        """Raise UsageError if the base model is not the one that the run was started with."""
        self._change_inputs(lambda: check_base(self.run, self.inputs, model))
        self.ranks.check_same("files of the base model", model.origin, "use the same files on all machines")

    def check_class_images(self, class_images: Sequence[CaptionedImage]) -> None:
        """Raise UsageError if generated class images are not those that the run was started with."""
        self._change_inputs(lambda: check_class_images(self.run, self.inputs, class_images))
        found = {"/".join(c.image.record.path.parts[-2:]): c.image.record.sha256 for c in class_images}
        self.ranks.check_same("class images", found, "let all machines use one cache folder (BAKEHOUSE_CACHE)")

    def confirm_inputs(self) -> None:
        """Write inputs that were reconstructed: a state of the run has their digest."""
        if self.inputs.unverified:
            self._change_inputs(lambda: replace(self.inputs, unverified=False).save(self.run))

    def keep_batch(self, batch: int, accumulation: int) -> None:
        """Write the batch that was found: it is the run's from now on."""
        found = {"batch": batch, "accumulation": accumulation}
        self._change_inputs(lambda: replace(self.inputs, batch=found).save(self.run))

    def _change_inputs(self, change: Callable[[], RunInputs]) -> None:
        """Change the inputs, and their file, in rank 0; the others take them over."""
        self.inputs = self.ranks.on_main(change)


@contextlib.contextmanager
def open_run(run: Run, recipe: Recipe, images: ImageSet | None = None, ranks: Ranks = ALONE) -> Iterator[OpenRun]:
    """Lock a run's folder, a new one or one of the same recipe, and write its recipe.toml, plan.json and inputs.json.

    Args:
        run: a folder that holds a run, or nothing yet.
        recipe: as the user gives it now.
        images: instead of those in the recipe's folders.
        ranks: rank 0 does all this, and the others receive the inputs.

    Raises:
        UsageError: the recipe cannot be trained (then no folder is made), the folder holds a run of another recipe, or
            files that the run depends on have changed.
        BakehouseError: another process trains in the folder.
    """
    with contextlib.ExitStack() as stack:
        inputs, warnings = ranks.on_main(lambda: stack.enter_context(_opened(run, recipe, images)))
        yield OpenRun(run, inputs, warnings, ranks)


@contextlib.contextmanager
def _opened(run: Run, recipe: Recipe, images: ImageSet | None) -> Iterator[tuple[RunInputs, list[str]]]:
    """Hold the lock of a run's folder; gives its inputs, and warnings."""
    planned = None if run.inputs.exists() else RunInputs.from_recipe(recipe, images)
    with locked(run.folder, "training") as lock_warnings:
        run.remove_partial_files()
        try:
            inputs = RunInputs.load(run)
        except DamagedError as damage:
            inputs, warnings = _start(run, planned or RunInputs.from_recipe(recipe, images), damage)
        else:
            check_recipe_file(run, decisive_settings(inputs.plan.recipe))
            check_recipe(run, inputs, recipe)
            warnings = check_sources(run, inputs, images)
        if not run.recipe.is_file():
            # Resolved, so that a later version with other defaults trains and evaluates this run the same.
            write_text(run.recipe, plan_to_toml(inputs.plan))
        write_json(run.plan, inputs.plan.to_json())
        yield inputs, [*lock_warnings, *warnings]


def _start(run: Run, inputs: RunInputs, damage: DamagedError) -> tuple[RunInputs, list[str]]:
    """Return the inputs of a new run; or of one whose inputs.json is lost, checked against its other files."""
    warnings = []
    if run.recipe.is_file():
        before, now = (decisive_settings(recipe) for recipe in (Recipe.load(run.recipe), inputs.plan.recipe))
        check_settings(run, before, now)
        if run.plan.is_file():
            check_listed_images(run, inputs)
        last = find_states(run.states).newest
        unverified = last is not None and "inputs" in last.notes
        inputs = replace(inputs, unverified=unverified)
        warnings.append(_lost_inputs(run, damage, earlier=not unverified and not run.inputs.exists()))
    if not inputs.batch and (found := run.folder / "settled.json").is_file():  # as earlier versions kept it
        inputs = replace(inputs, batch=read_json(found))
    return inputs.save(run), warnings


def _lost_inputs(run: Run, damage: DamagedError, *, earlier: bool) -> str:
    if earlier:
        return (
            f"{run.folder} was started by an earlier version, which saved no hashes of captions, masks and base model: "
            "they are taken as they are now, and checked from now on"
        )
    moved = f", and moved to {run.set_aside(run.inputs)}" if run.inputs.exists() else ""
    return (
        f"{damage}{moved}; it is written again from the recipe and the images as they are now, which must be those "
        "that the run's states were trained with"
    )


def resolve_batch_size(opened: OpenRun) -> Generator[Event, None, Plan]:
    """Return the run's plan with a number for its batch; one that was found once is the run's from then on."""
    plan = opened.inputs.plan
    if plan.recipe.train.batch != "auto":
        return plan
    ranks = opened.ranks
    if not opened.inputs.batch:
        batch = ranks.smallest((yield from find_batch_size(plan, ranks.count)))
        opened.keep_batch(batch, plan.recipe.train.accumulation // batch)
    ranks.on_main(lambda: write_json(opened.run.plan, opened.plan.to_json()))
    train = opened.plan.recipe.train
    yield Noted(message=f"train.batch = {train.batch} x {train.accumulation}: the largest that fits, found by trying")
    return opened.plan
