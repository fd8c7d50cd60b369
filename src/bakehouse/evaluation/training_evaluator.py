"""Evaluation during training for early stopping; it implements the protocol of `training.evaluator_protocol`."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image

from bakehouse.core.errors import BakehouseError
from bakehouse.core.events import Event, Warned
from bakehouse.core.files import key_of, read_checked, read_json, write_checked
from bakehouse.core.model_catalogue.conventions import with_quality
from bakehouse.core.run_folder import Run
from bakehouse.evaluation.checkpoint_scores import Baseline, ScoredCheckpoint
from bakehouse.evaluation.evaluate_run import EvaluationRun
from bakehouse.evaluation.evaluation_inputs import Checkpoint, subject_concepts
from bakehouse.evaluation.image_cache import AdapterVariant, GenerationSettings, weight_files
from bakehouse.evaluation.image_scorers import ImageScorer
from bakehouse.evaluation.metrics import Floats
from bakehouse.evaluation.prompt_set import EvalPrompt
from bakehouse.evaluation.selection import choose
from bakehouse.models.weights_fingerprint import files_fingerprint
from bakehouse.recipe.recipe import Recipe
from bakehouse.recipe.sample_prompt import GenerateSamples, SamplePrompt, valid_side
from bakehouse.recipe.stop_settings import StopSpec


class TrainingImageGenerator:
    """Generates images with the model that is being trained, so that no second model is loaded."""

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe
        self.model: GenerateSamples | None = None
        """Generates with the model in its current state, or with the untouched base."""

    def key(self, variant: AdapterVariant) -> str:
        """Return a key of the files' content, apart from `bakehouse evaluate`, which generates from saved weights."""
        ref = self.recipe.model.base if variant.weights is None else str(variant.weights)
        files = weight_files(ref)
        return key_of("live", files_fingerprint(files) if files else ref, self.recipe.model.vae)

    def generate(
        self, variant: AdapterVariant, prompts: Sequence[EvalPrompt], settings: GenerationSettings
    ) -> Iterator[Image.Image]:
        """Yield one image for each prompt, in order."""
        assert self.model is not None
        side = valid_side(settings.size or self.recipe.buckets.resolution)
        wanted = [
            SamplePrompt(
                prompt=with_quality(p.prompt, settings.quality),
                negative=settings.negative,
                width=side,
                height=side,
                seed=p.seed,
                guidance=settings.guidance,
                steps=settings.steps,
                sampler=settings.sampler,
            )
            for p in prompts
        ]
        return self.model(wanted, base=variant.weights is None)

    def denoising_errors(self, images: Sequence[Image.Image], prompts: Sequence[str]) -> Floats | None:
        """Return None: while the model trains, no image is judged by the untouched base."""
        return None


@dataclass
class ConceptHistory:
    """One concept of the run: its evaluation, its baseline, and the cells of the weights so far."""

    evaluation: EvaluationRun
    baseline: Baseline | None = None
    cells: list[ScoredCheckpoint] = field(default_factory=list)


class TrainingEvaluator:
    """Evaluates a run's weights at strength 1 while it trains, with `stop.images` images of each concept.

    Results are kept in report/learning.json, so that a resumed run knows them.
    """

    def __init__(self, recipe: Recipe, run: Run, scorer: ImageScorer | None = None) -> None:
        """Load the scorer, not the base.

        Args:
            recipe: the resolved recipe, in which the plan has left nothing open.
            run: the run folder.
            scorer: in place of the default for the base.

        Raises:
            UsageError: the scorer is missing, or there are no images.
        """
        self.stop: StopSpec = recipe.stop
        self.history_file = run.report / "learning.json"
        self.generator = TrainingImageGenerator(recipe)
        spec = recipe.evaluate.with_values({"images": self.stop.images, "weights": [1.0]})
        self.concepts: list[ConceptHistory] = []
        for concept in subject_concepts(recipe):
            evaluation = EvaluationRun.make(run, recipe, spec, {}, concept, scorer, self.generator, "auto")
            scorer = evaluation.scorer
            self.concepts.append(ConceptHistory(evaluation))

    def start(self, generate: GenerateSamples) -> Iterator[Event]:
        """Score the untouched base, or load its cached scores, and load the results of earlier weights."""
        self.generator.model = generate
        for concept in self.concepts:
            yield from (Warned(message=note) for note in concept.evaluation.notes)
            concept.baseline = yield from concept.evaluation.score_baseline()
        if self.history_file.is_file():
            self._restore(self._read_history())

    def evaluate(self, weights: Path, number: int, unit: str, generate: GenerateSamples) -> Generator[Event, None, str]:
        """Evaluate `weights`; return the reason to end the run, empty to continue.

        Raises:
            BakehouseError: `start` was not called.
        """
        self.generator.model = generate
        checkpoint, variant = Checkpoint(number, unit, weights), AdapterVariant(weights)
        for concept in self.concepts:
            baseline = concept.baseline
            if baseline is None:
                raise BakehouseError("the untouched base was not evaluated yet", hint="call start() before evaluate()")
            cell = yield from concept.evaluation.score_variant(variant, baseline.prompts, checkpoint, baseline)
            # A run that is resumed from an earlier state evaluates these weights, and those after them, again.
            known = [c.weights for c in concept.cells]
            before = known.index(cell.weights) if cell.weights in known else len(known)
            concept.cells = [*concept.cells[:before], cell]
        write_checked(self.history_file, {"courses": [[c.to_json() for c in h.cells] for h in self.concepts]})
        reasons = [stop_reason(concept.cells, self.stop) for concept in self.concepts]
        return reasons[0] if all(reasons) else ""

    def _read_history(self) -> list[list[dict[str, object]]]:
        """Return the results from before the run was interrupted.

        Raises:
            BakehouseError: the file is damaged, so that the run might end elsewhere.
        """
        try:
            value = read_json(self.history_file)
            # Earlier versions wrote a plain list.
            found: list[list[dict[str, object]]] = (
                value if isinstance(value, list) else read_checked(self.history_file)["courses"]
            )
            # Figures of another version cannot be compared with those of this one.
            for cells in found:
                for cell in cells:
                    ScoredCheckpoint.from_json(cell)
        except (KeyError, TypeError) as e:
            raise BakehouseError(
                f"{self.history_file} was written by another version of bakehouse",
                hint="remove it: then only weights saved from now on count, and the run may end later",
            ) from e
        except BakehouseError as e:
            e.hint = "restore it; or remove it: then only weights saved from now on count, and the run may end later"
            raise
        return found

    def _restore(self, history: list[list[dict[str, object]]]) -> None:
        for concept, cells in zip(self.concepts, history, strict=True):
            concept.cells = [ScoredCheckpoint.from_json(c) for c in cells]


def stop_reason(cells: Sequence[ScoredCheckpoint], stop: StopSpec) -> str:
    """Return why a run whose weights scored `cells`, in their order, should end; empty to continue.

    The subject must show. Then the run ends if the best cell, as `choose` selects it, is `stop.patience` behind the
    last: all later ones are no better by more than one standard error. It ends at once if the class drifts too far.
    """
    last, best = cells[-1], choose(cells)
    drift = last.drift.points
    if last.shown.value >= stop.shown and drift.low > stop.drift:
        return f"{_shown(last)}, and prior drift is {drift.value:.0f} points (limit {stop.drift:g})"
    later = len(cells) - 1 - next(i for i, c in enumerate(cells) if c is best)
    if best.shown.value >= stop.shown and later >= stop.patience:
        those = f"the {later} checkpoints after it are" if later > 1 else "the next is"
        return f"{_shown(best)}, and {those} no better"
    return ""


def _shown(cell: ScoredCheckpoint) -> str:
    return f"{cell.epoch_unit} {cell.epoch} shows the subject in {100 * cell.shown.value:.0f} % of images"
