"""The one internal request that all dialects translate to, and what comes back. No torch."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from bakehouse.generation.request import ImageRequest
from bakehouse.generation.request_json import request_from_json, request_to_json, source_files

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
        regions = self.request.regions.regions if self.request.regions else ()
        prompts = self.request.prompt, self.request.negative, *(region.prompt for region in regions)
        return sum(map(len, prompts))

    @property
    def files(self) -> tuple[Path, ...]:
        """The server's files that the request names."""
        return tuple(source_files(self.request))

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
    flagged: bool = False
    """The safety checker has found it, and it is black."""
    facts: dict[str, Any] = field(default_factory=dict)
    """The request with all settings resolved, as the worker followed it: sampler, schedule, guidance, model hash."""


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
