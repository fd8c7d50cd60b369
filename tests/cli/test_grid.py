"""`bakehouse grid`, through the command line."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from bakehouse.generation import AXES, read_recipe


@pytest.fixture(autouse=True)
def kitchen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BAKEHOUSE_DATA", str(tmp_path / "data"))
    return tmp_path


CHEAP = ("--prompt", "a hat", "--steps", "1", "-q")


def images(folder: str) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in Path(folder, "cells").glob("*.png")}


def test_a_grid_of_three_axes_and_again_from_its_file(typed, tiny_folder):
    axes = ("--x", "seed=1,2", "--y", "guidance=1,3", "--z", "replace=hat,cap")
    code, out, err = typed("grid", str(tiny_folder), *axes, *CHEAP, "-o", "first")
    assert code == 0, err
    assert out.split() == [str(Path("first/grid.png")), str(Path("first/grid.html"))]
    assert len(images("first")) == 8
    page = Path("first/grid.html").read_text("utf-8")
    assert page.count('loading="lazy"') == 8
    assert all(f'src="cells/{name}"' in page for name in images("first"))
    assert "http" not in page, "the page needs no network"

    code, _, err = typed("grid", "--again", "first/grid.png", "-o", "second", "-q")
    assert code == 0, err
    assert images("second") == images("first")
    assert read_recipe("second/grid.png") == read_recipe("first/grid.png")
    code, _, err = typed("grid", "--again", "first/grid.png", "--steps", "2", "--y", "seed")
    assert (code, "cannot be used with --y, --steps" in err) == (2, True)


def test_what_fails_is_blank_and_the_exit_code_says_so(typed, tiny_folder):
    words = ("grid", str(tiny_folder), "--x", "size=64x64,63x64", *CHEAP, "-o", "g")
    code, out, err = typed(*words)
    assert code == 1
    assert Path(out.split()[0]).is_file()
    assert "Size: 63x64: " in err
    assert "1 image of the grid could not be generated" in err
    assert len(images("g")) == 1


def test_a_grid_from_an_image(typed, tiny_folder):
    Image.new("RGB", (64, 64), "red").save("a.png")
    words = ("grid", str(tiny_folder), "--image", "a.png", "--x", "strength=0.2,0.9", *CHEAP, "-o", "g")
    code, _, err = typed(*words)
    assert code == 0, err
    Path("many").mkdir()
    code, _, err = typed("grid", str(tiny_folder), "--image", "many", "--x", "strength=0.2", *CHEAP)
    assert (code, "--image many is a folder" in err) == (2, True)


def test_a_grid_without_and_with_regions(typed, tiny_folder):
    regions = ("--region", "left: a cap", "--region", "right: a bow", "--width", "128")
    words = ("grid", str(tiny_folder), *regions, *CHEAP)
    code, _, err = typed(*words, "--x", "regions", "--y", "region_base=0,0.5", "-o", "g")
    assert code == 0, err
    # Without regions their base makes no difference, and the same picture is made once.
    assert len(images("g")) == 3
    assert typed("generate", str(tiny_folder), "a hat", *regions, "--region-base", "0", "--steps", "1", "--seed", "1",
                 "-o", "one", "-q")[0] == 0  # fmt: skip
    one = Image.open(next(Path("one").glob("*.png"))).tobytes()
    assert one in {Image.open(path).tobytes() for path in Path("g", "cells").glob("*.png")}
    code, _, err = typed("grid", "--again", "g/grid.png", "-o", "second", "-q")
    assert (code, images("second")) == (0, images("g")), err


@pytest.mark.parametrize("axis", ["regions", "region_base=0.1", "region_edge=1"])
def test_an_axis_of_regions_needs_regions(typed, tiny_folder, axis):
    code, _, err = typed("grid", str(tiny_folder), "--x", axis, *CHEAP, "-o", "g")
    assert code == 2 and "has no effect without --region" in err


def test_axes_are_listed(typed):
    code, out, _ = typed("grid", "--x", "help")
    assert code == 0
    assert all(name in out.split() for name in AXES)


def test_a_grid_needs_a_model(typed):
    code, _, err = typed("grid", "--x", "seed=1,2")
    assert (code, "MODEL is missing" in err) == (2, True)
