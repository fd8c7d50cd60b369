"""Facts that settings may depend on (`Needs`): of images, model, machine and steps. `without_effect` asks for them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bakehouse.adapters.plan_fact_names import DIMS_MATCH, EXCLUDE_MATCHES, ON_KERNELS, ON_NORMS, ON_TEXT, ON_UNET
from bakehouse.core.setting_needs import PlanFact, ValueLookup, value_at
from bakehouse.data.captions import all_texts, count_movable_tags, has_wildcards
from bakehouse.data.image_records import ImageSet
from bakehouse.data.plan_fact_names import ALPHA, CHOICES, JOINED, MARKED, MASKS, MOVABLE, RUN_STEPS, UNMARKED
from bakehouse.losses.noise import ENDS_WITH_SIGNAL
from bakehouse.models.model_facts import ModelFacts
from bakehouse.recipe.device_and_precision import pick_device
from bakehouse.recipe.lr_schedule import WARMS_EACH_CYCLE
from bakehouse.recipe.recipe import EPOCH_STEPS, NEEDED_EPOCHS, Recipe

_ADAPTER = (ON_UNET, ON_TEXT, ON_KERNELS, ON_NORMS, EXCLUDE_MATCHES, DIMS_MATCH)


def lookup_for(
    recipe: Recipe,
    given: Recipe,
    images: ImageSet,
    model: ModelFacts | None,
    chosen: frozenset[PlanFact] | None,
    *,
    steps: int,
    per_epoch: int,
) -> ValueLookup:
    """Return a lookup of facts, of settings as they are resolved here (`train.device`), and of other settings.

    Args:
        recipe: with nothing left open.
        given: as the user wrote it.
        images: with the captions that are trained on.
        model: None where its settings are not known.
        chosen: the networks that the adapter has modules in; None if it is the plan's choice, which fits all models.
        steps: of the run.
        per_epoch: steps of one epoch.
    """
    known = {
        "train.device": pick_device(recipe.train.device).split(":")[0],
        # What is left open follows from the UNet's rate.
        "optimizer.text_lr": given.optimizer.text_lr,
        **_of_adapter(recipe, chosen),
        **_of_images(recipe, images),
        **_of_model(model),
        **_of_steps(recipe, steps, per_epoch),
    }
    return lambda key: known[key] if key in known else value_at(recipe, key)


def _of_adapter(recipe: Recipe, chosen: frozenset[PlanFact] | None) -> Mapping[str, Any]:
    holds = {fact.name: chosen is None or fact in chosen for fact in _ADAPTER}
    if not recipe.adapter.unet:
        holds |= {ON_UNET.name: False, ON_KERNELS.name: False}
    return holds


def _of_images(recipe: Recipe, images: ImageSet) -> Mapping[str, Any]:
    options = recipe.captions
    texts = {t for r in images for t in all_texts(r.captions, options, recipe.concepts[r.concept].subject)}
    mark, joint = options.keep_tokens_separator, options.secondary_separator
    return {
        MASKS.name: any(r.mask is not None or (r.has_alpha and recipe.data.alpha_mask) for r in images),
        ALPHA.name: any(r.has_alpha for r in images),
        MOVABLE.name: any(count_movable_tags(t, options) > 1 for t in texts),
        CHOICES.name: any(has_wildcards(t) for t in texts),
        MARKED.name: any(mark in t for t in texts),
        UNMARKED.name: not mark or any(mark not in t for t in texts),
        JOINED.name: any(joint in t for t in texts),
    }


def _of_model(model: ModelFacts | None) -> Mapping[str, Any]:
    if model is None:
        return {"model.family": None, ENDS_WITH_SIGNAL.name: None}
    return {
        "model.family": model.family,
        "model.prediction": model.schedule.prediction,
        ENDS_WITH_SIGNAL.name: not model.schedule.is_zero_terminal,
    }


def _of_steps(recipe: Recipe, steps: int, per_epoch: int) -> Mapping[str, Any]:
    train, schedule = recipe.train, recipe.schedule
    return {
        RUN_STEPS.name: steps,
        EPOCH_STEPS.name: per_epoch * (train.epochs or 1),
        NEEDED_EPOCHS.name: -(-train.steps // per_epoch) if train.steps else None,
        WARMS_EACH_CYCLE.name: not schedule.kind.startswith("annealed")
        or schedule.warmup_steps(steps) >= (1 if schedule.cycle_steps else schedule.cycles),
    }
