import math

import pytest
import torch

from bakehouse.core.errors import Problems, UsageError
from bakehouse.recipe.optim import OPTIMIZERS, OptimizerSpec, ScheduleSpec


def curve(total=100, **settings):
    spec = ScheduleSpec(**settings)
    return [spec.factor(step, total) for step in range(total)]


@pytest.mark.parametrize(
    "kind",
    ["constant", "linear", "cosine", "cosine_with_restarts", "annealed_cosine_with_restarts", "rex", "polynomial"],
)
@pytest.mark.parametrize("warmup", [0, 0.1, 10])
def test_factors_stay_between_nought_and_one(kind, warmup):
    values = curve(kind=kind, warmup=warmup, cycles=2)
    assert all(0 <= v <= 1 for v in values)
    assert max(values) == pytest.approx(1, abs=0.05)


def test_warmup_rises_in_even_steps():
    assert curve(kind="constant", warmup=4)[:5] == [0.25, 0.5, 0.75, 1, 1]
    assert ScheduleSpec(warmup=0.1).warmup_steps(200) == 20


def test_known_points():
    assert curve(kind="linear")[50] == 0.5
    assert curve(kind="cosine")[50] == pytest.approx(0.5)
    assert curve(kind="polynomial", power=2)[50] == 0.25
    assert curve(kind="rex")[50] == pytest.approx(0.5 / 0.75)
    assert curve(kind="cosine", floor=0.1)[99] == 0.1


def test_restarts():
    values = curve(kind="cosine_with_restarts", cycles=4)
    assert [values[i] for i in (0, 25, 50, 75)] == [1, 1, 1, 1]
    annealed = curve(kind="annealed_cosine_with_restarts", cycles=4, decay=0.5)
    assert [annealed[i] for i in (0, 25, 50, 75)] == [1, 0.5, 0.25, 0.125]


def test_cosine_is_torchs():
    p = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([p], lr=1.0)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=100)
    for value in curve(kind="cosine"):
        assert optimizer.param_groups[0]["lr"] == pytest.approx(value, abs=1e-9)
        optimizer.step()
        schedule.step()


@pytest.mark.parametrize("name", list(OPTIMIZERS))
def test_every_optimizer_of_the_table_goes_downhill(name):
    p = torch.nn.Parameter(torch.full((4,), 3.0))
    spec = OptimizerSpec(name=name)
    optimizer = spec.build([{"params": [p], "lr": 0.1 if not spec.row.finds_rate else 1.0}])
    for _ in range(60):
        loss = p.square().sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert math.isfinite(loss.item())
    assert loss.item() < 36


def test_an_unknown_optimizer_or_argument_is_named():
    with pytest.raises(Problems, match="did you mean 'adamw'"):
        OptimizerSpec.parse({"name": "adamv"})
    with pytest.raises(UsageError, match="beta"):
        OptimizerSpec(args={"beta": 1}).build([{"params": [torch.nn.Parameter(torch.zeros(1))], "lr": 1.0}])
