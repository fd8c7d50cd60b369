"""Losses and noise against their formulas, in float64."""

import math

import pytest
import torch

from bakehouse.losses import Batch, DenoisingLoss, LossSpec, NoiseSpec, WeightingSpec
from bakehouse.losses.denoising import per_sample
from bakehouse.models.denoiser import Conditioning
from bakehouse.models.noise_schedule import EpsilonSchedule, VSchedule, scaled_linear

EPS, V = EpsilonSchedule(scaled_linear()), VSchedule(scaled_linear())
T = torch.tensor([0, 1, 250, 500, 900, 999])


def gen(seed=0):
    return torch.Generator().manual_seed(seed)


def randn(*shape, seed=0):
    return torch.randn(*shape, generator=gen(seed), dtype=torch.float64)


@pytest.mark.parametrize("schedule", [EPS, V])
def test_the_target_leads_back_to_x0_and_eps(schedule):
    x0, eps = randn(6, 4, 3, 3), randn(6, 4, 3, 3, seed=1)
    x_t = schedule.add_noise(x0, eps, T)
    target = schedule.target(x0, eps, T)
    assert torch.allclose(schedule.to_x0(target, x_t, T), x0, atol=1e-9)
    assert torch.allclose(schedule.to_eps(target, x_t, T), eps, atol=1e-9)


@pytest.mark.parametrize("schedule", [EPS, V])
def test_x0_weight_carries_errors_over(schedule):
    """Squared error on x0, weighted, is squared error on the prediction."""
    x0, eps, error = randn(6, 4, 3, 3), randn(6, 4, 3, 3, seed=1), randn(6, 4, 3, 3, seed=2)
    x_t = schedule.add_noise(x0, eps, T)
    off = schedule.to_x0(schedule.target(x0, eps, T) + error, x_t, T) - x0
    on_x0 = off.square().mean((1, 2, 3))
    on_prediction = error.square().mean((1, 2, 3))
    assert torch.allclose(on_x0, schedule.x0_weight(T) * on_prediction, rtol=1e-9)


def test_min_snr_and_debiased_as_published():
    snr = EPS.snr(T)
    min_snr, debiased = WeightingSpec(kind="min_snr", gamma=5), WeightingSpec(kind="debiased")
    assert torch.allclose(min_snr(EPS, T), snr.clamp(max=5) / snr)
    assert torch.allclose(min_snr(V, T), snr.clamp(max=5) / (snr + 1))
    assert torch.allclose(debiased(EPS, T), 1 / snr.sqrt())
    assert torch.equal(WeightingSpec()(EPS, T), torch.ones(6, dtype=torch.float64))


def test_weights_use_the_snr_after_the_rescale():
    """kohya computes it before: 0.00468 instead of 0 at t = 999."""
    rescaled = V.rescaled_to_zero_terminal_snr()
    assert rescaled.snr(torch.tensor([999])).item() == 0
    assert rescaled.snr(torch.tensor([900])).item() == pytest.approx(0.00297, abs=2e-5)
    assert V.snr(torch.tensor([900])).item() == pytest.approx(0.01435, abs=2e-5)
    weight = WeightingSpec(kind="min_snr")(rescaled, torch.tensor([999]))
    assert 0 <= weight.item() < 1e-7
    assert torch.isfinite(WeightingSpec(kind="min_snr")(EPS.rescaled_to_zero_terminal_snr(), torch.tensor([999]))).all()


@pytest.mark.parametrize(("kind", "factor"), [("huber", 2), ("smooth_l1", None)])
def test_huber_and_smooth_l1(kind, factor):
    pred, target = randn(2, 4, 3, 3), randn(2, 4, 3, 3, seed=1)
    c = 0.3
    spec = LossSpec(kind=kind, huber_c=c, huber_schedule="constant")
    d = pred - target
    want = 2 * (c if factor else 1) * ((d**2 + c**2).sqrt() - c)
    assert torch.allclose(spec.elementwise(pred, target, EPS, T[:2]), want)


def test_huber_schedules():
    t = torch.tensor([0, 500, 1000 - 1])
    exponential = LossSpec(kind="huber", huber_c=0.1, huber_schedule="exponential")._c(EPS, t)
    assert torch.allclose(exponential, torch.exp(t * math.log(0.1) / 1000).double())
    sigma = ((1 - EPS.alphas_cumprod[t]) / EPS.alphas_cumprod[t]).sqrt()
    snr = LossSpec(kind="huber", huber_c=0.1, huber_schedule="snr")._c(EPS, t)
    assert torch.allclose(snr, 0.9 / (1 + sigma) ** 2 + 0.1)


def test_huber_is_square_where_small_and_straight_where_large():
    spec = LossSpec(kind="huber", huber_c=0.1, huber_schedule="constant")
    zero = torch.zeros(1, 1, 1, 1, dtype=torch.float64)
    assert spec.elementwise(zero + 1e-4, zero, EPS, T[:1]).item() == pytest.approx(1e-8, rel=1e-3)
    assert spec.elementwise(zero + 50, zero, EPS, T[:1]).item() == pytest.approx(2 * 0.1 * 50, rel=1e-2)


def test_a_mask_counts_its_area_only():
    error = torch.ones(2, 4, 8, 8)
    error[:, :, :4] = 3.0
    mask = torch.zeros(2, 1, 8, 8)
    mask[:, :, :4] = 1.0
    assert torch.allclose(per_sample(error, mask), torch.tensor([3.0, 3.0]))
    assert torch.allclose(per_sample(error, mask * 0.1), torch.tensor([3.0, 3.0]))
    assert torch.allclose(per_sample(error, None), torch.tensor([2.0, 2.0]))


def test_l1_and_the_scale_of_c():
    pred, target = randn(2, 4, 3, 3), randn(2, 4, 3, 3, seed=1)
    assert torch.equal(LossSpec(kind="l1").elementwise(pred, target, EPS, T[:2]), (pred - target).abs())
    for schedule in ("constant", "exponential", "snr"):
        one = LossSpec(kind="huber", huber_schedule=schedule)._c(EPS, T)
        assert torch.allclose(LossSpec(kind="huber", huber_schedule=schedule, huber_scale=3)._c(EPS, T), 3 * one)


def test_what_the_mask_hides_has_no_gradient():
    pred = randn(2, 4, 8, 8).requires_grad_()
    mask = torch.zeros(2, 1, 8, 8, dtype=torch.float64)
    mask[:, :, :4] = 1
    mask[:, :, 4:6] = 0.5
    per_sample(LossSpec().elementwise(pred, randn(2, 4, 8, 8, seed=1), EPS, T[:2]), mask).sum().backward()
    assert torch.all(pred.grad[:, :, 6:] == 0)
    assert torch.all(pred.grad[:, :, :6] != 0)
    full = (pred - randn(2, 4, 8, 8, seed=1)).detach() * 2 / mask.sum((1, 2, 3), keepdim=True) / 4
    assert torch.allclose(pred.grad, full * mask)


def test_an_unmasked_weight_is_what_the_rest_counts():
    error = randn(2, 4, 8, 8).square()
    mask = torch.zeros(2, 1, 8, 8, dtype=torch.float64)
    mask[:, :, :2] = 1
    seen = LossSpec(unmasked_weight=0.25).effective_mask(mask, gen())
    inside, outside = error[:, :, :2].sum((1, 2, 3)), error[:, :, 2:].sum((1, 2, 3))
    assert torch.allclose(per_sample(error, seen), (inside + 0.25 * outside) / (4 * 8 * (2 + 0.25 * 6)))
    assert torch.equal(
        per_sample(error, LossSpec(unmasked_weight=1).effective_mask(mask, gen())), per_sample(error, mask * 0 + 1)
    )


def test_unmasked_probability_is_the_share_of_unmasked_samples():
    mask = torch.zeros(2000, 1, 2, 2)
    whole = LossSpec(unmasked_probability=0.3).effective_mask(mask, gen()).mean((1, 2, 3))
    assert set(whole.tolist()) == {0.0, 1.0}
    assert whole.mean().item() == pytest.approx(0.3, abs=0.03)
    assert LossSpec(masked=False).effective_mask(mask, gen()) is None


def test_an_adaptive_offset_grows_with_the_latents_mean():
    latents = torch.zeros(400, 4, 4, 4)
    latents[:, 1] = -2.0
    moved = NoiseSpec(offset=0.1, offset_adaptive=0.2).draw(latents, gen()) - NoiseSpec().draw(latents, gen())
    assert moved[:, 0, 0, 0].std().item() == pytest.approx(0.1, rel=0.12)
    assert moved[:, 1, 0, 0].std().item() == pytest.approx(0.1 + 0.2 * 2, rel=0.12)


def test_a_random_pyramid_is_drawn_for_each_sample():
    latents = torch.zeros(200, 4, 32, 32)
    spec = NoiseSpec(pyramid_iterations=6, pyramid_discount=0.9, pyramid_random_strength=True)
    coarse = torch.nn.functional.avg_pool2d(spec.draw(latents, gen()), 8).std(dim=(1, 2, 3))
    full = torch.nn.functional.avg_pool2d(
        NoiseSpec(pyramid_iterations=6, pyramid_discount=0.9).draw(latents, gen()), 8
    ).std(dim=(1, 2, 3))
    assert coarse.min() < 0.25 < 0.4 < coarse.max()
    assert coarse.std() > 1.25 * full.std()


def test_noise_offset_moves_each_channel_by_its_strength():
    latents = torch.zeros(64, 4, 16, 16)
    plain = NoiseSpec().draw(latents, gen())
    moved = NoiseSpec(offset=0.5).draw(latents, gen()) - plain
    assert torch.allclose(moved, moved[:, :, :1, :1].expand_as(moved), atol=1e-6)
    assert moved[:, :, 0, 0].std().item() == pytest.approx(0.5, rel=0.15)


def test_random_strengths_are_drawn_for_each_sample():
    strengths = NoiseSpec._strength(0.4, True, 1000, gen()).flatten()
    assert strengths.min() >= 0
    assert strengths.max() <= 0.4
    assert len(strengths.unique()) > 900
    assert strengths.mean().item() == pytest.approx(0.2, abs=0.02)


def test_pyramid_noise_has_unit_deviation_and_coarse_parts():
    latents = torch.zeros(16, 4, 32, 32)
    noise = NoiseSpec(pyramid_iterations=6, pyramid_discount=0.8).draw(latents, gen())
    assert torch.allclose(noise.std(dim=(1, 2, 3)), torch.ones(16), atol=1e-4)
    plain = NoiseSpec().draw(latents, gen())
    coarse = torch.nn.functional.avg_pool2d
    assert coarse(noise, 8).std() > 3 * coarse(plain, 8).std()


def test_input_perturbation_changes_the_input_and_not_the_target():
    eps = NoiseSpec().draw(torch.zeros(200, 4, 8, 8), gen())
    perturbed = NoiseSpec(ip_gamma=0.1).perturbed(eps, gen(1))
    assert (perturbed - eps).std().item() == pytest.approx(0.1, rel=0.05)


def test_timesteps_stay_in_their_range():
    t = NoiseSpec(min_timestep=100, max_timestep=200).draw_timesteps(EPS, 5000, gen())
    assert t.min().item() == 100
    assert t.max().item() == 199


class Oracle(torch.nn.Module):
    """Knows x0 = 0, so that x_t = sqrt(1 - abar) eps; off by `error`."""

    def __init__(self, error=0.0):
        super().__init__()
        self.error = error

    def forward(self, x_t, t, cond):
        return x_t / (1 - EPS.alphas_cumprod[t]).sqrt().float().view(-1, 1, 1, 1) + self.error


def batch(n=8):
    return Batch(
        latents=torch.zeros(n, 4, 8, 8),
        cond=Conditioning(torch.zeros(n, 77, 8)),
        weight=torch.ones(n),
        is_prior=torch.zeros(n, dtype=torch.bool),
    )


def test_the_loss_is_0_for_a_perfect_prediction_and_else_the_squared_error():
    perfect = DenoisingLoss(LossSpec(), NoiseSpec(), EPS)(Oracle(), None, batch(), gen())
    assert perfect.max() < 1e-9
    off = DenoisingLoss(LossSpec(), NoiseSpec(), EPS)(Oracle(0.5), None, batch(), gen())
    assert torch.allclose(off, torch.full((8,), 0.25), atol=1e-5)


def test_the_loss_is_a_function_of_its_generator():
    loss = DenoisingLoss(LossSpec(), NoiseSpec(offset=0.1, ip_gamma=0.1, pyramid_iterations=3), EPS)
    assert torch.equal(loss(Oracle(0.5), None, batch(), gen(3)), loss(Oracle(0.5), None, batch(), gen(3)))
    assert not torch.equal(loss(Oracle(0.5), None, batch(), gen(3)), loss(Oracle(0.5), None, batch(), gen(4)))


def test_the_prior_loss_starts_at_0_where_the_target_is_the_base(tiny):
    """An adapter that has learned nothing agrees with the base; one that has is pulled back on prior rows alone."""
    from bakehouse.adapters import LoRA, inject

    adapter = inject(LoRA(rank=4, alpha=3), tiny.trainable_modules(), generator=gen())
    cond = tiny.encode_prompt(["person"] * 4)
    rows = torch.tensor([True, False, True, False])
    made = Batch(
        latents=torch.randn(4, 4, 8, 8, generator=gen()),
        cond=cond,
        weight=torch.ones(4),
        is_prior=rows,
        base_cond=cond[:2],
    )
    loss = DenoisingLoss(LossSpec(), NoiseSpec(), tiny.schedule)
    fresh = loss(tiny, adapter, made, gen(1))
    assert torch.all(fresh[rows] < 1e-10)
    assert torch.all(fresh[~rows] > 0.1)
    with torch.no_grad():
        for p in adapter.parameters():
            p.add_(0.1 * torch.randn(p.shape, generator=gen(2)))
    assert torch.all(loss(tiny, adapter, made, gen(1))[rows] > 1e-6)
    adapter.remove()
