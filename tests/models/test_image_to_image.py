"""Beginning from an image: which steps are run, what is held, and that it is the one sampling loop."""

from __future__ import annotations

import contextlib

import pytest
import torch

from bakehouse.core.errors import UsageError
from bakehouse.models.guidance import ClassifierFreeGuidance
from bakehouse.models.image_to_image import InitImage, InitLatents, encode_images, schedule_of_steps, steps_of_strength
from bakehouse.models.kept_projections import kept_projections
from bakehouse.models.packed_convolutions import packed_convolutions
from bakehouse.models.sampling import SamplingStep, initial_noise, sample, to_images
from bakehouse.models.second_pass import LATENT_UPSCALERS, SecondPass, enlarge_latents
from bakehouse.models.text_to_image import ImageSpec, Watch, batches, generate_images


@pytest.fixture(scope="module")
def model(make_tiny):
    return make_tiny()


def spec(**changes):
    plain = {"prompt": "a hat", "width": 64, "height": 64, "seed": 1, "steps": 6, "guidance": 3.0, "sampler": "ddim"}
    return ImageSpec(**{**plain, **changes})


def pixels(seed=0):
    return torch.rand(3, 64, 64, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def left_half():
    mask = torch.zeros(8, 8)
    mask[:, :4] = 1
    return mask


@contextlib.contextmanager
def sampling_as_generated(model):
    """Sample with what `generate_images` computes once for all steps: packed convolutions round otherwise."""
    unet = model.trainable_modules()["lora_unet"]
    with torch.no_grad(), packed_convolutions(unet), kept_projections(unet):
        yield


def second_pass(**changes):
    return SecondPass(
        **{"width": 128, "height": 96, "steps": 3, "strength": 0.5, "upscaler": "Latent (nearest)", **changes}
    )


def test_steps_are_those_that_a1111_runs():
    """Its index of the first noise level is steps - int(min(strength, 0.999) x steps) - 1."""
    assert [steps_of_strength(20, s) for s in (0.05, 0.5, 0.75, 0.999, 1)] == [2, 11, 16, 20, 20]
    assert steps_of_strength(1, 0.1) == steps_of_strength(1, 1) == 1
    assert steps_of_strength(20, 0) == 0
    assert [schedule_of_steps(20, s) for s in (0, 0.5, 0.7, 1)] == [20, 40, 28, 20]


def test_strength_zero_is_what_the_autoencoder_makes_of_the_image(model):
    image = InitImage(pixels())
    (made,) = generate_images(model, [spec(strength=0)], images=[image])
    with torch.no_grad():
        (expected,) = to_images(model.decode(encode_images(model, [image])))
    assert made == expected


@pytest.mark.parametrize("strength", [0.3, 1])
def test_it_is_the_tail_of_the_one_loop(model, strength):
    image = InitImage(pixels())
    (made,) = generate_images(model, [spec(strength=strength)], images=[image])
    guider = ClassifierFreeGuidance(model.encode_prompt(["a hat"]), model.encode_prompt([""]), 3.0)
    with sampling_as_generated(model):
        latents = sample(
            model,
            guider,
            noise=initial_noise([1], (4, 8, 8)),
            image_latents=encode_images(model, [image]),
            start_step=6 - steps_of_strength(6, strength),
            steps=6,
            sampler="ddim",
            seeds=[1],
        )
        (expected,) = to_images(model.decode(latents))
    assert made == expected


@pytest.mark.parametrize("sampler", ["ddim", "euler a", "dpm++ 2m", "heun"])
def test_latents_outside_the_mask_are_the_images_at_every_step(model, sampler):
    noise = initial_noise([1], (4, 8, 8))
    begin = InitLatents(model, [InitImage(pixels(), left_half())], noise)
    original = encode_images(model, [InitImage(pixels())])
    guider = ClassifierFreeGuidance(model.encode_prompt(["a hat"]), scale=1.0)

    def hold(step: SamplingStep):
        held = begin.hold(step)
        assert torch.equal(held[..., 4:], step.add_noise(original, noise)[..., 4:])
        assert torch.equal(held[..., :4], step.latents[..., :4])
        return held

    made = sample(
        model, guider, noise=noise, image_latents=begin.latents, start_step=1, steps=4, sampler=sampler, on_step=hold
    )
    assert torch.equal(made[..., 4:], original[..., 4:])
    assert not torch.equal(made[..., :4], original[..., :4])


def test_masked_latents_begin_as_they_are_to(model):
    noise = initial_noise([1, 2, 3], (4, 8, 8))
    kinds = ("kept", "noise", "zero")
    begin = InitLatents(model, [InitImage(pixels(i), left_half(), kind) for i, kind in enumerate(kinds)], noise)
    original = encode_images(model, [InitImage(pixels(i)) for i in range(3)])
    assert torch.equal(begin.latents[..., 4:], original[..., 4:])
    masked = begin.latents[..., :4]
    assert torch.equal(masked[0], original[0, ..., :4])
    assert torch.equal(masked[1], noise[1, ..., :4])
    assert not masked[2].any()


def test_an_image_and_its_mask_do_not_depend_on_the_batch(model):
    images = [InitImage(pixels(1), left_half()), InitImage(pixels(2)), InitImage(pixels(3), 1 - left_half(), "noise")]
    specs = [spec(seed=i, strength=0.6) for i in range(3)]
    together = generate_images(model, specs, images=images)
    for one, image, expected in zip(specs, images, together, strict=True):
        (alone,) = generate_images(model, [one], images=[image])
        difference = torch.tensor(list(alone.tobytes())).int() - torch.tensor(list(expected.tobytes())).int()
        assert difference.abs().max() <= 1


def test_images_of_other_strengths_or_passes_are_other_batches():
    specs = [spec(), spec(strength=0.5), spec(strength=0.5), spec(strength=0.6), spec(second_pass=second_pass())]
    assert [len(group) for group in batches(specs, lambda _: 9)] == [1, 2, 1, 1]


def test_every_image_needs_one_to_begin_from(model):
    for specs, images in (([spec(strength=0.5)], []), ([spec()], [InitImage(pixels())])):
        with pytest.raises(ValueError, match="images to begin from"):
            generate_images(model, specs, images=images)


def test_a_second_pass_without_strength_only_enlarges(model):
    with sampling_as_generated(model):
        guider = ClassifierFreeGuidance(model.encode_prompt(["a hat"]), model.encode_prompt([""]), 3.0)
        latents = sample(model, guider, noise=initial_noise([1], (4, 8, 8)), steps=2, sampler="ddim", seeds=[1])
        larger = enlarge_latents(model, latents, second_pass(width=128, height=128), None)
        assert torch.equal(larger, latents.repeat_interleave(2, -1).repeat_interleave(2, -2))
        (expected,) = to_images(model.decode(larger))
    only_larger = second_pass(width=128, height=128, strength=0)
    (made,) = generate_images(model, [spec(steps=2, second_pass=only_larger)])
    assert made == expected


@pytest.mark.parametrize("name", LATENT_UPSCALERS)
def test_every_upscaler_of_latents_gives_the_second_size(model, name):
    latents = initial_noise([1], (4, 8, 8))
    assert enlarge_latents(model, latents, second_pass(upscaler=name), None).shape == (1, 4, 12, 16)


def test_other_upscalers_are_given_the_image(model):
    asked = []

    def enlarge(image, size):
        asked.append((image.size, size))
        return image.resize(size)

    (made,) = generate_images(model, [spec(second_pass=second_pass(upscaler="mine"))], enlarge=enlarge)
    assert asked == [((64, 64), (128, 96))] and made.size == (128, 96)
    with pytest.raises(ValueError, match="'mine' needs `enlarge`"):
        generate_images(model, [spec(second_pass=second_pass(upscaler="mine"))])


def test_a_second_pass_has_no_more_steps_than_the_schedule(model):
    second_pass(steps=500, strength=0.5).check(model)
    with pytest.raises(UsageError, match=r"the last of 1,002 steps, and the model's schedule has 1,000"):
        second_pass(steps=501, strength=0.5).check(model)


@pytest.mark.parametrize("sampler", ["ddim", "heun"])
def test_progress_counts_the_calls_of_both_passes(model, sampler):
    seen = []
    watch = Watch(on_progress=lambda done, total: seen.append((done, total)))
    generate_images(model, [spec(sampler=sampler, second_pass=second_pass())], watch=watch)
    assert [done for done, _ in seen] == list(range(1, len(seen) + 1))
    assert seen[-1][0] == seen[-1][1]
    assert len(seen) >= 6 + 3
