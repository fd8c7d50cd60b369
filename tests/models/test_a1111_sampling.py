"""Schedules, samplers and noise as A1111's own functions make them: their numbers are kept in a1111_sampling.json."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from bakehouse.models import ClassifierFreeGuidance, Conditioning, sample
from bakehouse.models.beta_distribution import beta_cdf, beta_quantile
from bakehouse.models.brownian_tree import BrownianTree
from bakehouse.models.image_noise import ImageNoise, NoiseSettings, slerp
from bakehouse.models.noise_schedule import EpsilonSchedule, VSchedule, scaled_linear
from bakehouse.models.philox import PhiloxGenerator
from bakehouse.models.samplers import SAMPLERS
from bakehouse.models.sampling_options import SamplingOptions
from bakehouse.models.sigma_schedules import make_sigmas
from bakehouse.models.sigma_table import SigmaTable
from bakehouse.models.solver_run import to_denoised

DATA = json.loads((Path(__file__).parent / "data" / "a1111_sampling.json").read_text("utf-8"))
SCHEDULE = EpsilonSchedule(scaled_linear())
TABLE = SigmaTable.of(SCHEDULE)
SHAPE = (2, 2, 4)
SEED = 5


@pytest.mark.parametrize("case", DATA["sigmas"])
def test_noise_levels(case):
    label, _, n = case.rpartition(", ")
    made = make_sigmas(label.removesuffix(" XL"), int(n), TABLE, sdxl=label.endswith(" XL"))
    torch.testing.assert_close(made, torch.tensor(DATA["sigmas"][case]), atol=1e-6, rtol=1e-6)


def test_the_last_level_but_one_is_discarded():
    levels = make_sigmas("Karras", 5, TABLE, discard_penultimate=True)
    assert torch.equal(levels, make_sigmas("Karras", 6, TABLE)[[0, 1, 2, 3, 4, 6]])


def test_levels_and_timesteps_are_inverse():
    timesteps = torch.tensor([0.0, 0.25, 17.5, 998.75, 999.0])
    there_and_back = torch.stack([TABLE.timestep(TABLE.sigma(t)) for t in timesteps])
    torch.testing.assert_close(there_and_back, timesteps, atol=2e-3, rtol=0)
    assert TABLE.timestep(torch.tensor(100.0)) == 999 and TABLE.timestep(torch.tensor(1e-3)) == 0
    assert TABLE.timestep(TABLE.sigma(torch.tensor(17.6)), nearest=True) == 18


class Model:
    """A model whose prediction is a formula; its prompts are a single number."""

    device = torch.device("cpu")
    family = "sd1"
    schedule = SCHEDULE

    def __call__(self, x_t, t, cond):
        return 0.9 * x_t + 0.3 * torch.sin(2 * x_t + t.view(-1, 1, 1, 1) / 250 + cond.hidden.view(-1, 1, 1, 1))


@pytest.mark.parametrize("case", DATA["latents"])
def test_latents(case):
    """The data were made with a guidance of 3, which A1111 divides by 12.5 for CFG++."""
    name, steps, eta = case.split(", ")
    row = SAMPLERS[name.lower()]
    cond, uncond = (Conditioning(torch.full((1, 1, 1), number)) for number in (0.0, 1.0))
    made = sample(
        Model(),
        ClassifierFreeGuidance(cond, uncond, 3.0 * row.guidance_factor, keep_unguided=row.needs_unguided),
        noise=ImageNoise([SEED], SHAPE).first(),
        steps=int(steps),
        sampler=name,
        schedule="Automatic",
        seeds=[SEED],
        options=SamplingOptions(eta=None if eta == "None" else float(eta)),
    )
    expected = torch.tensor(DATA["latents"][case]).view(made.shape)
    torch.testing.assert_close(made, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("case", DATA["noise"])
def test_noise(case):
    wanted = DATA["noise"][case]
    settings = NoiseSettings(
        source=wanted["source"],
        variation_strength=wanted["variation_strength"],
        ensd=wanted["ensd"],
        resize_from=tuple(wanted["resize_from"]) if wanted["resize_from"] else None,
    )
    noise = ImageNoise([wanted["seed"]], SHAPE, settings, [wanted["variation_seed"] or 0])
    for made, name in ((noise.first(), "first"), (noise.next(), "next")):
        torch.testing.assert_close(made.flatten(), torch.tensor(wanted[name]), atol=1e-6, rtol=1e-6)


def test_published_numbers_of_cuda():
    made = PhiloxGenerator(DATA["philox"]["seed"]).randn(DATA["philox"]["shape"])
    torch.testing.assert_close(made.flatten(), torch.tensor(DATA["philox"]["numbers"]), atol=1e-7, rtol=1e-6)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_numbers_of_cuda_itself():
    for seed in (0, 5, 2**40 + 3):
        generator = torch.Generator("cuda").manual_seed(seed)
        ours = PhiloxGenerator(seed)
        for _ in range(2):
            there = torch.randn((4, 64, 64), generator=generator, device="cuda").cpu()
            torch.testing.assert_close(ours.randn((4, 64, 64)), there, atol=1e-5, rtol=1e-5)


def test_each_image_has_its_own_noise():
    both, second = ImageNoise([1, 2], SHAPE), ImageNoise([2], SHAPE)
    levels = make_sigmas("Karras", 5, TABLE)
    for noise in (both, second):
        noise.use_brownian_paths(levels)
    assert torch.equal(both.first()[1:], second.first())
    assert torch.equal(both.next()[1:], second.next())
    assert torch.equal(both.brownian(levels[1], levels[2])[1:], second.brownian(levels[1], levels[2]))


def test_between_parallel_noises_the_weights_are_exchanged():
    """A1111's own slip, without which its images with a variation seed equal to the seed would differ."""
    noise = ImageNoise([1], SHAPE).first()[0]
    torch.testing.assert_close(slerp(noise, 3 * noise, 0.25), (0.25 + 3 * 0.75) * noise)


def brownian(entropy, size=4096):
    generator = torch.Generator()
    return BrownianTree(entropy, 0.03, 14.6, lambda seed: torch.randn(size, generator=generator.manual_seed(seed)))


def test_a_brownian_path_is_the_same_however_it_is_asked():
    whole, parts = brownian(1).increment(0.5, 3.0), brownian(1)
    later = parts.increment(1.7, 3.0)
    torch.testing.assert_close(parts.increment(0.5, 1.7) + later, whole, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(brownian(1).increment(-1, 20), brownian(1).increment(0.03, 14.6))
    assert torch.equal(brownian(1).increment(2.0, 2.0), torch.zeros(4096))


def test_increments_of_a_brownian_path_are_normal_and_independent():
    path = brownian(2)
    a, b = path.increment(0.1, 0.4), path.increment(0.4, 2.0)
    assert abs(a.std() / 0.3**0.5 - 1) < 0.05 and abs(b.std() / 1.6**0.5 - 1) < 0.05
    assert abs(torch.corrcoef(torch.stack([a, b]))[0, 1]) < 0.06
    assert abs(torch.corrcoef(torch.stack([a, brownian(3).increment(0.1, 0.4)]))[0, 1]) < 0.06


def test_quantiles_of_the_beta_distribution():
    """The arcsine law, the uniform one and powers have quantiles in closed form."""
    for p in (0.0, 1e-6, 0.2, 0.5, 0.77, 1.0):
        x = torch.tensor(p, dtype=torch.float64)
        assert beta_quantile(p, 0.5, 0.5) == pytest.approx(float((x * torch.pi / 2).sin() ** 2), abs=1e-12)
        assert beta_quantile(p, 1.0, 1.0) == pytest.approx(p, abs=1e-12)
        assert beta_quantile(p, 3.0, 1.0) == pytest.approx(p ** (1 / 3), abs=1e-12)
        assert beta_cdf(beta_quantile(p, 0.6, 0.6), 0.6, 0.6) == pytest.approx(p, abs=1e-12)


@pytest.mark.parametrize("kind", [EpsilonSchedule, VSchedule])
def test_the_prediction_of_x0_is_the_schedule_s(kind):
    """At whole timesteps it is what the noise schedule says, in sigma space."""
    schedule, t = kind(scaled_linear()), torch.tensor([400])
    x_t, pred = (ImageNoise([s], SHAPE).first() for s in (1, 2))
    sigma = TABLE.sigmas[400]
    made = to_denoised(schedule, pred, x_t * (1 + sigma**2).sqrt(), sigma)
    torch.testing.assert_close(made, schedule.to_x0(pred, x_t, t), atol=1e-4, rtol=1e-4)
