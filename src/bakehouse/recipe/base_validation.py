"""Errors of a recipe for this base model, found from the model's settings before any weight is read."""

from __future__ import annotations

from collections.abc import Iterator

from bakehouse.adapters import NetworkSpec
from bakehouse.adapters.inject import adapted_module_facts
from bakehouse.core.errors import BakehouseError, Problems
from bakehouse.core.model_catalogue.conventions import KnownBase
from bakehouse.core.setting_needs import PlanFact
from bakehouse.losses.denoising import incompatible_settings
from bakehouse.models.model_facts import ModelFacts, why_no_vae
from bakehouse.recipe.recipe import Recipe

NO_TRAINING = "this cannot be trained:"


def base_errors(recipe: Recipe, model: ModelFacts | None) -> Iterator[str]:
    """Yield an error for each setting that this base model does not support; none if the model is not known."""
    if recipe.model.vae is not None and (why := why_no_vae(recipe.model.vae)):
        yield f"model.vae = {recipe.model.vae!r}: {why}"
    if model is None:
        return
    channels = int(model.unet.get("in_channels", 4))
    if channels == int(model.unet.get("out_channels", 4)) * 2 + 1:
        yield (
            f"model.base = {recipe.model.base!r} is an inpainting model, whose UNet also reads a mask and an image: "
            "train on the plain model that it was made from; its adapters go on the inpainting model"
        )
    yield from incompatible_settings(recipe.loss, recipe.noise, model.schedule)
    skip, layers = recipe.model.clip_skip, model.text_layers
    if skip > layers:
        yield f"model.clip_skip = {skip}: allowed are 1 (the last layer) to {layers} for {recipe.model.base}"
    if recipe.noise.min_timestep >= model.schedule.steps:
        yield f"noise.min_timestep = {recipe.noise.min_timestep}: this model has {model.schedule.steps} timesteps"


def prediction_doubts(recipe: Recipe, model: ModelFacts | None, usual: KnownBase | None) -> Iterator[str]:
    """Yield a warning if this base is known for another prediction type than its files, or the recipe, say."""
    if model is None or usual is None or usual.conventions.prediction in (None, model.schedule.prediction):
        return
    known = usual.conventions
    said = "the recipe says" if recipe.model.prediction else "its files say"
    yield (
        f"{recipe.model.base}: {said} that it predicts {model.schedule.prediction}, but {known.title} "
        f"({usual.by}) predicts {known.prediction}. If samples are noise, set model.prediction = {known.prediction!r}; "
        "if it is another model, set model.conventions = 'none'"
    )


def adapted_networks(recipe: Recipe, model: ModelFacts | None, given: Recipe) -> frozenset[PlanFact] | None:
    """Return the networks that the adapter has modules in, as facts; they are built without weights to find out.

    Args:
        recipe: with nothing left open.
        given: as the user wrote it. The plan's own choice fits every model, so only another one is tried; else None.

    Raises:
        Problems: the adapter does not go on this model.
    """
    spec = recipe.adapter
    if model is None or not isinstance(spec, NetworkSpec) or not spec.module_settings & given.adapter.model_fields_set:
        return None
    # Loading a file to start from changes the networks.
    parts = model.shared_skeleton() if spec.start is None else model.skeleton()
    try:
        return adapted_module_facts(spec, parts)
    except BakehouseError as e:
        named = e.message if e.message.startswith("adapter.") else f"adapter: {e.message}"
        raise Problems(NO_TRAINING, [named + (f"; {e.hint}" if e.hint else "")]) from e
