from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from bakehouse.core.errors import BakehouseError, UsageError
from bakehouse.generation.infotext import Infotext, lora_hashes, read, read_text, with_networks, write

NAMES = ("Steps", "Sampler", "CFG scale", "Seed", "Size", "Lora hashes", "X Values", "Version")
PROMPTS = (
    "a cat",
    "",
    "a cat, (red:1.2), [blue|green], <lora:zwx:0.8>",
    'she said "no, never": twice',
    "two\nlines\n\nand a third",
    "caf\u00e9 \u00fcber \u732b\u306e\u7d75 \U0001f408 \u0645\u0631\u062d\u0628\u0627",
    "back\\slash \\(escaped\\)",
    "Steps: 20, Sampler: not the settings, CFG scale: 7\nmore",
    "Steps: 20, Sampler: not the settings, CFG scale: 7",
    "a cat\nNegative prompt: not really",
    "  spaces at the ends ",
)
AWKWARD = {
    "Steps": 20,
    "Sampler": "DPM++ 2M",
    "CFG scale": 7.5,
    "Seed": 1,
    "Size": "512x768",
    "Lora hashes": "a: 0123456789ab, b: ba9876543210",
    "X Values": 'line\nbreak, "quoted": \\ \u732b',
    "Quoted": '"all of it"',
    "Spaced": "  two before",
    "Version": "bakehouse 1.0",
}


def test_it_is_written_as_the_webui_does() -> None:
    settings = {"Steps": 20, "Sampler": "DPM++ 2M", "CFG scale": 7.0, "Seed": 1, "Size": "512x512"}
    more = {"Model hash": "6ce0161689", "Model": "v1-5", "Clip skip": None, "Lora hashes": "a: 0123456789ab, b: 1"}
    info = Infotext.make("a cat", "blurry", {**settings, **more, "Version": "v1.10.1"})
    assert str(info) == (
        "a cat\nNegative prompt: blurry\nSteps: 20, Sampler: DPM++ 2M, CFG scale: 7, Seed: 1, Size: 512x512, "
        'Model hash: 6ce0161689, Model: v1-5, Lora hashes: "a: 0123456789ab, b: 1", Version: v1.10.1'
    )


def test_without_a_negative_prompt_there_is_no_line_for_it() -> None:
    assert (
        str(Infotext.make("a cat", "", {"Steps": 1, "Seed": 2, "RNG": "CPU"})) == "a cat\nSteps: 1, Seed: 2, RNG: CPU"
    )


@pytest.mark.parametrize("prompt", PROMPTS)
@pytest.mark.parametrize("negative", PROMPTS)
def test_text_round_trips(prompt: str, negative: str) -> None:
    info = Infotext.make(prompt, negative, AWKWARD)
    assert Infotext.parse(str(info)) == info


_MARKS = (
    "Negative prompt:",
    "Steps: 1, Seed: 2, Size: 8x8",
    "\n",
    " ",
    '"',
    "\\",
    ", ",
    ": ",
    "Template: x",
    "\r\n",
    "Prompt: ",
)
_LETTERS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=30)
_TEXT = st.lists(st.one_of(_LETTERS, st.sampled_from(_MARKS)), max_size=5).map("".join)


@settings(suppress_health_check=[HealthCheck.too_slow])  # the first text reads a table of all characters
@given(_TEXT, _TEXT, st.lists(_TEXT, max_size=len(NAMES)))
def test_any_text_round_trips(prompt: str, negative: str, values: list[str]) -> None:
    info = Infotext.make(prompt, negative, dict(zip(NAMES, values, strict=False)))
    assert Infotext.parse(str(info)) == info


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".jpeg", ".webp"])
@pytest.mark.parametrize("prompt", PROMPTS)
def test_files_round_trip(tmp_path: Path, suffix: str, prompt: str) -> None:
    info = Infotext.make(prompt, PROMPTS[3], AWKWARD)
    path = write(Image.new("RGB", (8, 8)), info, tmp_path / f"a{suffix}")
    assert read(path) == info
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_png_keeps_the_pixels_and_more_chunks(tmp_path: Path) -> None:
    image = Image.effect_noise((16, 16), 50).convert("RGB")
    path = write(image, "x", tmp_path / "a.png", chunks={"recipe": '{"\u732b": 1}'})
    with Image.open(path) as written:
        assert written.tobytes() == image.tobytes()
    assert read_text(path, "recipe") == '{"\u732b": 1}'
    assert read_text(path, "nothing") is None


def test_jpeg_takes_a_picture_with_alpha(tmp_path: Path) -> None:
    assert read(write(Image.new("RGBA", (8, 8)), "a cat", tmp_path / "a.jpg")) == Infotext("a cat")


def test_settings_of_others_are_read() -> None:
    info = Infotext.parse(
        "masterpiece, 1girl\nNegative prompt: lowres,\nbad hands\n"
        'Steps: 28, Sampler: Euler a, CFG scale: 7.0, Size: 512x768, Lora hashes: "a: 1, b: 2", Version: v1.6.0\n'
    )
    assert (info.prompt, info.negative) == ("masterpiece, 1girl", "lowres,\nbad hands")
    assert (info.get("Lora hashes"), info.get("Size"), info.get("ENSD", "-")) == ("a: 1, b: 2", "512x768", "-")


@pytest.mark.parametrize("order", ["utf-16-be", "utf-16-le"])
def test_exif_in_either_byte_order_is_read(tmp_path: Path, order: str) -> None:
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0x9286] = b"UNICODE\0" + "a caf\u00e9\nSteps: 1".encode(order)
    Image.new("RGB", (8, 8)).save(tmp_path / "a.jpg", exif=exif.tobytes())
    assert read_text(tmp_path / "a.jpg") == "a caf\u00e9\nSteps: 1"


def test_a_picture_without_infotext_has_none(tmp_path: Path) -> None:
    for name in ("a.png", "a.jpg", "a.webp", "a.gif"):
        Image.new("RGB", (8, 8)).save(tmp_path / name)
        assert read(tmp_path / name) is None


def test_networks_are_put_behind_the_prompt_and_found_again() -> None:
    prompt = with_networks("a cat, red", [("zwx", 0.8), ("pixel-art", 1.0)])
    assert prompt == "a cat, red <lora:zwx:0.8> <lora:pixel-art:1>"
    assert Infotext(prompt).networks() == ("a cat, red", (("zwx", 0.8), ("pixel-art", 1.0)))
    assert Infotext("<lora:a> x <lora:b:te=0.5:unet=1>").networks() == (" x", (("a", 1.0), ("b", 0.5)))
    assert with_networks("", [("zwx", -1.0)]) == "<lora:zwx:-1>"
    assert lora_hashes([]) is None


def test_more_settings_go_before_the_version() -> None:
    info = Infotext.make("a", "", {"Steps": 1, "Version": "x"}).with_settings({"Script": "X/Y/Z plot", "Steps": 2})
    assert info.settings == (("Script", "X/Y/Z plot"), ("Steps", "2"), ("Version", "x"))


def test_errors_name_the_file_and_what_is_allowed(tmp_path: Path) -> None:
    image = Image.new("RGB", (8, 8))
    with pytest.raises(UsageError, match=r"a\.pgn.*\.png.*did you mean '\.png'"):
        write(image, "x", tmp_path / "a.pgn")
    with pytest.raises(UsageError, match=r"recipe.*only be saved in \.png"):
        write(image, "x", tmp_path / "a.jpg", chunks={"recipe": "y"})
    with pytest.raises(BakehouseError, match=r"cannot write .*a\.jpg"):
        write(image, "x" * 40_000, tmp_path / "a.jpg")
    (tmp_path / "b.png").write_text("no picture")
    with pytest.raises(BakehouseError, match=r"cannot read .*b\.png"):
        read(tmp_path / "b.png")
    with pytest.raises(BakehouseError, match=r"cannot read .*c\.png"):
        read(tmp_path / "c.png")
    assert [p.name for p in tmp_path.iterdir()] == ["b.png"]
