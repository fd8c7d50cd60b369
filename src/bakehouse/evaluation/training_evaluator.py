"""Judges a run while it trains, and says when it has learned enough: training calls it, and does not know it."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image

from bakehouse.core.errors import BakehouseError
from bakehouse.core.events import Event, Warned
from bakehouse.core.files import key_of, read_checked, read_json, write_checked
from bakehouse.core.run_folder import Run
from bakehouse.evaluation.cell_scores import Cell
from bakehouse.evaluation.evaluate_run import Checkpoint, Ground, Judging
from bakehouse.evaluation.image_cache import Look, Shot, files_of
from bakehouse.evaluation.image_scorers import Judge
from bakehouse.evaluation.prompt_set import Ask
from bakehouse.evaluation.selection import choose, sure
from bakehouse.models.model_hash import files_fingerprint
from bakehouse.recipe.early_stopping import StopSpec
from bakehouse.recipe.recipe import Recipe
from bakehouse.recipe.sample_prompt import GenerateSamples, SamplePrompt, valid_side


class LivePainter:
    """Draws with the model that is being trained: no second one is read beside it."""

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe
        self.generate: GenerateSamples | None = None

    def key(self, shot: Shot) -> str:
        """By content; apart from what `bakehouse evaluate` draws, whose weights went through a file."""
        ref = self.recipe.model.base if shot.weights is None else str(shot.weights)
        files = files_of(ref)
        return key_of("live", files_fingerprint(files) if files else ref, self.recipe.model.vae)

    def paint(self, shot: Shot, asks: Sequence[Ask], look: Look) -> Iterator[Image.Image]:
        assert self.generate is not None
        side = valid_side(look.size or self.recipe.buckets.resolution)
        wanted = [
            SamplePrompt(ask.prompt, "", side, side, ask.seed, look.guidance, look.steps, look.sampler) for ask in asks
        ]
        return self.generate(wanted, base=shot.weights is None)


@dataclass
class _Course:
    """One concept of the run: what it is compared with, and how it stood with each of the weights."""

    judging: Judging
    ground: Ground | None = None
    cells: list[Cell] = field(default_factory=list)


class TrainingEvaluator:
    """Judges each of a run's weights at weight 1 as `evaluate` does, on `stop.images` pictures, concept by concept.

    What was found is kept in report/learning.json, so that a run that goes on knows how it stood.
    """

    def __init__(self, recipe: Recipe, run: Run, judge: Judge | None = None) -> None:
        """Reads the judge, not the base.

        Args:
            recipe: settled: nothing that a plan decides is open.
            run: where the weights are.
            judge: instead of the one that suits the base.

        Raises:
            UsageError: the judge is not there, or there are no images.
        """
        self.stop: StopSpec = recipe.stop
        self.notes = run.report / "learning.json"
        self.painter = LivePainter(recipe)
        spec = recipe.evaluate.with_values({"images": self.stop.images, "weights": [1.0]})
        self.courses: list[_Course] = []
        for concept in range(len(recipe.concepts)):
            judging = Judging.make(run, recipe, spec, {}, concept, judge, self.painter, "auto")
            judge = judging.judge
            self.courses.append(_Course(judging))

    def start(self, generate: GenerateSamples) -> Iterator[Event]:
        """Draws and judges the untouched base, or finds again what it saw."""
        self.painter.generate = generate
        for course in self.courses:
            yield from (Warned(message=note) for note in course.judging.notes)
            course.ground = yield from course.judging.ground()
        if self.notes.is_file():
            self._recall(self._kept())

    def evaluate(self, weights: Path, number: int, unit: str, generate: GenerateSamples) -> Generator[Event, None, str]:
        """Judges `weights`; says why the run should end, or nothing.

        Raises:
            BakehouseError: `start` was not called.
        """
        self.painter.generate = generate
        checkpoint, shot = Checkpoint(number, unit, weights), Shot(weights)
        for course in self.courses:
            if course.ground is None:
                raise BakehouseError("the untouched base was not looked at yet", hint="call start() before evaluate()")
            cell = yield from course.judging.cell(shot, course.ground.asks, checkpoint, course.ground)
            # A run that goes on from an earlier state judges again what it had judged before, and what came after it.
            known = [c.weights for c in course.cells]
            before = known.index(cell.weights) if cell.weights in known else len(known)
            course.cells = [*course.cells[:before], cell]
        write_checked(self.notes, {"courses": [[c.to_json() for c in course.cells] for course in self.courses]})
        reasons = [enough(course.cells, self.stop) for course in self.courses]
        return reasons[0] if all(reasons) else ""

    def _kept(self) -> list[list[dict[str, object]]]:
        """What was found before the run was stopped.

        Raises:
            BakehouseError: it is damaged, so that the run might end elsewhere.
        """
        try:
            value = read_json(self.notes)
            # Earlier versions kept a plain list.
            found: list[list[dict[str, object]]] = (
                value if isinstance(value, list) else read_checked(self.notes)["courses"]
            )
        except BakehouseError as e:
            e.hint = "restore it; or remove it, and only weights saved from here on are judged: the run may end later"
            raise
        return found

    def _recall(self, kept: list[list[dict[str, object]]]) -> None:
        for course, cells in zip(self.courses, kept, strict=True):
            course.cells = [Cell.from_json(c) for c in cells]


def enough(cells: Sequence[Cell], stop: StopSpec) -> str:
    """Why a run whose weights were judged as `cells`, in their order, should end; empty where it should go on.

    The subject must show. Then it is over if the best, as `choose` picks it, lies `stop.patience` behind: all that came
    later is no better by more than one standard error. And it is over at once if the class has gone too far.
    """
    last, best = cells[-1], choose(cells)
    drifted = sure(last.drift.points)
    if last.shown.value >= stop.shown and drifted > stop.drift:
        return f"{_standing(last)}, and the class has drifted {drifted:.0f} points, more than {stop.drift:g}"
    later = len(cells) - 1 - next(i for i, c in enumerate(cells) if c is best)
    if best.shown.value >= stop.shown and later >= stop.patience:
        those = f"the {later} saved after it are" if later > 1 else "the next is"
        return f"{_standing(best)}, and {those} no better"
    return ""


def _standing(cell: Cell) -> str:
    return f"{cell.unit} {cell.epoch} shows the subject in {100 * cell.shown.value:.0f} % of pictures"
