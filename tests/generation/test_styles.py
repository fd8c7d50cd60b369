"""A1111's styles.csv."""

from __future__ import annotations

from pathlib import Path

import pytest

from bakehouse.core.errors import BakehouseError, UsageError
from bakehouse.generation.prompt import Style, find_styles, read_styles, with_styles

FILE = (
    "\ufeffname,prompt,negative_prompt\n"
    'oil,"oil painting of {prompt}, thick strokes",photo\n'
    "# a comment,x,y\n"
    'night,"at night, moon",\n'
)


@pytest.fixture
def styles(tmp_path: Path) -> Path:
    path = tmp_path / "styles.csv"
    path.write_text(FILE, "utf-8")
    return path


def test_styles_are_read_as_written_by_a1111(styles: Path) -> None:
    assert read_styles(styles) == {
        "oil": Style("oil", "oil painting of {prompt}, thick strokes", "photo"),
        "night": Style("night", "at night, moon", ""),
    }


def test_the_old_column_is_read(tmp_path: Path) -> None:
    (tmp_path / "old.csv").write_text("name,text\na,b\n", "utf-8")
    assert read_styles(tmp_path / "old.csv") == {"a": Style("a", "b", "")}


def test_styles_surround_a_prompt_or_follow_it(styles: Path) -> None:
    oil, night = find_styles(styles, ["oil", "night"])
    assert with_styles("a cat ", "", [oil]) == ("oil painting of a cat, thick strokes", "photo")
    assert with_styles("a cat", "dog", [night, oil]) == (
        "oil painting of a cat, at night, moon, thick strokes",
        "dog, photo",
    )
    assert with_styles("", "", [night]) == ("at night, moon", "")
    assert with_styles(" as it is ", "x", []) == (" as it is ", "x")


def test_what_is_wrong_is_named(styles: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"style 'nigth' is not in .*did you mean 'night'"):
        find_styles(styles, ["nigth"])
    with pytest.raises(UsageError, match="does not exist"):
        read_styles(tmp_path / "no.csv")
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    with pytest.raises(UsageError, match="its columns are a, b"):
        read_styles(tmp_path / "other.csv")
    (tmp_path / "latin.csv").write_bytes(b"name,prompt\n\xff,x\n")
    with pytest.raises(BakehouseError, match="cannot read the styles file"):
        read_styles(tmp_path / "latin.csv")
