"""`bakehouse train` on tiny models of the other families: what comes out is loaded by diffusers and draws the same."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from bakehouse.adapters import load_adapter
from bakehouse.core.events import Finished, Step
from bakehouse.models import ClassifierFreeGuidance, initial_noise, load_model, sample
from bakehouse.recipe import recipe_for_folder
from bakehouse.training import train

PROMPT = "zwx person"


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for i, size in enumerate([(64, 64), (48, 80)]):
        Image.fromarray(rng.integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)).save(folder / f"{i}.png")
    return folder


def trained(photos, base, run, **settings):
    """A few steps at a high rate, both networks: the adapter then shows in every picture."""
    quick = {
        "concepts.0.repeats": 2, "buckets.resolution": 64, "buckets.step": 16, "train.batch": 1, "train.epochs": 1,
        "prior.source": "none", "sample.prompts": [], "optimizer.lr": 2e-2, "optimizer.text_lr": 2e-2,
        "adapter.rank": 4, "adapter.alpha": 2, "adapter.text": True, "adapter.targets": "attention+mlp",
        "save.dtype": "fp32", **settings,
    }  # fmt: skip
    events = list(train(recipe_for_folder(photos, PROMPT, base=str(base), settings=quick), run))
    assert isinstance(events[-1], Finished)
    assert all(np.isfinite(e.loss) for e in events if isinstance(e, Step))
    return next((run / "weights").glob("*.safetensors"))


def latents_of(model, rescale=0.0):
    guider = ClassifierFreeGuidance(model.encode_prompt([PROMPT]), model.encode_negative([""]), 2.0, rescale)
    return sample(model, guider, noise=initial_noise([3], (4, 8, 8)), steps=2, sampler="ddim")


def test_an_sdxl_adapter_draws_the_same_in_diffusers(photos, family_folders, tmp_path):
    from diffusers import DDIMScheduler, StableDiffusionXLPipeline

    file = trained(photos, family_folders["sdxl"], tmp_path / "run")
    stems = {key.split("_")[1] for key in load_file(file)}
    assert stems == {"unet", "te1", "te2"}
    model = load_model(family_folders["sdxl"])
    before = latents_of(model)
    load_adapter(file, model.trainable_modules())
    ours = latents_of(model)
    assert (ours - before).abs().max() > 0.05
    pipe = StableDiffusionXLPipeline.from_pretrained(family_folders["sdxl"])
    pipe.set_progress_bar_config(disable=True)
    pipe.load_lora_weights(str(file.parent), weight_name=file.name)
    pipe.scheduler = DDIMScheduler.from_config({**model.scheduler_config, "timestep_spacing": "trailing"})
    theirs = pipe(PROMPT, num_inference_steps=2, guidance_scale=2.0, width=64, height=64, output_type="latent",
                  latents=initial_noise([3], (4, 8, 8))).images  # fmt: skip
    torch.testing.assert_close(theirs, ours, atol=2e-3, rtol=1e-3)


def test_an_sd2_v_prediction_model_is_trained_and_sampled(photos, make_family, tmp_path):
    """Class images, samples on the way and the whole fine-tune, on a zero-terminal-SNR schedule."""
    zero = {"prediction_type": "v_prediction", "rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}
    base = tmp_path / "base"
    make_family("sd2", scheduler=zero).save(base, dtype=torch.float32)
    prior = {"prior.source": "class", "prior.images": 1, "prior.steps": 1, "sample.prompts": [PROMPT],
             "sample.steps": 1, "sample.at_start": False}  # fmt: skip
    run = tmp_path / "run"
    file = trained(photos, base, run, **prior)
    assert len(list((run / "samples").iterdir())) == 1
    model = load_model(base)
    before = latents_of(model, rescale=0.7)
    load_adapter(file, model.trainable_modules())
    assert (latents_of(model, rescale=0.7) - before).abs().max() > 0.01
