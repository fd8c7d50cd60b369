"""Contact sheets: labelled grids of images in the geometry of A1111's X/Y/Z plot (modules/images.py).

Text is a 25th of a cell's width and height together, lines are half of that apart, labels of rows stand in three
quarters of a cell's width, and the margin is between cells only. Small images and long prompts are readable too, for
which A1111 does nothing: images are enlarged, and a label that does not fit is cut.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont
Cell = Image.Image | str | None
"""An image; or why there is none; or nothing."""

BACKGROUND, TEXT, CAPTION_TEXT, EMPTY = "#ffffff", "#000000", "#666666", "#eeeeee"
MIN_CELL = 256
"""Pixels: images whose longer side is shorter are enlarged by a whole factor."""
MAX_SHEET = 100_000_000
"""Pixels: images of larger sheets are reduced so that viewers can open the sheet; their files are not."""
MIN_TEXT = 13
"""Pixels: text shrinks to this size to fit, then it is cut with an ellipsis."""
_LATIN = ("DejaVuSans.ttf",)
_EAST_ASIAN = ("NotoSansCJK-Regular.ttc", "PingFang.ttc", "msyh.ttc", "YuGothR.ttc", "wqy-zenhei.ttc")


@dataclass(frozen=True)
class Block:
    """Wrapped text in one font; width and height in pixels."""

    lines: tuple[str, ...]
    font: Font
    line_height: int

    @property
    def width(self) -> int:
        return max((_width(line, self.font) for line in self.lines), default=0)

    @property
    def height(self) -> int:
        return len(self.lines) * self.line_height


def draw_grid(
    cells: Sequence[Sequence[Cell]],
    x_labels: Sequence[str],
    y_labels: Sequence[str],
    title: str = "",
    *,
    captions: Sequence[Sequence[str]] | None = None,
    gap: int = 4,
) -> Image.Image:
    """Return a sheet of images with column labels above and row labels to the left.

    Args:
        cells: `cells[row][column]`; a text or None is an empty cell, with the text in it. Sizes may differ.
        x_labels: one per column; if all are empty they take no space.
        y_labels: one per row; if all are empty they take no space.
        title: heading of the sheet.
        captions: one short line under each image, such as a score.
        gap: pixels between cells, A1111's margin.

    Raises:
        ValueError: rows of different lengths, or a wrong number of labels.
    """
    _check(cells, x_labels, y_labels, captions)
    cells = _shrunk(cells)
    wide, high = _cell_size(cells)
    size = max(MIN_TEXT, (wide + high) // 25)
    margin = size // 2
    pad_left = wide * 3 // 4 if any(y_labels) else 0
    left = fit(y_labels, width=pad_left - 2 * gap, height=high, size=size)
    top = fit(x_labels, width=wide - 2 * gap, height=max(high * 3 // 4, size * 4), size=size)
    notes = [fit(row, width=wide, height=size + 4, size=max(MIN_TEXT, size * 4 // 5)) for row in captions or ()]
    note = max((block.height for row in notes for block in row), default=0)

    pad_top = _padded_size([block.height for block in top], 2 * margin)
    columns, rows = len(x_labels), len(y_labels)
    width = pad_left + columns * wide + (columns - 1) * gap
    heading = fit([title], width=width - 2 * margin, height=size * 6, size=size * 6 // 5)[0]
    pad_title = _padded_size([heading.height], 2 * margin)

    y0 = pad_title + pad_top
    sheet = Image.new("RGB", (width, y0 + rows * (high + note) + (rows - 1) * gap), BACKGROUND)
    pen = ImageDraw.Draw(sheet)
    _write(pen, heading, (width // 2, margin + heading.height // 2))
    for column, block in enumerate(top):
        _write(pen, block, (pad_left + column * (wide + gap) + wide // 2, pad_title + pad_top // 2))
    for row, block in enumerate(left):
        y = y0 + row * (high + note + gap)
        _write(pen, block, (pad_left // 2, y + high // 2))
        for column, cell in enumerate(cells[row]):
            x = pad_left + column * (wide + gap)
            _place(sheet, pen, cell, (x, y, wide, high))
            if notes:
                _write(pen, notes[row][column], (x + wide // 2, y + high + note // 2), CAPTION_TEXT)
    return sheet


def fit(labels: Sequence[str], *, width: int, height: int, size: int) -> list[Block]:
    """Wrap each label into a box of width x height pixels, all in the largest text size that fits all.

    A label that does not fit in the smallest size is cut and ends in an ellipsis.
    """
    smallest = min(MIN_TEXT, size)
    for points in range(size, smallest, -1):
        blocks = [_wrap(label, width, points) for label in labels]
        if all(block.height <= height and not block.cut for block in blocks):
            return [block.block for block in blocks]
    return [_trimmed(_wrap(label, width, smallest).block, width, height) for label in labels]


@dataclass(frozen=True)
class _Wrapped:
    block: Block
    cut: bool
    """Whether a word was broken, which a smaller size may avoid."""

    @property
    def height(self) -> int:
        return self.block.height


def _wrap(text: str, width: int, size: int) -> _Wrapped:
    font = _font(size, _is_east_asian(text))
    lines: list[str] = []
    cut = False
    for paragraph in text.splitlines() or [""]:
        line = ""
        for word in paragraph.split():
            longer = f"{line} {word}" if line else word
            if _width(longer, font) <= width:
                line = longer
                continue
            if line:
                lines.append(line)
            # East Asian text has no spaces: it may be broken anywhere, which is no reason to shrink it.
            cut = cut or (_width(word, font) > width and not _is_east_asian(word))
            *whole, line = _broken(word, font, width)
            lines.extend(whole)
        if line:
            lines.append(line)
    return _Wrapped(Block(tuple(lines), font, size * 5 // 4), cut)


def _broken(word: str, font: Font, width: int) -> list[str]:
    """Split a word into pieces of at most `width` pixels (at least one letter each)."""
    pieces = [""]
    for letter in word:
        if pieces[-1] and _width(pieces[-1] + letter, font) > width:
            pieces.append("")
        pieces[-1] += letter
    return pieces


def _trimmed(block: Block, width: int, height: int) -> Block:
    room = max(1, height // block.line_height)
    if len(block.lines) <= room:
        return block
    last = block.lines[room - 1]
    while last and _width(last + "…", block.font) > width:
        last = last[:-1]
    return Block((*block.lines[: room - 1], last.rstrip() + "…"), block.font, block.line_height)


def _write(pen: ImageDraw.ImageDraw, block: Block, centre: tuple[int, int], ink: str = TEXT) -> None:
    x, y = centre[0], centre[1] - block.height // 2 + block.line_height // 2
    for line in block.lines:
        pen.text((x, y), line, font=block.font, fill=ink, anchor="mm")
        y += block.line_height


def _place(sheet: Image.Image, pen: ImageDraw.ImageDraw, cell: Cell, box: tuple[int, int, int, int]) -> None:
    x, y, wide, high = box
    if not isinstance(cell, Image.Image):
        pen.rectangle((x, y, x + wide - 1, y + high - 1), fill=EMPTY)
        (why,) = fit([cell or ""], width=wide - 16, height=high - 16, size=max(MIN_TEXT, (wide + high) // 30))
        _write(pen, why, (x + wide // 2, y + high // 2), CAPTION_TEXT)
        return
    drawn = _enlarged(cell.convert("RGB"), _factor(max(cell.size)))
    sheet.paste(drawn, (x + (wide - drawn.width) // 2, y + (high - drawn.height) // 2))


def _enlarged(image: Image.Image, factor: int) -> Image.Image:
    if factor == 1:
        return image
    return image.resize((image.width * factor, image.height * factor), Image.Resampling.LANCZOS)


def _factor(side: int) -> int:
    return max(1, -(-MIN_CELL // side)) if side < MIN_CELL else 1


def _cell_size(cells: Sequence[Sequence[Cell]]) -> tuple[int, int]:
    """Return the size of every cell in pixels: the largest width and height of the images as drawn."""
    return _drawn_size([c.size for row in cells for c in row if isinstance(c, Image.Image)])


def _drawn_size(sizes: Sequence[tuple[int, int]]) -> tuple[int, int]:
    if not sizes:
        return MIN_CELL, MIN_CELL
    return max(w * _factor(max(w, h)) for w, h in sizes), max(h * _factor(max(w, h)) for w, h in sizes)


def reduction(sizes: Sequence[tuple[int, int]], count: int) -> int:
    """Return the whole factor by which images of these sizes are reduced so that `count` are within `MAX_SHEET`.

    None is reduced below `MIN_CELL`, from where it would be enlarged again.
    """
    wide, high = _drawn_size(sizes)
    wanted = math.ceil(math.sqrt(wide * high * count / MAX_SHEET))
    return max(1, min(wanted, max(wide, high) // MIN_CELL))


def _shrunk(cells: Sequence[Sequence[Cell]]) -> Sequence[Sequence[Cell]]:
    """Return the images reduced by the whole factor that keeps the sheet within `MAX_SHEET`."""
    images = [c for row in cells for c in row if isinstance(c, Image.Image)]
    divisor = reduction([c.size for c in images], len(cells) * len(cells[0]))
    if divisor == 1:
        return cells
    return [[c.convert("RGB").reduce(divisor) if isinstance(c, Image.Image) else c for c in row] for row in cells]


def _padded_size(sizes: Sequence[int], margin: int) -> int:
    most = max(sizes, default=0)
    return most + margin if most else 0


def _check(
    cells: Sequence[Sequence[Cell]],
    x_labels: Sequence[str],
    y_labels: Sequence[str],
    captions: Sequence[Sequence[str]] | None,
) -> None:
    rows, columns = len(y_labels), len(x_labels)
    for name, table in (("cells", cells), ("captions", captions)):
        if table is not None and ([len(row) for row in table] != [columns] * rows or not rows or not columns):
            shape = f"{len(table)} rows of {sorted({len(row) for row in table})}"
            raise ValueError(f"{name}: {shape}, but there are {rows} row labels and {columns} column labels")


def _width(text: str, font: Font) -> int:
    return int(font.getlength(text) + 0.999)


def _is_east_asian(text: str) -> bool:
    return any(ord(letter) >= 0x2E80 for letter in text)


@functools.lru_cache(maxsize=256)
def _font(size: int, east_asian: bool) -> Font:
    """Return DejaVu if installed (Latin, Greek, Cyrillic), a CJK font where needed, else Pillow's own font."""
    for name in (*(_EAST_ASIAN if east_asian else ()), *_LATIN):
        try:
            return ImageFont.truetype(name, size)
        except OSError:
            continue
    return ImageFont.load_default(size=size)
