"""A plan: the recipe with every setting decided, the images in their buckets, steps and cost. Loads no weights."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bakehouse.core.message_text import counted
from bakehouse.core.setting_needs import idle_settings, without_effect
from bakehouse.data.buckets import BucketRow, Placement, assign, bucket_table, bucket_warnings
from bakehouse.data.dataset_formats import METADATA_FILES, read_dataset
from bakehouse.data.image_records import ImageRecord, ImageSet
from bakehouse.data.scan import scan
from bakehouse.models.damaged_files import check_model
from bakehouse.models.load import resolve_model
from bakehouse.models.model_facts import model_facts
from bakehouse.recipe.base_validation import adapted_networks, base_errors, prediction_doubts
from bakehouse.recipe.class_image_list import ClassImage, class_images
from bakehouse.recipe.compile_recipe_captions import compiled_images, inseparable_trigger_messages
from bakehouse.recipe.cost_estimate import Estimate, estimate
from bakehouse.recipe.decisions import Decision, Derivation
from bakehouse.recipe.embedding_plan import embedding_findings
from bakehouse.recipe.epoch_order import EpochOrder
from bakehouse.recipe.fact_lookup import lookup_for
from bakehouse.recipe.group_plan import GroupDerivation
from bakehouse.recipe.image_groups import group_errors, group_warnings, is_grouped, with_declared_triggers
from bakehouse.recipe.recipe import Recipe
from bakehouse.recipe.slider_plan import SliderDerivation
from bakehouse.recipe.validation import errors_for, refuse, setting_errors, too_long, warnings_for


@dataclass(frozen=True, slots=True)
class PlannedImage:
    """An image, its bucket, and how often an epoch shows it (0 for class images: the epoch order draws them)."""

    record: ImageRecord
    placement: Placement
    repeats: int
    prior: bool = False


@dataclass(frozen=True)
class Plan:
    """All decisions made before a training begins."""

    recipe: Recipe
    """The recipe with every setting decided."""
    decisions: tuple[Decision, ...]
    warnings: tuple[str, ...]
    images: tuple[PlannedImage, ...]
    """Subject images, then class images of the user's own folder."""
    class_images: tuple[ClassImage, ...]
    """To be generated with the base model, or found in the cache."""
    epochs: int
    steps_per_epoch: int
    steps: int
    estimate: Estimate
    idle: tuple[tuple[str, str], ...] = ()
    """Settings that do nothing in this run whatever their value is, each with the reason."""

    @property
    def subject_images(self) -> tuple[PlannedImage, ...]:
        return tuple(i for i in self.images if not i.prior)

    @property
    def order(self) -> EpochOrder:
        """Return the order of every epoch."""
        subject = self.subject_images
        own = [i.placement.bucket for i in self.images if i.prior]
        return EpochOrder(
            buckets=[i.placement.bucket for i in subject],
            repeats=[i.repeats for i in subject],
            prior_buckets=own + [(c.width, c.height) for c in self.class_images],
            prior_per_image=self.recipe.prior.per_image,
            batch=self.recipe.train.batch_size,
        )

    @property
    def buckets(self) -> list[BucketRow]:
        """Return a row per bucket: subject images with repeats, and the batches of an epoch, class images included."""
        subject, batch = self.subject_images, self.recipe.train.batch_size
        rows = bucket_table([i.placement for i in subject], batch, repeats=[i.repeats for i in subject])
        totals = {bucket: own + prior for bucket, (own, prior) in self.order.shows().items()}
        return [
            dataclasses.replace(row, batches=-(-totals[row.bucket] // batch), partial=totals[row.bucket] % batch)
            for row in rows
        ]

    def with_batch(self, batch: int, accumulation: int, reason: str) -> Plan:
        """Return the plan with another batch size: steps are counted again."""
        recipe = self.recipe.with_values({"train.batch": batch, "train.accumulation": accumulation})
        moved = dataclasses.replace(self, recipe=recipe)
        per_epoch, steps = moved.count_steps()
        kept = [d for d in self.decisions if d.key not in ("train.batch", "train.accumulation")]
        chosen = [Decision("train.batch", batch, reason), Decision("train.accumulation", accumulation, reason)]
        return dataclasses.replace(moved, decisions=(*kept, *chosen), steps_per_epoch=per_epoch, steps=steps)

    def count_steps(self) -> tuple[int, int]:
        """Return the optimizer steps per epoch, and of the whole run (limited by train.steps)."""
        train = self.recipe.train
        if self.recipe.kind == "slider":  # without images, an epoch is a share of the steps
            return -(-(train.steps or 1) // self.epochs), train.steps or 1
        per_epoch = -(-self.order.batches_per_epoch // train.accumulation)
        steps = per_epoch * self.epochs
        return per_epoch, min(train.steps or steps, steps)

    def to_json(self) -> dict[str, Any]:
        """Return the plan as plan.json and `--json` contain it."""
        return {
            "recipe": self.recipe.model_dump(mode="json"),
            "decisions": [dataclasses.asdict(d) for d in self.decisions],
            "warnings": list(self.warnings),
            "images": [
                {
                    "path": str(i.record.path),
                    "sha256": i.record.sha256,
                    "bucket": list(i.placement.bucket),
                    "repeats": i.repeats,
                    "prior": i.prior,
                }
                for i in self.images
            ],
            "class_images": len(self.class_images),
            "buckets": [dataclasses.asdict(row) for row in self.buckets],
            "epochs": self.epochs,
            "steps_per_epoch": self.steps_per_epoch,
            "steps": self.steps,
            "estimate": dataclasses.asdict(self.estimate),
        }


def scan_concepts(recipe: Recipe) -> ImageSet:
    """Return the images of all concepts, each with its concept's number.

    Raises:
        UsageError: a folder is missing, or holds no image.
    """
    sets = [_images_of(c.folder, i) for i, c in enumerate(recipe.concepts)]
    return ImageSet(
        records=tuple(r for s in sets for r in s.records),
        skipped=tuple(x for s in sets for x in s.skipped),
        notes=tuple(n for s in sets for n in s.notes),
    )


def _images_of(folder: Path, concept: int) -> ImageSet:
    """Return a folder's images; captions come from its metadata file if it has one."""
    if not any((folder / name).is_file() for name in METADATA_FILES):
        return scan(folder, concept=concept)
    (found,) = read_dataset(folder)
    records = tuple(dataclasses.replace(r, concept=concept) for r in found.records)
    return dataclasses.replace(found.images, records=records)


def make_plan(recipe: Recipe, images: ImageSet | None = None) -> Plan:
    """Decide the settings that the recipe leaves open; refuse a recipe that cannot be trained.

    Raises:
        UsageError: the model or a folder is not there.
        BakehouseError: a file of the model is missing or broken.
        Problems: settings that cannot work together, all at once.
    """
    images = images if images is not None else scan_concepts(recipe)
    model = resolve_model(recipe.model.base)
    if model.kind != "hub":  # what its copy here lacks is fetched when it is loaded
        check_model(model, recipe.model.vae)
    own_prior = scan(recipe.prior.folder) if recipe.prior.folder else ImageSet(())
    refuse(group_errors(recipe))
    asked, raw = recipe, images
    recipe, declared = with_declared_triggers(recipe)
    problems = inseparable_trigger_messages(recipe, images)
    images = compiled_images(recipe, images)
    facts = model_facts(model, recipe.model.prediction)
    refuse([*problems, *errors_for(recipe, images, own_prior), *base_errors(recipe, facts)])
    derivation = _derivation_of(recipe)(recipe, images, model, facts)
    derivation.decisions += [Decision(key, value, reason) for key, (value, reason) in declared.items()]
    derivation.derive()
    plan = _planned(derivation, images, own_prior)
    if is_grouped(recipe):
        found = tuple(group_warnings(recipe, raw, derivation.preset))
        plan = dataclasses.replace(plan, warnings=(*found, *plan.warnings))
    embedding = embedding_findings(plan.recipe, images, facts)
    refuse([*setting_errors(plan.recipe), *too_long(plan.recipe.schedule, plan.steps), *embedding.errors])
    chosen = adapted_networks(plan.recipe, facts, recipe)
    lookup = lookup_for(plan.recipe, asked, images, facts, chosen, steps=plan.steps, per_epoch=plan.steps_per_epoch)
    more = (*embedding.warnings, *without_effect(plan.recipe, lookup))
    idle = tuple(idle_settings(plan.recipe, lookup))
    return dataclasses.replace(plan, warnings=(*plan.warnings, *more), idle=idle)


def _derivation_of(recipe: Recipe) -> type[Derivation]:
    if recipe.kind == "slider":
        return SliderDerivation
    return GroupDerivation if is_grouped(recipe) else Derivation


def _planned(derivation: Derivation, images: ImageSet, own_prior: ImageSet) -> Plan:
    """Place the images, count the steps, and collect the warnings."""
    recipe = derivation.recipe
    placements, own = (assign([(r.width, r.height) for r in s], recipe.buckets) for s in (images, own_prior))
    repeats = [recipe.concepts[r.concept].repeats or 1 for r in images]
    planned = [PlannedImage(r, p, n) for r, p, n in zip(images, placements, repeats, strict=True)]
    planned += [PlannedImage(r, p, 0, prior=True) for r, p in zip(own_prior, own, strict=True)]
    made = class_images(recipe, images, placements, repeats)
    draft = Plan(recipe, (), (), tuple(planned), made, 1, 0, 0, Estimate(0, 0, 0, ""))
    per_epoch, _ = draft.count_steps()
    derivation.epochs_for_steps(per_epoch)
    recipe = derivation.recipe
    draft = dataclasses.replace(draft, recipe=recipe, epochs=recipe.train.epochs or 1)
    per_epoch, steps = draft.count_steps()
    reason = f"{counted(per_epoch, 'step')} per epoch x {counted(draft.epochs, 'epoch')}"
    if recipe.train.steps:
        reason += f", limited by train.steps = {recipe.train.steps}"
    names = [r.path.name for r in images]
    warnings = [
        *prediction_doubts(recipe, derivation.facts, derivation.usual),
        *warnings_for(recipe, images, own_prior, derivation.preset),
        *bucket_warnings(placements, recipe.train.batch_size, names=names, repeats=repeats),
        *(f"{s.path}: left out, {s.reason}" for s in images.skipped),
        *images.notes,
    ]
    return dataclasses.replace(
        draft,
        decisions=(*derivation.decisions, Decision("steps", steps, reason)),
        warnings=tuple(warnings),
        steps_per_epoch=per_epoch,
        steps=steps,
        estimate=estimate(recipe, derivation.model_name, steps, len(made)),
    )
