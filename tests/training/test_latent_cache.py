"""Encoded images that do not fit in memory are read from disk, and made again where a file is gone."""

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from bakehouse.core.files import cache_dir
from bakehouse.models.load import load_model
from bakehouse.recipe import make_plan
from bakehouse.training import train
from bakehouse.training.latent_cache import AugmentedView, LatentCache


@pytest.fixture
def masked(photos):
    """Half of the photos have a mask."""
    (photos / "masks").mkdir()
    for i in range(3):
        Image.new("L", (32, 64), 255).resize((64, 64) if i < 4 else (48, 80)).save(photos / "masks" / f"{i}.png")
        half = Image.new("L", (64, 64))
        half.paste(255, (0, 0, 32, 64))
        half.save(photos / "masks" / f"{i}.png")


def filled(made, model):
    cache = LatentCache(make_plan(made).subject_images, made.data)
    list(cache.fill(model))
    return cache


@pytest.mark.usefixtures("masked")
def test_what_is_not_in_memory_is_the_same(recipe):
    model = load_model(recipe().model.base)
    whole, none, some = (filled(recipe(data__flip=True, data__cache_gb=gb), model) for gb in (None, 0, 3e-6))
    assert none.kept_bytes == 0 < some.kept_bytes <= 3000 < whole.kept_bytes
    for index in range(6):
        for flip in (False, True):
            view = AugmentedView(index, flip)
            for other in (none, some):
                assert torch.equal(whole.moments(view).mean, other.moments(view).mean)
                assert torch.equal(whole.moments(view).std, other.moments(view).std)
                mask = whole.mask(view)
                assert mask is None if index > 2 else torch.equal(mask, other.mask(view))


@pytest.mark.parametrize("change", ["deleted", "damaged"])
def test_a_file_that_is_lost_during_a_training_is_made_again(recipe, change):
    model = load_model(recipe().model.base)
    cache = filled(recipe(data__cache_gb=0), model)
    before = cache.moments(AugmentedView(1))
    for path in cache_dir("latents").rglob("*.safetensors"):
        if change == "deleted":
            path.unlink()
        else:
            path.write_bytes(path.read_bytes()[:-8] + b"\x01" * 8)
    assert torch.equal(cache.moments(AugmentedView(1)).mean, before.mean)


@pytest.mark.usefixtures("masked")
def test_the_weights_do_not_depend_on_the_memory(recipe, tmp_path):
    for gb in (0, 1):
        made = recipe(data__cache_gb=gb, loss__masked=True, train__steps=2, save__dtype="fp32")
        list(train(made, tmp_path / f"{gb}"))
    without, with_memory = (load_file(tmp_path / name / "weights" / "zwx-person.safetensors") for name in ("0", "1"))
    assert all(torch.equal(without[name], with_memory[name]) for name in with_memory)
