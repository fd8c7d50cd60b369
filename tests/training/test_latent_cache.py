"""Encoded images that do not fit in memory are read from disk, and made again where a file is gone."""

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from bakehouse.core.events import Step
from bakehouse.core.files import DamagedError, cache_dir
from bakehouse.models.load import load_model
from bakehouse.recipe import make_plan
from bakehouse.training import latent_cache, tensor_shards, train
from bakehouse.training.latent_cache import AugmentedView, LatentCache
from bakehouse.training.tensor_shards import TensorShards


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("BAKEHOUSE_CACHE", str(tmp_path / "cache"))


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


def files(folder):
    return sorted(path.relative_to(folder) for path in folder.rglob("*.safetensors"))


def test_a_run_on_shards_that_is_cut_within_one_ends_with_the_bits_of_one_on_files(recipe, tmp_path, monkeypatch):
    monkeypatch.setattr(tensor_shards, "SHARD_BYTES", 5000)  # of 6 images with 2048 or 1920 bytes each
    weights = []
    for name, in_shards in (("files", False), ("shards", True)):
        monkeypatch.setenv("BAKEHOUSE_CACHE", str(tmp_path / f"cache-{name}"))
        settings = {"data__cache_gb": 0, "data__cache_shards": in_shards, "save__dtype": "fp32"}
        made = recipe(**settings, save__state_every_seconds=1e-6)
        for event in train(made, tmp_path / name):
            if in_shards and isinstance(event, Step) and event.step == 3:
                break  # in the middle of an epoch, whose images are in shards by chance
        list(train(made, tmp_path / name))
        weights.append(load_file(tmp_path / name / "weights" / "zwx-person.safetensors"))
    assert len(files(tmp_path / "cache-files" / "latents")) == 6
    assert [path.parts[0] for path in files(tmp_path / "cache-shards" / "latents")] == ["shards"] * 2
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_what_is_cached_in_one_form_is_not_encoded_again_in_the_other(recipe, monkeypatch):
    model = load_model(recipe().model.base)
    for first in (True, False):
        model._fingerprint = f"another model, {first}"
        before = filled(recipe(data__cache_shards=first), model)
        written = files(cache_dir("latents"))
        with monkeypatch.context() as patch:
            patch.setattr(type(model), "encode_image", lambda *_: pytest.fail("encoded again"))
            after = filled(recipe(data__cache_shards=not first), model)
        assert files(cache_dir("latents")) == written
        assert torch.equal(before.moments(AugmentedView(2)).mean, after.moments(AugmentedView(2)).mean)


def test_many_images_are_written_in_shards(recipe, monkeypatch):
    monkeypatch.setattr(latent_cache, "_MANY", 6)
    filled(recipe(), load_model(recipe().model.base))
    assert [path.parts[0] for path in files(cache_dir("latents"))] == ["shards"]


def test_entries_of_several_writers_and_damage(tmp_path):
    one, other = TensorShards(tmp_path), TensorShards(tmp_path)
    entries = {key: {"a": torch.full((2, 3), n), "b": torch.arange(n)} for n, key in enumerate("klm")}
    for shards, keys in ((one, "kl"), (other, "m")):
        for key in keys:
            shards.put(key, entries[key])
        shards.flush()
    assert set("klm") == {key for key in "klmn" if key in TensorShards(tmp_path)}
    again = TensorShards(tmp_path)
    for key, tensors in entries.items():
        found = again.get(key)
        assert found.keys() == tensors.keys() and all(torch.equal(found[name], tensors[name]) for name in found)
    assert again.get("n") is None
    (path,) = (p for p in tmp_path.iterdir() if "k.a" in load_file(p))
    path.write_bytes(path.read_bytes()[:-1] + b"\x07")  # the last byte of an entry
    damaged = TensorShards(tmp_path)
    with pytest.raises(DamagedError, match="it was removed"):
        for key in "kl":
            damaged.get(key)
    assert damaged.get("k") is None and damaged.get("l") is None and damaged.get("m") is not None
    damaged.put("k", entries["k"])
    assert torch.equal(damaged.get("k")["a"], entries["k"]["a"]), "before it is written"


@pytest.mark.parametrize("in_shards", [False, True])
@pytest.mark.parametrize("change", ["deleted", "damaged"])
def test_a_file_that_is_lost_during_a_training_is_made_again(recipe, change, in_shards):
    model = load_model(recipe().model.base)
    cache = filled(recipe(data__cache_gb=0, data__cache_shards=in_shards), model)
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
