"""Images as vectors of unit length: how alike two look is their cosine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bakehouse.core.bundled_models import BUNDLED_TAGGER
from bakehouse.core.errors import UsageError
from bakehouse.vision.onnx_network import OnnxNet
from bakehouse.vision.segmentation.input_formats import NORMALS

Floats = NDArray[np.float32]
Embed = Callable[[Sequence[Image.Image]], Floats]
"""RGB images to [N, D], each row of unit length."""

_SIDE = 224
"""What an ONNX network sees that takes any size."""


def open_embedder(name: str) -> Embed:
    """The embedded tagger (`crumb`), or any network of images in an ONNX file.

    Raises:
        UsageError: no such file, or no ONNX network.
    """
    if name == BUNDLED_TAGGER:
        from bakehouse.vision.taggers import CrumbTagger

        tagger = CrumbTagger.load()
        return lambda images: np.asarray(tagger(images).embeddings, np.float32)
    path = Path(name).expanduser()
    if path.suffix.lower() != ".onnx" or not path.is_file():
        reason = "is no ONNX file" if path.is_file() else "does not exist"
        raise UsageError(
            f"embedder {name!r} {reason}", hint="crumb, or the path of a CLIP, DINO or other image network"
        )
    return OnnxEmbedder(path)


class OnnxEmbedder:
    """A network [N, 3, H, W] to vectors, in ImageNet's colours; of a sequence of tokens the first counts (CLS)."""

    def __init__(self, path: Path) -> None:
        """Opens the file.

        Raises:
            UsageError: onnxruntime is missing, or the file is no ONNX network.
        """
        self._net = OnnxNet(path, "sorting by likeness")
        self._size = self._net.size() or (_SIDE, _SIDE)

    def __call__(self, images: Sequence[Image.Image]) -> Floats:
        """One at a time: the file may allow no more."""
        return np.stack([self._one(image) for image in images])

    def _one(self, image: Image.Image) -> Floats:
        mean, std = NORMALS["imagenet"]
        small = image.convert("RGB").resize(self._size, Image.Resampling.BICUBIC)
        pixels = (np.asarray(small, np.float32) / 255 - np.array(mean)) / np.array(std)
        found = self._net(pixels.transpose(2, 0, 1)[None])[0]
        # A map is averaged over its places, a sequence gives its first token.
        vector = found.mean((0, 2, 3)) if found.ndim == 4 else found[0, 0] if found.ndim == 3 else found.ravel()
        return np.asarray(unit(vector[None])[0])


def unit(vectors: Floats) -> Floats:
    """Rows brought to length 1."""
    return np.asarray(vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12), np.float32)
