"""The protocol: for each subject train, generate 25 prompts x 4 images, score; each step is skipped once it is done."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from bakehouse.core.errors import UsageError
from bakehouse.core.events import Event, Noted, Progress
from bakehouse.core.files import key_of, read_json, sha256_file, write_json, write_text
from bakehouse.core.folder_lock import locked
from bakehouse.core.message_text import counted
from bakehouse.core.run_folder import Run
from bakehouse.core.settings import Spec
from bakehouse.data.open_image import open_image
from bakehouse.data.scan import scan
from bakehouse.dreambench.benchmark_data import Benchmark, Subject
from bakehouse.dreambench.result import BenchResult, SubjectRow
from bakehouse.dreambench.scorers import BenchScorer, Measure
from bakehouse.dreambench.table import markdown
from bakehouse.evaluation.evaluation_inputs import generation_settings, pipeline
from bakehouse.evaluation.image_cache import AdapterVariant, ImageCache, ImageGenerator, center_square, weight_files
from bakehouse.evaluation.metrics import Floats, mean_interval, self_similarity, similarity
from bakehouse.evaluation.prompt_set import EvalPrompt
from bakehouse.generation.run_weights import run_weights
from bakehouse.models.weights_fingerprint import files_fingerprint
from bakehouse.recipe import Recipe, recipe_for_folder

SUBJECTS, PROMPTS, IMAGES = 30, 25, 4
"""Of the published protocol."""
SEED = 0
"""Seed of a subject's first image; the others follow."""
BATCH = 25
"""Images that are scored at a time."""

Train = Callable[[Recipe, Path], Iterator[Event]]
"""Trains a recipe into a run folder, or resumes it."""


class BenchSpec(Spec):
    """Settings of a benchmark."""

    base: str
    """Base model."""
    prompts: Annotated[int, Field(ge=1, le=1000)] = PROMPTS
    """Most prompts of each subject, evenly spaced."""
    images: Annotated[int, Field(ge=1, le=100)] = IMAGES
    """Images of each prompt."""
    recipe: Mapping[str, Any] = {}
    """Keys of each subject's recipe, dotted."""


@dataclass(frozen=True, kw_only=True)
class Benched(Event):
    """A subject was scored; a measure that is unknown is None."""

    subject: str
    done: int
    total: int
    scores: Mapping[str, float | None]


def run_benchmark(
    benchmark: Benchmark,
    spec: BenchSpec,
    out: Path,
    *,
    train: Train,
    scorer: BenchScorer,
    device: str = "auto",
    generator: ImageGenerator | None = None,
) -> Generator[Event, None, BenchResult]:
    """Run a benchmark and write table.md and table.json into `out` after each subject; the same call again resumes.

    Args:
        benchmark: subjects and prompts.
        spec: base, numbers and settings.
        out: folder of runs, images and results.
        train: trains a subject.
        scorer: scores images.
        device: on which images are generated.
        generator: in place of a pipeline on each run's base.

    Raises:
        UsageError: a subject has no images, or its run belongs to another recipe.
        BakehouseError: another process works in `out`.
    """
    out.mkdir(parents=True, exist_ok=True)
    with locked(out, "running a benchmark") as warnings:
        yield from (Noted(message=message) for message in (*warnings, *benchmark.notes))
        bench = _Bench(benchmark, spec, out, train, scorer, device, generator)
        for number, subject in enumerate(benchmark.subjects, 1):
            row = yield from bench.subject(subject)
            bench.rows.append(row)
            bench.write()
            values: dict[str, float | None] = {
                str(m): None if i.value != i.value else round(i.value, 4) for m, i in row.scores.items()
            }
            yield Benched(subject=subject.name, done=number, total=len(benchmark.subjects), scores=values)
        return bench.result()


@dataclass
class _Bench:
    benchmark: Benchmark
    spec: BenchSpec
    out: Path
    train: Train
    scorer: BenchScorer
    device: str
    generator: ImageGenerator | None
    rows: list[SubjectRow] = field(default_factory=list)
    settings: str = ""

    def subject(self, subject: Subject) -> Generator[Event, None, SubjectRow]:
        """Train, generate and score one subject."""
        recipe, run = self.recipe(subject), Run(self.out / "runs" / subject.name)
        yield Noted(message=f"{subject.name}: {subject.trigger} {subject.class_word}")
        yield from self.train(recipe, run.folder)
        trained, weights = Recipe.load(run.recipe), run_weights(run)[-1]
        settings = generation_settings(trained, trained.evaluate)
        self.settings = f"{settings.steps} steps of {settings.sampler}, guidance {settings.guidance:g}"
        prompts = self.prompts(subject)
        photos = [r.path for r in scan(subject.folder).records]
        parts = (self.scorer.name, files_fingerprint(weight_files(str(weights))), vars(settings))
        asked = [(p.prompt, p.bare_prompt, p.seed) for p in prompts]
        key = key_of("dreambench 1", *map(str, parts), asked, [sha256_file(path) for path in photos])
        saved = self.out / "subjects" / f"{subject.name}.json"
        if saved.is_file() and (value := read_json(saved)).get("key") == key:
            return SubjectRow.from_json(value)
        generator = self.generator or pipeline(trained, run, self.device)
        cache = ImageCache(self.out / "cache", generator, settings)
        variant = AdapterVariant(weights)
        missing = cache.missing(variant, prompts)
        for done, _ in enumerate(cache.generate(variant, missing), len(prompts) - len(missing) + 1):
            yield Progress(what=f"images of {subject.name}", done=done, total=len(prompts))
        if close := getattr(generator, "close", None):
            close()
        row = self.score(subject, cache, variant, prompts, photos)
        write_json(saved, {"key": key, **row.to_json()})
        return row

    def recipe(self, subject: Subject) -> Recipe:
        """Return a subject's recipe: the plan's own numbers, but no samples and only the last weights."""
        settings = {"sample.prompts": [], "save.every_epochs": 0, "name": subject.name, **self.spec.recipe}
        words = f"{subject.trigger} {subject.class_word}"
        found = recipe_for_folder(subject.folder, words, kind=subject.kind, base=self.spec.base, settings=settings)
        values = {"concepts.0.trigger": subject.trigger, "concepts.0.class_word": subject.class_word}
        return found.with_values(values)

    def prompts(self, subject: Subject) -> list[EvalPrompt]:
        """Return the prompts of a subject, each as often as there are images of it, each with a seed of its own."""
        count = min(self.spec.prompts, len(subject.prompts))
        chosen = [subject.prompts[round(i)] for i in np.linspace(0, len(subject.prompts) - 1, count)]
        each = [(subject.prompt(t), subject.bare_prompt(t)) for t in chosen for _ in range(self.spec.images)]
        return [EvalPrompt("subject", prompt, bare, SEED + i) for i, (prompt, bare) in enumerate(each)]

    def score(
        self,
        subject: Subject,
        cache: ImageCache,
        variant: AdapterVariant,
        prompts: Sequence[EvalPrompt],
        photos: Sequence[Path],
    ) -> SubjectRow:
        """Score a subject's images; intervals are over the means of its prompts."""
        if not photos:
            raise UsageError(f"{subject.folder} has no readable image")
        real = self.scorer.embeddings([center_square(open_image(path)).convert("RGB") for path in photos])
        values: dict[Measure, list[Floats]] = {}
        for start in range(0, len(prompts), BATCH):
            some = prompts[start : start + BATCH]
            images = [image.convert("RGB") for image in cache.load(variant, some)]
            for measure, rows in self.scorer.embeddings(images).items():
                values.setdefault(measure, []).append(similarity(rows, real[measure]))
            fits = self.scorer.prompt_scores(images, [p.bare_prompt for p in some])
            values.setdefault("clip_t", []).append(np.asarray(fits, dtype=np.float64))
        per_prompt = {m: np.concatenate(parts).reshape(-1, self.spec.images) for m, parts in values.items()}
        return SubjectRow(
            name=subject.name,
            subject=f"{subject.trigger} {subject.class_word}",
            kind=subject.kind,
            photos=len(photos),
            images=len(prompts),
            prompts=len(prompts) // self.spec.images,
            scores={m: mean_interval(_known_means(rows)) for m, rows in per_prompt.items()},
            of_photos={m: self_similarity(rows) for m, rows in real.items()},
        )

    def result(self) -> BenchResult:
        """Return the result of the subjects so far."""
        whole = (
            self.benchmark.is_dreambooth
            and len(self.rows) == SUBJECTS
            and all((r.prompts, r.images) == (PROMPTS, PROMPTS * IMAGES) for r in self.rows)
        )
        missing = len(self.benchmark.subjects) - len(self.rows)
        notes = (*self.benchmark.notes, *([f"{counted(missing, 'subject')} still to come"] if missing else []))
        source, images = self.benchmark.source, counted(self.spec.images, "image")
        return BenchResult(
            base=self.spec.base,
            scorer=self.scorer.name,
            columns=self.scorer.columns,
            prompts_from=source,
            is_full_protocol=whole,
            settings=f"{images} of each, {self.settings}, the last weights at strength 1",
            rows=tuple(self.rows),
            notes=notes,
        )

    def write(self) -> None:
        """Write the table of the subjects so far."""
        result = self.result()
        write_text(self.out / "table.md", markdown(result))
        write_json(self.out / "table.json", result.to_json())


def _known_means(rows: Floats) -> Floats:
    """Return the mean of each row, NaN left out; NaN for a row without any value."""
    known = ~np.isnan(rows)
    counts = known.sum(axis=1)
    sums = np.where(known, rows, 0.0).sum(axis=1)
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)
