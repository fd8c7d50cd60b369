"""Early stopping: the evaluator is a stand-in, the training is real."""

import json

import pytest
import torch
from safetensors.torch import load_file

from bakehouse.core.errors import Problems, UsageError
from bakehouse.core.events import Finished, Noted, Saved, Stopped
from bakehouse.core.run_folder import Run
from bakehouse.recipe import make_plan
from bakehouse.recipe.sample_prompt import SamplePrompt
from bakehouse.training import step_callbacks, train, trainer, training_state

ASKED = [SamplePrompt(words, "", 64, 64, 1, 3.0, 2, "ddim") for words in ("zwx person", "person")]


class Teacher:
    """Looks at pictures of the base and of each of the weights; has seen enough after `patience` of them."""

    def __init__(self, recipe, run, patience=2):
        self.recipe, self.run, self.patience = recipe, run, patience
        self.base, self.seen = [], {}

    def start(self, generate):
        yield Noted(message="looking at the base")
        self.base = [p.tobytes() for p in generate(ASKED, base=True)]

    def evaluate(self, weights, number, unit, generate):
        assert weights.exists()
        yield Noted(message=f"looking at {unit} {number}")
        self.seen[number] = [p.tobytes() for p in generate(ASKED)]
        assert [p.tobytes() for p in generate(ASKED, base=True)] == self.base, "the base is there all the time"
        return f"{unit} {number} will do" if number >= self.patience else ""


def learned(recipe, **more):
    return recipe(train__epochs=3, stop__when="learned", optimizer__lr=2e-2, schedule__kind="constant", **more)


def test_a_run_ends_where_the_evaluator_decides_and_keeps_everything(recipe, tmp_path):
    teachers = []
    run = Run(tmp_path / "run")
    events = list(train(learned(recipe), run.folder, evaluator=lambda *a: teachers.append(Teacher(*a)) or teachers[0]))
    assert [(e.step, e.why) for e in events if isinstance(e, Stopped)] == [(12, "epoch 2 will do")]
    assert isinstance(events[-1], Finished)
    assert events[-1].step == 12
    assert [e.path for e in events if isinstance(e, Saved)] == [
        "weights/zwx-person-000001.safetensors",
        "weights/zwx-person-000002.safetensors",
        "weights/zwx-person.safetensors",
    ]
    assert [type(e) for e in run.history()] == [type(e) for e in events]
    (teacher,) = teachers
    assert teacher.recipe.buckets.step == 16, "the evaluator gets the settled recipe"
    assert teacher.seen[1] != teacher.base, "it sees what the weights draw"
    assert teacher.seen[2] != teacher.seen[1]
    again = list(train(learned(recipe), run.folder, evaluator=Teacher))
    assert [(type(e), e.step) for e in again] == [(Finished, 12)]


def test_evaluation_changes_no_bit(recipe, tmp_path):
    list(train(learned(recipe), tmp_path / "evaluated", evaluator=lambda *a: Teacher(*a, patience=9)))
    list(train(recipe(train__epochs=3, optimizer__lr=2e-2, schedule__kind="constant"), tmp_path / "plain"))
    a, b = (load_file(tmp_path / x / "weights" / "zwx-person.safetensors") for x in ("evaluated", "plain"))
    assert all(torch.equal(a[k], b[k]) for k in a)


@pytest.mark.parametrize("moment", ["evaluation", "last weights", "last state"])
def test_a_run_killed_at_its_end_ends_the_same(recipe, tmp_path, monkeypatch, moment):
    """Killed during an evaluation, before the final weights or before the final state."""
    run = Run(tmp_path / "run")

    class Killed(BaseException):
        pass

    def kill(*args):
        raise Killed

    class Falls(Teacher):
        def evaluate(self, weights, number, unit, generate):
            if moment == "evaluation" and number == 2:
                raise Killed
            return (yield from super().evaluate(weights, number, unit, generate))

    whole = learned(recipe)
    with monkeypatch.context() as patched:
        if moment == "last state":
            original = training_state.save_state
            calls = []

            def save(state, folder):
                calls.append(state.step)
                return kill() if calls.count(12) == 2 else original(state, folder)

            for module in (trainer, step_callbacks):
                patched.setattr(module, "save_state", save)
        if moment == "last weights":
            original_save = trainer.WeightsWriter.save
            patched.setattr(
                trainer.WeightsWriter,
                "save",
                lambda self, state, name, *more: (
                    kill() if name == "zwx-person" else original_save(self, state, name, *more)
                ),
            )
        with pytest.raises(Killed):
            list(train(whole, run.folder, evaluator=Falls))
    events = list(train(whole, run.folder, evaluator=Teacher))
    assert isinstance(events[-1], Finished)
    history = list(run.history())
    assert [(e.step, e.why) for e in history if isinstance(e, Stopped)] == [(12, "epoch 2 will do")]
    list(train(whole, tmp_path / "undisturbed", evaluator=Teacher))
    a, b = (load_file(f / "weights" / "zwx-person.safetensors") for f in (run.folder, tmp_path / "undisturbed"))
    assert all(torch.equal(a[k], b[k]) for k in a)


def test_early_stopping_keeps_no_second_model_of_a_full_fine_tune(recipe, tmp_path):
    seen = []

    class Once(Teacher):
        def evaluate(self, weights, number, unit, generate):
            assert weights.is_dir()
            yield Noted(message="")
            seen.append([p.tobytes() for p in generate(ASKED)] != self.base)
            return "enough"

    settings = {"adapter__kind": "full", "optimizer__lr": 1e-3, "train__epochs": 2, "stop__when": "learned"}
    list(train(recipe(**settings), tmp_path / "run", evaluator=Once))
    assert seen == [True]
    state = json.loads((tmp_path / "run" / "checkpoints" / "step-00000006" / "state.json").read_text())
    assert state["ended"] == "enough"


def test_early_stopping_without_an_evaluator_is_refused(recipe, tmp_path):
    with pytest.raises(UsageError, match="learned") as e:
        list(train(learned(recipe), tmp_path / "run"))
    assert "evaluation.TrainingEvaluator" in e.value.hint
    assert not (tmp_path / "run").exists()


def test_settings_that_early_stopping_needs_are_checked_by_the_plan(recipe):
    with pytest.raises(Problems, match=r"set save\.every_epochs = 1"):
        make_plan(learned(recipe, save__every_epochs=0))
    with pytest.raises(Problems, match=r"save\.keep_last = 1 .* keep at least 2"):
        make_plan(learned(recipe, save__keep_last=1))
    assert any("stop.shown" in w for w in make_plan(recipe(stop__shown=0.5)).warnings)
