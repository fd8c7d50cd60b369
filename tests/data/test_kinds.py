"""Every kind of TIFF and PNG comes out as the pixels that it was written with, or is refused by name."""

from __future__ import annotations

import io
import itertools
import struct

import numpy as np
import pytest
from PIL import Image

from bakehouse.data.image_header import read_image_header
from bakehouse.data.open_image import ImageError, image_size, open_image, probe
from tests.data.kinds import (
    ALPHA,
    COMPRESSIONS,
    GREY,
    LAYOUTS,
    PALETTE,
    RGB,
    TURNS,
    UNIT,
    H,
    W,
    levels,
    on_white,
    png_rows,
    rgb_of,
    tiff,
)
from tests.data.make import oriented, png

EXTRA, COLOURS, FORMAT = 338, 320, 339
SIGNED, FLOAT = ("H", [2]), ("H", [3])


def close(path, expected, tolerance=1.0):
    """Whether a file opens as these colours [H, W, 3] in 0..1, and all that tells sizes agrees."""
    image = open_image(path)
    size, seen, told = image_size(path), probe(path), read_image_header(path)
    assert size == image.size == (seen.width, seen.height) == (told.width, told.height)
    found = np.asarray(image, float)
    return found.shape == expected.shape and bool((np.abs(found - expected * 255) <= tolerance).all())


# --- TIFF -------------------------------------------------------------------------------------------------------------


def _palette(bits):
    numbers, colours = levels(GREY, bits), PALETTE[: 2**bits]
    return numbers, 3, bits, {COLOURS: ("H", (colours.T * 257).ravel().tolist())}, colours[numbers] / 255


def _with_alpha(colours, bits, extra, photometric):
    """Extra samples: 0 says nothing of them, 1 is alpha that has been multiplied in, 2 is alpha."""
    stored = np.concatenate([colours * ALPHA if extra == 1 else colours, ALPHA], -1)
    seen = colours if extra == 0 else on_white(colours, ALPHA)
    seen = seen if seen.shape[-1] == 3 else np.repeat(seen, 3, -1)
    return levels(stored, bits), photometric, bits, {EXTRA: ("H", [extra])}, seen


def _lab():
    """Greys in CIE Lab: L 0..100 as 0..255, and the sRGB of each."""
    lightness = levels(GREY, 8)
    f = (lightness / 255 * 100 + 16) / 116
    y = np.where(f > 6 / 29, f**3, 3 * (6 / 29) ** 2 * (f - 4 / 29))
    seen = np.where(y <= 0.0031308, 12.92 * y, 1.055 * y ** (1 / 2.4) - 0.055)
    return np.stack([lightness, 0 * lightness, 0 * lightness], -1), 8, 8, {}, rgb_of(seen)


def _ycbcr():
    y = RGB @ [0.299, 0.587, 0.114] * 255
    both = [128 + (RGB[..., 2] * 255 - y) * 0.564, 128 + (RGB[..., 0] * 255 - y) * 0.713]
    return np.stack([y, *both], -1).round().clip(0, 255).astype(np.int64), 6, 8, {530: ("H", [1, 1])}, RGB


INKS = (1 - RGB) * (1 - ALPHA)
STRETCHED = rgb_of((GREY - GREY.min()) / np.ptp(GREY))
OPEN = {
    **{f"grey {b}": (levels(GREY, b), 1, b, {}, rgb_of(levels(GREY, b) / (2**b - 1))) for b in (1, 2, 4, 8, 16)},
    **{f"white is zero {b}": (levels(GREY, b), 0, b, {}, rgb_of(1 - levels(GREY, b) / (2**b - 1))) for b in (1, 4, 8)},
    "palette 1": _palette(1),
    "palette 4": _palette(4),
    "palette 8": _palette(8),
    "palette of 8-bit colours": (*_palette(8)[:3], {COLOURS: ("H", PALETTE.T.ravel().tolist())}, _palette(8)[4]),
    "grey and something 8": _with_alpha(GREY[..., None], 8, 0, 1),
    "grey and alpha 8": _with_alpha(GREY[..., None], 8, 2, 1),
    "RGB 8": (levels(RGB, 8), 2, 8, {}, RGB),
    "RGB 16": (levels(RGB, 16), 2, 16, {}, RGB),
    "RGB and something 8": _with_alpha(RGB, 8, 0, 2),
    "RGB and alpha 8": _with_alpha(RGB, 8, 2, 2),
    "RGB and alpha 16": _with_alpha(RGB, 16, 2, 2),
    "RGB and a channel without a name": (levels(UNIT, 8), 2, 8, {}, on_white(RGB, ALPHA)),
    "CMYK 8": (levels(UNIT, 8), 5, 8, {}, INKS),
    "CMYK 16": (levels(UNIT, 16), 5, 16, {}, INKS),
    "YCbCr": _ycbcr(),
    "CIE Lab": _lab(),
    "signed 8": (levels(GREY, 7), 1, 8, {FORMAT: SIGNED}, rgb_of(levels(GREY, 7) / 127)),
    "signed 8, below zero": (levels(GREY, 8) - 128, 1, 8, {FORMAT: SIGNED}, STRETCHED),
    "signed 16": (levels(GREY, 15), 1, 16, {FORMAT: SIGNED}, rgb_of(GREY)),
    "signed 16, below zero": (levels(GREY, 16) - 32_768, 1, 16, {FORMAT: SIGNED}, STRETCHED),
    "signed 32": (levels(GREY, 31), 1, 32, {FORMAT: SIGNED}, rgb_of(GREY)),
    "float 32": (GREY.astype(np.float32), 1, 32, {FORMAT: FLOAT}, rgb_of(GREY)),
    "float 32, white is zero": (GREY.astype(np.float32), 0, 32, {FORMAT: FLOAT}, rgb_of(1 - GREY)),
}
"""Samples, photometric, bits, tags, and the colours 0..1."""
LITTLE_ENDIAN = {
    "grey 12": (levels(GREY, 12), 1, 12, {}, rgb_of(GREY)),
    "grey 32": (levels(GREY, 32), 1, 32, {}, rgb_of(GREY)),
    "grey 32 with 16-bit values": (levels(GREY, 16), 1, 32, {}, rgb_of(GREY)),
}
"""Kinds that are refused with the other order of bytes."""
LOOSE = {"YCbCr": 3.0, "CIE Lab": 3.0, "CMYK 8": 2.0, "CMYK 16": 2.0}
ONE_PLANE = {"grey and alpha 8", "RGB and a channel without a name", "CIE Lab"}
"""Refused with their channels in planes."""
FORMS = [
    *itertools.product(["none"], ["one strip"], TURNS),
    *itertools.product(COMPRESSIONS, LAYOUTS, [6]),
]


@pytest.mark.parametrize("name", [*OPEN, *LITTLE_ENDIAN])
def test_a_tiff_is_the_pixels_that_were_written(name, tmp_path):
    array, photometric, bits, tags, seen = {**OPEN, **LITTLE_ENDIAN}[name]
    path = tmp_path / "a.tiff"
    orders = "<" if name in LITTLE_ENDIAN else "<>"
    planes = (False, True) if array.ndim == 3 and name not in ONE_PLANE else (False,)
    wrong = []
    for (compression, layout, turn), order, split in itertools.product(FORMS, orders, planes):
        form = {"compression": compression, "layout": layout, "order": order, "planes": split, "orientation": turn}
        path.write_bytes(tiff(array, photometric, bits, tags=tags, **form))
        if not close(path, TURNS[turn](seen), LOOSE.get(name, 1.01)):
            wrong.append(form)
    assert not wrong


@pytest.mark.parametrize(
    ("name", "form", "words"),
    [
        *[(name, {"planes": True}, "stored in separate planes") for name in sorted(ONE_PLANE)],
        ("grey 32", {"order": ">"}, r"grey, 1 x 32-bit unsigned samples"),
    ],
)
def test_a_tiff_that_would_be_misread_is_refused_by_name(name, form, words, tmp_path):
    array, photometric, bits, tags, _ = {**OPEN, **LITTLE_ENDIAN}[name]
    path = tmp_path / "a.tiff"
    path.write_bytes(tiff(array, photometric, bits, tags=tags, **form))
    for function in (open_image, image_size, probe, read_image_header):
        with pytest.raises(ImageError, match=words) as caught:
            function(path)
        assert "save it as PNG" in (caught.value.hint or "")


@pytest.mark.parametrize(
    ("array", "photometric", "bits", "tags", "words"),
    [
        (RGB.astype(np.float32), 2, 32, {FORMAT: ("H", [3, 3, 3])}, "RGB, 3 x 32-bit float"),
        (levels(RGB, 32), 2, 32, {}, "RGB, 3 x 32-bit unsigned"),
        (GREY.astype(np.float64), 1, 64, {FORMAT: FLOAT}, "grey, 1 x 64-bit float"),
        (levels(GREY, 16), 32803, 16, {}, "camera sensor, 1 x 16-bit"),
        (levels(UNIT[..., [0, 3]], 16), 1, 16, {EXTRA: ("H", [2])}, "grey, 2 x 16-bit"),
    ],
)
def test_a_tiff_that_cannot_be_read_says_what_it_holds(array, photometric, bits, tags, words, tmp_path):
    (tmp_path / "a.tiff").write_bytes(tiff(array, photometric, bits, tags=tags))
    with pytest.raises(ImageError, match=words):
        open_image(tmp_path / "a.tiff")


def test_a_rotation_that_only_xmp_knows_turns_no_tiff(tmp_path):
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
    for compression in COMPRESSIONS:
        data = tiff(levels(RGB, 8), 2, 8, compression=compression, tags={700: ("B", list(xmp))})
        (tmp_path / "a.tiff").write_bytes(data)
        assert close(tmp_path / "a.tiff", RGB)


def test_a_big_endian_bigtiff_is_named(tmp_path):
    (tmp_path / "a.tiff").write_bytes(b"MM\0+" + struct.pack(">HHQ", 8, 0, 16) + b"\0" * 64)
    with pytest.raises(ImageError, match="a big-endian BigTIFF"):
        open_image(tmp_path / "a.tiff")


@pytest.mark.parametrize("compression", ["jpeg", "group4"])
def test_tiffs_as_scanners_write_them_are_upright(tmp_path, compression):
    image = Image.fromarray((RGB * 255).astype(np.uint8)).resize((80, 48))
    image = image.convert("1") if compression == "group4" else image
    for turn, seen in TURNS.items():
        options = {"quality": 98} if compression == "jpeg" else {}
        image.save(tmp_path / "a.tiff", compression=compression, exif=oriented(turn), **options)
        expected = seen(np.asarray(image.convert("RGB"), float) / 255)
        found = np.asarray(open_image(tmp_path / "a.tiff"), float)
        assert found.shape == expected.shape
        assert np.abs(found - expected * 255).mean() < 4


# --- PNG --------------------------------------------------------------------------------------------------------------


def _png_kinds():
    for b in (1, 2, 4, 8, 16):
        grey, clear = levels(GREY, b), int(levels(GREY, b)[5, 5])
        yield f"grey {b}", 0, b, grey, (), rgb_of(grey / (2**b - 1))
        seen = np.where((grey == clear)[..., None], 1, rgb_of(grey / (2**b - 1)))
        yield f"grey {b}, one clear", 0, b, grey, [(b"tRNS", struct.pack(">H", clear))], seen
    for b in (8, 16):
        colours = levels(RGB, b)
        clear = (colours == colours[5, 5]).all(-1, keepdims=True)
        yield f"RGB {b}", 2, b, colours, (), RGB
        mark = [(b"tRNS", struct.pack(">3H", *colours[5, 5]))]
        yield f"RGB {b}, one clear", 2, b, colours, mark, np.where(clear, 1, RGB)
        yield f"grey and alpha {b}", 4, b, levels(UNIT[..., [0, 3]], b), (), on_white(rgb_of(GREY), ALPHA)
        yield f"RGBA {b}", 6, b, levels(UNIT, b), (), on_white(RGB, ALPHA)
    for b in (1, 2, 4, 8):
        numbers, colours = levels(GREY, b), PALETTE[: 2**b]
        block = (b"PLTE", colours.astype(np.uint8).tobytes())
        alphas = np.random.default_rng(b).integers(0, 256, 2**b)
        yield f"palette {b}", 3, b, numbers, [block], colours[numbers] / 255
        seen = on_white(colours[numbers] / 255, alphas[numbers][..., None] / 255)
        yield f"palette {b} with alphas", 3, b, numbers, [block, (b"tRNS", alphas.astype(np.uint8).tobytes())], seen


PNGS = {kind[0]: kind[1:] for kind in _png_kinds()}


@pytest.mark.parametrize("name", PNGS)
def test_a_png_is_the_pixels_that_were_written(name, tmp_path):
    colour, bits, array, blocks, seen = PNGS[name]
    path = tmp_path / "a.png"
    for interlaced, turn, late in itertools.product((False, True), (1, 2, 6, 7), (False, True)):
        exif = [(b"eXIf", oriented(turn).tobytes()[6:])]
        rows = png_rows(array, bits, interlaced=interlaced)
        places = {"extra": blocks, "late": exif} if late else {"extra": [*exif, *blocks], "late": ()}
        png(path, W, H, bits=bits, colour=colour, rows=rows, interlaced=interlaced, **places)
        assert close(path, TURNS[turn](seen), 2.01), (interlaced, turn, late)


# --- GIF --------------------------------------------------------------------------------------------------------------


def test_what_a_gifs_first_frame_does_not_cover_is_transparent(tmp_path):
    stream = io.BytesIO()
    blue = Image.new("P", (10, 10))
    blue.putpalette([0, 0, 255, 255, 0, 0])
    blue.save(stream, "GIF")
    data = bytearray(stream.getvalue())
    data[6:10] = struct.pack("<HH", 30, 20)  # the canvas
    at = data.index(b",\0\0\0\0")
    data[at + 1 : at + 5] = struct.pack("<HH", 5, 6)  # the frame's corner
    (tmp_path / "a.gif").write_bytes(data)
    alpha = np.asarray(open_image(tmp_path / "a.gif", mode="RGBA"))[..., 3]
    assert probe(tmp_path / "a.gif").has_alpha and probe(tmp_path / "a.gif", whole=False).has_alpha
    assert (alpha[6:16, 5:15] == 255).all() and alpha.sum() == 100 * 255
    assert open_image(tmp_path / "a.gif").getpixel((0, 0)) == (255, 255, 255)
