"""Weights that are NaN or infinite, through every command that reads them: refused by name, nothing is written."""

from __future__ import annotations

import math
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from bakehouse.adapters import LoRA, inject, save_adapter
from bakehouse.cli.main import main

BAD = ("nan", "inf", "alpha")


@pytest.fixture
def typed(capsys, monkeypatch, tmp_path):
    """Types a command in an empty folder; gives its exit code and all that it said, in one line."""
    monkeypatch.chdir(tmp_path)

    def run(*words: object) -> tuple[int, str]:
        with pytest.raises(SystemExit) as e:
            main([*map(str, words)])
        out, err = capsys.readouterr()
        return int(e.value.code or 0), " ".join((out + err).split())

    return run


@pytest.fixture(scope="session")
def broken(make_tiny, tmp_path_factory) -> dict[str, Path]:
    """An adapter of the tiny model, whole and with one number of each kind that is none."""
    folder, model = tmp_path_factory.mktemp("broken"), make_tiny()
    adapter = inject(LoRA(rank=2, targets="attention"), model.trainable_modules(), generator=torch.Generator())
    with torch.no_grad():
        for p in adapter.parameters():
            p.normal_(0, 0.2, generator=torch.Generator().manual_seed(1))
    found = {"good": save_adapter(adapter, folder / "good.safetensors")}
    adapter.remove()
    state = load_file(found["good"])
    down = next(key for key in state if key.endswith("lora_down.weight"))
    for name, key, value in zip(
        BAD, (down, down, down.replace("lora_down.weight", "alpha")), (math.nan, math.inf, math.nan), strict=True
    ):
        changed = {k: t.clone() for k, t in state.items()}
        changed[key].view(-1)[0] = value
        found[name] = folder / f"{name}.safetensors"
        save_file(changed, found[name])
    return found


def model_with_nan(tiny_folder: Path, place: Path, part: str, value: float = math.nan) -> str:
    """A copy of the tiny model with one number of a network set; gives the tensor's name."""
    shutil.copytree(tiny_folder, place)
    (file,) = (place / part).glob("*.safetensors")
    state = load_file(file)
    key = next(
        k for k in sorted(state) if (state[k].ndim == 4 and "decoder" in k) or (state[k].ndim == 2 and part != "vae")
    )
    state[key].view(-1)[3] = value
    save_file(state, file, {"format": "pt"})
    return key


@pytest.mark.parametrize("kind", BAD)
def test_pictures_are_not_drawn_with_it(typed, broken, tiny_folder, kind, tmp_path):
    code, said = typed("generate", tiny_folder, "person", "--adapter", broken[kind], "--steps", 1, "-q")
    assert code == 1
    assert f"{kind}.safetensors: lora_" in said and "holds NaN or infinity in 1 of" in said
    assert "go back to an earlier checkpoint" in said
    assert not list(tmp_path.rglob("*.png"))


@pytest.mark.parametrize(
    "words",
    [
        ("grid", "BASE", "--x", "seed=1", "--adapter", "FILE", "--prompt", "person", "--steps", "1"),
        ("weights", "convert", "FILE", "--to", "diffusers", "-o", "out.safetensors"),
        ("weights", "merge", "FILE", "--base", "BASE", "-o", "out"),
        ("weights", "merge", "FILE", "GOOD", "-o", "out.safetensors"),
        ("weights", "resize", "FILE", "--rank", "1", "-o", "out.safetensors"),
        ("weights", "rescale", "FILE", "--factor", "0.5", "-o", "out.safetensors"),
    ],
    ids=lambda words: " ".join(words[:2]),
)
def test_nothing_is_made_of_it(typed, broken, tiny_folder, tmp_path, words):
    named = {"FILE": broken["nan"], "GOOD": broken["good"], "BASE": tiny_folder}
    code, said = typed(*(named.get(word, word) for word in words))
    assert code == 1
    assert "nan.safetensors: lora_" in said and "holds NaN or infinity in 1 of" in said
    assert not list(tmp_path.rglob("out*")) and not list(tmp_path.rglob("*.png"))


def test_info_tells(typed, broken):
    code, said = typed("weights", "info", broken["nan"])
    assert (code, "1 module with NaN or infinity" in said) == (0, True)


@pytest.mark.parametrize(("part", "value"), [("unet", math.nan), ("text_encoder", math.inf), ("vae", math.nan)])
def test_a_base_model_is_refused_before_it_draws(typed, tiny_folder, tmp_path, part, value):
    key = model_with_nan(tiny_folder, tmp_path / "base", part, value)
    code, said = typed("generate", "base", "person", "--steps", 1, "-q")
    assert code == 1
    assert f"base/{part}: " in said and f"{key.removeprefix('text_model.')} holds NaN or infinity in 1 of" in said
    assert "download the file again" in said
    assert not list(tmp_path.rglob("*.png"))


def test_a_base_model_with_nan_is_not_merged_extracted_or_converted(typed, broken, tiny_folder, tmp_path):
    model_with_nan(tiny_folder, tmp_path / "base", "unet")
    for words in (
        ("merge", broken["good"], "--base", "base"),
        ("extract", "base", "--base", tiny_folder, "--rank", 2),
        ("convert", "base"),
    ):
        code, said = typed("weights", *words, "-o", "out.safetensors")
        assert (code, "holds NaN or infinity in 1 of" in said) == (1, True), said
        assert not list(tmp_path.rglob("out*"))


def test_a_training_does_not_start_from_it(typed, broken, tiny_folder, tmp_path):
    from PIL import Image

    (tmp_path / "photos").mkdir()
    for i in range(2):
        Image.new("RGB", (64, 64), (90 * i, 90, 120)).save(tmp_path / "photos" / f"{i}.png")
    sets = (f"adapter.start={broken['nan']}", "adapter.targets=attention", "buckets.resolution=64", "prior.source=none",
            "train.steps=1", "sample.prompts=[]")  # fmt: skip
    words = [word for one in sets for word in ("--set", one)]
    for command in (["plan"], ["train", "--run", "run"]):
        code, said = typed(*command, "photos", "--subject", "zwx person", "--base", tiny_folder, *words)
        assert (code, "nan.safetensors: lora_" in said and "holds NaN or infinity in 1 of" in said) == (2, True), said
    assert not (tmp_path / "run").exists()


def test_a_picture_of_nan_is_not_written(typed, tiny_folder, tmp_path, monkeypatch):
    from bakehouse.models.stable_diffusion import StableDiffusion

    monkeypatch.setattr(StableDiffusion, "forward", lambda self, x, t, cond: x * math.nan)
    code, said = typed("generate", tiny_folder, "a hat", "--seed", 3, "--steps", 1, "-q")
    assert code == 1
    assert "the image of 'a hat' with seed 3 came out as NaN or infinity and was not saved" in said
    assert "lower the adapter's strength or the guidance" in said
    assert not list(tmp_path.rglob("*.png"))
