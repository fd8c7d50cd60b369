"""Load and run upscalers and same-size filters: formats that spandrel reads, and Real-ESRGAN in ncnn's format."""

from __future__ import annotations

import threading
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors import SafetensorError

from bakehouse.core.errors import UsageError
from bakehouse.core.files import sha256_file
from bakehouse.core.not_weights import not_weights
from bakehouse.vision.upscalers.ncnn_weights import read_ncnn_weights
from bakehouse.vision.upscalers.spandrel_import import import_spandrel
from bakehouse.vision.upscalers.tiling import RAMP, run_tiled

Floats = npt.NDArray[np.float32]
MIN_TILE = 64
OVERLAP = 48
"""Pixels, of which 20 on each side are discarded and 8 are blended."""


class Upscaler:
    """Enlarges RGB images by the factor `scale`; thread-safe."""

    def __init__(self, path: Path, *, tile: int = 256, device: str | None = None) -> None:
        """Load the weights.

        Args:
            path: `.pth`, `.pt`, `.safetensors`, or ncnn's `.bin` or `.param`.
            tile: longest side of a tile in pixels; halved automatically when memory runs out.
            device: `cuda`, `cpu`, ...; None: CUDA if available.

        Raises:
            UsageError: the file is not a known upscaler, or spandrel is missing.
        """
        self.path, self.tile = path, tile
        self.sha256 = sha256_file(path)
        self._device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self._net = _load(path)
        self.scale: int = self._net.scale
        self.architecture: str = self._net.architecture.name
        # Half precision is twice as fast on a GPU, if the network supports it.
        half = self._device.type == "cuda" and self._net.supports_half
        self._dtype = torch.float16 if half else torch.float32
        self._net.to(self._device, self._dtype).eval()
        self._lock = threading.Lock()

    def __call__(self, image: Floats) -> Floats:
        """Map float32 [h, w, 3] in 0..1 to [h * scale, w * scale, 3] in 0..1."""
        with self._lock:
            while True:
                try:
                    return np.clip(run_tiled(image, self._run, tile=self.tile, overlap=OVERLAP), 0.0, 1.0)
                except torch.OutOfMemoryError as e:
                    if self.tile // 2 < max(MIN_TILE, 2 * OVERLAP - RAMP):
                        raise UsageError(
                            f"{self.path.name} runs out of GPU memory even with tiles of {self.tile} pixels",
                            hint="close other programs that use the GPU, or use a smaller upscaler",
                        ) from e
                    self.tile //= 2
                    torch.cuda.empty_cache()

    @torch.inference_mode()
    def _run(self, image: Floats) -> Floats:
        x = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)[None]
        x = x.to(self._device, self._dtype)
        if self._net.input_channels == 1:  # run a greyscale network on each channel
            return self._to_image(self._net(x.transpose(0, 1))[:, 0])
        return self._to_image(self._net(x)[0])

    def _to_image(self, y: torch.Tensor) -> Floats:
        made: Floats = y.float().cpu().permute(1, 2, 0).numpy()
        return made


def _load(path: Path) -> Any:
    """Return spandrel's description of the network."""
    library = import_spandrel()
    try:
        if path.suffix.lower() in (".bin", ".param"):
            weights = {name: torch.from_numpy(values) for name, values in read_ncnn_weights(path).items()}
            found = library.ModelLoader().load_from_state_dict(weights)
        else:
            found = library.ModelLoader().load_from_file(path)
    except UsageError:
        raise
    # spandrel tries every architecture it knows, and each fails in its own way on other files.
    except (
        library.UnsupportedModelError,
        RuntimeError,
        ValueError,
        KeyError,
        TypeError,
        OSError,
        EOFError,
        SafetensorError,
        UnpicklingError,
    ) as e:
        # ncnn's `.param` is text by right.
        if path.suffix.lower() != ".param" and (other := not_weights(path)) is not None:
            raise UsageError(other.message, hint=other.hint) from e
        reason = (str(e).splitlines() or [type(e).__name__])[0]
        raise UsageError(
            f"{path} is not a known upscaler: {reason}",
            hint="supported are upscalers of chaiNNer and ComfyUI: .pth and .safetensors of ESRGAN, DAT, ...",
        ) from e
    if not isinstance(found, library.ImageModelDescriptor) or found.input_channels not in (1, 3):
        raise UsageError(
            f"{path} is not an upscaler but {found.architecture.name}",
            hint="use an inpainter with `bakehouse dataset clean --inpainter`",
        )
    return found
