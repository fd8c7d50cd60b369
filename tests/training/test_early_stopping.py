"""A run that ends when somebody says that it is enough: the judge is a stand-in, the training is real."""

import json

import pytest
import torch
from safetensors.torch import load_file

from bakehouse.core.errors import Problems, UsageError
from bakehouse.core.events import Finished, Noted, Saved, Stopped
from bakehouse.core.run_folder import Run
from bakehouse.recipe import make_plan
from bakehouse.recipe.sample_prompt import SamplePrompt
from bakehouse.training import bake, trainer

ASKED = [SamplePrompt(words, "", 64, 64, 1, 3.0, 2, "ddim") for words in ("zwx person", "person")]


class Teacher:
    """Looks at pictures of the base and of each of the weights; has seen enough after `patience` of them."""

    def __init__(self, recipe, run, patience=2):
        self.recipe, self.run, self.patience = recipe, run, patience
        self.base, self.seen = [], {}

    def begin(self, draw):
        yield Noted(message="looking at the base")
        self.base = [p.tobytes() for p in draw(ASKED, base=True)]

    def examine(self, weights, number, unit, draw):
        assert weights.exists()
        yield Noted(message=f"looking at {unit} {number}")
        self.seen[number] = [p.tobytes() for p in draw(ASKED)]
        assert [p.tobytes() for p in draw(ASKED, base=True)] == self.base, "the base is there all the time"
        return f"{unit} {number} will do" if number >= self.patience else ""


def learned(recipe, **more):
    return recipe(train__epochs=3, stop__when="learned", optimizer__lr=2e-2, schedule__kind="constant", **more)


def test_it_ends_where_the_examiner_says_and_keeps_everything(recipe, tmp_path):
    teachers = []
    run = Run(tmp_path / "run")
    events = list(bake(learned(recipe), run.folder, examiner=lambda *a: teachers.append(Teacher(*a)) or teachers[0]))
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
    assert teacher.recipe.buckets.step == 16, "the examiner gets the settled recipe"
    assert teacher.seen[1] != teacher.base, "it sees what the weights draw"
    assert teacher.seen[2] != teacher.seen[1]
    again = list(bake(learned(recipe), run.folder, examiner=Teacher))
    assert [(type(e), e.step) for e in again] == [(Finished, 12)]


def test_judging_changes_no_bit(recipe, tmp_path):
    list(bake(learned(recipe), tmp_path / "judged", examiner=lambda *a: Teacher(*a, patience=9)))
    list(bake(recipe(train__epochs=3, optimizer__lr=2e-2, schedule__kind="constant"), tmp_path / "plain"))
    a, b = (load_file(tmp_path / x / "weights" / "zwx-person.safetensors") for x in ("judged", "plain"))
    assert all(torch.equal(a[k], b[k]) for k in a)


@pytest.mark.parametrize("moment", ["judging", "last weights", "last state"])
def test_cut_off_at_the_end_it_ends_the_same(recipe, tmp_path, monkeypatch, moment):
    """Killed while it judges, before the last weights or before the last state."""
    run = Run(tmp_path / "run")

    class Killed(BaseException):
        pass

    def kill(*args):
        raise Killed

    class Falls(Teacher):
        def examine(self, weights, number, unit, draw):
            if moment == "judging" and number == 2:
                raise Killed
            return (yield from super().examine(weights, number, unit, draw))

    whole = learned(recipe)
    with monkeypatch.context() as patched:
        if moment == "last state":
            original = trainer.save_state
            calls = []

            def save(state, folder):
                calls.append(state.step)
                return kill() if calls.count(12) == 2 else original(state, folder)

            patched.setattr(trainer, "save_state", save)
        if moment == "last weights":
            original_save = trainer.WeightsWriter.save
            patched.setattr(
                trainer.WeightsWriter,
                "save",
                lambda self, state, name: kill() if name == "zwx-person" else original_save(self, state, name),
            )
        with pytest.raises(Killed):
            list(bake(whole, run.folder, examiner=Falls))
    events = list(bake(whole, run.folder, examiner=Teacher))
    assert isinstance(events[-1], Finished)
    history = list(run.history())
    assert [(e.step, e.why) for e in history if isinstance(e, Stopped)] == [(12, "epoch 2 will do")]
    list(bake(whole, tmp_path / "undisturbed", examiner=Teacher))
    a, b = (load_file(f / "weights" / "zwx-person.safetensors") for f in (run.folder, tmp_path / "undisturbed"))
    assert all(torch.equal(a[k], b[k]) for k in a)


def test_a_full_fine_tune_keeps_no_second_model_for_it(recipe, tmp_path):
    seen = []

    class Once(Teacher):
        def examine(self, weights, number, unit, draw):
            assert weights.is_dir()
            yield Noted(message="")
            seen.append([p.tobytes() for p in draw(ASKED)] != self.base)
            return "enough"

    settings = {"adapter__kind": "full", "optimizer__lr": 1e-3, "train__epochs": 2, "stop__when": "learned"}
    list(bake(recipe(**settings), tmp_path / "run", examiner=Once))
    assert seen == [True]
    state = json.loads((tmp_path / "run" / "checkpoints" / "step-00000006" / "state.json").read_text())
    assert state["ended"] == "enough"


def test_without_an_examiner_it_is_refused(recipe, tmp_path):
    with pytest.raises(UsageError, match="learned") as e:
        list(bake(learned(recipe), tmp_path / "run"))
    assert "evaluation.Examiner" in e.value.hint
    assert not (tmp_path / "run").exists()


def test_what_stopping_needs_is_said_before(recipe):
    with pytest.raises(Problems, match=r"set save\.every_epochs = 1"):
        make_plan(learned(recipe, save__every_epochs=0))
    with pytest.raises(Problems, match=r"save\.keep_last = 1 .* keep at least 2"):
        make_plan(learned(recipe, save__keep_last=1))
    assert any("stop.shown" in w for w in make_plan(recipe(stop__shown=0.5)).warnings)
