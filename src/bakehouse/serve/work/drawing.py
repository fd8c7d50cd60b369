"""The one internal request that all dialects translate to, and what comes back. No torch."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from bakehouse.generation.draw_settings import Extend, FromImage, Hires, Inpaint
from bakehouse.generation.request import ImageRequest

ImageKind = Literal["png", "jpeg", "webp"]
MEDIA_TYPES = {"png": "image/png", "jpeg": "image/jpeg", "webp": "image/webp"}


@dataclass(frozen=True)
class ImageFormat:
    """How a finished picture is written."""

    kind: ImageKind = "png"
    quality: int | None = None
    """1 to 100, JPEG and WebP only. None: bakehouse's own."""
    infotext: bool = True
    """Write the settings into the file, as `generate` does."""

    @property
    def media_type(self) -> str:
        return MEDIA_TYPES[self.kind]


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """Pictures to draw with one served model. `request` says what they are; its images are files of the server."""

    model: str
    """Name of a served model."""
    request: ImageRequest
    format: ImageFormat = field(default_factory=ImageFormat)
    preview_every: int = 0
    """Steps between two previews; 0: none."""

    @property
    def characters(self) -> int:
        """Characters of the prompts, as quotas count them."""
        return len(self.request.prompt) + len(self.request.negative)

    @property
    def files(self) -> tuple[Path, ...]:
        """The server's files that the request names."""
        given = (
            self.request.image and self.request.image.image,
            self.request.inpaint and self.request.inpaint.mask,
        )
        return tuple(Path(file) for file in given if isinstance(file, str | Path) and file)

    def seeded(self) -> Drawing:
        """Return the same drawing with random seeds in place of -1."""
        return replace(self, request=self.request.seeded())


@dataclass(frozen=True, kw_only=True)
class Picture:
    """One finished picture."""

    data: bytes
    """The file."""
    format: ImageFormat
    number: int
    """Place in its request, from 0."""
    seed: int
    width: int
    height: int
    infotext: str
    facts: dict[str, Any] = field(default_factory=dict)
    """The request with all settings resolved, as the worker followed it: sampler, schedule, guidance, model hash."""


def request_to_json(request: ImageRequest) -> dict[str, Any]:
    """Return a request as JSON can hold it; images are paths."""
    values = request.words()
    image, inpaint = request.image, request.inpaint
    if image is not None:
        values["image"] = {**asdict(image), "image": str(image.image)}
    if inpaint is not None:
        values["inpaint"] = {**asdict(inpaint), "mask": None if inpaint.mask is None else str(inpaint.mask)}
    if request.hires is not None:
        values["hires"] = asdict(request.hires)
    return values


def request_from_json(values: dict[str, Any]) -> ImageRequest:
    """Return the request that `request_to_json` gave.

    Raises:
        Problems: values out of range.
    """
    known = dict(values)
    if known.get("seed_resize"):
        width, height = known["seed_resize"]
        known["seed_resize"] = (width, height)
    if image := known.pop("image", None):
        extend = image.pop("extend", None)
        known["image"] = FromImage(**{**image, "extend": Extend(**extend) if extend else None})
    if inpaint := known.pop("inpaint", None):
        known["inpaint"] = Inpaint(**inpaint)
    if hires := known.pop("hires", None):
        known["hires"] = Hires(**hires)
    return ImageRequest(**known)


def to_json(drawing: Drawing) -> dict[str, Any]:
    """Return a drawing as JSON can hold it."""
    return {
        "model": drawing.model,
        "request": request_to_json(drawing.request),
        "format": asdict(drawing.format),
        "preview_every": drawing.preview_every,
    }


def from_json(values: dict[str, Any]) -> Drawing:
    """Return the drawing that `to_json` gave."""
    return Drawing(
        model=values["model"],
        request=request_from_json(values["request"]),
        format=ImageFormat(**values["format"]),
        preview_every=values["preview_every"],
    )
