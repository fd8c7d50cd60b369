"""A table of pictures with labels that can be read: A1111's X/Y plot, for small cells and long prompts too."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

BACKGROUND, INK, FAINT, EMPTY = "#ffffff", "#000000", "#666666", "#eeeeee"
READABLE = 256
"""Pixels: cells whose longer side is shorter than this are drawn enlarged by a whole factor."""
LARGEST_PAGE = 100_000_000
"""Pixels: cells of larger grids are drawn smaller, so that viewers can open them; their files keep every pixel."""
SMALLEST_TEXT = 13
"""Pixels: text is shrunk to fit down to this, then cut with an ellipsis."""
_LATIN = ("DejaVuSans.ttf",)
_EAST_ASIAN = ("NotoSansCJK-Regular.ttc", "PingFang.ttc", "msyh.ttc", "YuGothR.ttc", "wqy-zenhei.ttc")


@dataclass(frozen=True)
class Block:
    """Wrapped text in one font: pixels wide and high."""

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
    cells: Sequence[Sequence[Image.Image | None]],
    x_labels: Sequence[str],
    y_labels: Sequence[str],
    title: str = "",
    *,
    captions: Sequence[Sequence[str]] | None = None,
    gap: int = 4,
) -> Image.Image:
    """Draws rows of cells under column labels and beside row labels.

    Args:
        cells: `cells[row][column]`; None is drawn as an empty place. Sizes may differ.
        x_labels: one for each column; all empty: no space is taken.
        y_labels: one for each row; all empty: no space is taken.
        title: over everything.
        captions: one short line under each cell, such as a score.
        gap: pixels between cells.

    Raises:
        ValueError: rows of different length, or labels that are not one for each column and row.
    """
    _check(cells, x_labels, y_labels, captions)
    cells = _shrunk(cells)
    wide, high = _cell_size(cells)
    size = max(SMALLEST_TEXT, (wide + high) // 25)
    margin = size // 2 + 2
    left = fit(y_labels, width=max(wide * 3 // 4, size * 6), height=high, size=size)
    top = fit(x_labels, width=wide - 2 * gap, height=max(high * 3 // 4, size * 4), size=size)
    notes = [fit(row, width=wide, height=size + 4, size=max(SMALLEST_TEXT, size * 4 // 5)) for row in captions or ()]
    note = max((block.height for row in notes for block in row), default=0)

    pad_left = _spread([block.width for block in left], 2 * margin)
    pad_top = _spread([block.height for block in top], 2 * margin)
    columns, rows = len(x_labels), len(y_labels)
    width = pad_left + columns * wide + (columns - 1) * gap
    heading = fit([title], width=width - 2 * margin, height=size * 6, size=size * 6 // 5)[0]
    pad_title = _spread([heading.height], 2 * margin)

    y0 = pad_title + pad_top
    page = Image.new("RGB", (width, y0 + rows * (high + note) + (rows - 1) * gap), BACKGROUND)
    pen = ImageDraw.Draw(page)
    _write(pen, heading, (width // 2, margin + heading.height // 2))
    for column, block in enumerate(top):
        _write(pen, block, (pad_left + column * (wide + gap) + wide // 2, pad_title + pad_top // 2))
    for row, block in enumerate(left):
        y = y0 + row * (high + note + gap)
        _write(pen, block, (pad_left // 2, y + high // 2))
        for column, cell in enumerate(cells[row]):
            x = pad_left + column * (wide + gap)
            _place(page, pen, cell, (x, y, wide, high))
            if notes:
                _write(pen, notes[row][column], (x + wide // 2, y + high + note // 2), FAINT)
    return page


def fit(labels: Sequence[str], *, width: int, height: int, size: int) -> list[Block]:
    """Wraps each label into a box of width x height pixels, all in the largest size that fits all.

    What does not fit in the smallest readable size is cut and ends in an ellipsis.
    """
    smallest = min(SMALLEST_TEXT, size)
    for points in range(size, smallest, -1):
        blocks = [_wrap(label, width, points) for label in labels]
        if all(block.height <= height and not block.cut for block in blocks):
            return [block.block for block in blocks]
    return [_trimmed(_wrap(label, width, smallest).block, width, height) for label in labels]


@dataclass(frozen=True)
class _Wrapped:
    block: Block
    cut: bool
    """Whether a word had to be broken: a smaller size may spare it."""

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
            # East Asian text has no spaces: breaking it anywhere is right and no reason to shrink.
            cut = cut or (_width(word, font) > width and not _is_east_asian(word))
            *whole, line = _broken(word, font, width)
            lines.extend(whole)
        if line:
            lines.append(line)
    return _Wrapped(Block(tuple(lines), font, size * 5 // 4), cut)


def _broken(word: str, font: Font, width: int) -> list[str]:
    """A word in pieces that are each at most `width` pixels wide (one letter at least)."""
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


def _write(pen: ImageDraw.ImageDraw, block: Block, centre: tuple[int, int], ink: str = INK) -> None:
    x, y = centre[0], centre[1] - block.height // 2 + block.line_height // 2
    for line in block.lines:
        pen.text((x, y), line, font=block.font, fill=ink, anchor="mm")
        y += block.line_height


def _place(
    page: Image.Image, pen: ImageDraw.ImageDraw, cell: Image.Image | None, box: tuple[int, int, int, int]
) -> None:
    x, y, wide, high = box
    if cell is None:
        pen.rectangle((x, y, x + wide - 1, y + high - 1), fill=EMPTY)
        return
    drawn = _enlarged(cell.convert("RGB"), _factor(max(cell.size)))
    page.paste(drawn, (x + (wide - drawn.width) // 2, y + (high - drawn.height) // 2))


def _enlarged(image: Image.Image, factor: int) -> Image.Image:
    if factor == 1:
        return image
    return image.resize((image.width * factor, image.height * factor), Image.Resampling.LANCZOS)


def _factor(side: int) -> int:
    return max(1, -(-READABLE // side)) if side < READABLE else 1


def _cell_size(cells: Sequence[Sequence[Image.Image | None]]) -> tuple[int, int]:
    """Pixels that every cell takes: the widest and the highest, as drawn."""
    sizes = [
        (c.width * _factor(max(c.size)), c.height * _factor(max(c.size))) for row in cells for c in row if c is not None
    ]
    if not sizes:
        return READABLE, READABLE
    return max(w for w, _ in sizes), max(h for _, h in sizes)


def _shrunk(cells: Sequence[Sequence[Image.Image | None]]) -> Sequence[Sequence[Image.Image | None]]:
    """The cells divided by the whole number that keeps the page within bounds."""
    wide, high = _cell_size(cells)
    divisor = math.ceil(math.sqrt(wide * high * len(cells) * len(cells[0]) / LARGEST_PAGE))
    if divisor <= 1:
        return cells
    return [[None if cell is None else cell.convert("RGB").reduce(divisor) for cell in row] for row in cells]


def _spread(sizes: Sequence[int], margin: int) -> int:
    most = max(sizes, default=0)
    return most + margin if most else 0


def _check(
    cells: Sequence[Sequence[Image.Image | None]],
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
    """DejaVu where the system has it (Latin, Greek, Cyrillic), a CJK font where that is needed, else Pillow's own."""
    for name in (*(_EAST_ASIAN if east_asian else ()), *_LATIN):
        try:
            return ImageFont.truetype(name, size)
        except OSError:
            continue
    return ImageFont.load_default(size=size)
