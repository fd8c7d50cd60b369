"""`evaluate(run)`: renders, judges, picks and reports. Pictures are kept, so that the same command goes on."""

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
from bakehouse.core.run_folder import Run
from bakehouse.data.image_records import ImageRecord
from bakehouse.data.open_image import open_image
from bakehouse.data.scan import scan
from bakehouse.evaluation.cell_scores import Cell, Looked, Looks, References, score_base, score_cell
from bakehouse.evaluation.image_cache import Album, Look, Painter, PipelinePainter, Shot, look_at, square
from bakehouse.evaluation.image_scorers import CONTEXT, Judge, judge_for
from bakehouse.evaluation.metrics import dominant_attributes, subject_attributes, visible_attributes
from bakehouse.evaluation.prompt_set import PER_PROMPT, Asks, make_asks, phrase_in
from bakehouse.evaluation.result import Report, picture_name
from bakehouse.evaluation.selection import finalists, judge_run, make_pick, relative
from bakehouse.models.families import family_of
from bakehouse.recipe.recipe import ConceptSpec, EvaluateSpec, Recipe
from bakehouse.recipe.text_match import mostly_behind

COARSE = 6
"""Pictures for each cell in the first round; the best go on to all of them."""
FINALISTS = 3
"""DPM++ steps where the recipe leaves them open: to the judge, its pictures equal those of 30 steps (cosine 0.993)."""
_SHOWN = 3
"""Names in one message."""
MOST_REFERENCES = 200
"""Of a large folder so many images are judged, evenly spread."""


@dataclass(frozen=True, kw_only=True)
class Scored(Event):
    """A checkpoint at a weight was judged; shares of 1, drift in points, None where unknown."""

    epoch: int
    unit: str = "epoch"
    """What `epoch` counts: `step` where the run saved by steps alone."""
    weight: float
    images: int
    subject: float | None
    prompt_kept: float | None
    drift: float | None


@dataclass(frozen=True, kw_only=True)
class Evaluated(Event):
    """The evaluation is done."""

    report: str
    """Path of the page."""
    weights: str
    weight: float
    why: str
    verdict: str
    mend: str
    seconds: float


def evaluate(
    run: Run,
    *,
    spec: EvaluateSpec | None = None,
    changes: Mapping[str, Any] | None = None,
    concept: int = 0,
    judge: Judge | None = None,
    painter: Painter | None = None,
    device: str = "auto",
) -> Generator[Event, None, Report]:
    """Judges a run's checkpoints against the untouched base; yields events and returns the report.

    All cells are judged on a few pictures first, then the best on all: most of the time goes where the choice is made.
    Writes report/scores.json, pick.json, report.html and grid.png.

    Args:
        run: what `bakehouse train` made.
        spec: instead of the recipe's.
        changes: single keys of it: `{"images": 8}`.
        concept: which of the recipe's concepts.
        judge: instead of the one that suits the base.
        painter: instead of a pipeline on the recipe's base.
        device: where pictures are made.

    Raises:
        UsageError: no weights, no such images, a judge that is not there.
        BakehouseError: a file is damaged, or another process is at work in the run.
    """
    began = time.monotonic()
    with locked(run.folder, "judging") as told:
        recipe = Recipe.load(run.recipe)
        job = Judging.make(run, recipe, spec or recipe.evaluate, changes or {}, concept, judge, painter, device)
        for note in [*told, *job.notes]:
            yield Warned(message=note)
        report = yield from job.work()
        write_json(run.report / "scores.json", report.to_json())
        write_json(run.report / "pick.json", report.pick.to_json())
        from bakehouse.evaluation.html_report import write_report

        write_report(report, run)
        yield Evaluated(
            report=str(report.html),
            weights=report.pick.weights,
            weight=report.pick.weight,
            why=report.pick.why,
            verdict=report.verdict.word,
            mend=report.verdict.mend,
            seconds=time.monotonic() - began,
        )
        return report


@dataclass(frozen=True)
class Ground:
    """What every cell of an evaluation is compared with."""

    asks: Asks
    base: Looks
    references: References
    floor: float
    """What the judge gives pictures for prompts that are not theirs."""


@dataclass
class Judging:
    """One evaluation: its parts, and what it has found so far."""

    run: Run
    recipe: Recipe
    spec: EvaluateSpec
    concept: ConceptSpec
    judge: Judge
    album: Album
    training: Sequence[ImageRecord]
    compared: Sequence[ImageRecord]
    own_named: Mapping[str, str]
    notes: list[str]
    total: int = 0
    there: set[Path] = field(default_factory=set)
    """Pictures that are made."""

    @classmethod
    def make(
        cls,
        run: Run,
        recipe: Recipe,
        spec: EvaluateSpec,
        changes: Mapping[str, Any],
        concept: int,
        judge: Judge | None,
        painter: Painter | None,
        device: str,
    ) -> Judging:
        """Gathers the parts; reads no model but the judge.

        Raises:
            UsageError: see `evaluate`.
        """
        if changes:
            spec = spec.with_values(changes)
        if not 0 <= concept < len(recipe.concepts):
            raise UsageError(f"concept = {concept}: the recipe has {len(recipe.concepts)}, counted from 0")
        subject = recipe.concepts[concept]
        training = _spread(scan(subject.folder).records, MOST_REFERENCES)
        holdout = spec.holdout or _beside(subject.folder)
        notes = []
        if holdout is None:
            notes.append("no held-out images: the subject is compared with the images it was trained on")
        if len(recipe.concepts) > 1:
            notes.append(
                f"the run has {len(recipe.concepts)} concepts; this judges {subject.subject or subject.folder.name!r}"
            )
        usual = family_of(recipe.model.base).evaluation_steps
        steps = usual if usual is not None and "steps" not in spec.model_fields_set else spec.steps
        look = Look(steps=steps, guidance=spec.guidance, size=_size(recipe))
        return cls(
            run=run,
            recipe=recipe,
            spec=spec,
            concept=_as_captioned(subject, training),
            judge=judge or judge_for(recipe.model.base),
            album=Album(run.report / "cache", painter or _pipeline(recipe, run, device), look),
            training=training,
            compared=_spread(scan(holdout).records, MOST_REFERENCES) if holdout else training,
            own_named=_named_attributes(subject.folder),
            notes=notes,
        )

    def work(self) -> Generator[Event, None, Report]:
        """Base, all cells coarsely, the best finely, the report."""
        chosen = {c.path: c for c in checkpoints(self.run, self.spec.checkpoints)}
        shots = [Shot(path, weight) for path in chosen for weight in self._weights(path)]
        coarse = min(COARSE, self.spec.images)
        closer = min(FINALISTS, len(shots)) if coarse < self.spec.images else 0
        training = self._look_at(self.training)
        asks = self._asks(training)
        few = asks.first(coarse)
        self.total = len(asks) - len(asks.subject) + len(shots) * len(few) + closer * (len(asks) - len(few))

        ground = yield from self.ground(asks, training)
        cells: dict[Shot, Cell] = {}
        for shot in shots:
            cells[shot] = yield from self.cell(shot, few, chosen[_path(shot)], ground)
        best = [id(c) for c in finalists(list(cells.values()), closer)]
        for shot in [s for s, c in cells.items() if id(c) in best]:
            cells[shot] = yield from self.cell(shot, asks, chosen[_path(shot)], ground)
        return self._report(asks, cells, ground)

    def ground(self, asks: Asks | None = None, training: Looked | None = None) -> Generator[Event, None, Ground]:
        """Draws and judges the untouched base; `asks` and `training` where they are known already."""
        training = self._look_at(self.training) if training is None else training
        asks = asks or self._asks(training)
        compared = training if self.compared is self.training else self._look_at(self.compared)
        base = yield from self._series(Shot(), asks)
        own = visible_attributes(training.attributes, self.own_named)
        own = own or subject_attributes(training.attributes, base.klass.attributes, ignore=CONTEXT)
        references = References(training, compared, self.compared is not self.training, own)
        return Ground(asks, base, references, self._floor(asks))

    def _look_at(self, records: Sequence[ImageRecord]) -> Looked:
        return look_at(self.judge, [square(open_image(r.path)) for r in records])

    def cell(self, shot: Shot, asks: Asks, checkpoint: Checkpoint, ground: Ground) -> Generator[Event, None, Cell]:
        """Draws and judges one checkpoint at one weight."""
        looks = yield from self._series(shot, asks)
        base, references, floor = ground.base, ground.references, ground.floor
        cell = score_cell(
            (relative(_path(shot), self.run.folder), shot.weight, checkpoint.number),
            looks,
            base,
            references,
            prompts=[a.judged for a in asks.subject],
            asked=[self.judge.asked(a.judged).keys() for a in asks.subject],
            asked_other=[self.judge.asked(a.judged).keys() for a in asks.other],
            floor=floor,
            seed=self.spec.seed,
        )
        cell = replace(cell, unit=checkpoint.unit)
        figures = (cell.fidelity.value, cell.kept, cell.drift.points.value)
        subject, kept, drift = (None if math.isnan(v) else round(v, 4) for v in figures)
        yield Scored(
            epoch=cell.epoch,
            unit=cell.unit,
            weight=shot.weight,
            images=cell.images,
            subject=subject,
            prompt_kept=kept,
            drift=drift,
        )
        return cell

    def _series(self, shot: Shot, asks: Asks) -> Generator[Event, None, Looks]:
        """Makes and judges the pictures of a shot; the base needs none of the subject."""
        subject = asks.subject if shot.weights else ()
        wanted = (*subject, *asks.klass, *asks.other)
        if damaged := self.album.damaged(shot, wanted):
            names = ", ".join(str(path) for path in damaged[:_SHOWN])
            more = f" and {len(damaged) - _SHOWN} more" if len(damaged) > _SHOWN else ""
            yield Warned(message=f"cached pictures are damaged and drawn again: {names}{more}")
        missing = self.album.missing(shot, wanted)
        self.there |= {self.album.path(shot, ask) for ask in set(wanted) - set(missing)}
        yield self._progress()
        for path in self.album.make(shot, missing):
            self.there.add(path)
            yield self._progress()
        looked = [self.album.looked(self.judge, shot, some) for some in (subject, asks.klass, asks.other)]
        return Looks(*looked)

    def _progress(self) -> Progress:
        return Progress(what="pictures", done=len(self.there), total=max(self.total, len(self.there)))

    def _asks(self, training: Looked) -> Asks:
        fixed = {*dominant_attributes(training.attributes, ignore=CONTEXT), *self.own_named}
        return make_asks(
            self.concept,
            kind=self.recipe.kind,
            crumb=family_of(self.recipe.model.base).bundled,
            count=self.spec.images,
            seed=self.spec.seed,
            fixed=fixed,
            in_front=not mostly_behind(_captions(self.training), self.concept.subject),
        )

    def _floor(self, asks: Asks) -> float:
        """What the judge gives the base's pictures for each other's prompts."""
        if not self.judge.has_floor:
            return 0.0
        others = [a.judged for a in asks.klass[PER_PROMPT:] + asks.klass[:PER_PROMPT]]
        scores = self.judge.prompt_scores(self.album.open(Shot(), asks.klass), others)
        return float(np.nanmean(scores))

    def _weights(self, path: Path) -> tuple[float, ...]:
        return (1.0,) if path.is_dir() else self.spec.weights

    def _report(self, asks: Asks, cells: Mapping[Shot, Cell], ground: Ground) -> Report:
        found = list(cells.values())
        references, prompts = ground.references, [a.judged for a in asks.klass]
        base = score_base(ground.base.klass, references, prompts, floor=ground.floor, seed=self.spec.seed)
        pictures: dict[str, str] = {}
        for shot, cell in [(Shot(), None), *cells.items()]:
            for series, some in (("subject", asks.subject), ("class", asks.klass), ("other", asks.other)):
                for i, ask in enumerate(some):
                    path = self.album.path(shot, ask)
                    if path.is_file():
                        pictures[picture_name(cell, series, i)] = path.relative_to(self.run.report).as_posix()
        return Report(
            folder=self.run.report,
            title=self.recipe.title,
            concept=self.concept,
            judge=self.judge.name,
            measures=self.judge.measures,
            base_model=self.recipe.model.base,
            spec=self.spec,
            look=self.album.look,
            own=dict(references.own),
            held_out=references.held_out,
            references=tuple(r.path for r in self.training),
            base=base,
            cells=tuple(found),
            asks=asks,
            pick=make_pick(found, base),
            verdict=judge_run(found, base),
            notes=tuple(self.notes),
            pictures=pictures,
        )


@dataclass(frozen=True)
class Checkpoint:
    """Weights of a run and when they were saved: `number` counts epochs, or steps where it saved by steps alone."""

    number: int
    unit: str
    path: Path


def _path(shot: Shot) -> Path:
    assert shot.weights is not None
    return shot.weights


def checkpoints(run: Run, most: int) -> list[Checkpoint]:
    """At most `most` of a run's weights, evenly spread; the last is always among them.

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
    # Counted from the end: of 8 and 5 wanted 2, 3, 5, 6, 8. The first have learned least.
    chosen = sorted({round((i + 1) * len(found) / count) - 1 for i in range(count)})
    return [found[i] for i in chosen]


def _pipeline(recipe: Recipe, run: Run, device: str) -> PipelinePainter:
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
    return PipelinePainter(source, device)


def _size(recipe: Recipe) -> int | None:
    """The side that was trained at where the recipe says one; pictures come in whole latents of 8 pixels."""
    return recipe.buckets.resolution // 8 * 8 if "resolution" in recipe.buckets.model_fields_set else None


def _captions(images: Sequence[ImageRecord]) -> list[str]:
    return [caption for image in images for caption in image.captions[:1]]


def _as_captioned(concept: ConceptSpec, images: Sequence[ImageRecord]) -> ConceptSpec:
    """The concept with the subject that its captions name."""
    phrase = phrase_in(_captions(images), concept.trigger_word)
    if phrase is None or phrase == concept.subject:
        return concept
    words = {"subject": phrase, "trigger": concept.trigger_word, "class_word": concept.class_name}
    return concept.model_copy(update=words)


def _beside(folder: Path) -> Path | None:
    """Held-out images lie beside the folder of images under its name with `-holdout`."""
    beside = folder.parent / f"{folder.name}-holdout"
    return beside if beside.is_dir() else None


def _named_attributes(folder: Path) -> dict[str, str]:
    """The subject's attributes where an example.json beside the images names them."""
    path = folder / "example.json"
    if not path.is_file():
        return {}
    value = read_json(path)
    named = value.get("attributes") if isinstance(value, dict) else None
    return {str(k): str(v) for k, v in named.items()} if isinstance(named, dict) else {}


def _spread(records: Sequence[ImageRecord], most: int) -> Sequence[ImageRecord]:
    if len(records) <= most:
        return records
    return [records[round(i)] for i in np.linspace(0, len(records) - 1, most)]
