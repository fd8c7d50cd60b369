"""Evaluation of a run: generate, score, select and report; images and scores are cached, so that it can resume."""

from __future__ import annotations

import math
import time
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from bakehouse.core.errors import UsageError
from bakehouse.core.events import Event, Progress, Saved, Warned
from bakehouse.core.files import read_json, write_json
from bakehouse.core.folder_lock import locked
from bakehouse.core.message_text import listed
from bakehouse.core.run_folder import Run
from bakehouse.data.image_records import ImageRecord
from bakehouse.data.open_image import open_image
from bakehouse.data.scan import scan
from bakehouse.evaluation.checkpoint_scores import (
    References,
    ScoredCheckpoint,
    ScoredImages,
    ScoredSeries,
    score_base,
    score_checkpoint,
)
from bakehouse.evaluation.image_cache import (
    AdapterVariant,
    GenerationSettings,
    ImageCache,
    ImageGenerator,
    PipelineImageGenerator,
    center_square,
    score_images,
)
from bakehouse.evaluation.image_scorers import CONTEXT_GROUPS, ImageScorer, scorer_for
from bakehouse.evaluation.metrics import dominant_attributes, subject_attributes, visible_attributes
from bakehouse.evaluation.prompt_set import PER_PROMPT, EvalPrompts, make_prompts, subject_phrase
from bakehouse.evaluation.result import Report, image_key
from bakehouse.evaluation.selection import finalists, make_pick, make_verdict, relative
from bakehouse.models.families import family_of
from bakehouse.recipe.recipe import ConceptSpec, EvaluateSpec, Recipe
from bakehouse.recipe.words_in_captions import mostly_not_first

FIRST_ROUND_IMAGES = 6
"""Images of each cell in the first round; the finalists are scored on all."""
FINALISTS = 3
MAX_REFERENCES = 200
"""Of a larger folder this many images are scored, evenly spaced."""


@dataclass(frozen=True, kw_only=True)
class Scored(Event):
    """A checkpoint was scored at a strength (`weight`); shares of 1, drift in points, None if unknown."""

    epoch: int
    unit: str = "epoch"
    """What `epoch` counts: `step` if the run saved by steps only."""
    weight: float
    images: int
    subject: float | None
    prompt_kept: float | None
    drift: float | None


@dataclass(frozen=True, kw_only=True)
class Evaluated(Event):
    """The evaluation is complete; `weights` and `weight` are the checkpoint and strength that were picked."""

    report: str
    """Path of report.html."""
    weights: str
    weight: float
    why: str
    verdict: str
    advice: str
    """`mend` in JSON."""
    seconds: float

    def to_json(self) -> dict[str, Any]:
        return {("mend" if key == "advice" else key): value for key, value in super().to_json().items()}


def evaluate(
    run: Run,
    *,
    spec: EvaluateSpec | None = None,
    changes: Mapping[str, Any] | None = None,
    concept: int = 0,
    scorer: ImageScorer | None = None,
    generator: ImageGenerator | None = None,
    device: str = "auto",
) -> Generator[Event, None, Report]:
    """Evaluate a run's checkpoints against the untouched base; yield events and return the report.

    All checkpoints and strengths are scored on a few images first, then the best on all of them.
    Writes report/scores.json, pick.json, report.html and grid.png.

    Args:
        run: a run folder of `bakehouse train`.
        spec: in place of the recipe's `[evaluate]`.
        changes: single keys of it: `{"images": 8}`.
        concept: index of the recipe's concept.
        scorer: in place of the default for the base.
        generator: in place of a pipeline on the recipe's base.
        device: device on which images are generated.

    Raises:
        UsageError: there are no weights or images, or the scorer is missing.
        BakehouseError: a file is damaged, or another process works in the run folder.
    """
    began = time.monotonic()
    with locked(run.folder, "evaluating") as warnings:
        recipe = Recipe.load(run.recipe)
        evaluation = EvaluationRun.make(
            run, recipe, spec or recipe.evaluate, changes or {}, concept, scorer, generator, device
        )
        for message in [*warnings, *evaluation.notes]:
            yield Warned(message=message)
        report = yield from evaluation.evaluate()
        write_json(run.report / "scores.json", report.to_json())
        write_json(run.report / "pick.json", report.pick.to_json())
        from bakehouse.evaluation.html_report import write_report

        write_report(report, run)
        yield Evaluated(
            report=str(report.html_path),
            weights=report.pick.weights,
            weight=report.pick.strength,
            why=report.pick.why,
            verdict=report.verdict.outcome,
            advice=report.verdict.advice,
            seconds=time.monotonic() - began,
        )
        return report


@dataclass(frozen=True)
class Baseline:
    """What every cell of an evaluation is compared with: the untouched base and the subject's own images."""

    prompts: EvalPrompts
    base: ScoredSeries
    references: References
    floor: float
    """Mean prompt score for prompts that do not belong to the image."""


@dataclass
class EvaluationRun:
    """One evaluation of one concept: its inputs and its progress."""

    run: Run
    recipe: Recipe
    spec: EvaluateSpec
    concept: ConceptSpec
    scorer: ImageScorer
    cache: ImageCache
    training: Sequence[ImageRecord]
    compared: Sequence[ImageRecord]
    named_attributes: Mapping[str, str]
    """The subject's attributes as an example.json beside the images names them."""
    notes: list[str]
    total: int = 0
    """Number of images to generate, as far as known."""
    generated: set[Path] = field(default_factory=set)
    """Images that exist."""

    @classmethod
    def make(
        cls,
        run: Run,
        recipe: Recipe,
        spec: EvaluateSpec,
        changes: Mapping[str, Any],
        concept: int,
        scorer: ImageScorer | None,
        generator: ImageGenerator | None,
        device: str,
    ) -> EvaluationRun:
        """Gather the inputs; no model is loaded but the scorer's.

        Raises:
            UsageError: see `evaluate`.
        """
        if changes:
            spec = spec.with_values(changes)
        if not 0 <= concept < len(recipe.concepts):
            raise UsageError(f"concept = {concept}: the recipe has {len(recipe.concepts)}, counted from 0")
        subject = recipe.concepts[concept]
        training = _evenly_spaced(scan(subject.folder).records, MAX_REFERENCES)
        holdout = spec.holdout or _holdout_folder(subject.folder)
        notes = []
        if holdout is None:
            notes.append("no held-out images: the subject is compared with the images it was trained on")
        if len(recipe.concepts) > 1:
            name = subject.subject or subject.folder.name
            notes.append(f"the run has {len(recipe.concepts)} concepts; only {name!r} is evaluated")
        usual = family_of(recipe.model.base).evaluation_steps
        steps = usual if usual is not None and "steps" not in spec.model_fields_set else spec.steps
        settings = GenerationSettings(steps=steps, guidance=spec.guidance, size=_image_size(recipe))
        return cls(
            run=run,
            recipe=recipe,
            spec=spec,
            concept=_as_captioned(subject, training),
            scorer=scorer or scorer_for(recipe.model.base),
            cache=ImageCache(run.report / "cache", generator or _pipeline(recipe, run, device), settings),
            training=training,
            compared=_evenly_spaced(scan(holdout).records, MAX_REFERENCES) if holdout else training,
            named_attributes=_named_attributes(subject.folder),
            notes=notes,
        )

    def evaluate(self) -> Generator[Event, None, Report]:
        """Score the base, all cells on a few images, the finalists on all, and make the report."""
        chosen = {c.path: c for c in checkpoints(self.run, self.spec.checkpoints)}
        variants = [AdapterVariant(path, strength) for path in chosen for strength in self._strengths(path)]
        few = min(FIRST_ROUND_IMAGES, self.spec.images)
        second_round = min(FINALISTS, len(variants)) if few < self.spec.images else 0
        training = self._score_records(self.training)
        prompts = self._prompts(training)
        first = prompts.first(few)
        self.total = len(prompts) - len(prompts.subject)
        self.total += len(variants) * len(first) + second_round * (len(prompts) - len(first))

        baseline = yield from self.score_baseline(prompts, training)
        cells: dict[AdapterVariant, ScoredCheckpoint] = {}
        for variant in variants:
            cells[variant] = yield from self.score_variant(variant, first, chosen[_path(variant)], baseline)
        best = [id(c) for c in finalists(list(cells.values()), second_round)]
        for variant in [v for v, c in cells.items() if id(c) in best]:
            cells[variant] = yield from self.score_variant(variant, prompts, chosen[_path(variant)], baseline)
        return self._report(prompts, cells, baseline)

    def score_baseline(
        self, prompts: EvalPrompts | None = None, training: ScoredImages | None = None
    ) -> Generator[Event, None, Baseline]:
        """Generate and score the untouched base's images; `prompts` and `training` if they are known already."""
        training = self._score_records(self.training) if training is None else training
        prompts = prompts or self._prompts(training)
        compared = training if self.compared is self.training else self._score_records(self.compared)
        base = yield from self._series(AdapterVariant(), prompts)
        attributes = visible_attributes(training.attributes, self.named_attributes)
        attributes = attributes or subject_attributes(
            training.attributes, base.class_images.attributes, ignore=CONTEXT_GROUPS
        )
        references = References(training, compared, self.compared is not self.training, attributes)
        return Baseline(prompts, base, references, self._floor(prompts))

    def _score_records(self, records: Sequence[ImageRecord]) -> ScoredImages:
        return score_images(self.scorer, [center_square(open_image(r.path)) for r in records])

    def score_variant(
        self, variant: AdapterVariant, prompts: EvalPrompts, checkpoint: Checkpoint, baseline: Baseline
    ) -> Generator[Event, None, ScoredCheckpoint]:
        """Generate and score the images of one checkpoint at one strength."""
        images = yield from self._series(variant, prompts)
        cell = score_checkpoint(
            (relative(_path(variant), self.run.folder), variant.strength, checkpoint.number),
            images,
            baseline.base,
            baseline.references,
            prompts=[p.bare_prompt for p in prompts.subject],
            requested=[self.scorer.requested_attributes(p.bare_prompt).keys() for p in prompts.subject],
            requested_other=[self.scorer.requested_attributes(p.bare_prompt).keys() for p in prompts.other],
            floor=baseline.floor,
            seed=self.spec.seed,
        )
        cell = replace(cell, epoch_unit=checkpoint.unit)
        figures = (cell.fidelity.value, cell.prompt_retention, cell.drift.points.value)
        subject, retention, drift = (None if math.isnan(v) else round(v, 4) for v in figures)
        yield Scored(
            epoch=cell.epoch,
            unit=cell.epoch_unit,
            weight=variant.strength,
            images=cell.images,
            subject=subject,
            prompt_kept=retention,
            drift=drift,
        )
        return cell

    def _series(self, variant: AdapterVariant, prompts: EvalPrompts) -> Generator[Event, None, ScoredSeries]:
        """Generate and score the images of a variant; the base needs none of the subject."""
        subject = prompts.subject if variant.weights else ()
        wanted = (*subject, *prompts.class_prompts, *prompts.other)
        if damaged := self.cache.damaged(variant, wanted):
            yield Warned(message=f"cached images are damaged and will be generated again: {listed(damaged, 3)}")
        missing = self.cache.missing(variant, wanted)
        self.generated |= {self.cache.path(variant, prompt) for prompt in set(wanted) - set(missing)}
        yield self._progress()
        for path in self.cache.generate(variant, missing):
            self.generated.add(path)
            yield self._progress()
        series = (subject, prompts.class_prompts, prompts.other)
        return ScoredSeries(*(self.cache.score(self.scorer, variant, some) for some in series))

    def _progress(self) -> Progress:
        done = len(self.generated)
        return Progress(what="images", done=done, total=max(self.total, done))

    def _prompts(self, training: ScoredImages) -> EvalPrompts:
        fixed = {*dominant_attributes(training.attributes, ignore=CONTEXT_GROUPS), *self.named_attributes}
        return make_prompts(
            self.concept,
            kind=self.recipe.kind,
            crumb=family_of(self.recipe.model.base).bundled,
            count=self.spec.images,
            seed=self.spec.seed,
            fixed_groups=fixed,
            style_first=not mostly_not_first(_captions(self.training), self.concept.subject),
        )

    def _floor(self, prompts: EvalPrompts) -> float:
        """Return the mean score of the base's images for each other's prompts."""
        if not self.scorer.has_floor:
            return 0.0
        others = [p.bare_prompt for p in prompts.class_prompts[PER_PROMPT:] + prompts.class_prompts[:PER_PROMPT]]
        scores = self.scorer.prompt_scores(self.cache.load(AdapterVariant(), prompts.class_prompts), others)
        return float(np.nanmean(scores))

    def _strengths(self, path: Path) -> tuple[float, ...]:
        return (1.0,) if path.is_dir() else self.spec.weights

    def _report(
        self, prompts: EvalPrompts, cells: Mapping[AdapterVariant, ScoredCheckpoint], baseline: Baseline
    ) -> Report:
        found, references = list(cells.values()), baseline.references
        bare_prompts = [p.bare_prompt for p in prompts.class_prompts]
        base = score_base(
            baseline.base.class_images, references, bare_prompts, floor=baseline.floor, seed=self.spec.seed
        )
        images: dict[str, str] = {}
        for variant, cell in [(AdapterVariant(), None), *cells.items()]:
            for series, some in (
                ("subject", prompts.subject),
                ("class", prompts.class_prompts),
                ("other", prompts.other),
            ):
                for i, prompt in enumerate(some):
                    path = self.cache.path(variant, prompt)
                    if path.is_file():
                        images[image_key(cell, series, i)] = path.relative_to(self.run.report).as_posix()
        return Report(
            folder=self.run.report,
            title=self.recipe.title,
            concept=self.concept,
            scorer=self.scorer.name,
            measures=self.scorer.measures,
            base_model=self.recipe.model.base,
            spec=self.spec,
            settings=self.cache.settings,
            subject_attributes=dict(references.attributes),
            held_out=references.held_out,
            references=tuple(r.path for r in self.training),
            base=base,
            cells=tuple(found),
            prompts=prompts,
            pick=make_pick(found, base),
            verdict=make_verdict(found, base),
            notes=tuple(self.notes),
            images=images,
        )


@dataclass(frozen=True)
class Checkpoint:
    """Weights of a run and when they were saved: `number` counts epochs, or steps if the run saved by steps only."""

    number: int
    unit: str
    path: Path


def _path(variant: AdapterVariant) -> Path:
    assert variant.weights is not None
    return variant.weights


def checkpoints(run: Run, most: int) -> list[Checkpoint]:
    """Return at most `most` of a run's checkpoints, evenly spaced; the last is always among them.

    Raises:
        UsageError: the run has no weights yet.
    """
    from bakehouse.generation.run_weights import epoch_weights, run_weights

    found = [Checkpoint(number, "epoch", path) for number, path in epoch_weights(run).items()]
    saved = {Path(e.path).name: e.step for e in run.history() if isinstance(e, Saved)}
    by_step = [Checkpoint(saved[path.name], "step", path) for path in run_weights(run) if path.name in saved]
    if len(found) < 2 <= len(by_step):
        found = sorted(by_step, key=lambda c: c.number)
    count = min(most, len(found))
    # Counted from the end, 5 of 8 are 2, 3, 5, 6, 8: the first have learned least.
    chosen = sorted({round((i + 1) * len(found) / count) - 1 for i in range(count)})
    return [found[i] for i in chosen]


def _pipeline(recipe: Recipe, run: Run, device: str) -> PipelineImageGenerator:
    from bakehouse.generation.model_source import ModelSource

    model = recipe.model
    precision = recipe.train.precision
    source = ModelSource(
        model.base,
        vae=model.vae,
        clip_skip=model.clip_skip,
        prediction=model.prediction,
        zero_terminal_snr=recipe.noise.zero_terminal_snr,
        precision=precision,
        title=run.name,
        run=run,
    )
    return PipelineImageGenerator(source, device)


def _image_size(recipe: Recipe) -> int | None:
    """Return the training resolution if the recipe sets it, in multiples of 8 (one latent)."""
    return recipe.buckets.resolution // 8 * 8 if "resolution" in recipe.buckets.model_fields_set else None


def _captions(images: Sequence[ImageRecord]) -> list[str]:
    return [caption for image in images for caption in image.captions[:1]]


def _as_captioned(concept: ConceptSpec, images: Sequence[ImageRecord]) -> ConceptSpec:
    """Return the concept with the subject as its captions name it."""
    phrase = subject_phrase(_captions(images), concept.trigger_word)
    if phrase is None or phrase == concept.subject:
        return concept
    words = {"subject": phrase, "trigger": concept.trigger_word, "class_word": concept.class_name}
    return concept.model_copy(update=words)


def _holdout_folder(folder: Path) -> Path | None:
    """Return the folder of held-out images beside the images, `NAME-holdout`, if it exists."""
    found = folder.parent / f"{folder.name}-holdout"
    return found if found.is_dir() else None


def _named_attributes(folder: Path) -> dict[str, str]:
    """Return the subject's attributes from an example.json beside the images, if there is one."""
    path = folder / "example.json"
    if not path.is_file():
        return {}
    value = read_json(path)
    named = value.get("attributes") if isinstance(value, dict) else None
    return {str(k): str(v) for k, v in named.items()} if isinstance(named, dict) else {}


def _evenly_spaced(records: Sequence[ImageRecord], most: int) -> Sequence[ImageRecord]:
    """Return at most `most` of the records, evenly spaced."""
    if len(records) <= most:
        return records
    return [records[round(i)] for i in np.linspace(0, len(records) - 1, most)]
