"""Samplers with the schedule Trailing: all run, and a picture depends on its seed alone."""

from pathlib import Path

import numpy as np
import pytest
import torch

from bakehouse.core.errors import UsageError
from bakehouse.models import SAMPLERS, ClassifierFreeGuidance, initial_noise, make_scheduler, sample, to_images
from bakehouse.models.guidance import rescale_to
from bakehouse.models.samplers import find_sampler
from bakehouse.models.sigma_schedules import SCHEDULE_NAMES

guided = ClassifierFreeGuidance
RUNNABLE = [name for name, row in SAMPLERS.items() if row.scheduler]


def unguided(model):
    return guided(model.encode_prompt(["a"]), scale=1.0)


def test_noise_is_of_the_seed_alone():
    batch = initial_noise([3, 1, 2], (4, 8, 8))
    assert torch.equal(batch[1:2], initial_noise([1], (4, 8, 8)))
    assert not torch.equal(batch[0], batch[1])
    assert initial_noise([2**63 + 5, -1], (1, 2, 2)).shape == (2, 1, 2, 2)


@pytest.mark.parametrize("name", RUNNABLE)
def test_same_alone_or_in_a_batch(tiny, name):
    seeds = [11, 12]
    cond, uncond = tiny.encode_prompt(["a robot", "a hat"]), tiny.encode_prompt([""])
    noise = initial_noise(seeds, (4, 8, 8))
    together = sample(tiny, guided(cond, uncond, 3.0), noise=noise, steps=3, sampler=name, seeds=seeds)
    alone = sample(tiny, guided(cond[1:], uncond, 3.0), noise=noise[1:], steps=3, sampler=name, seeds=seeds[1:])
    assert torch.isfinite(together).all() and together.shape == (2, 4, 8, 8)
    torch.testing.assert_close(together[1:], alone, atol=1e-4, rtol=1e-4)


def test_noise_on_the_way_is_not_the_noise_at_the_start(tiny):
    """An ancestral sampler seeded like the start would add the very noise it is taking away."""
    cond = tiny.encode_prompt(["a"])
    noise = initial_noise([7], (4, 8, 8))
    drawn = []
    from diffusers.schedulers import scheduling_euler_ancestral_discrete as module

    before = module.randn_tensor
    module.randn_tensor = lambda *a, **k: drawn.append(before(*a, **k)) or drawn[-1]
    try:
        sample(tiny, guided(cond, scale=1.0), noise=noise, steps=3, sampler="euler a", seeds=[7])
    finally:
        module.randn_tensor = before
    assert drawn and all((d - noise).abs().max() > 0.1 for d in drawn)


def test_guidance_one_asks_once(tiny):
    sizes = []
    handle = tiny.unet.register_forward_pre_hook(lambda m, args: sizes.append(len(args[0])))
    cond, uncond = tiny.encode_prompt(["a", "b"]), tiny.encode_prompt([""])
    noise = initial_noise([1, 2], (4, 8, 8))
    sample(tiny, guided(cond, uncond, 1.0), noise=noise, steps=2)
    sample(tiny, guided(cond, uncond, 2.0), noise=noise, steps=2)
    handle.remove()
    assert sizes == [2, 2, 4, 4]


def test_guidance_rescale_is_diffusers_s(tiny):
    from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import rescale_noise_cfg

    strong, plain = torch.randn(2, 4, 8, 8) * 3, torch.randn(2, 4, 8, 8)
    torch.testing.assert_close(rescale_to(plain, strong, 0.7), rescale_noise_cfg(strong, plain, 0.7))
    assert rescale_to(plain, strong, 0.0) is strong
    cond, uncond, noise = tiny.encode_prompt(["a"]), tiny.encode_prompt([""]), initial_noise([1], (4, 8, 8))
    drawn = [sample(tiny, guided(cond, uncond, 7.0, r), noise=noise, steps=2) for r in (0.0, 0.7)]
    assert drawn[1].std() < drawn[0].std()


def test_steps_are_told(tiny):
    seen = []
    sample(tiny, unguided(tiny), noise=initial_noise([1], (4, 8, 8)), steps=3,
           on_step=lambda step: seen.append((step.done, step.total, tuple(step.latents.shape))))  # fmt: skip
    assert seen == [(1, 3, (1, 4, 8, 8)), (2, 3, (1, 4, 8, 8)), (3, 3, (1, 4, 8, 8))]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"sampler": "eular"}, "did you mean 'euler'"),
        ({"steps": 0}, "at least 1"),
        ({"steps": 4, "start_step": 4}, "start_step = 4: allowed are 0 to 3"),
        ({"start_step": 1}, "start_step = 1 needs image_latents"),
    ],
)
def test_wrong_settings(tiny, change, says):
    with pytest.raises(UsageError, match=says):
        sample(tiny, unguided(tiny), noise=initial_noise([1], (4, 8, 8)), **change)


def test_guidance_needs_a_negative_prompt(tiny):
    with pytest.raises(UsageError, match=r"guidance = 7.0 needs a negative prompt"):
        guided(tiny.encode_prompt(["a"]))


def chosen(name, schedule=None):
    choice = find_sampler(name, schedule)
    return choice.label, choice.schedule


def test_names_of_both_worlds():
    assert chosen("EulerAncestralDiscreteScheduler") == ("Euler a", "Trailing")
    assert chosen("DPMSolverMultistepScheduler") == ("DPM++ 2M", "Trailing")
    assert chosen("k_dpmpp_2m", "AUTOMATIC") == ("DPM++ 2M", "Karras")
    assert chosen("lms") == ("LMS", "Uniform"), "diffusers' needs scipy, so it is ours"


def test_sampler_and_schedule_in_one():
    """As A1111 before 1.9 wrote them."""
    assert chosen("DPM++ 2M Karras") == chosen("dpm++ 2m", "karras") == ("DPM++ 2M", "Karras")
    assert chosen("DPM++ 2M SDE Heun Exponential") == ("DPM++ 2M SDE Heun", "Exponential")
    assert chosen("Euler SGMUniform") == chosen("Euler SGM Uniform", "sgm uniform") == ("Euler", "SGM Uniform")
    assert chosen("DDIM") == ("DDIM", "Trailing"), "the sampler, not a schedule of nothing"


def test_the_page_has_every_sampler_and_schedule():
    page = (Path(__file__).parents[2] / "docs" / "samplers.md").read_text("utf-8")
    rows = {
        label.strip(): [cell.strip() for cell in cells]
        for names, *cells in (line.strip("|").split("|") for line in page.splitlines() if line.startswith("| "))
        for label in names.split(",")
    }
    for row in SAMPLERS.values():
        trailing, automatic, _ = rows[row.label]
        assert (trailing == "yes") == bool(row.scheduler), row.label
        assert row.steps != "schedule" or row.solver is None or automatic.startswith(row.automatic), row.label
    assert all(f"`{name}`" in page or f"**{name}**" in page for name in SCHEDULE_NAMES)


@pytest.mark.parametrize(
    ("name", "schedule", "says"),
    [
        ("DPM++ 2M Karras", "beta", "two schedules"),
        ("DPM++ 2S a", "trailing", "does not have the schedule Trailing"),
        ("deis", "karras", "not one of A1111's"),
        ("euler", "karas", "did you mean 'karras'"),
        ("eular karras", None, "unknown"),
    ],
)
def test_wrong_schedules(name, schedule, says):
    with pytest.raises(UsageError, match=says):
        find_sampler(name, schedule)


@pytest.mark.parametrize("zero_terminal", [False, True])
def test_schedulers_work_on_our_schedule(make_tiny, zero_terminal):
    change = {"rescale_betas_zero_snr": zero_terminal, "prediction_type": "v_prediction"}
    schedule = make_tiny(scheduler=change).schedule
    scheduler = make_scheduler(schedule, "ddim")
    expected = schedule.alphas_cumprod.clamp(min=2.0**-24).float()
    torch.testing.assert_close(scheduler.alphas_cumprod, expected, atol=1e-6, rtol=2e-3)
    assert scheduler.config.prediction_type == "v_prediction"
    scheduler.set_timesteps(4)
    assert scheduler.timesteps[0] == 999


@pytest.mark.parametrize("name", ["euler", "dpm++ 2m", "ddim", "euler a", "unipc"])
def test_zero_terminal_v_prediction_samples(make_tiny, name):
    model = make_tiny(scheduler={"rescale_betas_zero_snr": True, "prediction_type": "v_prediction"})
    noise = initial_noise([1], (4, 8, 8))
    latents = sample(model, unguided(model), noise=noise, steps=4, sampler=name)
    assert torch.isfinite(latents).all()


@pytest.fixture(scope="module")
def zero_terminal(make_tiny):
    return make_tiny(scheduler={"rescale_betas_zero_snr": True, "prediction_type": "v_prediction"})


@pytest.mark.parametrize("name", RUNNABLE)
def test_every_number_of_steps_is_drawn_down_to_pure_noise(zero_terminal, name, monkeypatch, caplog):
    """LCM knows 50 steps by itself, and near pure noise close steps of Karras' share a timestep."""
    monkeypatch.setattr(zero_terminal, "forward", lambda x_t, t, cond: 0.5 * x_t)
    seen = []
    for steps in (1, 3, 60):
        latents = sample(zero_terminal, unguided(zero_terminal), noise=initial_noise([1], (4, 4, 4)), steps=steps,
                         sampler=name, on_step=lambda step: seen.append((step.done, step.total)))  # fmt: skip
        assert torch.isfinite(latents).all()
        assert seen[-1][0] == seen[-1][1] >= steps
    assert not caplog.records, "the library's advice is not for whoever waits"


@pytest.mark.parametrize("name", ["euler", "dpm++ 2m", "ddim", "heun"])
def test_a_perfect_denoiser_is_followed_to_its_picture(tiny, name, monkeypatch):
    """With a network that always knows x0, every sampler must end there: this fails for any wrong scale."""
    x0 = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(3))

    def knows(x_t, t, cond):
        abar = tiny.schedule.alphas_cumprod[t.long()].float().view(-1, 1, 1, 1)
        return (x_t - abar.sqrt() * x0) / (1 - abar).sqrt()

    monkeypatch.setattr(tiny, "forward", knows)
    got = sample(tiny, unguided(tiny), noise=initial_noise([1], (4, 8, 8)), steps=10, sampler=name)
    assert (got - x0).abs().max() < (0.25 if name == "ddim" else 0.05)


def test_pictures():
    pixels = torch.tensor([-2.0, -1.0, 0.0, 1.0]).view(1, 1, 2, 2).expand(1, 3, 2, 2)
    (image,) = to_images(pixels)
    assert np.array(image)[..., 0].tolist() == [[0, 0], [128, 255]]
