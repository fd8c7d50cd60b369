"""Faces in photographs: CenterFace (Xu et al. 2019, arXiv:1911.03599), through OpenCV's dnn."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from bakehouse.core.errors import UsageError
from bakehouse.core.optional_imports import import_optional
from bakehouse.vision.faces.face import Face, ranked

Floats = npt.NDArray[np.float32]

SURE = 0.5
"""Least heat; at 0.4 a tree among six group photos counted as a face."""
SMALL, SURE_OF_SMALL = 32, 0.65
"""Pixels of the network's input, and the least heat of a lower face. True ones of 26 to 39 pixels on six photos had
0.65 and more; below 20 pixels true faces and patterns have the same heat."""
LOOK = 1_500_000
"""Pixels; larger images are made smaller first."""
_STRIDE = 4
_OVERLAP = 0.3
"""Of two boxes that share more of their area than this, the fainter one goes."""
_OUTPUTS = ("537", "538", "539", "540")
"""Heat, sizes, offsets and landmarks by the names they have in the file; OpenCV 5 wants all or none named."""


class PhotoFaces:
    """Finds faces in photographs; those lower than 32 pixels only if it is surer of them."""

    def __init__(self, model: Path) -> None:
        """Opens the network.

        Raises:
            UsageError: OpenCV is missing, or the file is no CenterFace.
        """
        self._cv2 = import_optional("cv2", "finding faces in photos")
        try:
            self._net = self._cv2.dnn.readNetFromONNX(str(model))
        except self._cv2.error as e:
            raise UsageError(
                f"{model} is no ONNX network that OpenCV can read", hint="bakehouse models fetch centerface"
            ) from e
        self._lock = threading.Lock()

    def __call__(self, image: Image.Image) -> list[Face]:
        """Every face, the main one first."""
        ratio = min(1.0, (LOOK / (image.width * image.height)) ** 0.5)
        width, height = (max(32, round(side * ratio / 32) * 32) for side in image.size)
        look = np.asarray(image.convert("RGB").resize((width, height), Image.Resampling.BILINEAR))
        with self._lock:
            self._net.setInput(self._cv2.dnn.blobFromImage(look))
            heat, sizes, offsets, _ = self._net.forward(_OUTPUTS)
        boxes, scores = decode(heat[0, 0], sizes[0], offsets[0])
        sure = (boxes[:, 3] - boxes[:, 1] >= SMALL) | (scores >= SURE_OF_SMALL)
        boxes, scores = boxes[sure], scores[sure]
        boxes *= np.array([image.width / width, image.height / height] * 2, dtype=np.float32)
        kept = self._cv2.dnn.NMSBoxes(_with_sides(boxes).tolist(), scores.tolist(), SURE, _OVERLAP)
        return ranked([_face(boxes[i], float(scores[i])) for i in np.asarray(kept, dtype=int).reshape(-1)])


def decode(heat: Floats, sizes: Floats, offsets: Floats) -> tuple[Floats, Floats]:
    """Boxes [n, 4] as left, top, right, bottom in pixels of the network's input, and their heat [n].

    Args:
        heat: [h, w], one cell for 4 x 4 pixels.
        sizes: [2, h, w], logarithms of height and width in cells.
        offsets: [2, h, w], down and across, of the middle in its cell.
    """
    rows, columns = np.nonzero(heat >= SURE)
    at = (slice(None), rows, columns)
    tall, wide = np.exp(sizes[at]) * _STRIDE
    down, across = (offsets[at] + 0.5 + np.stack([rows, columns])) * _STRIDE
    boxes = np.stack([across - wide / 2, down - tall / 2, across + wide / 2, down + tall / 2], axis=1)
    return boxes.astype(np.float32), heat[rows, columns]


def _with_sides(boxes: Floats) -> Floats:
    """Left, top, width, height."""
    return np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)


def _face(box: Floats, score: float) -> Face:
    left, top, right, bottom = (float(v) for v in box)
    return Face((left, top, right, bottom), score)
