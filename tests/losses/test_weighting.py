"""Weights by what the network predicts: squared error on x0, weighted as published, whatever the objective."""

import pytest
import torch

from bakehouse.core.errors import Problems
from bakehouse.losses import DenoisingLoss, LossSpec, NoiseSpec, WeightingSpec
from bakehouse.models.noise_schedule import EpsilonSchedule, VSchedule, scaled_linear

EPS, V = EpsilonSchedule(scaled_linear()), VSchedule(scaled_linear())
T = torch.tensor([0, 1, 10, 250, 500, 900, 999])


def snr_of_sd(t):
    """From the betas, by a loop in Python's floats: nothing shared with what is tested."""
    abar, values = 1.0, []
    for i in range(1000):
        root = 0.00085**0.5 + (0.012**0.5 - 0.00085**0.5) * i / 999
        abar *= 1 - root**2
        values.append(abar / (1 - abar))
    return torch.tensor([values[i] for i in t.tolist()], dtype=torch.float64)


SNR = snr_of_sd(T)


@pytest.mark.parametrize(
    ("settings", "on_eps", "on_v"),
    [
        ({"kind": "none"}, SNR**0, SNR**0),
        ({"kind": "min_snr", "gamma": 5}, torch.minimum(SNR, SNR * 0 + 5) / SNR, SNR.clamp(max=5) / (SNR + 1)),
        ({"kind": "min_snr", "gamma": 1}, torch.minimum(SNR, SNR * 0 + 1) / SNR, SNR.clamp(max=1) / (SNR + 1)),
        ({"kind": "soft_min_snr", "gamma": 4}, 4 / (SNR + 4), 4 * SNR / (SNR + 4) / (SNR + 1)),
        ({"kind": "debiased"}, SNR**-0.5, SNR**0.5 / (SNR + 1)),
        ({"kind": "p2", "p2_gamma": 0.5}, (1 + SNR) ** -0.5, SNR * (1 + SNR) ** -1.5),
        ({"kind": "epsilon"}, SNR**0, SNR / (SNR + 1)),
        ({"kind": "v"}, (SNR + 1) / SNR, SNR**0),
        ({"kind": "x0"}, 1 / SNR, 1 / (SNR + 1)),
    ],
    ids=str,
)
def test_weights_are_the_published_ones(settings, on_eps, on_v):
    spec = WeightingSpec(**settings)
    assert torch.allclose(spec(EPS, T), on_eps, rtol=1e-9)
    assert torch.allclose(spec(V, T), on_v, rtol=1e-9)


@pytest.mark.parametrize("kind", ["min_snr", "soft_min_snr", "debiased", "p2", "epsilon", "v", "x0"])
def test_both_objectives_are_the_same_loss(kind):
    """The same x0 error costs the same, whether the network speaks of epsilon or of v."""
    spec = WeightingSpec(kind=kind)
    g = torch.Generator().manual_seed(0)
    x0, eps, off = (torch.randn(len(T), 4, 3, 3, generator=g, dtype=torch.float64) for _ in range(3))
    losses = []
    for schedule in (EPS, V):
        x_t = schedule.add_noise(x0, eps, T)
        wrong_x0 = x0 + off
        abar = schedule.alphas_cumprod[T].view(-1, 1, 1, 1)
        wrong_eps = (x_t - abar.sqrt() * wrong_x0) / (1 - abar).sqrt()
        pred = schedule.target(wrong_x0, wrong_eps, T)
        error = (pred - schedule.target(x0, eps, T)).square().mean((1, 2, 3))
        losses.append(error * spec(schedule, T))
    assert torch.allclose(*losses, rtol=1e-9)


def test_a_v_like_part_is_a_v_loss_beside_the_epsilon_loss():
    error_on_eps = torch.linspace(1, 2, len(T), dtype=torch.float64)
    # v = sqrt(abar) eps - sqrt(1 - abar) x0 and x0 = (x_t - sqrt(1 - abar) eps) / sqrt(abar): dv = deps / sqrt(abar).
    abar = SNR / (1 + SNR)
    v_loss = (error_on_eps / abar.sqrt()).square()
    got = error_on_eps.square() * WeightingSpec(v_pred_like=0.3)(EPS, T)
    assert torch.allclose(got, error_on_eps.square() + 0.3 * v_loss, rtol=1e-9)


def test_settings_that_the_prediction_type_rules_out_are_refused():
    with pytest.raises(Problems, match=r"predicts epsilon.*\n.*zero_terminal_snr"):
        DenoisingLoss(LossSpec(), NoiseSpec(zero_terminal_snr=True), EPS)
    DenoisingLoss(LossSpec(), NoiseSpec(zero_terminal_snr=True), V)
    with pytest.raises(Problems, match=r"v_pred_like = 0\.1"):
        DenoisingLoss(LossSpec(weighting=WeightingSpec(v_pred_like=0.1)), NoiseSpec(), V)


def test_weights_are_finite_where_the_snr_is_0():
    end = torch.tensor([999])
    for schedule in (EPS.rescaled_to_zero_terminal_snr(), V.rescaled_to_zero_terminal_snr()):
        for kind in ("min_snr", "soft_min_snr", "debiased", "p2", "epsilon", "v", "x0"):
            assert torch.isfinite(WeightingSpec(kind=kind)(schedule, end)).all()
