"""A slider trains on every family, epsilon and v, and its file moves diffusers' images both ways."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file

from bakehouse.core.events import Finished, result_of
from bakehouse.models import load_model
from bakehouse.recipe import make_plan, recipe_for_slider
from bakehouse.training import train
from bakehouse.training.prepare import build_components

ENDS = ("person", "person, big smile", "person, sad")
QUICK = {
    "slider.sizes": [[64, 64]], "slider.steps": 3, "slider.points": 2, "slider.images": 1, "slider.strengths": [1.0],
    "train.batch": 1, "train.steps": 2, "train.epochs": 1, "sample.prompts": [], "sample.steps": 1,
    "save.dtype": "fp32", "optimizer.lr": 2e-2,
}  # fmt: skip
CASES = [("sd1", None), ("sd2", "v_prediction"), ("sdxl", None)]


@pytest.fixture
def base(family_folders, make_family, tmp_path):
    def folder(family, prediction):
        if prediction is None:
            return family_folders[family]
        made = tmp_path / family
        make_family(family, scheduler={"prediction_type": prediction}).save(made, dtype=torch.float32)
        return made

    return folder


@pytest.mark.parametrize(("family", "prediction"), CASES)
def test_a_slider_of_every_family(base, family, prediction, tmp_path):
    recipe = recipe_for_slider(*ENDS, base=str(base(family, prediction)), settings=QUICK)
    components, state = result_of(build_components(make_plan(recipe), load_model(recipe.model.base)))
    batch, model = components.objective.batch(0, 0, torch.Generator()), components.model
    assert model.schedule.prediction == (prediction or "epsilon")
    with torch.no_grad(), state.adapter.scaled(0):
        neutral, positive, negative = (model(batch.latents, batch.t, model.encode_prompt([text])) for text in ENDS)
    assert torch.allclose(batch.target, neutral + positive - negative, atol=1e-4)
    (finished,) = [e for e in train(recipe, tmp_path / "run") if isinstance(e, Finished)]
    keys = load_file(tmp_path / "run" / finished.weights)
    assert all(key.startswith("lora_unet_") for key in keys)
    assert any(tensor.abs().max() > 0 for key, tensor in keys.items() if "lora_up" in key)


def test_diffusers_draws_the_other_end_at_a_negative_strength(family_folders, pipelines, tmp_path):
    recipe = recipe_for_slider(*ENDS, base=str(family_folders["sd1"]), settings={**QUICK, "train.steps": 4})
    (finished,) = [e for e in train(recipe, tmp_path / "run") if isinstance(e, Finished)]
    pipe = pipelines["sd1"]
    pipe.load_lora_weights(str(tmp_path / "run"), weight_name=finished.weights, adapter_name="slider")
    try:
        drawn = []
        for strength in (-1.0, 0.0, 1.0):
            pipe.set_adapters("slider", strength)
            generator = torch.Generator().manual_seed(1)
            drawn.append(
                pipe("person", num_inference_steps=2, width=64, height=64, generator=generator, output_type="latent")
            )
        down, middle, up = (d.images for d in drawn)
    finally:
        pipe.unload_lora_weights()
    assert not torch.equal(up, middle)
    assert not torch.equal(down, middle)
    moved = torch.cosine_similarity((up - middle).flatten(), (down - middle).flatten(), dim=0)
    assert moved < 0  # the other way
