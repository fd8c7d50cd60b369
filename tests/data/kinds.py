"""TIFFs and PNGs written by hand, sample by sample, so that what their pixels must be is known without a decoder."""

from __future__ import annotations

import struct
import zlib

import numpy as np

W, H = 40, 24
Y, X = np.mgrid[:H, :W]
UNIT = (
    np.stack([(X * 5 + Y) % 256, (X + Y * 9) % 256, (X * 3 + Y * 4 + 60) % 256, (X * 2 + Y * 7 + 30) % 256], -1) / 255
)
"""[H, W, 4] three colours and an alpha in 0..1, without symmetry, each value a whole number of 255."""
GREY, RGB, ALPHA = UNIT[..., 0], UNIT[..., :3], UNIT[..., 3:]
PALETTE = np.random.default_rng(0).integers(0, 256, (256, 3))

TURNS = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: np.rot90(a, 2).swapaxes(0, 1),
    8: np.rot90,
}
"""How an array is seen that is stored with each EXIF orientation."""


def levels(unit, bits):
    """0..1 as whole numbers of so many bits."""
    return np.round(unit * (2**bits - 1)).astype(np.int64)


def rgb_of(grey):
    """[H, W] to [H, W, 3]."""
    return np.repeat(grey[..., None], 3, -1)


def on_white(colours, alpha):
    return colours * alpha + 1 - alpha


def packed(array, bits, order=">"):
    """[H, W] or [H, W, C] as one bytes per row, the highest bit first; floats by their own type."""
    rows = array.reshape(len(array), -1)
    if array.dtype.kind == "f":
        return [row.astype(f"{order}f{bits // 8}").tobytes() for row in rows]
    if bits % 8 == 0:
        return [row.astype(f"{order}i8").astype(f"{order}u{bits // 8}").tobytes() for row in rows]
    ones = (rows[..., None] >> np.arange(bits - 1, -1, -1)) & 1
    return [np.packbits(row).tobytes() for row in ones.astype(np.uint8).reshape(len(rows), -1)]


# --- TIFF -------------------------------------------------------------------------------------------------------------

_TYPES = {"B": 7, "H": 3, "I": 4}


def _packbits(row):
    parts = [row[i : i + 128] for i in range(0, len(row), 128)]
    return b"".join(bytes([len(part) - 1]) + part for part in parts)


COMPRESSIONS = {
    "none": (1, b"".join),
    "deflate": (8, lambda rows: zlib.compress(b"".join(rows))),
    "packbits": (32773, lambda rows: b"".join(map(_packbits, rows))),
}
LAYOUTS = ("one strip", "strips", "tiles")


def _pieces(plane, layout):
    """Of [H, W] or [H, W, C]: the strips or tiles, in order."""
    if layout == "tiles":
        for top in range(0, H, 16):
            for left in range(0, W, 16):
                tile = plane[top : top + 16, left : left + 16]
                missing = ((0, 16 - tile.shape[0]), (0, 16 - tile.shape[1]), *[(0, 0)] * (plane.ndim - 2))
                yield np.pad(tile, missing, mode="edge")
    else:
        rows = H if layout == "one strip" else 7
        yield from (plane[top : top + rows] for top in range(0, H, rows))


def tiff(
    array, photometric, bits, *, order="<", compression="none", layout="strips", planes=False, orientation=None, tags=()
):
    """The bytes of a TIFF with one page.

    Args:
        array: samples [H, W] or [H, W, C].
        photometric: the tag's value.
        bits: of each sample.
        order: of bytes, `<` or `>`.
        compression: a key of `COMPRESSIONS`.
        layout: one of `LAYOUTS`.
        planes: channels are stored one after the other.
        orientation: the tag's value; None for a file without it.
        tags: others, by their number: (type, values).
    """
    channels = 1 if array.ndim == 2 else array.shape[2]
    code, compress = COMPRESSIONS[compression]
    parts = [array[..., c] for c in range(channels)] if planes else [array]
    data = [compress(packed(piece, bits, order)) for part in parts for piece in _pieces(part, layout)]
    tiled = layout == "tiles"
    entries = {256: ("I", [W]), 257: ("I", [H]), 258: ("H", [bits] * channels), 259: ("H", [code])}
    entries |= {262: ("H", [photometric]), 277: ("H", [channels]), 284: ("H", [1 + planes])}
    entries |= {322: ("H", [16]), 323: ("H", [16])} if tiled else {278: ("I", [H if layout == "one strip" else 7])}
    entries |= {274: ("H", [orientation])} if orientation else {}
    entries |= dict(tags)
    places, sizes = (324, 325) if tiled else (273, 279)
    entries |= {places: ("I", [0] * len(data)), sizes: ("I", [len(d) for d in data])}
    return _laid_out(entries, places, data, order)


def _laid_out(entries, places, data, order):
    """Header, tags, long values, pixels."""
    end = 8 + 2 + 12 * len(entries) + 4
    long = {tag: struct.calcsize(kind) * len(v) for tag, (kind, v) in entries.items()}
    starts = {}
    for tag in sorted(long):
        if long[tag] > 4:
            starts[tag], end = end, end + long[tag] + long[tag] % 2
    entries[places] = ("I", [end + sum(map(len, data[:i])) for i in range(len(data))])
    head = (b"II" if order == "<" else b"MM") + struct.pack(f"{order}HIH", 42, 8, len(entries))
    values = b""
    for tag in sorted(entries):
        kind, given = entries[tag]
        raw = struct.pack(f"{order}{len(given)}{kind}", *given)
        head += struct.pack(f"{order}HHI", tag, _TYPES[kind], len(given))
        head += struct.pack(f"{order}I", starts[tag]) if tag in starts else raw.ljust(4, b"\0")
        values += raw + b"\0" * (len(raw) % 2) if tag in starts else b""
    return head + struct.pack(f"{order}I", 0) + values + b"".join(data)


# --- PNG --------------------------------------------------------------------------------------------------------------

_PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
"""Of Adam7: first column, first row, and the steps."""


def png_rows(array, bits, *, interlaced):
    """What a PNG compresses, each row with its filter byte."""
    parts = [array[y::dy, x::dx] for x, y, dx, dy in _PASSES] if interlaced else [array]
    return b"".join(b"\0" + row for part in parts if part.size for row in packed(part, bits))
