"""Files, names and words that no person wrote on purpose: one clear message each, and an exit code."""

from __future__ import annotations

import bz2
import json
import os
import shutil
import struct
import sys
import zipfile
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from bakehouse.cli.main import main

linux = pytest.mark.skipif(sys.platform != "linux", reason="names of bytes, and folders that vanish")
STEM = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q"


@pytest.fixture
def typed(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "photos"
    folder.mkdir()
    for i in range(3):
        Image.frombytes("RGB", (96, 64 + 16 * i), os.urandom(96 * (64 + 16 * i) * 3)).save(folder / f"{i}.png")
        (folder / f"{i}.txt").write_text(f"zwx person, hat {i}")

    def say(words: str | list[str], code: int) -> str:
        with pytest.raises(SystemExit) as e:
            main(words.split() if isinstance(words, str) else words)
        out, err = capsys.readouterr()
        assert (e.value.code or 0) == code, err
        assert "bug in bakehouse" not in err
        return out + err

    return say


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("concepts.5.repeats=3", "concepts.5: '5' is not an index of this list; allowed is 0"),
        ("concepts.-1.repeats=3", "'-1' is not an index"),
        ("concepts.x=3", "'x' is not an index"),
        ("kind.x=3", "kind is 'character', which has no keys"),
        ("adapter..rank=3", "a name is missing"),
        ("=3", "has no key before '='"),
        ('name="a\\u0000b"', "name: holds a NUL character"),
        ("adapter.include=" + "[" * 20000, "adapter.include"),
    ],
)
def test_settings_that_point_nowhere(typed, setting, said):
    assert said in typed(["plan", "photos", "--subject", "zwx", "--set", "kind=character", "--set", setting], 2)


def test_words_that_no_command_can_use(typed):
    assert "NUL character" in typed(["plan", "a\0b"], 2)
    assert "has no subject" in typed(["plan", "photos", "--subject", "  "], 2)
    assert "dtype = 'hat'" in typed("weights convert crumb -o crumb.safetensors --dtype hat", 2)
    assert f"no job {10**23}" in typed(f"queue stop {10**23}", 2)


def test_a_field_of_any_length_in_a_list_of_tags(typed, tmp_path):
    (tmp_path / "tags.csv").write_text("name,category,count\n" + "x" * 140_000 + ",0,5000\n")
    typed("captions stats photos --vocabulary tags.csv", 0)


@linux
def test_the_working_folder_was_deleted(typed, tmp_path, monkeypatch):
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    assert "no longer exists" in typed("plan photos", 2)
    monkeypatch.chdir(tmp_path)


DEEP = "[" * 20_000


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("deep.toml", f"x = {DEEP}", "plan deep.toml"),
        ("digits.toml", f"seed = {'9' * 6000}", "plan digits.toml"),
        ("deep.toml", f"x = {DEEP}", "import deep.toml"),
        ("deep.json", DEEP, "import deep.json"),
        ("deep.yaml", DEEP, "import deep.yaml"),
        ("date.yaml", "job: 2001-99-99", "import date.yaml"),
        ("deep.json", DEEP, "dataset import deep.json -o set"),
        ("metadata.jsonl", DEEP + "\n", "dataset import metadata.jsonl -o set"),
        ("deep.toml", f"x = {DEEP}", "captions edit photos --rules deep.toml"),
        ("deep.toml", f"x = {DEEP}", "captions compile photos --triggers deep.toml"),
        ("deep.json", DEEP, "dataset audit photos --no-faces --no-text --against deep.json"),
    ],
)
def test_documents_nested_beyond_reason(typed, tmp_path, name, text, words):
    (tmp_path / name).write_text(text)
    shown = typed(words, 2)
    assert name in shown
    assert len(shown) < 2000


def test_captions_that_are_json_nested_beyond_reason(typed, tmp_path):
    (tmp_path / "photos/0.txt").unlink()
    (tmp_path / "photos/0.json").write_text(DEEP)
    assert "nested more than 100 deep" in typed("plan photos --subject zwx", 0)


@pytest.mark.parametrize("caption", [True, 5, {"a": 1}, [True, None, "hat"]])
def test_captions_that_are_no_text(typed, tmp_path, caption):
    (tmp_path / "photos/0.txt").unlink()
    (tmp_path / "photos/0.json").write_text(json.dumps({"caption": caption, "tags": 7}))
    typed("plan photos --subject zwx", 0)


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ("plan loop --subject zwx", 2),
        ("dataset import photos/0.png -o loop", 1),
        ("dataset square loop", 2),
        ("generate crumb x -n 1 --steps 1 -o loop", 1),
    ],
)
def test_a_link_that_leads_back_to_itself(typed, words, code):
    Path("loop").symlink_to("loop")
    assert "loop" in typed(words, code)


def test_an_output_folder_that_cannot_be_made_is_told_before_anything_is_generated(typed):
    assert "denoising" not in typed("generate crumb x --steps 1 -o photos/0.png", 1)


@pytest.mark.parametrize("place", [".", "", "..", "/"])
def test_a_place_that_is_no_file(typed, tmp_path, place):
    save_file(lora(torch.tensor(4.0)), tmp_path / "a.safetensors")
    assert "cannot be the name of a file" in typed(
        ["weights", "rescale", "a.safetensors", "--factor", "0.5", "-o", place], 2
    )


def test_text_in_names_and_captions_cannot_steer_the_terminal(typed, tmp_path):
    Image.new("RGB", (64, 64)).save(tmp_path / "photos/\x1b[31mred\u202e.png")
    (tmp_path / "photos/\x1b[31mred\u202e.txt").write_text("zwx person, \x1b]0;title\x07hat, \x9b31m")
    (tmp_path / "photos/0.txt").write_text("zwx person, hat, \x1b[2J\n\nsecond, line")
    for words in (
        "captions stats photos", "captions stats photos --json", "dataset bucket photos", "plan photos --subject zwx",
        "dataset tidy photos --dry-run --json", "dataset convert photos --dry-run",
        "captions edit photos --lower --dry-run",
    ):  # fmt: skip
        shown = typed(words, 0)
        assert not set(shown) & {"\x1b", "\x07", "\x9b", "\u202e"}
        if "--json" in words:
            json.loads(shown[: shown.rindex("}") + 1])
    assert "\\u001b[31mred" in typed(["plan", "photos/\x1b[31mred"], 2)
    assert "\x1b" not in typed(["plan", "photos", "--kind", "\x1b[31m"], 2)


def test_a_huge_caption_costs_no_more_than_its_length(typed, tmp_path):
    (tmp_path / "photos/0.txt").write_text("zwx person, " + "tag, " * 50_000)
    (tmp_path / "photos/1.txt").write_text("a" * 200_000)
    assert "1 to 50001" in typed("captions stats photos", 0)  # tags in the longest caption


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_damaged_archive_is_told_by_its_own_name(typed, tmp_path, method):
    place = tmp_path / "set.zip"
    with zipfile.ZipFile(place, "w", method) as archive:
        archive.writestr("inner.txt", os.urandom(200) * 50)
        archive.write(tmp_path / "photos/0.png", "inner.png")
    data = bytearray(place.read_bytes())
    data[120:160] = bytes(40)
    place.write_bytes(data)
    assert "cannot unpack set.zip: inner.txt: " in typed("dataset import set.zip -o set", 1)


def test_one_broken_film_does_not_end_an_import(typed, tmp_path):
    pytest.importorskip("cv2")
    (tmp_path / "photos/broken.mp4").write_bytes(b"no film")
    assert "skipped: cannot read photos/broken.mp4" in typed("dataset import photos -o set", 0)
    assert len(list((tmp_path / "set").glob("*.png"))) == 3
    (tmp_path / "films").mkdir()
    (tmp_path / "films/broken.mp4").write_bytes(b"no film")
    assert "cannot read films/broken.mp4" in typed("dataset import films -o other", 1)


@linux
def test_names_as_long_as_a_file_system_allows(typed, tmp_path):
    frames = [Image.new("RGB", (64, 64), color) for color in ("red", "blue", "white")]
    frames[0].save(tmp_path / f"photos/{'x' * 251}.gif", save_all=True, append_images=frames[1:], duration=100)
    shutil.copy(tmp_path / "photos/0.png", tmp_path / f"photos/{'y' * 251}.png")
    (tmp_path / f"photos/{'y' * 251}.txt").write_text("zwx person, smile")
    typed("captions stats photos", 0)
    typed("captions edit photos --replace smile=grin", 0)
    assert (tmp_path / f"photos/{'y' * 251}.txt").read_text() == "zwx person, grin"
    typed("dataset convert photos --frames all", 0)
    made = sorted(p.name for p in (tmp_path / "photos").glob("x*.png"))
    assert len(made) == 3
    assert all(len(name) <= 255 for name in made)
    typed("dataset undo photos --all", 0)
    assert (tmp_path / f"photos/{'x' * 251}.gif").is_file()


def lora(alpha: torch.Tensor) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    pair = {f"{STEM}.lora_down.weight": torch.randn(4, 64), f"{STEM}.lora_up.weight": torch.randn(64, 4)}
    return {**pair, f"{STEM}.alpha": alpha}


@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.float8_e5m2, torch.bfloat16, torch.float64])
def test_adapters_of_every_type_are_resized(typed, tmp_path, dtype):
    save_file({k: v.to(dtype) for k, v in lora(torch.tensor(4.0)).items()}, tmp_path / "a.safetensors")
    typed("weights resize a.safetensors --rank 2 -o b.safetensors", 0)
    assert load_file(tmp_path / "b.safetensors")[f"{STEM}.lora_down.weight"].shape == (2, 64)


def test_an_alpha_of_several_numbers_is_told(typed, tmp_path):
    save_file(lora(torch.ones(7)), tmp_path / "a.safetensors")
    assert "alpha must be one number, not 7" in typed("weights info a.safetensors", 0)


@pytest.mark.parametrize("content", [b"", b"abc", struct.pack("<Q", 40_000) + DEEP.encode(), struct.pack("<Q", 2**62)])
def test_info_of_a_damaged_file_fails(typed, tmp_path, content):
    (tmp_path / "a.safetensors").write_bytes(content)
    assert "a.safetensors" in typed("weights info a.safetensors", 1)


def test_a_file_that_is_no_pickle_is_no_adapter(typed, tmp_path):
    (tmp_path / "a.pt").write_bytes(b"RIFF\0\0\0\0")
    assert "a.pt" in typed("weights rescale a.pt --factor 0.5 -o b.safetensors", 1)
    (tmp_path / "a.avi").write_bytes(bz2.compress(b"x"))
    assert "is not a weights file" in typed("weights rescale a.avi --factor 0.5 -o b.safetensors", 2)


@pytest.fixture
def model(tmp_path):
    import bakehouse

    source = os.path.join(os.path.dirname(bakehouse.__file__), "assets", "crumb")  # noqa: PTH118, PTH120
    shutil.copytree(source, tmp_path / "model", copy_function=os.link)

    def put(name: str, text: str) -> None:
        (tmp_path / "model" / name).unlink(missing_ok=True)
        (tmp_path / "model" / name).write_text(text)

    return put


@pytest.mark.parametrize("name", ["unet/config.json", "scheduler/scheduler_config.json", "model_index.json"])
@pytest.mark.parametrize("text", ["[]", "{", DEEP])
def test_a_models_settings_that_are_none(typed, model, name, text):
    model(name, text)
    assert name in typed("plan photos --subject zwx --base model", 1)


def test_a_missing_shard_and_a_missing_tokenizer_are_told_as_that(typed, model, tmp_path):
    names = {"a": "part-1.safetensors", "b": "part-2.safetensors"}
    weights = tmp_path / "model/unet/diffusion_pytorch_model.safetensors"
    weights.rename(weights.with_name("part-1.safetensors"))
    model("unet/diffusion_pytorch_model.safetensors.index.json", json.dumps({"weight_map": names}))
    shown = typed("generate model person --steps 1", 1)
    assert "part-2.safetensors is missing" in shown
    weights.with_name("part-1.safetensors").rename(weights)
    (tmp_path / "model/unet/diffusion_pytorch_model.safetensors.index.json").unlink()
    for path in (tmp_path / "model/tokenizer").iterdir():
        path.unlink()
    assert "model/tokenizer holds no CLIP tokenizer" in typed("generate model person --steps 1", 1)
