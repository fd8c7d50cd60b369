"""Bad and odd files, made on the fly."""

import struct
import zlib

import numpy as np
from hypothesis import HealthCheck, settings
from PIL import Image

# No deadline: the machine may be busy with something else.
LAW = settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def png_chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(path, width, height, *, bits=8, colour=2, rows=b"\0" * 100, extra=(), late=(), interlaced=False):
    """A PNG written by hand: any header, any rows (each with its filter byte)."""
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, interlaced)
    blocks = [(b"IHDR", header), *extra, (b"IDAT", zlib.compress(rows)), *late, (b"IEND", b"")]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(k, d) for k, d in blocks))
    return path


def png16(path, array, colour, **more):
    """uint16 [H, W, C] as a 16-bit PNG."""
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in array)
    return png(path, array.shape[1], array.shape[0], bits=16, colour=colour, rows=rows, **more)


def photo(width=64, height=48, seed=0):
    """A smooth colour picture that compresses well and has no symmetry."""
    y, x = np.mgrid[0:height, 0:width]
    rng = np.random.default_rng(seed)
    shift = rng.integers(0, 100, 3)
    array = np.stack([x * 3 + shift[0], y * 4 + shift[1], (x + y) * 2 + shift[2]], -1) % 256
    return Image.fromarray(array.astype(np.uint8))


def save(path, width=64, height=48, seed=0, caption=None, **options):
    """A picture in the format of its name, and a caption beside it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    photo(width, height, seed).save(path, **options)
    if caption is not None:
        path.with_suffix(".txt").write_text(caption, encoding="utf-8")
    return path


def oriented(value):
    exif = Image.Exif()
    exif[0x0112] = value
    return exif
