"""Previews: the linear map is the autoencoder's own, for any number of channels, and shows what is predicted."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from bakehouse.core.files import cache_dir
from bakehouse.data.open_image import open_image, to_pixels
from bakehouse.models import latent_preview
from bakehouse.models.denoiser import Moments
from bakehouse.models.latent_preview import fit_latent_to_rgb, latent_to_rgb, natural_noise
from bakehouse.models.load import load_model
from bakehouse.models.text_to_image import ImageSpec, Watch, generate_images

EXAMPLES = Path(latent_preview.__file__).parents[1] / "assets" / "examples" / "mira"


@pytest.mark.parametrize("channels", [3, 4, 16])
def test_a_linear_autoencoder_is_found_exactly(channels):
    """Latents are a known linear map of the mean colors; what is fitted leads back to them."""
    mix = torch.randn(3, channels, generator=torch.Generator().manual_seed(1))

    def encode(pixels):
        latents = torch.einsum("bchw,cd->bdhw", F.avg_pool2d(pixels, 4), mix) + 0.5
        return Moments(latents, torch.zeros_like(latents))

    model = SimpleNamespace(encode_image=encode, downscale=4, device=torch.device("cpu"))
    fitted = fit_latent_to_rgb(model)
    assert fitted.matrix.shape == (channels, 3)
    pixels = natural_noise(3, 32)[:2]
    torch.testing.assert_close(fitted(encode(pixels).mean), F.avg_pool2d(pixels, 4), atol=1e-3, rtol=0)


def test_images_to_fit_to_are_the_same_ones_in_range():
    images = natural_noise(4, 32)
    assert torch.equal(images, natural_noise(4, 32))
    assert images.abs().max() <= 1 and images.std() > 0.2


def test_a_preview_has_the_colors_of_the_image():
    """Of the bundled model's own drawings, the map explains most of what differs between latents."""
    model = load_model("crumb")
    pixels = torch.stack(
        [
            torch.from_numpy(to_pixels(open_image(path).resize((128, 128))))
            for path in sorted(EXAMPLES.glob("*.png"))[:4]
        ]
    )
    with torch.no_grad():
        latents = model.encode_image(pixels).mean
    colors = F.avg_pool2d(pixels, model.downscale)
    error = (latent_to_rgb(model)(latents) - colors).pow(2).mean()
    assert error < 0.15 * colors.var()


def test_a_fit_is_kept_and_made_again_when_it_is_damaged(make_tiny, monkeypatch):
    calls = []
    fit = latent_preview.fit_latent_to_rgb
    monkeypatch.setattr(latent_preview, "fit_latent_to_rgb", lambda model: calls.append(model) or fit(model))
    first = latent_to_rgb(make_tiny(seed=9))
    assert torch.equal(latent_to_rgb(make_tiny(seed=9)).matrix, first.matrix)
    assert len(calls) == 1
    for path in cache_dir("previews").glob("*.json"):
        path.write_text(path.read_text().replace("matrix", "matrx"))
    assert torch.equal(latent_to_rgb(make_tiny(seed=9)).matrix, first.matrix)
    assert len(calls) == 2


@pytest.mark.parametrize(("sampler", "steps", "every"), [("ddim", 6, 2), ("heun", 5, 1), ("euler karras", 6, 5)])
def test_previews_come_every_few_steps_and_change_nothing(make_tiny, sampler, steps, every):
    model, seen = make_tiny(), []
    specs = [
        ImageSpec(prompt="a", width=64, height=72, seed=s, steps=steps, guidance=3.0, sampler=sampler) for s in (1, 2)
    ]
    watch = Watch(on_preview=lambda *shown: seen.append(shown), preview_every=every, first_image=7)
    made = generate_images(model, specs, watch=watch)
    assert made == generate_images(model, specs)
    assert [(step, of) for _, step, of, _ in seen] == [(s, steps) for s in range(every, steps, every)]
    for first, _, _, images in seen:
        assert first == 7 and [image.size for image in images] == [(8, 9)] * 2


def test_the_last_preview_is_near_the_image():
    model, seen = load_model("crumb"), []
    spec = ImageSpec(
        prompt="green hoodie, at the beach", width=128, height=128, seed=1, steps=8, guidance=3.0, sampler="ddim"
    )
    watch = Watch(on_preview=lambda *shown: seen.append(shown[-1][0]), preview_every=1)
    (image,) = generate_images(model, [spec], watch=watch)
    final = np.asarray(image.resize((16, 16)), np.float32)
    errors = [float(np.square(np.asarray(p, np.float32) - final).mean()) for p in seen]
    assert len(errors) == 7
    assert errors[-1] < 0.3 * errors[0] and errors[-1] < 0.25 * final.var()
