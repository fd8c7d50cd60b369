"""Whatever the user calls a model by."""

import fnmatch
import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from bakehouse.core.errors import BakehouseError, UsageError
from bakehouse.models import is_model_ref, load_model, resolve_model
from bakehouse.models.load import native_size
from bakehouse.models.single_file import save_single_file
from bakehouse.models.weights_fingerprint import file_sha256


def test_crumb_is_resolved_without_weights():
    ref = resolve_model("crumb")
    assert (ref.kind, ref.family) == ("crumb", "sd1") and ref.path.is_dir()


def test_a_folder_loads_as_it_was_saved(tiny, tiny_folder):
    model = load_model(tiny_folder)
    assert resolve_model(str(tiny_folder)).kind == "folder"
    loaded = model.state_dict()
    assert all(torch.equal(tensor, loaded[name]) for name, tensor in tiny.state_dict().items())
    assert load_model(tiny_folder, dtype=torch.float16).dtype == torch.float16


def test_the_dead_id_is_understood():
    ref = resolve_model("runwayml/stable-diffusion-v1-5")
    assert ref.kind == "hub" and "stable-diffusion-v1-5/stable-diffusion-v1-5" in ref.notes[0]
    assert resolve_model("someone/something").notes == ()


@pytest.mark.parametrize("suffix", ["safetensors", "bin"])
def test_the_hub_is_asked_for_what_is_read(tiny_folder, tmp_path, monkeypatch, suffix):
    """A stand-in for the Hub that gives the files that match; pickles only where there is nothing else."""
    there = tmp_path / "there"
    shutil.copytree(tiny_folder, there)
    for part, old, new in (
        ("unet", "diffusion_pytorch_model", "diffusion_pytorch_model"),
        ("vae", "diffusion_pytorch_model", "diffusion_pytorch_model"),
        ("text_encoder", "model", "pytorch_model"),
    ):
        if suffix == "bin":
            torch.save(load_file(there / part / f"{old}.safetensors"), there / part / f"{new}.bin")
            (there / part / f"{old}.safetensors").unlink()
    (there / "unet" / "diffusion_pytorch_model.non_ema.safetensors").write_bytes(b"not wanted")
    here = tmp_path / "here"

    def snapshot(hub_id, allow_patterns):
        assert hub_id == "stable-diffusion-v1-5/stable-diffusion-v1-5"
        for file in there.rglob("*"):
            name = file.relative_to(there).as_posix()
            if file.is_file() and any(fnmatch.fnmatch(name, p) for p in allow_patterns):
                (here / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(file, here / name)
        return str(here)

    if suffix == "bin":
        (there / "unet" / "diffusion_pytorch_model.non_ema.safetensors").unlink()
    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot)
    model = load_model("runwayml/stable-diffusion-v1-5")
    assert model.family == "sd1" and "using its copy" in model.notes[0]
    assert not list(here.rglob("*non_ema*"))


def test_offline_says_so():
    with pytest.raises(BakehouseError, match="not on this machine") as caught:
        load_model("someone/something")
    assert "crumb" in caught.value.hint


@pytest.mark.parametrize("ref", ["nothing.safetensors", "a/b/c", "some words", "x/y.ckpt"])
def test_what_is_not_there_is_said(ref):
    with pytest.raises(UsageError, match="no such file"):
        load_model(ref)
    assert not is_model_ref(ref)


def test_what_is_a_model(tiny_folder, tmp_path):
    assert all(map(is_model_ref, ("crumb", tiny_folder, str(tiny_folder), "org/name")))
    (tmp_path / "note.txt").write_text("hello")
    assert not is_model_ref(tmp_path) and not is_model_ref(tmp_path / "note.txt")


def test_the_native_size_is_known_without_weights(tiny, tiny_folder, tmp_path):
    single = save_single_file(tiny, tmp_path / "tiny.safetensors")
    assert [native_size(resolve_model(ref)) for ref in ("crumb", tiny_folder, single)] == [128, 64, 64]
    assert native_size(resolve_model("someone/something")) == 512


def test_a_folder_that_is_no_model_says_what_it_holds(tmp_path):
    (tmp_path / "photo.jpg").touch()
    with pytest.raises(UsageError, match=r"photo\.jpg"):
        load_model(tmp_path)


@pytest.mark.parametrize(
    ("pipeline", "says"),
    [
        ("FluxPipeline", "FluxPipeline"),
        ("StableDiffusion3Pipeline", "StableDiffusion3Pipeline"),
        ("StableDiffusionXLInstructPix2PixPipeline", "StableDiffusionXLInstructPix2PixPipeline"),
    ],
)
def test_other_families_are_named(tmp_path, pipeline, says):
    (tmp_path / "model_index.json").write_text(json.dumps({"_class_name": pipeline}))
    with pytest.raises(UsageError, match=says):
        load_model(tmp_path)


def test_missing_and_broken_parts_are_named(tiny_folder, tmp_path):
    folder = tmp_path / "m"
    shutil.copytree(tiny_folder, folder)
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    tensors = load_file(weights)
    tensors["conv_in.weight"] = torch.zeros(3)
    save_file(tensors, weights)
    with pytest.raises(BakehouseError, match=r"conv_in\.weight is \(3,\), expected"):
        load_model(folder)
    weights.unlink()
    with pytest.raises(BakehouseError, match="has no weights"):
        load_model(folder)


def test_old_names_and_old_pickles(tiny, tiny_folder, tmp_path):
    """Stable Diffusion 1.5's own folder has the VAE attention of 2022 and position numbers."""
    folder = tmp_path / "m"
    shutil.copytree(tiny_folder, folder)
    vae = folder / "vae" / "diffusion_pytorch_model.safetensors"
    old = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    tensors = load_file(vae)
    for now, then in old.items():
        tensors = {k.replace(f"attentions.0.{now}.", f"attentions.0.{then}."): v for k, v in tensors.items()}
    torch.save(tensors, vae.with_suffix(".bin"))
    vae.unlink()
    text = folder / "text_encoder" / "model.safetensors"
    save_file({**load_file(text), "text_model.embeddings.position_ids": torch.arange(77)[None].clone()}, text)
    model = load_model(folder)
    expected = tiny.vae.state_dict()
    assert all(torch.equal(v, expected[k]) for k, v in model.vae.state_dict().items())


def test_sharded_weights(tiny, tiny_folder, tmp_path):
    folder = tmp_path / "m"
    shutil.copytree(tiny_folder, folder)
    whole = folder / "unet" / "diffusion_pytorch_model.safetensors"
    tensors = load_file(whole)
    whole.unlink()
    names = sorted(tensors)
    shards = {"a.safetensors": names[::2], "b.safetensors": names[1::2]}
    for shard, keys in shards.items():
        save_file({k: tensors[k] for k in keys}, whole.parent / shard)
    index = {"weight_map": {k: shard for shard, keys in shards.items() for k in keys}}
    whole.with_name(f"{whole.name}.index.json").write_text(json.dumps(index))
    assert torch.equal(load_model(folder).unet.conv_in.weight, tiny.unet.conv_in.weight)


def test_external_vae(make_tiny, tiny_folder, tmp_path):
    other = make_tiny(seed=5)
    other.save(tmp_path / "other", dtype=torch.float32)
    single = save_single_file(other, tmp_path / "other.safetensors", dtype=torch.float32)
    for vae in (tmp_path / "other" / "vae", tmp_path / "other", single):
        model = load_model(tiny_folder, vae=str(vae))
        assert torch.equal(model.vae.decoder.conv_in.weight, other.vae.decoder.conv_in.weight)
        assert model.fingerprint != load_model(tiny_folder).fingerprint
    with pytest.raises(UsageError, match="not an autoencoder"):
        load_model(tiny_folder, vae=str(tmp_path / "other" / "text_encoder" / "model.safetensors"))


def test_hashes_are_remembered_and_noticed(tmp_path):
    file = tmp_path / "f"
    file.write_bytes(b"one")
    first = file_sha256(file)
    assert file_sha256(file) == first
    file.write_bytes(b"other")
    assert file_sha256(file) != first
