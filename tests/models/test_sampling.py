"""The sampling loop's contract: what a start step, a guider and a step hook do, for every sampler."""

import pytest
import torch

from bakehouse.models import (
    SAMPLERS,
    ClassifierFreeGuidance,
    SamplingCancelledError,
    initial_noise,
    make_scheduler,
    sample,
)
from bakehouse.models.samplers import ignore_numpy_2_warnings
from bakehouse.models.sampling import Solver

RUNNABLE = [name for name, row in SAMPLERS.items() if row.scheduler]
SHAPE = (4, 8, 8)
STEPS = 6


@pytest.fixture
def tiny(one_level):
    """Samplers are tried some hundred times, several steps each."""
    return one_level


@pytest.fixture
def guider(tiny):
    return ClassifierFreeGuidance(tiny.encode_prompt(["a robot"]), tiny.encode_prompt([""]), 3.0)


@pytest.fixture
def noise():
    return initial_noise([7], SHAPE)


@pytest.fixture
def clean():
    return initial_noise([3], SHAPE) * 0.5


def run(tiny, guider, name, **more):
    return sample(tiny, guider, steps=STEPS, sampler=name, seeds=[7], **more)


def scheduler_at(model, name, start):
    scheduler = make_scheduler(model.schedule, name)
    with ignore_numpy_2_warnings():
        scheduler.set_timesteps(STEPS)
    if hasattr(scheduler, "set_begin_index"):
        scheduler.set_begin_index(start * scheduler.order)
    return scheduler


def knows(x0, schedule):
    """A guider that needs no network: it predicts exactly the noise that leads to `x0`."""

    def predict_noise(predict, x_t, t):
        abar = schedule.alphas_cumprod[t.long()].float().view(-1, 1, 1, 1)
        return (x_t - abar.sqrt() * x0) / (1 - abar).sqrt()

    return predict_noise


@pytest.mark.parametrize("name", ["ddim", "euler", "euler a", "dpm++ 2m", "heun"])
def test_from_noise_it_is_the_schedulers_own_loop(tiny, guider, noise, name):
    """Bit for bit: nothing stands between the guider's prediction and the scheduler."""
    scheduler = scheduler_at(tiny, name, 0)
    generator = torch.Generator().manual_seed(7)
    torch.randn(SHAPE, generator=generator)
    extra = {} if name == "heun" else {"generator": [generator]}
    cond = torch.cat([tiny.encode_prompt([""]).hidden, tiny.encode_prompt(["a robot"]).hidden])
    latents = noise * scheduler.init_noise_sigma
    with torch.no_grad(), ignore_numpy_2_warnings():
        for t in scheduler.timesteps:
            x_t = scheduler.scale_model_input(latents, t)
            pred = tiny.unet(torch.cat([x_t, x_t]), t, encoder_hidden_states=cond, return_dict=False)[0]
            negative, positive = pred.chunk(2)
            pred = negative + 3.0 * (positive - negative)
            latents = scheduler.step(pred, t, latents, return_dict=False, **extra)[0]
    assert torch.equal(run(tiny, guider, name, noise=noise), latents)


@pytest.mark.parametrize("name", RUNNABLE)
def test_a_hook_that_returns_nothing_changes_nothing(tiny, guider, noise, name):
    plain = run(tiny, guider, name, noise=noise)
    assert torch.equal(run(tiny, guider, name, noise=noise, start_step=0, on_step=lambda step: None), plain)


@pytest.mark.parametrize("name", RUNNABLE)
def test_the_global_random_state_is_neither_read_nor_changed(tiny, guider, noise, name):
    torch.manual_seed(1)
    before, first = torch.get_rng_state(), run(tiny, guider, name, noise=noise)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    assert torch.equal(run(tiny, guider, name, noise=noise), first)


@pytest.mark.parametrize("name", RUNNABLE)
def test_inpainting_is_a_hook(tiny, guider, noise, clean, name):
    """The known half is put back at each noise level: it ends as the original, and the other half is generated."""
    known = torch.zeros(1, 1, 8, 8)
    known[..., :4] = 1
    blended = run(
        tiny, guider, name, noise=noise,
        on_step=lambda step: known * step.add_noise(clean, noise) + (1 - known) * step.latents,
    )  # fmt: skip
    assert torch.equal(blended[..., :4], clean[..., :4])
    assert torch.isfinite(blended).all() and (blended[..., 4:] - clean[..., 4:]).abs().mean() > 0.05


@pytest.mark.parametrize("start", [0, 2, STEPS - 1])
@pytest.mark.parametrize("name", RUNNABLE)
def test_image_to_image_is_the_tail_of_the_schedule(tiny, clean, noise, name, start):
    """It starts from add_noise(x0) at its own timestep, and a perfect network leads it back to x0."""
    calls = []

    def guider(predict, x_t, t):
        calls.append((x_t.clone(), int(t[0])))
        return knows(clean, tiny.schedule)(predict, x_t, t)

    got = run(tiny, guider, name, noise=noise, image_latents=clean, start_step=start)
    full = Solver(tiny.schedule, name, STEPS, tiny.device).timesteps.tolist()
    assert [t for _, t in calls][-1] == int(full[-1])
    assert len(calls) == len(Solver(tiny.schedule, name, STEPS, tiny.device, start_step=start).timesteps)
    first, t = calls[0]
    torch.testing.assert_close(first, tiny.schedule.add_noise(clean, noise, torch.tensor([t])), atol=2e-2, rtol=0)
    if name not in ("ddpm", "lcm", "euler a", "dpm2 a") and "sde" not in name:  # those add noise of their own
        assert (got - clean).abs().max() < 0.1


@pytest.mark.parametrize("name", ["ddim", "euler", "dpm++ 2m", "heun"])
def test_image_to_image_takes_the_schedulers_own_steps(tiny, guider, noise, clean, name):
    scheduler = scheduler_at(tiny, name, 2)
    at = 2 * scheduler.order
    latents = scheduler.add_noise(clean, noise, scheduler.timesteps[at : at + 1])

    def predict(x, t, cond):
        return tiny(x, t, cond)

    with torch.no_grad(), ignore_numpy_2_warnings():
        for t in scheduler.timesteps[at:]:
            pred = guider(predict, scheduler.scale_model_input(latents, t), t.expand(1))
            latents = scheduler.step(pred, t, latents, return_dict=False)[0]
    assert torch.equal(run(tiny, guider, name, noise=noise, image_latents=clean, start_step=2), latents)


def test_a_guider_decides_alone(tiny, noise):
    """Two prompts for two halves of an image: no loop of its own, and guidance of 1 in one call."""
    left = torch.zeros(1, 1, 8, 8)
    left[..., :4] = 1
    conds = [tiny.encode_prompt([p]) for p in ("a robot", "a hat")]
    alone = [run(tiny, lambda p, x, t, c=c: p(x, t, c), "ddim", noise=noise) for c in conds]

    def regions(predict, x_t, t):
        a, b = (predict(x_t, t, cond) for cond in conds)
        return left * a + (1 - left) * b

    both = run(tiny, regions, "ddim", noise=noise)
    assert all(not torch.equal(both, one) for one in alone)
    assert torch.equal(alone[0], run(tiny, ClassifierFreeGuidance(conds[0], scale=1.0), "ddim", noise=noise))


def test_a_hook_can_cancel(tiny, guider, noise):
    steps = []

    def cancel_at_two(step):
        steps.append(step.done)
        if step.done == 2:
            raise SamplingCancelledError("stop")

    with pytest.raises(SamplingCancelledError):
        run(tiny, guider, "ddim", noise=noise, on_step=cancel_at_two)
    assert steps == [1, 2]
    assert torch.isfinite(run(tiny, guider, "ddim", noise=noise)).all()
