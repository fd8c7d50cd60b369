"""Inpainting models of SD 2 and SDXL: saved, they are read by diffusers' own pipelines, and give the same latents."""

from __future__ import annotations

from typing import Any

import diffusers
import pytest
import torch

from bakehouse.models.guidance import ClassifierFreeGuidance
from bakehouse.models.image_to_image import InitImage
from bakehouse.models.inpainting_model import mask_channels
from bakehouse.models.load import load_model, resolve_model
from bakehouse.models.samplers import ignore_numpy_2_warnings, make_scheduler
from bakehouse.models.sampling import initial_noise, sample
from bakehouse.models.text_to_image import ImageSpec, generate_images

STEPS, SIZE = 4, (8, 8)
CASES = {
    "sd2": ("StableDiffusionInpaintPipeline", {}),
    "sd2, v": ("StableDiffusionInpaintPipeline", {"prediction_type": "v_prediction"}),
    "sdxl": ("StableDiffusionXLInpaintPipeline", {}),
}


@pytest.fixture(scope="module", params=CASES)
def case(request, make_family, tmp_path_factory) -> tuple[Any, Any]:
    """A model as it is loaded from its folder, and diffusers' pipeline of the same folder."""
    name, scheduler = CASES[request.param]
    family = request.param.partition(",")[0]
    folder = tmp_path_factory.mktemp("inpainting") / "model"
    make_family(family, in_channels=9, scheduler=scheduler).save(folder, dtype=torch.float32)
    assert resolve_model(folder).family == family
    model = load_model(folder)
    assert model.inpaints
    pipeline = diffusers.DiffusionPipeline.from_pretrained(folder)
    assert type(pipeline).__name__ == name
    pipeline.scheduler = make_scheduler(model.schedule, "ddim")
    pipeline.set_progress_bar_config(disable=True)
    return model, pipeline


def picture() -> InitImage:
    pixels = torch.rand(3, 64, 64, generator=torch.Generator().manual_seed(3)) * 2 - 1
    mask = torch.zeros(SIZE)
    mask[2:6, :5] = 1
    return InitImage(pixels, mask)


def test_latents_are_those_of_diffusers(case):
    model, pipeline = case
    image, noise = picture(), initial_noise([7], (4, *SIZE))
    beside = mask_channels(model, [image], SIZE, 1)
    guider = ClassifierFreeGuidance(model.encode_prompt(["a hat"]), model.encode_negative([""]), 4.0)
    ours = sample(model, guider, noise=noise, steps=STEPS, sampler="ddim", beside=beside)
    large = image.mask[None, None].repeat_interleave(8, 2).repeat_interleave(8, 3)
    with ignore_numpy_2_warnings():
        theirs = pipeline(
            "a hat", image=image.pixels[None] / 2 + 0.5, mask_image=large, masked_image_latents=beside[:, 1:],
            strength=1.0, num_inference_steps=STEPS, guidance_scale=4.0, latents=noise, height=64, width=64,
            output_type="latent",
        ).images  # fmt: skip
    assert (ours - theirs).abs().max() < 1e-4
    nothing = mask_channels(model, (), SIZE, 1)
    plain = sample(model, guider, noise=noise, steps=STEPS, sampler="ddim", beside=nothing)
    assert (ours - plain).abs().max() > 1e-3, "the mask and the image are read"


def test_a_masked_image_is_drawn(case):
    model, _ = case
    spec = ImageSpec(
        prompt="a hat", width=64, height=64, steps=2, guidance=3.0, sampler="DPM++ 2M Karras", seed=1, strength=1.0
    )
    (made,) = generate_images(model, [spec], images=[picture()])
    (other,) = generate_images(model, [spec], images=[InitImage(-picture().pixels, picture().mask)])
    assert made.size == (64, 64) and made.tobytes() != other.tobytes()
