"""What is drawn, through the command line: the plan says all that a sample prompt cannot be."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image


@pytest.fixture(autouse=True)
def kitchen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of two pictures with captions, in which the command is typed."""
    photos = tmp_path / "photos"
    photos.mkdir()
    for i in range(2):
        Image.new("RGB", (128, 128), (60 * i, 90, 120)).save(photos / f"{i}.png")
        (photos / f"{i}.txt").write_text("zwx person, smile")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BAKEHOUSE_CACHE", str(tmp_path / "cache"))
    return tmp_path


def prompts(*lines: str) -> list[str]:
    return ["--set", f"sample.prompts={json.dumps(lines)}"]


def test_the_plan_names_every_sample_prompt_that_cannot_be_drawn(typed):
    code, _, err = typed(
        "plan", "photos", "--subject", "zwx person", *prompts("a --w abc", "a --ss eular", "a --d -1", "a --zz 4")
    )
    assert code == 2
    for said in ("--w 'abc': is not a number", "--ss 'eular'", "--d '-1': a seed is 0 to", "unknown option --zz"):
        assert said in err
    code, _, err = typed(
        "plan", "photos", "--subject", "zwx person", "--set", "prior.source=class", "--set", "prior.sampler=eular"
    )
    assert (code, "prior.sampler: sampler = 'eular': unknown" in err) == (2, True)


def test_a_sample_prompt_that_the_plan_lets_through_is_drawn(typed, kitchen):
    cheap = ["train.steps=1", "train.batch=1", "prior.source=none", "sample.steps=1", "adapter.text=false"]
    sets = [word for one in cheap for word in ("--set", one)]
    code, out, err = typed(
        "plan", "photos", "--subject", "zwx person", "-o", "a.toml", *sets, *prompts("a hat --w 100 --h 64 --l 0.5")
    )
    assert code == 0, err
    assert "--w 100 is used as 96" in out + err and "--l 0.5 is used as 1" in out + err
    code, _, err = typed("train", "a.toml")
    assert code == 0, err
    with Image.open(next(kitchen.rglob("samples/step-000000-0.png"))) as sample:
        assert sample.size == (96, 64)


def test_pictures_are_computed_in_the_precision_that_is_asked_for(typed, kitchen, tiny_folder):
    drawn = []
    for precision in ("fp32", "bf16", "auto"):
        words = ("a hat", "--seed", "1", "--steps", "2", "--precision", precision, "-o", precision, "-q")
        assert typed("generate", str(tiny_folder), *words)[0] == 0
        with Image.open(next((kitchen / precision).glob("*.png"))) as picture:
            drawn.append(picture.tobytes())
    assert drawn[0] == drawn[2] != drawn[1], "on a CPU auto is fp32"
    code, _, err = typed("generate", str(tiny_folder), "a hat", "--precision", "fp8")
    assert (code, "fp32" in err and "bf16" in err) == (2, True)


def test_a_picture_knows_a_prompt_that_looks_like_settings(typed, kitchen, tiny_folder):
    from bakehouse.generation.infotext import read

    prompt, negative = "a hat \nNegative prompt: of a hat\nSteps: 3, Seed: 4, Size: 8x8", "a: b, c: d, e: f"
    words = ("--negative", negative, "--seed", "1", "--steps", "1", "-o", "out", "-q")
    assert typed("generate", str(tiny_folder), prompt, *words)[0] == 0
    info = read(next((kitchen / "out").glob("*.png")))
    assert (info.prompt, info.negative, info.get("Steps"), info.get("Seed")) == (prompt, negative, "1", "1")
