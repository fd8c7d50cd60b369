import numpy as np
import pytest
import torch
from PIL import Image

from bakehouse.adapters import LoRA, inject
from bakehouse.models.denoising_error import denoising_errors

IMAGES = [Image.fromarray(np.random.default_rng(i).integers(0, 256, (64, 64, 3), dtype=np.uint8)) for i in range(3)]


def test_errors_are_maps_of_the_latents_and_the_same_each_time(tiny):
    errors = denoising_errors(tiny, IMAGES, ["person"] * 3, levels=(0.1, 0.5))
    assert errors.shape == (3, 2, 8, 8)
    assert torch.isfinite(errors).all()
    assert torch.equal(errors, denoising_errors(tiny, IMAGES, ["person"] * 3, levels=(0.1, 0.5)))


def test_an_image_has_its_error_in_every_batch(tiny):
    prompts = ["person", "robot", "a longer prompt, at the beach"]
    together = denoising_errors(tiny, IMAGES, prompts)
    alone = [denoising_errors(tiny, [i], [p])[0] for i, p in zip(IMAGES, prompts, strict=True)]
    assert torch.allclose(together, torch.stack(alone), atol=1e-4)
    assert torch.allclose(together, denoising_errors(tiny, IMAGES, prompts, batch=2), atol=1e-4)


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_a_model_that_knows_the_image_makes_no_error(make_tiny, prediction):
    """Whatever a model predicts, its answer is compared as noise: the right one has error 0."""
    model = make_tiny(scheduler={"prediction_type": prediction})
    x0 = model.encode_image(torch.zeros(1, 3, 64, 64)).mean
    known = torch.Generator().manual_seed(0)
    noise = torch.randn(x0.shape[1:], generator=known)[None]
    model.forward = lambda x_t, t, cond: model.schedule.target(x0, noise, t)
    gray = Image.new("RGB", (64, 64), (127, 127, 127))
    errors = denoising_errors(model, [gray], ["person"], levels=(0.5,), draws=1)
    assert errors.abs().max() < 0.05


def test_an_adapter_at_strength_0_does_not_count(tiny):
    before = denoising_errors(tiny, IMAGES, ["person"] * 3)
    adapter = inject(LoRA(rank=2), tiny.trainable_modules())
    for parameter in adapter.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    with adapter.scaled(0.0):
        assert torch.allclose(denoising_errors(tiny, IMAGES, ["person"] * 3), before, atol=1e-5)
    adapter.remove()


def test_what_cannot_be_measured_together(tiny):
    with pytest.raises(ValueError, match="prompts"):
        denoising_errors(tiny, IMAGES, ["person"])
    with pytest.raises(ValueError, match="sizes"):
        denoising_errors(tiny, [IMAGES[0], Image.new("RGB", (72, 64))], ["person"] * 2)
    assert len(denoising_errors(tiny, [], [])) == 0
