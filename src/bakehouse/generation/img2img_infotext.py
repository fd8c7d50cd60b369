"""The infotext of image-to-image, inpainting and the hires fix, under A1111's names.

As in A1111, settings at their default are left out. `Extend`, `Mask hash` and
`Resize mode` as words are bakehouse's own.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from bakehouse.generation.img2img_settings import Inpaint
from bakehouse.generation.request import ImageRequest
from bakehouse.vision.upscalers.find_upscaler import WEIGHTS_ENDINGS

if TYPE_CHECKING:
    from bakehouse.generation.source_image import PreparedSource

_RESIZE_MODES = {"stretch": "Just resize", "crop": "Crop and resize", "pad": "Resize and fill"}


def strength_of(request: ImageRequest) -> float | None:
    """Return `Denoising strength`: of the image, or of the second pass."""
    if request.image is not None:
        return request.image.strength
    return request.hires.strength if request.hires is not None else None


def img2img_settings(request: ImageRequest, prepared: PreparedSource | None) -> dict[str, object]:
    """Return the settings of one resolved request beside those of every image, in A1111's order."""
    settings: dict[str, object] = {}
    if request.image is not None and prepared is not None:
        settings["Resize mode"] = _RESIZE_MODES[request.image.resize] if request.image.resize != "stretch" else None
        settings["Extend"] = str(request.image.extend) if request.image.extend else None
        if prepared.drawn_mask is not None:
            settings |= _mask_settings(request.inpaint or Inpaint(content="fill"), prepared.mask_hash)
    if request.hires is not None:
        settings |= {
            "Hires upscale": float(request.hires.scale),
            "Hires steps": request.hires.steps,
            "Hires upscaler": _upscaler_name(request.hires.upscaler),
        }
    return settings


def _mask_settings(inpaint: Inpaint, mask_hash: str | None) -> dict[str, object]:
    only_masked = inpaint.area == "only masked"
    return {
        "Mask mode": "Inpaint not masked" if inpaint.invert else None,
        "Mask blur": float(inpaint.blur) or None,
        "Inpaint area": "Only masked" if only_masked else None,
        "Masked area padding": inpaint.padding if only_masked else None,
        "Masked content": inpaint.content if inpaint.content != "original" else None,
        "Mask hash": mask_hash,
    }


def _upscaler_name(upscaler: str) -> str:
    """Return the name of a file without folder and ending, as A1111 names its upscalers."""
    return Path(upscaler).stem if Path(upscaler).suffix in WEIGHTS_ENDINGS else upscaler
