"""`generate` with images: folders with captions, masks, extensions, second passes, previews, and bad input."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bakehouse.cli.main import main
from bakehouse.cli.render.preview_file import previews_to_file
from bakehouse.core.events import Previewed, Warned
from bakehouse.generation.infotext import read
from bakehouse.generation.preview_png import preview_png
from bakehouse.models import packed_convolutions

SIZES = {"1": (64, 48), "2": (40, 64)}


@pytest.fixture(autouse=True)
def kitchen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of two images of different sizes with captions, and masks for them elsewhere."""
    for folder in ("photos", "white"):
        (tmp_path / folder).mkdir()
    for name, size in SIZES.items():
        Image.new("RGB", size, "teal").save(tmp_path / "photos" / f"{name}.png")
        (tmp_path / "photos" / f"{name}.txt").write_text(f"zwx person, number {name}")
        mask = Image.new("L", size)
        mask.paste(255, (0, 0, 20, 20))
        mask.save(tmp_path / "white" / f"{name}.png")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BAKEHOUSE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("BAKEHOUSE_DATA", str(tmp_path / "data"))
    return tmp_path


@pytest.fixture
def typed(capsys: pytest.CaptureFixture[str], tiny_folder: Path):
    """Types `generate` with a tiny model; gives exit code, standard output, and standard error in one line."""

    def run(*words: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as e:
            main(["generate", str(tiny_folder), *words, "--seed", "5", "--steps", "2"])
        out, err = capsys.readouterr()
        return int(e.value.code or 0), out, " ".join(err.split())

    return run


def test_the_same_command_makes_the_same_file_whatever_memory_is_free(typed, kitchen, monkeypatch):
    made = []
    for free in (1 << 40, 1000):
        monkeypatch.setattr(packed_convolutions, "available_memory", lambda free=free: free)
        code, _, err = typed("a person", "--width", "64", "--height", "64", "-o", f"free-{free}")
        assert code == 0, err
        (path,) = Path(f"free-{free}").glob("*.png")
        made.append(path.read_bytes())
    assert made[0] == made[1]


def test_a_folder_is_drawn_with_its_captions_in_its_sizes(typed, kitchen):
    code, out, err = typed("--image", "photos", "--strength", "0.5", "--json")
    assert code == 0, err
    made = json.loads(out)
    assert [Path(m["path"]).name for m in made] == ["00001-5-1.png", "00002-5-2.png"]
    assert [Path(m["source"]) for m in made] == [Path("photos/1.png"), Path("photos/2.png")]
    for m, (name, size) in zip(made, SIZES.items(), strict=True):
        with Image.open(m["path"]) as image:
            assert image.size == size
        info = read(m["path"])
        assert (info.prompt, info.get("Denoising strength")) == (f"zwx person, number {name}", "0.5")


def test_a_prompt_holds_for_all_images_and_a_folder_of_masks_for_each_its_own(typed, kitchen):
    code, _, err = typed("a hat", "--image", "photos", "--mask", "white", "--mask-blur", "0", "-o", "out", "-q")
    assert code == 0, err
    made = sorted((kitchen / "out").glob("*.png"))
    assert [read(path).prompt for path in made] == ["a hat", "a hat"]
    for path, source in zip(made, sorted((kitchen / "photos").glob("*.png")), strict=True):
        with Image.open(path) as image, Image.open(source) as before:
            changed = np.abs(np.asarray(image, int) - np.asarray(before, int)).max(axis=2)
        assert not changed[20:].any() and not changed[:, 20:].any() and changed[:20, :20].any()


def test_one_image_is_extended_with_its_caption(typed, kitchen):
    code, _, err = typed("--image", "photos/1.png", "--extend", "down=16,right=8", "-o", "out", "-q")
    assert code == 0, err
    (path,) = (kitchen / "out").glob("*.png")
    with Image.open(path) as image:
        assert image.size == (72, 64)
    info = read(path)
    assert (info.prompt, info.get("Extend")) == ("zwx person, number 1", "right=8 down=16")
    assert info.get("Masked content") == "fill"


def test_a_second_pass_and_previews(typed, kitchen):
    words = ("--hires", "2", "--hires-steps", "1", "--hires-strength", "0.5", "--upscaler", "lanczos")
    code, _, err = typed("a hat", *words, "--preview", "1", "-o", "out", "-q")
    assert code == 0, err
    (path,) = (kitchen / "out").iterdir()
    with Image.open(path) as image:
        assert image.size == (128, 128)
    assert read(path).get("Hires upscaler") == "Lanczos"


def test_a_preview_is_a_file_until_the_end(tmp_path):
    path, passed = tmp_path / "preview.png", []
    with previews_to_file(path, passed.append) as on_event:
        on_event(Warned(message="a"))
        assert not path.exists()
        for color in ("red", "blue"):
            on_event(Previewed(image=0, step=1, steps=4, png=preview_png(Image.new("RGB", (8, 6), color))))
            with Image.open(path) as image:
                assert image.size == (64, 48) and image.getpixel((5, 5)) == Image.new("RGB", (1, 1), color).getpixel(
                    (0, 0)
                )
    assert not path.exists()
    assert [type(event) for event in passed] == [Warned]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "PROMPT is missing"),
        (("a hat", "--strength", "0.5", "--upscaler", "latent"), "--strength has no effect without --image"),
        (("a hat", "--upscaler", "latent"), "--upscaler has no effect without --hires"),
        (("a hat", "--image", "photos/1.png", "--invert-mask"), "--invert-mask has no effect without --mask"),
        (("a hat", "--image", "photos/1.png", "--padding", "3"), "--padding has no effect without --only-masked"),
        (("a hat", "--image", "nowhere"), "image = nowhere: there is no such file or folder"),
        (("a hat", "--image", "photos/1.png", "--strength", "1.5"), "strength = 1.5: allowed are 0"),
        (("a hat", "--image", "photos/1.png", "--extend", "below=3"), "below=3: allowed are left, right, up or down"),
        (("a hat", "--image", "photos/1.png", "--mask", "white/2.png"), "the shape differs"),
        (("a hat", "--image", "photos/1.png", "--mask", "gone.png"), "mask = gone.png: there is no such file"),
        (("a hat", "--image", "photos", "--mask", "empty"), "empty has no images"),
        (("a hat", "--image", "empty"), "empty has no images; it holds nothing"),
        (("a hat", "--image", "photos", "-o", "photos"), "--out photos is in the folder of the images"),
        (("a hat", "--image", "photos", "-o", "photos/new"), "--out photos/new is in the folder of the images"),
        (("a hat", "--image", "photos/1.png", "--hires", "2"), "give it with a larger width"),
        (("a hat", "--hires", "2", "--upscaler", "nothing"), "allowed are latent,"),
        (("a hat", "--hires", "2", "--upscaler", "photo"), "bakehouse models fetch realesrgan-x4plus-ncnn"),
    ],
)
def test_bad_input_is_one_clear_message(typed, kitchen, words, message):
    (kitchen / "empty").mkdir()
    code, out, err = typed(*words)
    assert (code, out) == (2, "")
    assert message in err


def test_a_file_that_is_no_image_is_named(typed):
    code, out, err = typed("a hat", "--image", "photos/1.txt")
    assert (code, out) == (1, "") and "1.txt: it is not an image in a known format" in err


def test_images_without_captions_or_masks_are_named(typed, kitchen):
    (kitchen / "photos" / "2.txt").unlink()
    code, _, err = typed("--image", "photos")
    assert code == 2 and "photos/2.png has no caption" in err and "give a PROMPT for all" in err
    (kitchen / "white" / "1.png").unlink()
    code, _, err = typed("a hat", "--image", "photos", "--mask", "white")
    assert code == 2 and "photos/1.png has no mask 1.png there" in err


def test_a_file_that_cannot_be_used_is_skipped_with_a_warning(typed, kitchen):
    whole = (kitchen / "photos" / "1.png").read_bytes()
    for name, data in (("3", b""), ("4", whole[: len(whole) // 2])):
        (kitchen / "photos" / f"{name}.png").write_bytes(data)
    code, _, err = typed("a hat", "--image", "photos", "-o", "out", "-q")
    assert code == 0 and "3.png is skipped: it is empty" in err and "4.png is skipped: the file is damaged" in err
    assert len(list((kitchen / "out").iterdir())) == 2
