"""The batch-size finder: sizes are tried, or estimated on a CPU, and what was found is the run's."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file

from bakehouse.core.errors import BakehouseError, Problems
from bakehouse.core.events import Failed, Noted, Started, result_of
from bakehouse.recipe import make_plan
from bakehouse.recipe.memory_estimate import memory_use
from bakehouse.training import batch_size_finder, run_setup, train
from bakehouse.training.batch_size_finder import batch_sizes, find_batch_size, largest_batch, make_trial, trial_fits
from bakehouse.training.objective import make_objective
from bakehouse.training.out_of_memory import MARGIN
from bakehouse.training.precision import Precision
from bakehouse.training.prepare import new_state


def test_sizes_are_powers_of_two_that_divide_the_images_of_a_step():
    assert batch_sizes(12) == [1, 2, 4]
    assert batch_sizes(8) == [1, 2, 4, 8]
    assert batch_sizes(7) == [1]


def planned(recipe, **changes):
    return make_plan(recipe(train__batch="auto", train__accumulation=8, **changes))


def test_sizes_are_tried_until_one_is_out_of_memory(recipe, monkeypatch):
    tried = []

    def trial(size):
        tried.append(size)
        if size > 2:
            raise RuntimeError("MPS backend out of memory")

    def largest(trial):
        return result_of(largest_batch(planned(recipe), lambda size: trial_fits(trial, size, torch.device("meta"))))

    monkeypatch.setattr(batch_size_finder, "available_memory", lambda device: None)
    assert largest(trial) == 2
    assert tried == [1, 2, 4]
    with pytest.raises(BakehouseError, match="out of memory"):
        largest(lambda size: trial(4))
    with pytest.raises(ZeroDivisionError):
        largest(lambda size: 1 / 0)


def test_on_a_cpu_the_estimate_decides(recipe, monkeypatch):
    plan = planned(recipe)

    def need(size):
        return memory_use(plan.recipe.with_values({"train.batch": size}), "sd1", "cpu").total

    monkeypatch.setattr(batch_size_finder, "available_memory", lambda device: int((need(2) + need(4)) / 2 / MARGIN))
    monkeypatch.setattr(batch_size_finder, "load_base", lambda recipe: pytest.fail("tried"))
    assert result_of(find_batch_size(plan)) == 2


def test_a_trial_is_a_real_step_on_the_largest_bucket(recipe, make_tiny):
    plan = planned(recipe)
    model = make_tiny()
    precision = Precision("fp32", model.device)
    state = new_state(plan, model, precision)
    shapes = []
    model.unet.conv_in.register_forward_pre_hook(lambda module, args: shapes.append(tuple(args[0].shape)))
    make_trial(model, make_objective(plan, model, state.adapter), state, precision, 1.0)(3)
    largest = max((i.placement.bucket for i in plan.images), key=lambda b: b[0] * b[1])
    assert set(shapes) == {(3, 4, largest[1] // 8, largest[0] // 8)}
    assert state.optimizer.state, "the optimizer's states were there"


def test_a_batch_that_was_found_holds_for_the_run(recipe, tmp_path, monkeypatch):
    wanted = recipe(train__batch="auto", train__accumulation=4, train__epochs=1, save__every_epochs=0)
    monkeypatch.setattr(run_setup, "find_batch_size", lambda *a: iter_then(2))
    stream = train(wanted, tmp_path / "run")
    events = [event for event, _ in zip(stream, range(400), strict=False) if not isinstance(event, Failed)]
    assert any(isinstance(e, Noted) and "train.batch = 2 x 2" in e.message for e in events)
    assert json.loads((tmp_path / "run" / "inputs.json").read_text())["batch"] == {"batch": 2, "accumulation": 2}
    plan = json.loads((tmp_path / "run" / "plan.json").read_text())
    assert (plan["recipe"]["train"]["batch"], plan["recipe"]["train"]["accumulation"]) == (2, 2)
    steps = next(e.steps for e in events if isinstance(e, Started))
    assert steps == plan["steps"] == plan["steps_per_epoch"]
    # Less is free when it goes on: the run keeps its batch.
    monkeypatch.setattr(run_setup, "find_batch_size", lambda *a: pytest.fail("tried again"))
    again = list(train(wanted, tmp_path / "run"))
    assert again[-1].step == steps
    list(train(recipe(train__batch=2, train__accumulation=2, train__epochs=1, save__every_epochs=0), tmp_path / "same"))
    a, b = (load_file(tmp_path / run / "weights" / "zwx-person.safetensors") for run in ("run", "same"))
    assert all(torch.equal(a[k], b[k]) for k in a)


def iter_then(value):
    yield from ()
    return value


def test_batch_is_a_number_or_auto(recipe):
    with pytest.raises(Problems, match=r"train\.batch = 0"):
        recipe(train__batch=0)
    with pytest.raises(Problems, match=r"train\.batch = 'many'"):
        recipe(train__batch="many")
    assert recipe(train__batch="auto").train.batch_size == 1
    decided = {d.key: d.value for d in make_plan(recipe(train__batch="auto")).decisions}
    assert decided["train.accumulation"] == 4


def test_on_a_device_the_model_is_loaded_and_tried(recipe, monkeypatch):
    """A device without a memory limit stands in for a GPU; the model is on the CPU."""
    monkeypatch.setattr(batch_size_finder, "pick_device", lambda wanted: "meta")
    monkeypatch.setattr(batch_size_finder, "available_memory", lambda device: None)
    assert result_of(find_batch_size(planned(recipe, train__device="cpu", noise__min_timestep=600))) == 8
