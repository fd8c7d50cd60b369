"""The page of a grid: what is in the file. What its script does is tried in a browser by hand."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from bakehouse.generation.grids.page import PageAxis, PageCell, write_page

PROMPT = 'a cat, <script>alert(1)</script> & "quotes"'


def page_of(folder: Path, planes: list[list[list[PageCell]]], **labels: tuple[str, ...]) -> str:
    axes = tuple(PageAxis(name.upper(), labels.get(name, ("",))) for name in "xyz")
    path = folder / "grid.html"
    write_page(path, title="crumb", subtitle=PROMPT, axes=axes, planes=planes, recipe='{"a": "<b>"}', sheet="grid.png")
    return path.read_text("utf-8")


@pytest.fixture
def page(tmp_path: Path) -> str:
    planes = [
        [[PageCell(f"cells/{x}{y}{z}.png", 64, 96, f"subject 0.{x}") for x in range(3)] for y in range(2)]
        for z in range(2)
    ]
    planes[1][1][2] = PageCell(failure="out of memory <at once>")
    return page_of(tmp_path, planes, x=("a", "b", "c"), y=("d", "e"), z=("f", "g"))


def test_every_cell_is_in_its_place(page: str) -> None:
    at = re.findall(r'data-at="(\d,\d,\d)" data-name="([^"]*)"', page)
    assert len(at) == 12
    assert at[0] == ("0,0,0", "a, d, f") and at[-1] == ("2,1,1", "c, e, g")
    files = re.findall(r'<img src="([^"]+)"', page)
    assert files == [f"cells/{x}{y}{z}.png" for z in range(2) for y in range(2) for x in range(3)][:-1]
    assert page.count('loading="lazy"') == 11
    assert page.count('width="64" height="96"') == 11
    assert re.findall(r"<h2>(.)</h2>", page) == ["f", "g"]
    assert page.count('<p class="caption">') == 11


def test_a_failure_is_said_and_everything_is_escaped(page: str) -> None:
    assert "<p>out of memory &lt;at once&gt;</p>" in page
    assert "<script>alert" not in page and "&lt;script&gt;alert(1)" in page
    assert page.count("<script>") == 1


def test_the_page_needs_nothing_but_its_images(page: str) -> None:
    targets = re.findall(r'(?:src|href)="([^"]+)"', page)
    assert {target.split("/")[0] for target in targets} == {"cells", "grid.png"}
    assert not re.search(r"https?:|@import|url\(", page)


def test_both_sides_of_a_comparison_can_be_chosen(page: str) -> None:
    for side in "ab":
        assert re.findall(rf'<select data-side="{side}" data-axis="(\d)"', page) == ["0", "1", "2"]


def test_an_axis_without_values_takes_no_place(tmp_path: Path) -> None:
    page = page_of(tmp_path, [[[PageCell("cells/a.png", 8, 8), PageCell("cells/b.png", 8, 8)]]], x=("a", "b"))
    assert "<h2>" not in page and 'scope="row"' not in page
    assert page.count('scope="col"') == 2
    assert re.findall(r'<select data-side="a" data-axis="(\d)"', page) == ["0"]
    assert "Page up" not in page, "there is one grid alone"
