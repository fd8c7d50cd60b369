"""Upscalers of the second pass: interpolation of latents, interpolation of the image, or a network."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from bakehouse.core.errors import UsageError, did_you_mean
from bakehouse.vision.upscalers.find_upscaler import upscaler_path

if TYPE_CHECKING:
    from bakehouse.vision.upscalers.upscaler import Upscaler

_INTERPOLATIONS = {"Lanczos": Image.Resampling.LANCZOS, "Nearest": Image.Resampling.NEAREST}


def upscaler_label(name: str) -> str:
    """Return an upscaler's name as A1111 writes it; for a network the name or the path that was given.

    Raises:
        UsageError: unknown, or not installed; names what is allowed.
    """
    from bakehouse.models.second_pass import LATENT_UPSCALERS

    known = {label.lower(): label for label in (*LATENT_UPSCALERS, *_INTERPOLATIONS)}
    label = known.get(name.strip().lower())
    if label is None:
        try:
            upscaler_path(name, option="--upscaler")
        except UsageError as e:
            allowed = ", ".join(known)
            raise UsageError(
                f"upscaler = {name!r}: {e.message}{did_you_mean(name.lower(), known)}",
                hint=f"allowed are {allowed}, and networks: {e.hint}" if e.hint else f"allowed are {allowed}",
            ) from e
    return label or name


class HiresUpscalers:
    """Enlarges images with any upscaler; networks are loaded at their first use and kept."""

    def __init__(self, device: str) -> None:
        self._device = device
        self._networks: dict[str, Upscaler] = {}

    def enlarge(self, name: str, image: Image.Image, size: tuple[int, int]) -> Image.Image:
        """Return an RGB image at a width and height in pixels.

        Args:
            name: from `upscaler_label`, not one of latents.
            image: RGB.
            size: width and height.

        Raises:
            UsageError: the network's file is not an upscaler, or a library for it is missing.
        """
        if name in _INTERPOLATIONS:
            return image.resize(size, _INTERPOLATIONS[name])
        from bakehouse.vision.upscalers.upscale_image import upscale_to_size
        from bakehouse.vision.upscalers.upscaler import Upscaler

        if name not in self._networks:
            path: Path = upscaler_path(name, option="--upscaler")
            self._networks[name] = Upscaler(path, device=self._device)
        network = self._networks[name]
        return upscale_to_size(image, network, network.scale, size)
