"""Facts about the model to publish, gathered from its run; no weights are loaded."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from bakehouse.core.bundled_models import BUNDLED_BASE
from bakehouse.core.errors import BakehouseError, UsageError, did_you_mean
from bakehouse.core.files import read_json
from bakehouse.core.run_folder import Run
from bakehouse.data.triggers import Trigger
from bakehouse.evaluation.checkpoint_scores import ScoredCheckpoint
from bakehouse.evaluation.result import Report
from bakehouse.generation.run_weights import run_weights, selected_weights
from bakehouse.models.hub import current_repo_id
from bakehouse.models.model_reference import is_hub_id, resolve_model
from bakehouse.publish.licence import Licence, licence_for
from bakehouse.publish.publish_options import PublishSpec
from bakehouse.recipe import Recipe

Kind = Literal["adapter", "embedding", "model", "slider"]


@dataclass(frozen=True)
class Slider:
    """The usable range of a slider, and its scores where it was evaluated."""

    low: float
    high: float
    correlation: float | None = None
    others: float | None = None


@dataclass(frozen=True)
class PublicationFacts:
    """The model to publish."""

    run: Run
    recipe: Recipe
    spec: PublishSpec
    kind: Kind
    weights: Path
    """A file of an adapter or embedding, or a diffusers folder."""
    strength: float
    report: Report | None
    """The run's evaluation; None: there is none."""
    licence: Licence
    family: str
    """`sd1`, `sd2` or `sdxl`."""
    slider: Slider | None = None

    @property
    def name(self) -> str:
        """Name of the files: `zwx-person`."""
        return self.recipe.title

    @property
    def subject(self) -> str:
        """Trigger and class word; a slider's positive prompt."""
        if self.recipe.concepts:
            return self.recipe.concepts[0].subject or self.name
        return self.name

    @property
    def title(self) -> str:
        return self.spec.title or self.subject

    @property
    def base(self) -> str:
        """The base model as a reader finds it: a Hub id if it has one, else its name without folders."""
        base = self.recipe.model.base
        return self.base_on_hub or (base if base == BUNDLED_BASE else Path(base).name)

    @property
    def base_on_hub(self) -> str:
        """The base's Hub id; empty if it has none."""
        return self.spec.base or hub_id_of(self.recipe.model.base)

    @property
    def triggers(self) -> tuple[tuple[str, str], ...]:
        """Trigger words with what each stands for, in the words of prompts: (`zwx`, `zwx person`)."""
        declared = [(t.word, t.head) for t in self.recipe.triggers]
        concepts = [(c.trigger_word, c.subject) for c in self.recipe.concepts if c.trigger_word]
        return tuple(dict([*declared, *concepts]).items())

    @property
    def trigger_rules(self) -> Mapping[str, Trigger]:
        return {t.word: t for t in self.recipe.triggers}

    @property
    def scores(self) -> ScoredCheckpoint | None:
        """The evaluation's figures of these weights at this strength; None if it has none."""
        if self.report is None:
            return None
        return self.report.cell(self.weights.relative_to(self.run.folder).as_posix(), self.strength)

    @property
    def side(self) -> int:
        """Side of its images in pixels."""
        size = self.recipe.buckets.resolution
        return size if isinstance(size, int) else 512


def gather(run: Run, spec: PublishSpec) -> PublicationFacts:
    """Gather what is known of the model to publish.

    Raises:
        UsageError: there are no weights, or the licence of the base does not allow it.
        BakehouseError: the evaluation's result is damaged.
    """
    recipe = Recipe.load(run.recipe)
    weights, strength = _weights(run, spec)
    slider = _slider(run) if recipe.kind == "slider" else None
    return PublicationFacts(
        run=run,
        recipe=recipe,
        spec=spec,
        kind=_kind(recipe, weights),
        weights=weights,
        strength=slider.high or slider.low if slider and spec.strength is None else strength,
        report=Report.find(run, recipe),
        licence=licence_for(recipe.model.base, spec.licence),
        family=_family(recipe, weights),
        slider=slider,
    )


def _kind(recipe: Recipe, weights: Path) -> Kind:
    if weights.is_dir():
        return "model"
    if recipe.kind == "slider":
        return "slider"
    return "embedding" if recipe.adapter.kind == "none" else "adapter"


def _weights(run: Run, spec: PublishSpec) -> tuple[Path, float]:
    """Return the weights to publish and the strength to recommend."""
    if spec.weights is None:
        path, strength = selected_weights(run)
    else:
        known = {p.name: p for p in run_weights(run)}
        known |= {p.stem: p for p in known.values() if p.is_file()}
        name = Path(spec.weights).name
        if name not in known:
            raise UsageError(
                f"{run.folder} has no weights {spec.weights!r}{did_you_mean(name, known)}",
                hint=f"it has: {', '.join(p.name for p in run_weights(run))}",
            )
        path, strength = known[name], 1.0
    return path, strength if spec.strength is None else spec.strength


def _slider(run: Run) -> Slider:
    path = run.report / "slider.json"
    if not path.is_file():
        raise UsageError(
            f"{run.folder} is a slider whose training is not finished: its range is not known",
            hint=f"finish it: bakehouse train {shlex.quote(str(run.folder))}",
        )
    found: dict[str, Any] = read_json(path)
    scores = read_json(run.report / "scores.json") if (run.report / "scores.json").is_file() else {}
    return Slider(float(found["low"]), float(found["high"]), scores.get("correlation"), scores.get("others"))


def _family(recipe: Recipe, weights: Path) -> str:
    try:
        found = resolve_model(weights if weights.is_dir() else recipe.model.base).family
    except BakehouseError:
        found = None
    return found or "sd1"


def hub_id_of(base: str) -> str:
    """Return the Hub id of a base model; empty if it has none that is known."""
    from bakehouse.core.model_catalogue import catalogue
    from bakehouse.core.model_catalogue.entry import Hub

    entry = catalogue().get(base)
    if entry is not None:
        return entry.source.repo if isinstance(entry.source, Hub) else ""
    return current_repo_id(base) if is_hub_id(base) and not Path(base).exists() else ""
