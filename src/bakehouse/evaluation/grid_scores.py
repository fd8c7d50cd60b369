"""Scores under the images of a grid: the run's own measure of its subject, and how well the prompt is followed."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from bakehouse.core.errors import BakehouseError
from bakehouse.core.events import result_of
from bakehouse.core.message_text import counted
from bakehouse.core.run_folder import Run
from bakehouse.data.open_image import open_image
from bakehouse.data.weighted_prompt import WeightedText
from bakehouse.evaluation.checkpoint_scores import Baseline
from bakehouse.evaluation.evaluate_run import EvaluationRun
from bakehouse.evaluation.evaluation_inputs import pipeline
from bakehouse.evaluation.image_cache import (
    AdapterVariant,
    GenerationSettings,
    ImageGenerator,
    center_square,
)
from bakehouse.evaluation.image_checks import ImageChecks
from bakehouse.evaluation.image_scorers import ImageScorer
from bakehouse.evaluation.metrics import Floats
from bakehouse.evaluation.prompt_set import EvalPrompt
from bakehouse.evaluation.result import Report
from bakehouse.generation.prompt import compile_prompt
from bakehouse.generation.request import ImageRequest
from bakehouse.recipe.recipe import ConceptSpec, Recipe


@dataclass(frozen=True)
class CachedImages:
    """The images of an evaluation that was made before. None is made again, so no base is loaded."""

    made_by: ImageGenerator

    def key(self, variant: AdapterVariant) -> str:
        """Return the key of what made them."""
        return self.made_by.key(variant)

    def generate(
        self, variant: AdapterVariant, prompts: Sequence[EvalPrompt], settings: GenerationSettings
    ) -> Iterator[Image.Image]:
        """Refuse.

        Raises:
            BakehouseError: always; an image is missing.
        """
        raise BakehouseError(
            f"{counted(len(prompts), 'image')} of the run's evaluation are not in its cache any more",
            hint="evaluate the run again, or pass --no-scores",
        )

    def denoising_errors(self, images: Sequence[Image.Image], prompts: Sequence[str]) -> Floats | None:
        """Return None: grids are scored without the base."""
        return None


@dataclass(frozen=True)
class GridScorer:
    """Scores any images as the evaluation of a run scores its own."""

    evaluation: EvaluationRun
    baseline: Baseline

    def __call__(self, files: Sequence[Path], requests: Sequence[ImageRequest]) -> list[str]:
        """Return `subject 0.83, prompt 0.71` for each image, as far as its prompt and the subject can be scored.

        Subject: 0 is what the base draws from words alone, 1 the subject's own images (`subject_measure`). Prompt: the
        scorer's own scale; with CLIP a cosine.
        """
        if not files:
            return []
        scorer, cache = self.evaluation.scorer, self.evaluation.cache
        prompts = [bare_prompt(request, self.evaluation.concept) for request in requests]
        images = ImageChecks(cache, scorer).marked(self.baseline.marks, cache.score_photos(scorer, files), files)
        requested = [scorer.requested_attributes(prompt).keys() for prompt in prompts]
        subject = self.baseline.measure.scores(images, requested)
        follows = scorer.prompt_scores([center_square(open_image(path)) for path in files], prompts)
        return [_caption(float(a), float(b)) for a, b in zip(subject, follows, strict=True)]


def scores_of_run(
    run: Run, scorer: ImageScorer | None = None, generator: ImageGenerator | None = None
) -> GridScorer | None:
    """Return what scores the images of a grid of this run; None if it was not evaluated, or is a slider.

    No model is loaded but the scorer's.

    Args:
        run: the run of the grid's model.
        scorer: in place of the default for the base.
        generator: what made the evaluation's images, in place of a pipeline on the recipe's base.

    Raises:
        BakehouseError: the evaluation's images, or the images that the run was trained on, are gone.
    """
    recipe = Recipe.load(run.recipe)
    report = Report.find(run, recipe)
    if report is None:
        return None
    concept = next((i for i, c in enumerate(recipe.concepts) if c.folder == report.concept.folder), 0)
    images = CachedImages(generator or pipeline(recipe, run, "auto"))
    evaluation = EvaluationRun.make(run, recipe, report.spec, {}, concept, scorer, images, "auto")
    evaluation.cache.settings = report.settings
    return GridScorer(evaluation, result_of(evaluation.score_baseline(report.prompts)))


def bare_prompt(request: ImageRequest, concept: ConceptSpec) -> str:
    """Return a request's prompt as the scorer reads it: without the syntax, and with the class for the subject."""
    text = request.prompt
    if request.prompt_syntax != "plain":
        last = compile_prompt(request.prompt, steps=request.steps, emphasis=request.emphasis).schedule[-1]
        pieces = [p.text for c in last.conditions for p in c.text.pieces if isinstance(p, WeightedText)]
        text = "".join(pieces)
    for own in filter(None, (concept.subject, concept.trigger_word)):
        text = re.sub(rf"(?<!\w){re.escape(own)}(?!\w)", lambda _: concept.class_name or "", text)
    return text.strip()


def _caption(subject: float, prompt: float) -> str:
    known = (("subject", subject), ("prompt", prompt))
    return ", ".join(f"{name} {value:.2f}" for name, value in known if not math.isnan(value))
