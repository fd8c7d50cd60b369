"""An embedding on the command line: planned from photos, trained, used by its word, in a grid, and converted."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from bakehouse.cli.main import main
from bakehouse.generation import infotext
from bakehouse.recipe import Recipe

QUICK = ("train.steps=2", "train.batch=1", "sample.steps=1", "buckets.resolution=64", "buckets.step=16")
DRAWN = ("--steps", "2", "--width", "64", "--height", "64", "--seed", "1")


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    rng = np.random.default_rng(0)
    for i in range(3):
        Image.fromarray(rng.integers(0, 255, (64, 64, 3), dtype=np.uint8)).save(tmp_path / "photos" / f"{i}.png")

    def command(*words: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as e:
            main([str(w) for w in words])
        said = capsys.readouterr()
        return int(e.value.code or 0), said.out, " ".join(said.err.split())

    return command


def sets(*settings: str) -> list[str]:
    return [word for setting in (*QUICK, *settings) for word in ("--set", setting)]


def drawn(run, *words: object) -> np.ndarray:
    code, out, err = run("generate", *words, *DRAWN, "-q")
    assert code == 0, err
    return np.asarray(Image.open(out.strip().splitlines()[-1]))


def test_a_plan_of_photos(run, tmp_path):
    code, out, err = run("plan", "photos", "--subject", "zwx person", "--kind", "embedding", "-o", "me.toml")
    assert code == 0, err
    recipe = Recipe.load(tmp_path / "me.toml")
    assert (recipe.kind, recipe.adapter.kind, recipe.embedding.init, recipe.title) == (
        "embedding",
        "none",
        "person",
        "zwx",
    )
    assert recipe.embedding.vectors and recipe.embedding.lr
    assert "an embedding changes no network" in " ".join(out.split())


def test_the_word_of_a_run_draws_its_vectors(run, tmp_path, tiny_folder):
    words = ("--subject", "zwx person", "--kind", "embedding", "--base", tiny_folder)
    code, _, err = run("train", "photos", *words, "--run", "run", *sets("embedding.lr=0.5"))
    assert code == 0, err
    assert sorted(p.name for p in (tmp_path / "run" / "samples").iterdir())
    file = tmp_path / "run" / "weights" / "zwx.safetensors"
    assert load_file(file).keys() == {"emb_params"}

    learned = drawn(run, "run", "zwx person")
    plain = drawn(run, tiny_folder, "zwx person")
    assert not np.array_equal(learned, plain)
    assert np.array_equal(drawn(run, "run", "person"), drawn(run, tiny_folder, "person")), "other words are the base's"
    assert np.array_equal(drawn(run, file, "zwx person"), learned), "the file alone names its base and its word"
    assert np.array_equal(drawn(run, "run", "(zwx:1.3) person"), drawn(run, file, "(zwx:1.3) person"))
    assert not np.array_equal(drawn(run, "run", "(zwx:1.3) person"), learned)
    assert np.array_equal(drawn(run, tiny_folder, "zwx person", "--adapter", file), learned)
    (tmp_path / "words").mkdir()
    for name in ("zwx.pt", "zwx.safetensors", "zwx.bin"):
        to = "diffusers" if name.endswith("bin") else "kohya"
        for old in (tmp_path / "words").iterdir():
            old.unlink()
        code, _, err = run("weights", "convert", file, "--to", to, "-o", f"words/{name}")
        assert code == 0, err
        assert np.array_equal(drawn(run, tiny_folder, "zwx person", "--embeddings", "words"), learned), name
    image = sorted((tmp_path).rglob("*.png"), key=lambda p: p.stat().st_mtime_ns)[-1]
    assert dict(infotext.read(image).settings)["TI hashes"].startswith("zwx: ")
    code, _, err = run("generate", "run", "zwx", "--weight", "0.5", *DRAWN)
    assert code == 2 and "an embedding has no strength, and 0.5 was asked for" in err and "(zwx:0.5)" in err
    code, _, err = run("grid", "run", "--x", "epoch", "--prompt", "zwx person", *DRAWN[:-2], "-o", "sheet")
    assert code == 0 and (tmp_path / "sheet" / "grid.png").is_file(), err


def test_pivotal_tuning_in_one_file(run, tmp_path, tiny_folder):
    settings = sets("embedding.vectors=2", "embedding.lr=0.5", "adapter.rank=2", "prior.source=none")
    code, _, err = run("train", "photos", "--subject", "zwx person", "--base", tiny_folder, "--run", "run", *settings)
    assert code == 0, err
    file = tmp_path / "run" / "weights" / "zwx-person.safetensors"
    assert "bundle_emb.zwx.string_to_param.*" in load_file(file)
    both = drawn(run, "run", "zwx person")
    assert np.array_equal(drawn(run, tiny_folder, "zwx person <lora:zwx-person:1>", "--loras", "run/weights"), both)
    assert not np.array_equal(drawn(run, "run", "zwx person", "--weight", "0.5"), both)
    off = drawn(run, "run", "zwx person", "--weight", "0")
    assert np.array_equal(off, drawn(run, tiny_folder, "zwx person")), "at strength 0 all of it is off"
    code, _, err = run("generate", "run", "zwx", "--adapter", file, *DRAWN)
    assert code == 2 and "two embeddings are for the word 'zwx'" in err
    code, _, err = run("weights", "convert", file, "--to", "diffusers", "-o", "out.safetensors")
    assert code == 0 and "vectors of 'zwx' are in out_emb.safetensors" in err, err
    vectors = load_file(tmp_path / "out_emb.safetensors")
    assert list(vectors) == ["<zwx>"]
    assert torch.equal(vectors["<zwx>"], load_file(file)["bundle_emb.zwx.string_to_param.*"].float())
    assert not any("emb" in key for key in load_file(tmp_path / "out.safetensors"))


WRONG = {
    ("embedding.vectors=17",): "embedding.vectors = 17: should be less than or equal to 16",
    ("embedding.init=' '",): "embedding.init is empty",
    ("concepts.0.trigger=smile", "captions.prefix=smile"): "'smile' is a word that the base knows",
    ("captions.prefix=", "concepts.0.trigger=qvk"): "no caption has the trigger 'qvk'",
}


@pytest.mark.parametrize("settings", WRONG, ids=lambda s: s[0])
def test_what_is_wrong_is_one_message(run, tiny_folder, settings):
    words = [w for s in settings for w in ("--set", s)]
    base = ("--subject", "zwx person", "--kind", "embedding", "--base", tiny_folder)
    code, _, err = run("plan", "photos", *base, *words)
    assert code == 2 and WRONG[settings] in err, err


def test_other_layouts_are_refused_by_name(run, tmp_path):
    torch.save({"<zwx>": torch.zeros(1, 16)}, "zwx.pt")
    code, _, err = run("weights", "convert", "zwx.pt", "--to", "peft", "-o", "out.safetensors")
    assert code == 2 and "an embedding has the layouts kohya, a1111, diffusers" in err
    code, _, err = run("weights", "convert", "zwx.pt", "-o", "out")
    assert code == 2 and "not a name for an embedding's file" in err
    code, out, _ = run("weights", "convert", "zwx.pt", "-o", "out.safetensors", "--json")
    assert code == 0 and json.loads(out)["vectors"] == 1
    assert Path("out.safetensors").is_file()
    assert run("weights", "convert", "zwx.pt", "-o", "out.safetensors")[0] == 2
    code, out, _ = run("weights", "info", "out.safetensors")
    assert code == 0 and "embedding" in out


def test_a_range_test_is_refused(run):
    code, _, err = run("find-rate", "photos", "--subject", "zwx person", "--kind", "embedding")
    assert code == 2 and "an embedding alone trains none" in err
