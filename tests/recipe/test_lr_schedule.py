"""Schedules: known points, and step for step what transformers and diffusers make of the same words."""

import json
import math
from pathlib import Path

import pytest
import torch
from diffusers.optimization import get_piecewise_constant_schedule
from transformers import optimization as hf

from bakehouse.core.errors import Problems
from bakehouse.recipe.lr_schedule import ScheduleSpec

OTHERS = json.loads(Path(__file__).with_name("schedules_of_others.json").read_text("utf-8"))
"""Rates that PyTorch's, transformers', OneTrainer's and LoRA_Easy_Training_Scripts' own classes give, step for step."""
KINDS = [
    *("constant", "linear", "cosine", "cosine_with_restarts", "annealed_cosine_with_restarts", "rex", "polynomial"),
    *("annealed_rex_with_restarts", "inverse_sqrt", "warmup_stable_decay"),
]


def curve(total=100, **settings):
    spec = ScheduleSpec(**settings)
    return [spec.factor(step, total) for step in range(total)]


def theirs(make, total=100):
    """A library's factors for the same steps."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule = make(optimizer)
    values = []
    for _ in range(total):
        values.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return values


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("warmup", [0, 0.1, 10])
def test_factors_stay_between_nought_and_one(kind, warmup):
    values = curve(kind=kind, warmup=warmup, cycles=2)
    assert all(0 <= v <= 1 for v in values)
    assert max(values) == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize("kind", [k for k in KINDS if k not in ("constant", "inverse_sqrt")])
def test_every_curve_ends_at_its_floor_and_never_below(kind):
    values = curve(total=1000, kind=kind, floor=0.2, cycles=2)
    assert min(values) == pytest.approx(0.2, abs=5e-3)
    assert min(values) >= 0.2


def test_warmup_rises_in_even_steps_and_wastes_none():
    """Transformers' first step has a rate of nought; ours is its second."""
    assert curve(kind="constant", warmup=4)[:5] == [0.25, 0.5, 0.75, 1, 1]
    assert ScheduleSpec(warmup=0.1).warmup_steps(200) == 20


@pytest.mark.parametrize(
    ("settings", "make"),
    [
        ({"kind": "linear"}, lambda o: hf.get_linear_schedule_with_warmup(o, 10, 100)),
        ({"kind": "cosine"}, lambda o: hf.get_cosine_schedule_with_warmup(o, 10, 100)),
        (
            {"kind": "cosine_with_restarts", "cycles": 3},
            lambda o: hf.get_cosine_with_hard_restarts_schedule_with_warmup(o, 10, 100, num_cycles=3),
        ),
        (
            {"kind": "polynomial", "power": 2.5, "floor": 0.1},
            lambda o: hf.get_polynomial_decay_schedule_with_warmup(o, 10, 100, lr_end=0.1, power=2.5),
        ),
        ({"kind": "inverse_sqrt"}, lambda o: hf.get_inverse_sqrt_schedule(o, 10)),
        ({"kind": "inverse_sqrt", "timescale": 25}, lambda o: hf.get_inverse_sqrt_schedule(o, 10, timescale=25)),
        (
            {"kind": "cosine", "floor": 0.25},
            lambda o: hf.get_cosine_with_min_lr_schedule_with_warmup(o, 10, 100, min_lr_rate=0.25),
        ),
        (
            {"kind": "warmup_stable_decay", "cooldown": 30, "floor": 0.1},
            lambda o: hf.get_wsd_schedule(o, 10, 30, num_stable_steps=60, min_lr_ratio=0.1),
        ),
        (
            {"kind": "warmup_stable_decay", "cooldown": 30, "cooldown_shape": "linear"},
            lambda o: hf.get_wsd_schedule(o, 10, 30, num_stable_steps=60, decay_type="linear"),
        ),
        (
            {"kind": "warmup_stable_decay", "cooldown": 30, "cooldown_shape": "1-sqrt"},
            lambda o: hf.get_wsd_schedule(o, 10, 30, num_stable_steps=60, decay_type="1-sqrt"),
        ),
    ],
    ids=lambda v: "theirs" if callable(v) else str(v),  # a function's own name has its address in it
)
def test_behind_the_warmup_curves_are_transformers(settings, make):
    assert curve(warmup=10, **settings)[10:] == pytest.approx(theirs(make)[10:], abs=1e-7)


@pytest.mark.parametrize("name", OTHERS["curves"])
def test_curves_of_others_step_for_step(name):
    one = OTHERS["curves"][name]
    assert curve(total=OTHERS["total"], **one["settings"]) == pytest.approx(one["factors"], abs=2e-7)


def test_a_cosine_rises_again_behind_its_half_period():
    values = curve(total=60, kind="cosine", half_period=20)
    assert values[20] == pytest.approx(0, abs=1e-12)
    assert values[40] == pytest.approx(1)


def test_a_share_of_steps_is_rounded_down_as_kohyas():
    assert ScheduleSpec(warmup=0.29).warmup_steps(100) == int(0.29 * 100) == 28


def test_pieces_are_diffusers():
    ours = curve(kind="piecewise", pieces=[[10, 1.0], [50, 0.1], [60, 0.01]])
    assert ours == curve(kind="piecewise", pieces=[[0.1, 1.0], [0.5, 0.1], [1, 0.01]])
    assert ours == pytest.approx(theirs(lambda o: get_piecewise_constant_schedule(o, "1:10,0.1:50,0.01")), abs=1e-12)


def test_cosine_is_torchs():
    ours = curve(kind="cosine")
    assert ours == pytest.approx(theirs(lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, T_max=100)), abs=1e-9)


def test_annealed_cosine_is_the_usual_restarting_one():
    """CosineAnnealingWarmupRestarts, as its users know it: min + (max gamma^cycle - min) (1 + cos) / 2."""
    values = curve(total=400, kind="annealed_cosine_with_restarts", cycles=4, decay=0.5, floor=0.05, warmup=40)
    want = []
    for step in range(400):
        cycle, at = divmod(step, 100)
        peak = 0.5**cycle
        if at < 10:
            want.append(peak * (at + 1) / 10)
        else:
            want.append(0.05 + (peak - 0.05) * (1 + math.cos(math.pi * (at - 10) / 90)) / 2)
    assert values == pytest.approx(want, abs=1e-12)


def test_rex_is_the_papers():
    """(1 - p) / (1/2 + (1 - p) / 2); it lies above the straight line all the way."""
    values = curve(kind="rex")
    assert values == pytest.approx([(1 - t / 100) / (0.5 + 0.5 * (1 - t / 100)) for t in range(100)])
    assert all(v > 1 - t / 100 for t, v in enumerate(values) if t)


def test_restarts():
    values = curve(kind="cosine_with_restarts", cycles=4)
    assert [values[i] for i in (0, 25, 50, 75)] == [1, 1, 1, 1]
    for kind in ("annealed_cosine_with_restarts", "annealed_rex_with_restarts"):
        annealed = curve(kind=kind, cycles=4, decay=0.5)
        assert [annealed[i] for i in (0, 25, 50, 75)] == [1, 0.5, 0.25, 0.125]


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [("constant_with_warmup", "constant"), ("COSINE", "cosine"), ("CAWR", "annealed_cosine_with_restarts")],
)
def test_other_trainers_names(theirs, ours):
    assert ScheduleSpec.parse({"kind": theirs}).kind == ours


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"kind": "piecewise"}, "needs pieces"),
        ({"kind": "cosine", "pieces": [[1, 1]]}, "does nothing without kind = 'piecewise'"),
        ({"kind": "piecewise", "pieces": [[0.5, 1], [0.4, 0.1]]}, "each must end after"),
        ({"kind": "cosin"}, "did you mean 'cosine'"),
    ],
)
def test_wrong_schedules_are_named(settings, words):
    with pytest.raises(Problems, match=words):
        ScheduleSpec.parse(settings)
