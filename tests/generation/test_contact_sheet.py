from __future__ import annotations

import pytest
from PIL import Image, ImageDraw

from bakehouse.generation.contact_sheet import MIN_TEXT, draw_grid, fit, reduction

LONG = "pink afro, tan skin, green hoodie, round glasses, winking, big smile, at the beach, close-up " * 4
WORD = "supercalifragilisticexpialidocious_with_underscores_and_no_end_" * 5


def squares(columns: int, rows: int, side: int = 128) -> list[list[Image.Image | None]]:
    return [[Image.new("RGB", (side, side), "#ff0000") for _ in range(columns)] for _ in range(rows)]


def ink(page: Image.Image, box: tuple[int, int, int, int]) -> int:
    """Dark pixels in a box."""
    return sum(page.crop(box).convert("L").histogram()[:100])


@pytest.mark.parametrize("label", ["", "Seed: 1", LONG, WORD, "two\nlines", "\u732b\u306e\u7d75" * 60])
@pytest.mark.parametrize(("width", "height"), [(256, 190), (100, 40), (700, 60)])
def test_labels_stay_in_their_box(label: str, width: int, height: int) -> None:
    for block in fit([label, "short"], width=width, height=height, size=24):
        assert block.width <= width
        assert block.height <= max(height, block.line_height)
        canvas = ImageDraw.Draw(Image.new("L", (1, 1)))
        for line in block.lines:
            left, _, right, _ = canvas.textbbox((0, 0), line, font=block.font)
            assert right - left <= width + 1


def test_labels_of_one_axis_have_one_size() -> None:
    short, long = fit(["Seed: 1", LONG[:90]], width=256, height=100, size=24)
    assert short.line_height == long.line_height < 24 * 5 // 4


def test_what_cannot_fit_ends_in_an_ellipsis() -> None:
    (block,) = fit([LONG * 9], width=256, height=100, size=24)
    assert block.lines[-1].endswith("…")
    assert block.line_height == MIN_TEXT * 5 // 4


def test_no_word_is_lost_where_there_is_room() -> None:
    (block,) = fit([LONG], width=300, height=900, size=20)
    assert " ".join(block.lines).split() == LONG.split()


def test_small_cells_are_drawn_larger_and_large_ones_as_they_are() -> None:
    for side, drawn in ((64, 256), (128, 256), (256, 256), (300, 300)):
        page = draw_grid(squares(2, 1, side), ["", ""], [""], gap=4)
        assert page.size == (2 * drawn + 4, drawn)


def test_huge_grids_are_drawn_smaller() -> None:
    page = draw_grid(squares(12, 11, 1024), [""] * 12, [""] * 11)
    assert page.width * page.height < 110_000_000


def test_labels_never_touch_the_pictures() -> None:
    page = draw_grid(squares(3, 2), [LONG, "b", WORD], [LONG, "c"], LONG, captions=[["0.5"] * 3, ["0.25"] * 3])
    plain = page.copy()
    red = [
        (x, y)
        for y in range(0, page.height, 7)
        for x in range(0, page.width, 7)
        if page.getpixel((x, y)) == (255, 0, 0)
    ]
    left, top = min(x for x, _ in red), min(y for _, y in red)
    assert ink(plain, (0, 0, page.width, top - 6)) > 500, "title and columns are written"
    assert ink(plain, (0, top, left - 6, page.height)) > 500, "rows are written"
    # Six squares of 256 pixels: not one pixel of them is anything but red.
    colours = page.getcolors(page.width * page.height)
    assert colours is not None
    assert {c: n for n, c in colours}[(255, 0, 0)] == 6 * 256 * 256


def test_missing_cells_and_mixed_sizes_have_their_place() -> None:
    cells = squares(2, 1)
    cells[0][0] = None
    assert draw_grid(cells, ["a", "b"], ["c"]).width > 512
    cells[0][0] = Image.new("RGB", (128, 64), "#00ff00")
    assert draw_grid(cells, ["", ""], [""]).size == (516, 256)
    assert draw_grid([[None]], ["a"], ["b"]).height > 256


@pytest.mark.parametrize("captions", [None, [["a"]]])
def test_tables_that_do_not_fit_are_refused(captions: list[list[str]] | None) -> None:
    with pytest.raises(ValueError, match="row labels"):
        draw_grid(squares(2, 2 if captions else 1), ["a", "b"], ["c", "d"], captions=captions)


def test_the_geometry_is_that_of_the_webui() -> None:
    page = draw_grid(squares(3, 2, 512), ["a", "b", "c"], ["d", "e"], gap=8)
    text = (512 + 512) // 25
    left, top = 512 * 3 // 4, text * 5 // 4 + 2 * (text // 2)
    assert page.size == (left + 3 * 512 + 2 * 8, top + 2 * 512 + 8)
    assert page.getpixel((left - 1, top)) == (255, 255, 255)
    assert page.getpixel((left, top)) != (255, 255, 255)
    assert page.getpixel((left + 512, top + 10)) == (255, 255, 255), "the margin is between cells"
    assert page.getpixel((page.width - 1, page.height - 1)) != (255, 255, 255), "and not at the edges"


def test_an_empty_cell_can_say_why() -> None:
    plain, why = (draw_grid([[*squares(1, 1)[0], text]], ["a", "b"], [""]) for text in (None, "out of memory"))
    assert plain.size == why.size
    box = (plain.width - 256, plain.height - 256, plain.width, plain.height)
    assert len(plain.crop(box).getcolors() or ()) == 1
    assert len(why.crop(box).getcolors() or ()) > 1


def test_images_are_reduced_but_never_enlarged_again() -> None:
    assert reduction([(64, 64)] * 12, 12) == 1
    assert reduction([(1024, 1024)], 2000) == 4
    assert reduction([], 5) == 1
