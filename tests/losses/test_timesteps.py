"""Timesteps are drawn as often as their density says, and the densities are the published ones."""

import math

import pytest
import torch

from bakehouse.core.errors import Problems
from bakehouse.losses import NoiseSpec, TimestepSpec


def gen(seed=0):
    return torch.Generator().manual_seed(seed)


def of_paper(spec, count=400_000):
    """Shares u drawn with the formulas of Esser et al. 2024, not with ours; then mirrored and shifted."""
    u = unshifted(spec, count)
    u = 1 - u if spec.mirrored else u
    return spec.shift * u / (1 + (spec.shift - 1) * u)


def unshifted(spec, count):
    v = torch.rand(count, generator=gen(1), dtype=torch.float64)
    match spec.density:
        case "uniform":
            return v
        case "logit_normal":
            n = torch.randn(count, generator=gen(2), dtype=torch.float64)
            return torch.sigmoid(spec.mean + spec.std * n)
        case "mode":
            return 1 - v - spec.mode_scale * (torch.cos(math.pi / 2 * v) ** 2 - 1 + v)
        case "cosmap":
            return 1 - 1 / (torch.tan(math.pi / 2 * v) + 1)
        case "power":
            return v**spec.power


SPECS = [
    TimestepSpec(),
    TimestepSpec(density="logit_normal"),
    TimestepSpec(density="logit_normal", mean=-0.7, std=1.5),
    TimestepSpec(density="mode"),
    TimestepSpec(density="mode", mode_scale=-0.8),
    TimestepSpec(density="cosmap"),
    TimestepSpec(density="power"),
    TimestepSpec(density="power", power=0.5),
    TimestepSpec(density="power", mirrored=True),
    TimestepSpec(density="logit_normal", shift=3),
    TimestepSpec(shift=0.5),
]


@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_the_density_is_the_papers(spec):
    p = spec.probabilities(0, 20)
    assert p.sum().item() == pytest.approx(1, abs=1e-12)
    drawn = (of_paper(spec) * 20).long().clamp(0, 19)
    shares = torch.bincount(drawn, minlength=20) / len(drawn)
    assert torch.allclose(p, shares.double(), atol=4e-3)


@pytest.mark.parametrize("spec", [*SPECS, TimestepSpec(bias="later", bias_multiplier=4)], ids=str)
def test_draws_follow_the_density(spec):
    """A chi-squared test; the seed is fixed, so it cannot fail by chance."""
    drawn = NoiseSpec(min_timestep=100, max_timestep=140, timesteps=spec).timesteps.draw(100, 140, 20_000, gen())
    assert drawn.min() >= 100
    assert drawn.max() < 140
    expected = spec.probabilities(100, 140) * 20_000
    seen = torch.bincount(drawn - 100, minlength=40).double()
    enough = expected > 5
    statistic = ((seen - expected).square() / expected)[enough].sum()
    assert torch.special.gammaincc((enough.sum() - 1) / 2, statistic.float() / 2) > 1e-3


@pytest.mark.parametrize(
    ("bias", "favoured"), [("earlier", slice(0, 25)), ("later", slice(75, 100)), ("range", slice(40, 60))]
)
def test_a_bias_multiplies_its_timesteps(bias, favoured):
    p = TimestepSpec(bias=bias, bias_multiplier=3, bias_range=(40, 60)).probabilities(0, 100)
    weights = torch.ones(100, dtype=torch.float64)
    weights[favoured] = 3
    assert torch.allclose(p, weights / weights.sum())


def test_timesteps_of_probability_0_are_never_drawn():
    spec = TimestepSpec(bias="later", bias_portion=0.5, bias_multiplier=0)
    assert spec.draw(0, 1000, 20_000, gen()).max() < 500


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"bias": "range", "bias_range": [10, 20]}, "bias_range"),
        ({"bias": "later", "bias_portion": 1.0, "bias_multiplier": 0}, "leaves no timestep"),
        ({"density": "mode", "mode_scale": 3}, "mode_scale"),
        ({"density": "inverted_parabola", "weight": 100, "center": 5}, "weight = 100 leaves no timestep"),
        ({"density": "sigmoid"}, "logit_normal"),
    ],
)
def test_an_impossible_density_is_refused(settings, words):
    with pytest.raises(Problems, match=words):
        NoiseSpec.parse({"min_timestep": 100, "timesteps": settings})
