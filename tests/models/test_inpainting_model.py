"""Inpainting models: nine channels in, the same latents as diffusers' own pipeline, and no training."""

from __future__ import annotations

import diffusers
import pytest
import torch

from bakehouse.core.errors import Problems, UsageError
from bakehouse.models.guidance import ClassifierFreeGuidance
from bakehouse.models.image_to_image import InitImage
from bakehouse.models.inpainting_model import mask_channels
from bakehouse.models.load import load_model, resolve_model
from bakehouse.models.samplers import make_scheduler
from bakehouse.models.sampling import initial_noise, sample
from bakehouse.models.text_to_image import ImageSpec, Watch, generate_images
from bakehouse.recipe import Recipe, make_plan

STEPS = 6


@pytest.fixture(scope="module")
def model(make_tiny):
    return make_tiny(in_channels=9)


def picture():
    pixels = torch.rand(3, 64, 64, generator=torch.Generator().manual_seed(3)) * 2 - 1
    mask = torch.zeros(8, 8)
    mask[2:6, :5] = 1
    return InitImage(pixels, mask)


@pytest.fixture
def pipeline(model):
    """diffusers' inpainting pipeline of the same networks."""
    made = diffusers.StableDiffusionInpaintPipeline(
        vae=model.vae, text_encoder=model.text_encoder, tokenizer=model.tokenizer, unet=model.unet,
        scheduler=make_scheduler(model.schedule, "ddim"), safety_checker=None, feature_extractor=None,
        requires_safety_checker=False,
    )  # fmt: skip
    made.set_progress_bar_config(disable=True)
    return made


def test_latents_are_those_of_diffusers(model, pipeline):
    image, noise = picture(), initial_noise([7], (4, 8, 8))
    beside = mask_channels(model, [image], (8, 8), 1)
    assert beside.shape == (1, 5, 8, 8) and torch.equal(beside[0, 0], image.mask)
    guider = ClassifierFreeGuidance(model.encode_prompt(["a hat"]), model.encode_negative([""]), 4.0)
    ours = sample(model, guider, noise=noise, steps=STEPS, sampler="ddim", beside=beside)
    large = image.mask[None, None].repeat_interleave(8, 2).repeat_interleave(8, 3)
    theirs = pipeline(
        "a hat", image=image.pixels[None] / 2 + 0.5, mask_image=large, masked_image_latents=beside[:, 1:], strength=1.0,
        num_inference_steps=STEPS, guidance_scale=4.0, latents=noise, height=64, width=64, output_type="latent",
    ).images  # fmt: skip
    assert (ours - theirs).abs().max() < 1e-4
    plain = sample(model, guider, noise=noise, steps=STEPS, sampler="ddim",
                   beside=mask_channels(model, (), (8, 8), 1))  # fmt: skip
    assert (ours - plain).abs().max() > 1e-3, "the mask and the image are read"


def test_masked_pixels_are_hidden_from_the_model(model):
    image = picture()
    changed = InitImage(torch.where(image.mask.repeat_interleave(8, 0).repeat_interleave(8, 1) > 0, 1.0, image.pixels),
                        image.mask)  # fmt: skip
    same = [mask_channels(model, [one], (8, 8), 1) for one in (image, changed)]
    assert torch.equal(*same)


@pytest.mark.parametrize("sampler", ["ddim", "DPM++ 2M Karras"])
def test_every_way_to_draw_works_and_batches_do_not_mix(model, sampler):
    plain = {"prompt": "a hat", "width": 64, "height": 64, "steps": 3, "guidance": 3.0, "sampler": sampler}
    specs = [ImageSpec(**plain, seed=s, strength=1.0) for s in (1, 2)]
    seen = []
    watch = Watch(on_preview=lambda *a: seen.append(a), preview_every=1)
    other = InitImage(-picture().pixels, picture().mask.flip(0))
    both = generate_images(model, specs, images=[picture(), other], watch=watch)
    (alone,) = generate_images(model, specs[1:], images=[other])
    assert max(abs(a - b) for a, b in zip(both[1].tobytes(), alone.tobytes(), strict=True)) <= 1
    assert seen
    (from_words,) = generate_images(model, [ImageSpec(**plain, seed=1)])
    assert from_words != both[0]


def test_it_is_saved_loaded_and_recognised(model, tmp_path):
    model.save(tmp_path / "paint", dtype=torch.float32)
    assert resolve_model(tmp_path / "paint").family == "sd1"
    assert load_model(tmp_path / "paint").inpaints
    index = (tmp_path / "paint" / "model_index.json").read_text()
    assert '"StableDiffusionInpaintPipeline"' in index
    diffusers.StableDiffusionInpaintPipeline.from_pretrained(tmp_path / "paint", safety_checker=None)


def test_training_on_one_is_refused_before_anything_is_loaded(model, tmp_path):
    from PIL import Image

    model.save(tmp_path / "paint", dtype=torch.float32)
    (tmp_path / "photos").mkdir()
    Image.new("RGB", (64, 64)).save(tmp_path / "photos" / "0.png")
    concept = {"folder": str(tmp_path / "photos"), "subject": "zwx person"}
    recipe = Recipe.parse({"model": {"base": str(tmp_path / "paint")}, "concepts": [concept]})
    with pytest.raises(Problems, match="is an inpainting model, whose UNet also reads a mask"):
        make_plan(recipe)
    with pytest.raises(UsageError, match="so it only draws"):
        model(torch.zeros(1, 4, 8, 8), torch.tensor([1]), model.encode_prompt(["a"]))
