"""Evaluation of a run: generate, score, select and report; images and scores are cached, so that it can resume."""

from __future__ import annotations

import math
import time
from collections.abc import Collection, Generator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from bakehouse.core.errors import UsageError
from bakehouse.core.events import Event, Progress, Warned
from bakehouse.core.files import write_json
from bakehouse.core.folder_lock import locked
from bakehouse.core.message_text import listed
from bakehouse.core.run_folder import Run
from bakehouse.data.image_records import ImageRecord
from bakehouse.data.open_image import open_image
from bakehouse.evaluation.checkpoint_scores import Baseline, References, ScoredCheckpoint, score_base, score_checkpoint
from bakehouse.evaluation.description import describe
from bakehouse.evaluation.evaluation_events import Asked, Evaluated, Scored
from bakehouse.evaluation.evaluation_inputs import (
    Checkpoint,
    Impostor,
    as_captioned,
    captions,
    checkpoints,
    generation_settings,
    holdout_folder,
    impostor_photos,
    named_attributes,
    photos_of,
    pipeline,
    subject_folders,
    training_images,
)
from bakehouse.evaluation.image_cache import (
    AdapterVariant,
    ImageCache,
    ImageGenerator,
    center_square,
)
from bakehouse.evaluation.image_checks import ImageChecks
from bakehouse.evaluation.image_scorers import CONTEXT_GROUPS, ImageScorer, scorer_for
from bakehouse.evaluation.metrics import (
    dominant_attributes,
    subject_attributes,
    visible_attributes,
)
from bakehouse.evaluation.own_marks import OwnMarks
from bakehouse.evaluation.prompt_set import (
    PER_IMPOSTOR,
    PER_PROMPT,
    EvalPrompt,
    EvalPrompts,
    count_images,
    make_prompts,
)
from bakehouse.evaluation.result import Report, image_key
from bakehouse.evaluation.scored_images import ScoredImages, ScoredSeries
from bakehouse.evaluation.selection import finalists, is_open, judged, make_pick, make_verdict, relative
from bakehouse.evaluation.subject_measure import KnownImages, fit_measure
from bakehouse.evaluation.trigger_groups import TriggerScores, score_triggers, trigger_groups
from bakehouse.models.families import family_of
from bakehouse.recipe import scan_concepts
from bakehouse.recipe.compile_recipe_captions import compiled_images
from bakehouse.recipe.image_groups import characters_of, is_grouped
from bakehouse.recipe.recipe import ConceptSpec, EvaluateSpec, Recipe
from bakehouse.recipe.words_in_captions import mostly_not_first

FIRST_ROUND_IMAGES = 6
"""Images of each cell in the first round; the finalists are scored on all."""
FINALISTS = 3
MOST_TIMES = 4
"""Where a limit is within an interval of the best cell, its images are doubled, up to this many times `images`."""
MAX_DESCRIBED = 16
"""Of more training images only this many are looked at for the subject in words."""
MAX_REFERENCES = 200
"""Of a larger folder this many images are scored, evenly spaced."""


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
        if recipe.kind == "slider":
            raise UsageError("this run is a slider", hint="score it with bakehouse.evaluation.evaluate_slider")
        evaluation = EvaluationRun.make(
            run, recipe, spec or recipe.evaluate, changes or {}, concept, scorer, generator, device
        )
        for message in [*warnings, *evaluation.notes]:
            yield Warned(message=message)
        report = yield from evaluation.evaluate()
        report = replace(report, words=(yield from evaluation.score_triggers(report)))
        write_json(run.report / "scores.json", report.to_json())
        write_json(run.report / "pick.json", report.pick.to_json())
        from bakehouse.evaluation.html_report import write_report

        write_report(report, run)
        for group in report.words.groups if report.words else ():
            own = group.own
            yield Asked(words=group.prompt, images=group.images, own=own.value, low=own.low, high=own.high)
        yield Evaluated(
            report=str(report.html_path),
            weights=report.pick.weights,
            weight=report.pick.strength,
            why=report.pick.why,
            verdict=report.verdict.outcome,
            reason=report.verdict.why,
            advice=report.verdict.advice,
            seconds=time.monotonic() - began,
        )
        return report


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
    impostors: Sequence[Impostor]
    """Photos of other subjects."""
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
        if is_grouped(recipe) and recipe.concepts[concept].characters:  # several subjects at once: the first of them
            word = recipe.concepts[concept].characters[0]
            concept = recipe.concepts.index(characters_of(recipe)[word])
        subject = recipe.concepts[concept]
        folders = subject_folders(recipe, concept)
        training, notes = training_images(folders, MAX_REFERENCES)
        family = family_of(recipe.model.base)
        holdout = [spec.holdout] if spec.holdout else [h for f in folders if (h := holdout_folder(f))]
        if not holdout:
            notes.append("no held-out images: the subject is compared with the images it was trained on")
        if len(recipe.concepts) > len(folders):
            name = subject.subject or subject.folder.name
            more = "; every word is asked for on its own" if is_grouped(recipe) else ""
            notes.append(f"the run has {len(recipe.concepts)} concepts; only {name!r} is evaluated{more}")
        settings = generation_settings(recipe, spec)
        compared = photos_of(holdout, MAX_REFERENCES) if holdout else training
        return cls(
            run=run,
            recipe=recipe,
            spec=spec,
            concept=as_captioned(subject, training),
            scorer=scorer or scorer_for(recipe.model.base),
            cache=ImageCache(run.report / "cache", generator or pipeline(recipe, run, device), settings),
            training=training,
            compared=compared,
            named_attributes=named_attributes(subject.folder),
            impostors=impostor_photos(recipe, concept, [*training, *compared], bundled=family.bundled),
            notes=notes,
        )

    def evaluate(self) -> Generator[Event, None, Report]:
        """Score the base, all cells on a few images, the finalists on all, the best on more, and make the report."""
        chosen = {c.path: c for c in checkpoints(self.run, self.spec.checkpoints)}
        variants = [AdapterVariant(path, strength) for path in chosen for strength in self._strengths(path)]
        few = min(FIRST_ROUND_IMAGES, self.spec.images)
        second_round = min(FINALISTS, len(variants)) if few < self.spec.images else 0
        prompts = self._prompts(self.spec.images)
        first = prompts.first(few)
        each, more = count_images(first.of_adapter), count_images(prompts.of_adapter)
        self.total = count_images(prompts.of_base) + len(variants) * each + second_round * (more - each)

        baseline = yield from self.score_baseline(prompts)
        cells: dict[AdapterVariant, ScoredCheckpoint] = {}
        for variant in variants:
            cells[variant] = yield from self.score_variant(variant, first, chosen[_path(variant)], baseline)
        best = [id(c) for c in finalists(list(cells.values()), second_round)]
        for variant in [v for v, c in cells.items() if id(c) in best]:
            cells[variant] = yield from self.score_variant(variant, prompts, chosen[_path(variant)], baseline)
        count = self.spec.images
        while 2 * count <= MOST_TIMES * self.spec.images and is_open(best_cell := judged(list(cells.values()))):
            variant = next(v for v, c in cells.items() if c is best_cell)
            count *= 2
            before = count_images(prompts.of_adapter)
            prompts = replace(self._prompts(count), words=prompts.words)
            added = count_images(prompts.of_adapter) - before
            self.total += (
                added
                + count_images((*prompts.class_prompts, *prompts.other))
                - count_images((*baseline.prompts.class_prompts, *baseline.prompts.other))
            )
            baseline = yield from self._with_more(baseline, prompts)
            cells[variant] = yield from self.score_variant(variant, prompts, chosen[_path(variant)], baseline)
        return self._report(prompts, cells, baseline)

    def score_triggers(self, report: Report) -> Generator[Event, None, TriggerScores | None]:
        """Ask for each word of the run on its own, with the pick; None unless its concepts are groups of images."""
        if not is_grouped(self.recipe):
            return None
        groups = trigger_groups(self.recipe, compiled_images(self.recipe, scan_concepts(self.recipe)).records)
        weights, count = (self.run.folder / report.shown.weights, report.shown.strength), self.spec.images
        made = score_triggers(self.run, self.recipe, groups, weights, count=count, scorer=self.scorer, cache=self.cache)
        return (yield from made) if groups else None

    def score_baseline(self, prompts: EvalPrompts | None = None) -> Generator[Event, None, Baseline]:
        """Generate and score the untouched base's images, and fit the measure of the subject."""
        prompts = prompts or self._prompts(self.spec.images)
        base = AdapterVariant()
        series = (prompts.words, prompts.class_prompts, prompts.other, prompts.impostors)
        words, class_images, other, impostors = yield from self._series(base, series)
        marks = self._checks.find_marks(self.training, (*prompts.class_prompts, *prompts.impostors))
        words, class_images, impostors = (
            self._checks.marked(marks, images, self.cache.paths(base, some))
            for images, some in (
                (words, prompts.words),
                (class_images, prompts.class_prompts),
                (impostors, prompts.impostors),
            )
        )
        training, compared = (self._marked_photos(marks, records) for records in (self.training, self.compared))
        known = {i.name: self._marked_photos(marks, i.records) for i in self.impostors}
        for i in range(0, len(prompts.impostors), PER_IMPOSTOR):
            known[prompts.impostors[i].bare_prompt] = impostors.some(range(i, min(i + PER_IMPOSTOR, len(impostors))))
        held_out = self.compared is not self.training
        images = KnownImages(
            training,
            compared if held_out else None,
            class_images,
            words,
            known,
            {i.name for i in self.impostors if not i.one_subject},
            self._requested(prompts.class_prompts),
        )
        attributes = visible_attributes(training.attributes, self.named_attributes) or subject_attributes(
            training.attributes, class_images.attributes, held_out=compared.attributes, is_reliable=self._is_reliable
        )
        measure, calibration = fit_measure(images, attributes, seed=self.spec.seed)
        return Baseline(
            prompts,
            ScoredSeries(words, class_images, other),
            References(training, compared, held_out, attributes),
            measure,
            calibration,
            self._floor(prompts),
            marks,
            self._checks.health_judge(self.training, prompts.class_prompts, self.concept.class_name or "thing"),
        )

    def _with_more(self, baseline: Baseline, prompts: EvalPrompts) -> Generator[Event, None, Baseline]:
        """Add the base's images for more prompts; the measure and the images of words alone stay."""
        class_images, other = yield from self._series(AdapterVariant(), (prompts.class_prompts, prompts.other))
        return replace(baseline, prompts=prompts, base=ScoredSeries(baseline.base.subject, class_images, other))

    @cached_property
    def _checks(self) -> ImageChecks:
        return ImageChecks(self.cache, self.scorer)

    @cached_property
    def _training(self) -> ScoredImages:
        return self._score_records(self.training)

    def _score_records(self, records: Sequence[ImageRecord]) -> ScoredImages:
        return self.cache.score_photos(self.scorer, [r.path for r in records])

    def _marked_photos(self, marks: OwnMarks, records: Sequence[ImageRecord]) -> ScoredImages:
        """Return photos with their scores and the subject's own marks that they show."""
        return self._checks.marked(marks, self._score_records(records), [r.path for r in records])

    def _is_reliable(self, group: str) -> bool:
        return group not in CONTEXT_GROUPS and self.scorer.is_reliable(group)

    def _requested(self, prompts: Sequence[EvalPrompt]) -> list[Collection[str]]:
        return [self.scorer.requested_attributes(p.bare_prompt).keys() for p in prompts]

    def score_variant(
        self, variant: AdapterVariant, prompts: EvalPrompts, checkpoint: Checkpoint, baseline: Baseline
    ) -> Generator[Event, None, ScoredCheckpoint]:
        """Generate and score the images of one checkpoint at one strength."""
        series = (prompts.subject, prompts.class_prompts, prompts.other)
        images = ScoredSeries(*(yield from self._series(variant, series)))
        images = replace(
            images,
            subject=self._checks.marked(baseline.marks, images.subject, self.cache.paths(variant, prompts.subject)),
        )
        cell = score_checkpoint(
            (relative(_path(variant), self.run.folder), variant.strength, checkpoint.number),
            images,
            baseline,
            prompts=[p.bare_prompt for p in prompts.subject],
            requested=self._requested(prompts.subject),
            requested_other=self._requested(prompts.other),
            seed=self.spec.seed,
        )
        # On the few images of the first round nothing could be called broken.
        of_all = len(prompts.subject) >= self.spec.images
        broken = self._checks.broken(variant, prompts.subject, baseline.health if of_all else None)
        cell = replace(cell, epoch_unit=checkpoint.unit, broken=broken[0], broken_images=broken[1])
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

    def _series(
        self, variant: AdapterVariant, series: Sequence[Sequence[EvalPrompt]]
    ) -> Generator[Event, None, list[ScoredImages]]:
        """Generate and score series of images of a variant."""
        wanted = [prompt for some in series for prompt in some]
        if damaged := self.cache.damaged(variant, wanted):
            yield Warned(message=f"cached images are damaged and will be generated again: {listed(damaged, 3)}")
        missing = self.cache.missing(variant, wanted)
        to_come = {self.cache.path(variant, prompt) for prompt in missing}
        self.generated |= {self.cache.path(variant, prompt) for prompt in wanted} - to_come
        yield self._progress()
        for path in self.cache.generate(variant, missing):
            self.generated.add(path)
            yield self._progress()
        return [self.cache.score(self.scorer, variant, some) for some in series]

    def _progress(self) -> Progress:
        done = len(self.generated)
        return Progress(what="images", done=done, total=max(self.total, done))

    def _prompts(self, count: int) -> EvalPrompts:
        own = {**dominant_attributes(self._training.attributes, ignore=CONTEXT_GROUPS), **self.named_attributes}
        wanted = self.scorer.requested_attributes
        return make_prompts(
            self.concept,
            kind=self.recipe.kind,
            crumb=family_of(self.recipe.model.base).bundled,
            form=self.spec.prompts,
            count=count,
            seed=self.spec.seed,
            fixed_groups=own.keys(),
            style_first=not mostly_not_first(captions(self.training), self.concept.subject),
            description=self.description,
            other_classes=self.scorer.classes,
            is_own=lambda words: any(own.get(g) == v for g, v in wanted(words).items()),
        )

    @cached_property
    def description(self) -> str:
        """The subject in words: the recipe's, else all that captions and scorer can say of it."""
        if self.spec.description is not None:
            return self.spec.description
        own = {**dominant_attributes(self._training.attributes, ignore=CONTEXT_GROUPS), **self.named_attributes}
        class_word = self.concept.class_name or "thing"
        images = [center_square(open_image(r.path)) for r in self.training[:MAX_DESCRIBED]]
        said = [tag for tag in self.scorer.describe(images, class_word, own) if tag.lower() != class_word.lower()]

        def is_context(tag: str) -> bool:
            groups = self.scorer.requested_attributes(tag).keys()
            return bool(groups) and groups <= CONTEXT_GROUPS

        return describe(captions(self.training), self.concept.trigger_word, said_by_scorer=said, left_out=is_context)

    def _floor(self, prompts: EvalPrompts) -> float:
        """Return the mean score of the base's images for each other's prompts."""
        if not self.scorer.has_floor:
            return 0.0
        others = [p.bare_prompt for p in prompts.class_prompts[PER_PROMPT:] + prompts.class_prompts[:PER_PROMPT]]
        scores = self.scorer.prompt_scores(self.cache.load(AdapterVariant(), prompts.class_prompts), others)
        return float(np.nanmean(scores))

    def _strengths(self, path: Path) -> tuple[float, ...]:
        """Return the strengths to evaluate; whole models, and embeddings alone, have none."""
        return (1.0,) if path.is_dir() or self.recipe.adapter.kind == "none" else self.spec.weights

    def _report(
        self, prompts: EvalPrompts, cells: Mapping[AdapterVariant, ScoredCheckpoint], baseline: Baseline
    ) -> Report:
        found, references = list(cells.values()), baseline.references
        broken, _ = self._checks.broken(AdapterVariant(), baseline.prompts.words, baseline.health)
        bare = [p.bare_prompt for p in prompts.class_prompts]
        base = score_base(baseline, bare, broken=broken, seed=self.spec.seed)
        shown = judged(found)
        images: dict[str, str] = {}
        for variant, cell in [(AdapterVariant(), None), *cells.items()]:
            for series, i, prompt in prompts.numbered(of_base=cell is None):
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
            description=self.description,
            subject_attributes=dict(references.attributes),
            held_out=references.held_out,
            references=tuple(r.path for r in self.training),
            base=base,
            cells=tuple(found),
            prompts=prompts,
            marks=self._checks.report_marks(
                baseline.marks,
                [r.path for r in self.training],
                self.cache.paths(next(v for v, c in cells.items() if c is shown), prompts.subject[: shown.images]),
                baseline.base.subject,
            ),
            pick=make_pick(found, base),
            verdict=make_verdict(
                found, base, self.spec.images, self.run.folder, has_rate=self.recipe.adapter.kind != "none"
            ),
            notes=tuple(self.notes),
            images=images,
        )


def _path(variant: AdapterVariant) -> Path:
    assert variant.weights is not None
    return variant.weights
