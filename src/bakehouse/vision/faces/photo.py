"""Face detector for photos: CenterFace (Xu et al. 2019, arXiv:1911.03599), through OpenCV's dnn."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from bakehouse.core.errors import UsageError
from bakehouse.core.optional_imports import import_optional
from bakehouse.vision.faces.face import Face, rank_faces

Floats = npt.NDArray[np.float32]

MIN_SCORE = 0.5
"""Least score of a face. At 0.4, a tree in six group photos was detected as a face."""
SMALL_FACE, MIN_SCORE_OF_SMALL = 32, 0.65
"""Height in pixels of the network's input below which faces need a higher score. Measured on six photos: 0.65 and more
for faces of 26 to 39 pixels; below 20 pixels faces and patterns score the same."""
MAX_PIXELS = 1_500_000
"""Images with more pixels are reduced first."""
_STRIDE = 4
_MAX_OVERLAP = 0.3
"""Largest overlap (IoU) of two boxes; above it the one with the lower score is dropped."""
_OUTPUTS = ("537", "538", "539", "540")
"""Names of the outputs in the file: heat, sizes, offsets, landmarks. OpenCV 5 wants all or none named."""


class PhotoFaceDetector:
    """Detects faces in photos; faces lower than 32 pixels need a higher score."""

    def __init__(self, model: Path) -> None:
        """Load the network.

        Raises:
            UsageError: OpenCV is missing, or the file is not CenterFace.
        """
        self._cv2 = import_optional("cv2", "detecting faces in photos")
        try:
            self._net = self._cv2.dnn.readNetFromONNX(str(model))
        except self._cv2.error as e:
            raise UsageError(
                f"OpenCV cannot load the ONNX network {model}",
                hint="install it again: bakehouse models fetch centerface",
            ) from e
        self._lock = threading.Lock()

    def __call__(self, image: Image.Image) -> list[Face]:
        """Return all faces, the main one first."""
        ratio = min(1.0, (MAX_PIXELS / (image.width * image.height)) ** 0.5)
        width, height = (max(32, round(side * ratio / 32) * 32) for side in image.size)
        reduced = np.asarray(image.convert("RGB").resize((width, height), Image.Resampling.BILINEAR))
        with self._lock:
            self._net.setInput(self._cv2.dnn.blobFromImage(reduced))
            heat, sizes, offsets, _ = self._net.forward(_OUTPUTS)
        boxes, scores = decode_boxes(heat[0, 0], sizes[0], offsets[0])
        sure = (boxes[:, 3] - boxes[:, 1] >= SMALL_FACE) | (scores >= MIN_SCORE_OF_SMALL)
        boxes, scores = boxes[sure], scores[sure]
        boxes *= np.array([image.width / width, image.height / height] * 2, dtype=np.float32)
        kept = self._cv2.dnn.NMSBoxes(_with_sides(boxes).tolist(), scores.tolist(), MIN_SCORE, _MAX_OVERLAP)
        return rank_faces([_face(boxes[i], float(scores[i])) for i in np.asarray(kept, dtype=int).reshape(-1)])


def decode_boxes(heat: Floats, sizes: Floats, offsets: Floats) -> tuple[Floats, Floats]:
    """Return boxes [n, 4] (left, top, right, bottom in pixels of the network's input) and their scores [n].

    Args:
        heat: [h, w], one cell per 4 x 4 pixels.
        sizes: [2, h, w], logarithms of height and width in cells.
        offsets: [2, h, w], y and x of the centre in its cell.
    """
    rows, columns = np.nonzero(heat >= MIN_SCORE)
    at = (slice(None), rows, columns)
    tall, wide = np.exp(sizes[at]) * _STRIDE
    down, across = (offsets[at] + 0.5 + np.stack([rows, columns])) * _STRIDE
    boxes = np.stack([across - wide / 2, down - tall / 2, across + wide / 2, down + tall / 2], axis=1)
    return boxes.astype(np.float32), heat[rows, columns]


def _with_sides(boxes: Floats) -> Floats:
    """Convert boxes to left, top, width, height."""
    return np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)


def _face(box: Floats, score: float) -> Face:
    left, top, right, bottom = (float(v) for v in box)
    return Face((left, top, right, bottom), score)
