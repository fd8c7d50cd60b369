"""`bakehouse generate --again`, through the command line."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from bakehouse.generation.infotext import read, write


@pytest.fixture(autouse=True)
def kitchen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BAKEHOUSE_DATA", str(tmp_path / "data"))
    return tmp_path


@pytest.fixture
def made(typed, kitchen, tiny_folder) -> Path:
    """An image with many settings."""
    words = (
        "--sampler",
        "Euler a",
        "--schedule",
        "karras",
        "--steps",
        "3",
        "--seed",
        "5",
        "--ensd",
        "9",
        "--rng",
        "nv",
    )
    more = ("--variation-seed", "2", "--variation-strength", "0.2", "--tiling", "--eta", "0.5", "-o", "first", "-q")
    assert typed("generate", str(tiny_folder), "a hat", *words, *more)[0] == 0
    return next((kitchen / "first").glob("*.png"))


def test_the_same_image_again(typed, kitchen, tiny_folder, made):
    code, _, err = typed("generate", str(tiny_folder), "--again", str(made), "-o", "again", "-q")
    assert (code, "warning" in err) == (0, False), err
    again = next((kitchen / "again").glob("*.png"))
    with Image.open(made) as first, Image.open(again) as second:
        assert first.tobytes() == second.tobytes()
    assert read(again) == read(made)
    for name, value in {
        "Sampler": "Euler a",
        "Schedule type": "Karras",
        "ENSD": "9",
        "RNG": "NV",
        "Eta": "0.5",
    }.items():
        assert read(again).get(name) == value


def test_what_is_not_followed_and_another_model_are_warned_of(typed, kitchen, tiny_folder, made):
    info = read(made).with_settings({"Hires prompt": "a dog", "Model hash": "0123456789"})
    with Image.open(made) as image:
        write(image, info, kitchen / "other.png")
    code, _, err = typed("generate", str(tiny_folder), "--again", "other.png", "-o", "again", "-q")
    assert code == 0
    assert "Hires prompt: a dog is not followed" in err and "was made with the model tiny (0123456789)" in err


def test_the_infotext_decides(typed, tiny_folder, made):
    words = ("--steps", "4", "--schedule", "beta", "--seed", "1")
    code, _, err = typed("generate", str(tiny_folder), "a hat", "--again", str(made), *words)
    assert code == 2
    for said in ("PROMPT", "--seed", "--steps", "--schedule"):
        assert said in err


def test_without_a_model_it_is_found_or_named(typed, made):
    code, _, err = typed("generate", "--again", str(made))
    assert (code, "not among the models of this machine" in err, "bakehouse models add" in err) == (2, True, True)


def test_an_image_without_infotext(typed, kitchen, tiny_folder):
    Image.new("RGB", (8, 8)).save(kitchen / "plain.png")
    code, _, err = typed("generate", str(tiny_folder), "--again", "plain.png")
    assert (code, "plain.png has no infotext" in err) == (2, True)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ((), "MODEL and PROMPT are missing"),
        (("crumb",), "PROMPT is missing"),
        (("crumb", "a hat", "--schedule", "karas"), "did you mean 'karras'"),
        (("crumb", "a hat", "--seed-resize", "512"), "write WIDTHxHEIGHT"),
        (("crumb", "a hat", "--eta", "2"), "eta = 2.0: allowed are 0 to 1"),
        (("crumb", "a hat", "--sampler", "euler a", "--eta", "0.5"), "no effect with the schedule Trailing"),
    ],
)
def test_wrong_words(typed, words, says):
    code, _, err = typed("generate", *words)
    assert code == 2 and says in err
