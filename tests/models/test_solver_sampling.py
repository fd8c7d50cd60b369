"""A1111's samplers and schedules in the one sampling loop: batches, hooks, image-to-image, options."""

import itertools

import pytest
import torch

from bakehouse.core.errors import UsageError
from bakehouse.models import SAMPLERS, ClassifierFreeGuidance, initial_noise, sample
from bakehouse.models.image_noise import NoiseSettings
from bakehouse.models.samplers import find_sampler
from bakehouse.models.sampling_options import SamplingOptions
from bakehouse.models.sigma_schedules import SCHEDULES

SOLVED = [name for name, row in SAMPLERS.items() if row.solver]
ADDING_NOISE = [name for name in SOLVED if SAMPLERS[name].takes_noise and SAMPLERS[name].eta != 0]
SHAPE = (4, 8, 8)
STEPS = 6


def guiders(model, *prompts):
    conds = [model.encode_prompt([p]) for p in prompts]
    uncond = model.encode_prompt([""])
    together = type(conds[0]).cat(conds)
    return [ClassifierFreeGuidance(c, uncond, 3.0, keep_unguided=True) for c in (together, *conds)]


def run(model, guider, name, seeds=(7,), steps=STEPS, **more):
    more = {"noise": initial_noise(seeds, SHAPE), "schedule": "automatic", **more}
    return sample(model, guider, steps=steps, sampler=name, seeds=seeds, **more)


@pytest.fixture
def tiny(one_level):
    """Samplers are tried some hundred times, several steps each."""
    return one_level


@pytest.fixture
def guider(tiny):
    return guiders(tiny, "a robot")[0]


@pytest.mark.parametrize("name", [name for name in SOLVED if not SAMPLERS[name].adaptive])
def test_same_alone_or_in_a_batch(tiny, name):
    both, _, second = guiders(tiny, "a robot", "a hat")
    together = run(tiny, both, name, (11, 12))
    assert torch.isfinite(together).all()
    torch.testing.assert_close(together[1:], run(tiny, second, name, (12,)), atol=1e-4, rtol=1e-4)


def test_adaptive_steps_are_for_one_image(tiny):
    with pytest.raises(ValueError, match="one at a time"):
        run(tiny, guiders(tiny, "a robot", "a hat")[0], "dpm adaptive", (11, 12))


@pytest.mark.parametrize("name", SOLVED)
def test_the_global_random_state_is_neither_read_nor_changed(tiny, guider, name):
    torch.manual_seed(1)
    before, first = torch.get_rng_state(), run(tiny, guider, name)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    assert torch.equal(run(tiny, guider, name), first)


@pytest.mark.parametrize("name", ADDING_NOISE)
def test_noise_on_the_way_is_of_the_seed(tiny, guider, name):
    steps = 20 if name == "restart" else STEPS  # it does not restart with fewer
    noise = initial_noise([7], SHAPE)
    a, b = (run(tiny, guider, name, (seed,), noise=noise, steps=steps) for seed in (7, 8))
    assert not torch.equal(a, b)


@pytest.mark.parametrize("name", SOLVED)
def test_a_hook_counts_calls_and_changes_nothing(tiny, guider, name):
    seen = []
    told = run(tiny, guider, name, on_step=lambda step: seen.append((step.done, step.total)))
    assert torch.equal(told, run(tiny, guider, name))
    assert [done for done, _ in seen] == list(range(1, len(seen) + 1))
    assert seen[-1] == (len(seen), len(seen))
    if not SAMPLERS[name].adaptive:
        assert {total for _, total in seen} == {len(seen)}


@pytest.mark.parametrize("name", SOLVED)
def test_inpainting_is_a_hook(tiny, guider, name):
    clean, noise = initial_noise([3], SHAPE) * 0.5, initial_noise([7], SHAPE)
    known = torch.zeros(1, 1, 8, 8)
    known[..., :4] = 1
    blended = run(
        tiny, guider, name, on_step=lambda step: known * step.add_noise(clean, noise) + (1 - known) * step.latents
    )
    assert torch.equal(blended[..., :4], clean[..., :4])
    assert torch.isfinite(blended).all() and (blended[..., 4:] - clean[..., 4:]).abs().mean() > 0.05


@pytest.mark.parametrize("start", [0, 3])
@pytest.mark.parametrize("name", [name for name in SOLVED if name != "ddim cfg++"])
def test_a_perfect_network_leads_back_to_the_picture(tiny, name, start):
    """From noise and from an image's own latents with noise: this fails for any wrong scale."""
    clean = initial_noise([3], SHAPE) * 0.5

    def perfect(predict, x_t, t):
        abar = tiny.schedule.alphas_cumprod
        sigmas = ((1 - abar) / abar).sqrt().log()
        low, share = t.floor().long(), t.frac().double()
        sigma = (sigmas[low] * (1 - share) + sigmas[(low + 1).clamp(max=999)] * share).exp().float().view(-1, 1, 1, 1)
        return (x_t * (1 + sigma**2).sqrt() - clean) / sigma

    more = {"image_latents": clean, "start_step": start} if start else {}
    got = run(tiny, perfect, name, steps=12, **more)
    # DDIM and its kind end at the second timestep, not at 0, as in A1111, and DPM fast and adaptive at the first.
    assert (got - clean).abs().max() < (0.25 if SAMPLERS[name].steps != "schedule" else 0.02)


@pytest.mark.parametrize(("name", "schedule"), list(itertools.product(["euler", "dpm++ 2m sde"], SCHEDULES)))
def test_every_schedule_runs(tiny, guider, name, schedule):
    assert torch.isfinite(run(tiny, guider, name, schedule=schedule)).all()


@pytest.mark.parametrize("name", SOLVED)
def test_zero_terminal_v_prediction_and_any_number_of_steps(make_tiny, name, monkeypatch):
    model = make_tiny(scheduler={"rescale_betas_zero_snr": True, "prediction_type": "v_prediction"})
    monkeypatch.setattr(model, "forward", lambda x_t, t, cond: 0.5 * x_t)
    guider = guiders(model, "a")[0]
    for steps in (1 if SAMPLERS[name].steps != "timesteps" else 2, 3, 40):
        assert torch.isfinite(run(model, guider, name, steps=steps)).all()


@pytest.mark.parametrize("name", ["ddim", "plms"])
def test_one_step_of_ddim_is_none_in_a1111(tiny, guider, name):
    with pytest.raises(UsageError, match="needs at least 2"):
        run(tiny, guider, name, steps=1)


@pytest.mark.parametrize("name", [name for name in SOLVED if SAMPLERS[name].eta is not None])
def test_without_eta_the_seed_of_the_noise_on_the_way_is_all_the_same(tiny, guider, name):
    noise = initial_noise([7], SHAPE)
    a, b = (run(tiny, guider, name, (s,), noise=noise, options=SamplingOptions(eta=0.0)) for s in (7, 8))
    assert torch.equal(a, b)
    c, d = (run(tiny, guider, name, (s,), noise=noise, options=SamplingOptions(eta=1.0)) for s in (7, 8))
    assert not torch.equal(c, d)


def test_ensd_is_the_seed_of_the_noise_on_the_way(tiny, guider):
    noise = initial_noise([7], SHAPE)
    delta = SamplingOptions(noise=NoiseSettings(ensd=31337))
    assert not torch.equal(run(tiny, guider, "euler a", options=delta), run(tiny, guider, "euler a"))
    # From the start of that seed: not past a first noise of it.
    from bakehouse.models.image_noise import ImageNoise

    first = ImageNoise([7 + 31337], SHAPE).first()
    assert torch.equal(ImageNoise([7], SHAPE, delta.noise).next(), first)
    assert torch.equal(noise, ImageNoise([7], SHAPE, delta.noise).first())


def test_the_nearest_timestep_is_a_whole_number(tiny, guider, monkeypatch):
    seen = []
    forward = tiny.forward
    monkeypatch.setattr(tiny, "forward", lambda x, t, cond: seen.append(float(t[0])) or forward(x, t, cond))
    run(tiny, guider, "euler", schedule="karras")
    assert any(t % 1 for t in seen)
    seen.clear()
    run(tiny, guider, "euler", schedule="karras", options=SamplingOptions(nearest_timestep=True))
    assert seen and not any(t % 1 for t in seen)


@pytest.mark.parametrize(
    ("name", "schedule", "options", "says"),
    [
        ("euler a", "trailing", SamplingOptions(eta=0.5), "eta has no effect with the schedule Trailing"),
        ("euler a", None, SamplingOptions(noise=NoiseSettings(source="nv")), "rng = nv has no effect"),
        ("euler", "karras", SamplingOptions(eta=0.5), "sampler Euler has none"),
        ("lcm", "automatic", SamplingOptions(eta=0.5), "sampler LCM has none"),
        ("restart", "automatic", SamplingOptions(eta=0.5), "sampler Restart has none"),
    ],
)
def test_options_without_effect_are_refused(tiny, guider, name, schedule, options, says):
    with pytest.raises(UsageError, match=says):
        run(tiny, guider, name, schedule=schedule, options=options)


def test_cfg_pp_needs_the_unguided_prediction(tiny):
    with pytest.raises(UsageError, match=r"DDIM CFG\+\+"):
        run(tiny, ClassifierFreeGuidance(tiny.encode_prompt(["a"]), scale=1.0), "ddim cfg++")


def test_the_sampler_s_own_levels_are_discarded_as_in_a1111():
    assert [name for name, row in SAMPLERS.items() if row.discard_penultimate] == ["dpm++ 3m sde", "dpm2", "dpm2 a"]
    assert find_sampler("restart", "automatic").schedule == "Karras"
    assert find_sampler("dpm++ 3m sde", "automatic").schedule == "Exponential"
