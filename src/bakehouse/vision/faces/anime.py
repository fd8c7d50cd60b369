"""Face detector for drawings: AnimeFace 2009, a cascade of small perceptrons in the library `libnvxs`, through ctypes.

The library is part of the PyPI package `animeface`, whose wrapper reads Pillow's memory directly and detects nothing
with Pillow 12 or newer. Here pixels are passed as floats. Structures and entry points are those of `nvxs` (MIT):
`nv_matrix_t` holds rows of floats, `step` floats apart; faces come with boxes of eyes, nose, mouth and chin.
"""

from __future__ import annotations

import ctypes as c
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from bakehouse.core.errors import UsageError
from bakehouse.vision.faces.face import Face, rank_faces

FIRST_SIZE, SECOND_SIZE = 700_000, 4_000_000
"""Sizes in pixels to which the image is reduced. A search takes half a second for a third of a megapixel, so the larger
size is used only if no face is found at the smaller one."""
MIN_LIKELIHOOD = 0.85
"""Least likelihood of a face. Measured on drawings: 0.88 to 1 for faces, 0.83 for a window of a building."""
_MAX_FACES = 256
_STEP, _GROWTH, _SMALLEST = 4.0, 1.095, 42.592
"""Sliding window: stride at the smallest size, growth factor, smallest side; the package's values."""
_NAMES = ("dir", "face_00", "face_01", "face_02", "parts")


class _Matrix(c.Structure):
    _fields_ = (
        ("list", c.c_int),
        ("list_step", c.c_uint),
        ("n", c.c_int),
        ("m", c.c_int),
        ("rows", c.c_int),
        ("cols", c.c_int),
        ("step", c.c_int),
        ("alias", c.c_int),
        ("values", c.POINTER(c.c_float)),
    )


class _Rect(c.Structure):
    _fields_ = (("x", c.c_int), ("y", c.c_int), ("width", c.c_int), ("height", c.c_int))


class _Found(c.Structure):
    _fields_ = (
        ("likelihood", c.c_float),
        *((part, _Rect) for part in ("face", "left_eye", "right_eye", "mouth", "nose", "chin")),
    )


class AnimeFaceDetector:
    """Detects faces in drawings, from 43 pixels."""

    def __init__(self, library: Path) -> None:
        """Load the library.

        Raises:
            UsageError: the library is not for this system.
        """
        try:
            self._nvxs: Any = c.CDLL(str(library))
            self._nets = [c.addressof(c.c_char.in_dll(self._nvxs, f"nv_face_mlp_{name}")) for name in _NAMES]
            self._nvxs.nv_matrix3d_alloc.restype = c.POINTER(_Matrix)
        except (OSError, ValueError, AttributeError) as e:
            raise UsageError(
                f"cannot load the AnimeFace library {library}: not for this system ({e})",
                hint="`bakehouse models fetch animeface` installs the right one; --faces photo does not need it",
            ) from e
        self._lock = threading.Lock()  # the library is not thread-safe

    def __call__(self, image: Image.Image) -> list[Face]:
        """Return all faces, the main one first."""
        pixels = image.width * image.height
        for most in (FIRST_SIZE, SECOND_SIZE):
            ratio = min(1.0, (most / pixels) ** 0.5)
            size = max(1, round(image.width * ratio)), max(1, round(image.height * ratio))
            reduced = image if size == image.size else image.resize(size, Image.Resampling.BOX)
            found = self._detect(np.asarray(reduced.convert("L"), dtype=np.float32))
            if found or most >= pixels:
                break
        across, down = image.width / size[0], image.height / size[1]
        return rank_faces([_face(one, across, down) for one in found])

    def _detect(self, grey: npt.NDArray[np.float32]) -> list[_Found]:
        """Return the library's results for grey levels [h, w] in 0..255."""
        height, width = grey.shape
        if min(height, width) < _SMALLEST:
            return []
        found, whole = (_Found * _MAX_FACES)(), _Rect(0, 0, width, height)
        direction, first, *bag, parts = self._nets
        with self._lock, self._matrices(height, width) as (given, smooth, edges, sums, edge_sums):
            step = given.contents.step
            np.ctypeslib.as_array(given.contents.values, (height * width, step))[:, 0] = grey.ravel()
            self._nvxs.nv_gaussian5x5(smooth, 0, given, 0)
            self._nvxs.nv_laplacian1(edges, smooth, c.c_float(4))
            self._nvxs.nv_integral(sums, given, 0)
            self._nvxs.nv_integral(edge_sums, edges, 0)
            count = self._nvxs.nv_face_detect(
                found,
                _MAX_FACES,
                sums,
                edge_sums,
                c.byref(whole),
                c.c_void_p(direction),
                c.c_void_p(first),
                (c.c_void_p * 3)(*bag, None),
                len(bag),
                c.c_void_p(parts),
                c.c_float(_STEP),
                c.c_float(_GROWTH),
                c.c_float(_SMALLEST),
            )
        return [one for one in found[:count] if one.likelihood >= MIN_LIKELIHOOD]

    @contextmanager
    def _matrices(self, height: int, width: int) -> Iterator[list[Any]]:
        """Allocate zeroed matrices: grey, smoothed, edges [h, w], integral images of grey and edges [h + 1, w + 1]."""
        sizes = ((height, width),) * 3 + ((height + 1, width + 1),) * 2
        made = [self._nvxs.nv_matrix3d_alloc(1, h, w) for h, w in sizes]
        try:
            for matrix in made:
                self._nvxs.nv_matrix_zero(matrix)
            yield made
        finally:
            for matrix in made:
                self._nvxs.nv_matrix_free(c.byref(matrix))


def _face(found: _Found, across: float, down: float) -> Face:
    box = found.face
    right, bottom = box.x + box.width, box.y + box.height
    return Face((box.x * across, box.y * down, right * across, bottom * down), float(found.likelihood))
