"""Image embeddings: unit vectors whose cosine is the similarity of two images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bakehouse.core.bundled_models import BUNDLED_TAGGER
from bakehouse.core.errors import UsageError
from bakehouse.vision.onnx_network import OnnxNetwork
from bakehouse.vision.segmentation.input_formats import NORMALIZATIONS

Floats = NDArray[np.float32]
Embedder = Callable[[Sequence[Image.Image]], Floats]
"""RGB images to [N, D], each row of unit length."""

_DEFAULT_SIDE = 224
"""Input size of ONNX networks that accept any."""


def load_embedder(name: str) -> Embedder:
    """Load an embedding model: the bundled tagger (`crumb`), or an image network in an ONNX file.

    Raises:
        UsageError: the file does not exist or is not an ONNX network.
    """
    if name == BUNDLED_TAGGER:
        from bakehouse.vision.taggers import CrumbTagger

        tagger = CrumbTagger.load()
        return lambda images: np.asarray(tagger(images).embeddings, np.float32)
    path = Path(name).expanduser()
    if path.suffix.lower() != ".onnx" or not path.is_file():
        reason = "is not an .onnx file" if path.is_file() else "does not exist"
        raise UsageError(
            f"embedder {name!r} {reason}", hint="use crumb, or the path of an ONNX image network such as CLIP or DINO"
        )
    return OnnxEmbedder(path)


class OnnxEmbedder:
    """An ONNX network with ImageNet normalization: [N, 3, H, W] to a vector, a feature map or tokens (CLS first)."""

    def __init__(self, path: Path) -> None:
        """Load the file.

        Raises:
            UsageError: onnxruntime is missing, or the file is not an ONNX network.
        """
        self._net = OnnxNetwork(path, "image embeddings")
        self._size = self._net.size() or (_DEFAULT_SIDE, _DEFAULT_SIDE)

    def __call__(self, images: Sequence[Image.Image]) -> Floats:
        """Return the embeddings [N, D]; images run one at a time, since the batch size may be fixed."""
        return np.stack([self._one(image) for image in images])

    def _one(self, image: Image.Image) -> Floats:
        mean, std = NORMALIZATIONS["imagenet"]
        small = image.convert("RGB").resize(self._size, Image.Resampling.BICUBIC)
        pixels = (np.asarray(small, np.float32) / 255 - np.array(mean)) / np.array(std)
        found = self._net(pixels.transpose(2, 0, 1)[None])[0]
        # A feature map is averaged over positions, a token sequence gives its first token.
        vector = found.mean((0, 2, 3)) if found.ndim == 4 else found[0, 0] if found.ndim == 3 else found.ravel()
        return np.asarray(normalize_rows(vector[None])[0])


def normalize_rows(vectors: Floats) -> Floats:
    """Return the rows scaled to length 1."""
    return np.asarray(vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12), np.float32)
