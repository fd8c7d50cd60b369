"""When a run has learned enough: the rule on scores, and the evaluator on a world of squares."""

import dataclasses
import json
import math

import pytest

from bakehouse.core.errors import BakehouseError
from bakehouse.core.events import result_of
from bakehouse.core.files import read_checked
from bakehouse.evaluation import Scored, ScoredCheckpoint, TrainingEvaluator
from bakehouse.evaluation.metrics import UNKNOWN, Interval, NearCopies
from bakehouse.evaluation.prior_drift import Drift
from bakehouse.evaluation.training_evaluator import stop_reason
from bakehouse.recipe import Recipe
from bakehouse.recipe.stop_settings import StopSpec

STOP = StopSpec(when="learned")


def known(value, spread=0.05):
    return Interval(value, value - spread, value + spread, 12)


def cell(epoch, fidelity, shown, drift=0.0):
    quiet = dict.fromkeys(("likeness", "attributes", "prompt", "shift"), UNKNOWN)
    return ScoredCheckpoint(
        weights=f"weights/{epoch}.safetensors",
        strength=1.0,
        epoch=epoch,
        images=12,
        fidelity=known(fidelity),
        gain=known(fidelity),
        effect=known(fidelity),
        shown=known(shown),
        parts={},
        marks=(),
        similarity=UNKNOWN,
        attributes={},
        prompt=UNKNOWN,
        retention=known(1.0),
        diversity=UNKNOWN,
        drift=Drift(points=known(drift, 1.0), each={}, **quiet),
        near_copies=NearCopies(UNKNOWN, math.nan, math.nan, ()),
    )


def history(*rows):
    return [cell(epoch, *row) for epoch, row in enumerate(rows, start=1)]


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([(0.1, 0.0), (0.1, 0.0), (0.1, 0.0)], ""),
        ([(0.3, 0.2), (0.5, 0.6), (0.5, 0.7)], ""),
        ([(0.5, 0.6), (0.8, 0.9)], ""),
        (
            [(0.3, 0.2), (0.8, 0.9), (0.7, 0.9)],
            "epoch 2 shows the subject in 90 % of images, and the next is no better",
        ),
        ([(0.3, 0.2), (0.8, 0.9), (0.81, 0.9)], "epoch 2"),
        ([(0.3, 0.2), (0.6, 0.9), (0.8, 1.0)], ""),
        ([(0.3, 0.2), (0.9, 0.9, 20.0)], "epoch 2 shows the subject in 90 % of images, and prior drift is 20 points"),
        ([(0.3, 0.2, 40.0)], ""),
    ],
    ids=[
        "nothing",
        "not yet",
        "just now",
        "no gain",
        "gain by chance",
        "still rising",
        "drift",
        "drift before it shows",
    ],
)
def test_a_run_ends_when_the_subject_shows_and_more_does_not_pay(rows, words):
    why = stop_reason(history(*rows), STOP)
    assert why.startswith(words)
    assert bool(why) == bool(words)


def test_patience_waits():
    rows = [(0.3, 0.2), (0.8, 0.9), (0.7, 0.9), (0.7, 0.9)]
    patient = StopSpec(when="learned", patience=2)
    assert not stop_reason(history(*rows[:3]), patient)
    assert "the 2 checkpoints after it are no better" in stop_reason(history(*rows), patient)


def test_a_drift_that_chance_explains_ends_nothing():
    vague = dataclasses.replace(cell(1, 0.9, 0.9), drift=dataclasses.replace(cell(1, 0, 0).drift, points=known(20, 30)))
    assert not stop_reason([vague], STOP)


class Trainer:
    """Draws as the square generator would with the weights that are being trained."""

    def __init__(self, generator, run):
        self.generator, self.run, self.weights = generator, run, None

    def __call__(self, wanted, *, base=False):
        from bakehouse.evaluation.image_cache import AdapterVariant, GenerationSettings
        from bakehouse.evaluation.prompt_set import EvalPrompt

        bare = [w.prompt.replace("zwx ", "") for w in wanted]
        asks = [
            EvalPrompt("subject" if "zwx" in w.prompt else "class", w.prompt, b, w.seed)
            for w, b in zip(wanted, bare, strict=True)
        ]
        return self.generator.generate(AdapterVariant(None if base else self.weights), asks, GenerationSettings(1, 1.0))


def finish(work):
    events = []
    found = result_of(work, events.append)
    return events, found


@pytest.fixture
def course(new_run, scorer, generator):
    """A run of five checkpoints, its resolved recipe, and what generates with each of them in turn."""
    run = new_run(["0.1 0 0", "0.6 0 0", "1 0 0", "1 0 0", "1 0.9 0"])
    settings = {"buckets.resolution": 32, "buckets.step": 8, "stop.when": "learned", "stop.images": 10}
    recipe = Recipe.load(run.recipe).with_values(settings)
    return run, recipe, Trainer(generator, run), scorer


def go(evaluator, trainer, run, numbers):
    """What the evaluator says of each of the weights, up to the first that is enough."""
    for number in numbers:
        trainer.weights = run.list_weights()[number - 1]
        events, why = finish(evaluator.evaluate(trainer.weights, number, "epoch", trainer))
        assert [e.epoch for e in events if isinstance(e, Scored)] == [number]
        if why:
            return number, why
    return None, ""


def test_the_evaluator_ends_a_run_that_has_learned(course):
    run, recipe, trainer, scorer = course
    evaluator = TrainingEvaluator(recipe, run, scorer)
    finish(evaluator.start(trainer))
    ended, why = go(evaluator, trainer, run, [1, 2, 3, 4, 5])
    assert (ended, why) == (4, "epoch 3 shows the subject in 100 % of images, and the next is no better")
    assert [c["epoch"] for c in read_checked(run.report / "learning.json")["courses"][0]] == [1, 2, 3, 4]


def test_a_resumed_evaluator_says_what_an_undisturbed_one_would(course):
    run, recipe, trainer, scorer = course
    first = TrainingEvaluator(recipe, run, scorer)
    finish(first.start(trainer))
    go(first, trainer, run, [1, 2, 3])
    generated = trainer.generator.generated
    again = TrainingEvaluator(recipe, run, scorer)
    finish(again.start(trainer))
    assert trainer.generator.generated == generated, "the base is not generated twice"
    # Killed after the evaluation and before the state: epoch 3 is evaluated once more.
    assert go(again, trainer, run, [3, 4]) == (
        4,
        "epoch 3 shows the subject in 100 % of images, and the next is no better",
    )


def test_from_an_earlier_state_what_came_after_it_is_evaluated_again(course):
    """If the newest state is damaged, weights are trained and evaluated again that were evaluated before."""
    run, recipe, trainer, scorer = course
    first = TrainingEvaluator(recipe, run, scorer)
    finish(first.start(trainer))
    go(first, trainer, run, [1, 2, 3])
    again = TrainingEvaluator(recipe, run, scorer)
    finish(again.start(trainer))
    assert go(again, trainer, run, [2, 3, 4])[0] == 4
    kept = read_checked(run.report / "learning.json")["courses"][0]
    assert [c["epoch"] for c in kept] == [1, 2, 3, 4]


def test_a_damaged_history_is_an_error(course):
    run, recipe, trainer, scorer = course
    first = TrainingEvaluator(recipe, run, scorer)
    finish(first.start(trainer))
    go(first, trainer, run, [1, 2])
    notes = run.report / "learning.json"
    kept = notes.read_text()
    for damaged in (kept[:-9], kept.replace('"epoch": 2', '"epoch": 3')):
        notes.write_text(damaged)
        with pytest.raises(BakehouseError, match=r"learning\.json") as e:
            finish(TrainingEvaluator(recipe, run, scorer).start(trainer))
        assert "remove it" in e.value.hint
    notes.write_text(json.dumps(json.loads(kept)["courses"]))  # as earlier versions wrote it
    again = TrainingEvaluator(recipe, run, scorer)
    finish(again.start(trainer))
    assert [c.epoch for c in again.concepts[0].cells] == [1, 2]


def test_damaged_cached_scores_are_made_again(course):
    run, recipe, trainer, scorer = course
    first = TrainingEvaluator(recipe, run, scorer)
    finish(first.start(trainer))
    for path in (run.report / "cache" / "judged").iterdir():
        path.write_bytes(path.read_bytes()[:-30])
    again = TrainingEvaluator(recipe, run, scorer)
    finish(again.start(trainer))
    assert again.concepts[0].baseline.floor == first.concepts[0].baseline.floor


def test_the_base_is_evaluated_first(course):
    run, recipe, trainer, scorer = course
    with pytest.raises(BakehouseError, match="untouched base"):
        finish(TrainingEvaluator(recipe, run, scorer).evaluate(run.list_weights()[0], 1, "epoch", trainer))
