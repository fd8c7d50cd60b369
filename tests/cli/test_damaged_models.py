"""A base model with a file missing, cut or something else: told by the plan and by training before anything long."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from bakehouse.cli.main import main
from bakehouse.models.crumb import crumb_folder
from bakehouse.models.damaged_files import damages
from bakehouse.models.model_reference import resolve_model

UNET = "unet/diffusion_pytorch_model.safetensors"
Run = Callable[..., tuple[int, str]]


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1000])


def as_pickle(path: Path) -> Path:
    torch.save(load_file(path), path.with_suffix(".bin"))
    path.unlink()
    return path.with_suffix(".bin")


def as_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def one_shard(path: Path) -> None:
    names = {"a": "one-00001-of-00002.safetensors", "b": "one-00002-of-00002.safetensors"}
    path.with_name(f"{path.name}.index.json").write_text(json.dumps({"weight_map": names}))
    path.rename(path.with_name(names["a"]))


def old_tokenizer(folder: Path) -> None:
    vocabulary = json.loads((folder / "tokenizer.json").read_text())["model"]["vocab"]
    (folder / "tokenizer.json").unlink()
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    (folder / "merges.txt").write_text("#version: 0.2\nno such merge\n")


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "cut": (lambda m: cut(m / UNET), f"{UNET} is cut off"),
    "cut header": (lambda m: (m / UNET).write_bytes((m / UNET).read_bytes()[:200]), UNET),
    "cut pickle": (lambda m: cut(as_pickle(m / UNET)), "diffusion_pytorch_model.bin is cut off"),
    "page": (lambda m: (m / UNET).write_text("<!doctype html>"), f"{UNET} is an HTML page"),
    "pickled page": (lambda m: as_pickle(m / UNET).write_text("<html>"), "diffusion_pytorch_model.bin is an HTML page"),
    "folder": (lambda m: as_folder(m / UNET), f"{UNET} is a folder; it must be a weights file"),
    "no weights": (lambda m: (m / UNET).unlink(), "unet has no weights"),
    "no network": (lambda m: shutil.rmtree(m / "vae"), "vae is missing"),
    "shard": (lambda m: one_shard(m / UNET), "one-00002-of-00002.safetensors is missing"),
    "cut text": (lambda m: cut(m / "text_encoder/model.safetensors"), "text_encoder/model.safetensors is cut off"),
    "cut tokenizer": (lambda m: cut(m / "tokenizer/tokenizer.json"), "tokenizer.json is not a readable tokenizer"),
    "empty tokenizer": (lambda m: (m / "tokenizer/tokenizer.json").write_text("{}"), "is not a readable tokenizer"),
    "no tokenizer": (lambda m: (m / "tokenizer/tokenizer.json").unlink(), "tokenizer holds no CLIP tokenizer"),
    "old tokenizer": (
        lambda m: old_tokenizer(m / "tokenizer"),
        "vocab.json with merges.txt beside it is not a readable tokenizer",
    ),
    "settings": (lambda m: (m / "vae/config.json").write_text("{"), "vae/config.json"),
    "schedule": (lambda m: (m / "scheduler/scheduler_config.json").unlink(), "scheduler_config.json is missing"),
}
"""What is done to a copy of crumb, and what is said of it."""


@pytest.fixture
def run(capsys, monkeypatch, tmp_path) -> Run:
    monkeypatch.chdir(tmp_path)
    Path("photos").mkdir()
    Image.new("RGB", (128, 128), "red").save("photos/a.png")
    shutil.copytree(crumb_folder(), "model")

    def type_(*words: str) -> tuple[int, str]:
        with pytest.raises(SystemExit) as e:
            main([*words])
        return int(e.value.code or 0), " ".join("".join(capsys.readouterr()).split())

    return type_


def test_a_whole_model_has_nothing_said_of_it(run):
    assert not list(damages(resolve_model("crumb"))) and not list(damages(resolve_model("model")))
    code, said = run("weights", "info", "model")
    assert code == 0 and "diffusers loads it" in said


@pytest.mark.parametrize("name", DAMAGES)
def test_plan_and_train_say_it_at_once(run, name):
    damage, says = DAMAGES[name]
    damage(Path("model"))
    rest = ("photos", "--subject", "zwx person", "--base", "model", "--set", "prior.source=none")
    for command in ("plan", "train"):
        code, said = run(command, *rest)
        assert code == 1 and says in said and "bug in bakehouse" not in said, said
        assert "reading the model" not in said and not Path("runs").exists()
    code, said = run("generate", "model", "a person")
    assert code == 1 and says in said, said
    code, said = run("weights", "info", "model")
    assert "loads it" not in said and says in said, said


def test_all_that_is_wrong_is_said_together(run):
    cut(Path("model") / UNET)
    cut(Path("model/tokenizer/tokenizer.json"))
    code, said = run("plan", "photos", "--subject", "zwx person", "--base", "model")
    assert code == 1 and "is cut off" in said and "is not a readable tokenizer" in said


def test_another_autoencoder_is_looked_at_in_the_place_of_the_models_own(run):
    shutil.copytree("model/vae", "vae")
    cut(Path("model/vae/diffusion_pytorch_model.safetensors"))
    words = ("plan", "photos", "--subject", "zwx person", "--base", "model", "--set", "prior.source=none")
    assert run(*words, "--set", "model.vae=vae")[0] == 0
    cut(Path("vae/diffusion_pytorch_model.safetensors"))
    code, said = run(*words, "--set", "model.vae=vae")
    assert code == 1 and "vae/diffusion_pytorch_model.safetensors is cut off" in said


def test_a_tokenizer_beside_a_single_file(run):
    assert run("weights", "convert", "model", "-o", "one/model.safetensors")[0] == 0
    words = ("plan", "photos", "--subject", "zwx person", "--base", "one/model.safetensors")
    code, said = run(*words, "--set", "prior.source=none")
    assert code == 0, said
    cut(Path("one/model.safetensors"))
    code, said = run(*words)
    assert code == 1 and "one/model.safetensors is cut off" in said
