"""`bakehouse generate --region`, through the command line."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from bakehouse.cli.main import main
from bakehouse.generation.infotext import read


@pytest.fixture
def typed(capsys: pytest.CaptureFixture[str], tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Types `generate` with a tiny model in an empty folder; gives its exit code, and standard error in one line."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BAKEHOUSE_DATA", str(tmp_path / "data"))

    def run(*words: str) -> tuple[int, str]:
        with pytest.raises(SystemExit) as e:
            main(["generate", str(tiny_folder), *words, "-q"])
        return int(e.value.code or 0), " ".join(capsys.readouterr().err.split())

    return run


def test_regions_are_drawn_and_drawn_again(typed, tmp_path):
    mask = Image.new("L", (64, 64))
    mask.paste(255, (32, 0, 64, 64))
    mask.save("right.png")
    regions = ("--region", "left: a red hat", "--region", "mask=right.png: a (blue:1.2) scarf", "--region-edge", "0")
    code, err = typed("two people", *regions, "--region-base", "0.3", "--steps", "2", "--seed", "5", "-o", "first")
    assert code == 0, err
    made = tmp_path / "first" / "00001-5.png"
    info = read(made)
    assert info is not None and info.get("Region 2") == "mask=right.png: a (blue:1.2) scarf"
    code, err = typed("--again", str(made), "-o", "second")
    assert (code, "warning" in err) == (0, False), err
    with Image.open(made) as first, Image.open(tmp_path / "second" / "00001-5.png") as second:
        assert first.tobytes() == second.tobytes()
    assert read(tmp_path / "second" / "00001-5.png") == info


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--region", "lft: a"), "did you mean 'left'"),
        (("--region", "left:"), "it has no prompt"),
        (("--region", "0,0,101,100: a"), "right = 101"),
        (("--region", "mask=none.png: a"), "none.png: it does not exist"),
        (("--region", "left: a <lora:none:1>"), "<lora:none> is not used"),
        (("--region", "left: a", "--region-base", "2"), "base = 2"),
        (("--region-edge", "2"), "--region-edge has no effect without --region"),
        (("--region", "left: a", "--image", "x.png", "--mask", "x.png", "--only-masked"), "leave out one"),
    ],
)
def test_bad_regions_are_one_message(typed, words, said):
    Image.new("RGB", (64, 64), "white").save("x.png")
    code, err = typed("two people", *words, "--steps", "1")
    assert code == 2 or "does not exist" in said
    assert said in err and "Traceback" not in err and not Path("pictures").exists()


def test_the_infotext_decides_the_regions(typed):
    code, err = typed("--again", "x.png", "--region", "left: a")
    assert code == 2 and "--again takes all settings from the file, so it cannot be used with --region" in err
