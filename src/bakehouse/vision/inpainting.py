"""Inpainting by a network (LaMa), to remove text from detailed backgrounds."""

from __future__ import annotations

import threading
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from bakehouse.core.errors import UsageError
from bakehouse.vision.onnx_network import OnnxNetwork

Bytes = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]

_CONTEXT = 128
_MULTIPLE = 8


class Inpainter:
    """An inpainting network that takes an image and a mask: LaMa (Suvorov et al. 2021) as TorchScript or ONNX."""

    def __init__(self, path: Path) -> None:
        """Load the file.

        Raises:
            UsageError: the file is neither TorchScript nor ONNX, or a library is missing.
        """
        self.path = path
        self._lock = threading.Lock()
        self._onnx = OnnxNetwork(path, "inpainting") if path.suffix.lower() == ".onnx" else None
        if self._onnx is not None and len(self._onnx.inputs) != 2:
            count = len(self._onnx.inputs)
            raise UsageError(f"{path} is not an inpainter: it has {count} inputs, not two (an image and a mask)")
        self._script: Any = None if self._onnx else _load_torchscript(path)
        self.size = self._onnx.size() if self._onnx else None

    def __call__(self, image: Image.Image, mask: Bytes) -> Image.Image:
        """Return the RGB image with the masked pixels (mask > 0) inpainted; other pixels are unchanged."""
        left, top, right, bottom = _context_box(mask)
        piece, hole = image.convert("RGB").crop((left, top, right, bottom)), mask[top:bottom, left:right]
        painted = self._paint(piece, hole)
        result = image.convert("RGB")
        result.paste(painted, (left, top), Image.fromarray(hole))
        return result

    def _paint(self, piece: Image.Image, hole: Bytes) -> Image.Image:
        size = self.size or piece.size
        pixels: Floats = np.asarray(piece.resize(size, Image.Resampling.BICUBIC), dtype=np.float32) / np.float32(255)
        holes = np.asarray(Image.fromarray(hole).resize(size, Image.Resampling.NEAREST), dtype=np.float32) > 127
        pad = [(0, 0), *((0, 0 if self.size else -side % _MULTIPLE) for side in size[::-1])]
        x: Floats = np.pad(pixels.transpose(2, 0, 1), pad, mode="reflect" if min(size) > _MULTIPLE else "edge")[None]
        m: Floats = np.pad(holes.astype(np.float32)[None], pad)[None]
        made = self._run(x, m)[0, :, : size[1], : size[0]].transpose(1, 2, 0)
        # Exports differ in their output range: 0..1 or 0..255.
        values = made if float(made.max()) > 2 else made * 255
        painted = Image.fromarray(np.clip(np.round(values), 0, 255).astype(np.uint8))
        return painted.resize(piece.size, Image.Resampling.LANCZOS)

    def _run(self, x: Floats, m: Floats) -> Floats:
        if self._onnx is not None:
            return np.asarray(self._onnx(x, m)[0])
        import torch

        with self._lock, torch.inference_mode():
            made: Floats = self._script(torch.from_numpy(x), torch.from_numpy(m)).float().numpy()
        return made


def _load_torchscript(path: Path) -> Any:
    import torch

    try:
        with warnings.catch_warnings():  # torch.jit is deprecated, but LaMa is distributed as TorchScript
            warnings.simplefilter("ignore", DeprecationWarning)
            load: Any = torch.jit.load
            return load(str(path), map_location="cpu").eval()
    except (RuntimeError, ValueError, OSError) as e:
        raise UsageError(
            f"cannot load inpainter {path}: neither ONNX nor TorchScript: {str(e).splitlines()[0]}",
            hint="`bakehouse models fetch big-lama` installs one",
        ) from e


def _context_box(mask: Bytes) -> tuple[int, int, int, int]:
    """Return the box of the masked pixels with a margin: left, top, right, bottom."""
    rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    height, width = mask.shape
    left, right = max(0, int(columns[0]) - _CONTEXT), min(width, int(columns[-1]) + 1 + _CONTEXT)
    top, bottom = max(0, int(rows[0]) - _CONTEXT), min(height, int(rows[-1]) + 1 + _CONTEXT)
    return left, top, right, bottom
