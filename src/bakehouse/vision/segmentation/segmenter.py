"""Segment the subject of an image from its background by a network."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from bakehouse.core.errors import UsageError
from bakehouse.vision.onnx_network import OnnxNetwork
from bakehouse.vision.segmentation.input_formats import InputFormat, Normalize, find_input_format, segmenter_path

Floats = npt.NDArray[np.float32]
DEFAULT_SIZE = 1024


class Segmenter:
    """A segmentation network that makes subject masks; thread-safe."""

    def __init__(self, path: Path, format_: InputFormat, name: str = "") -> None:
        """Load the network.

        Raises:
            UsageError: onnxruntime is missing, or the file is not an ONNX network.
        """
        self.name = name or path.stem
        self._net = OnnxNetwork(path, "making masks")
        self._format = format_
        side = format_.size or DEFAULT_SIZE
        self.size = self._net.size() or (side, side)

    @classmethod
    def open(cls, name: str, *, size: int | None = None, normalize: Normalize = "auto") -> Segmenter:
        """Load a model by the name it is installed under, rembg's name for it, or its path.

        Raises:
            UsageError: it is not installed; says where to get it.
        """
        path = segmenter_path(name)
        known = path.stem if Path(name).suffix or path.parent == Path(name).parent else name
        return cls(path, find_input_format(known, size=size, normalize=normalize), name if known == name else path.name)

    def __call__(self, image: Image.Image) -> Floats:
        """Return the mask of an RGB image of any size: float32 [height, width], 1 is the subject.

        Raises:
            UsageError: the network's output is not a mask.
        """
        output: Floats = np.squeeze(self._net(self._pixels(image))[0])
        if output.ndim != 2:
            raise UsageError(
                f"{self.name} is not a segmentation model: its output is {' x '.join(map(str, output.shape))}",
                hint="the output has to be one value per pixel",
            )
        if self._format.sigmoid or output.min() < -0.05 or output.max() > 1.05:
            output = np.reciprocal(1 + np.exp(-output))
        if self._format.stretch:
            output = (output - output.min()) / np.float32(max(float(np.ptp(output)), 1e-6))
        small = Image.fromarray(np.ascontiguousarray(output, dtype=np.float32))
        # Lanczos would overshoot at edges, above 1.
        mask: Floats = np.clip(np.asarray(small.resize(image.size, Image.Resampling.BICUBIC)), 0.0, 1.0)
        return mask

    def _pixels(self, image: Image.Image) -> Floats:
        """Return the network's input [1, 3, h, w]; the aspect ratio is not kept, as in training."""
        small = image.convert("RGB").resize(self.size, Image.Resampling.LANCZOS)
        values: Floats = np.array(small, dtype=np.float32)
        values /= max(float(values.max()), 1.0) if self._format.peak else 255.0
        mean, std = (np.array(three, dtype=np.float32) for three in (self._format.mean, self._format.std))
        return ((values - mean) / std).transpose(2, 0, 1)[None]
