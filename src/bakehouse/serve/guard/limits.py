"""What one request may ask for at most: sizes, steps, counts, lengths."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from bakehouse.core.errors import UsageError
from bakehouse.generation.request import ImageRequest
from bakehouse.generation.source_image import plan_canvas
from bakehouse.serve.errors import ServeError


@dataclass(frozen=True, kw_only=True)
class Limits:
    """The most that one request may ask for."""

    side: int = 2048
    """Pixels of a side, also after a second pass and after extending."""
    pixels: int = 2048 * 2048
    """Of a picture, also after a second pass."""
    steps: int = 150
    count: int = 16
    """Pictures of one request."""
    prompt: int = 4000
    """Characters of a prompt, and of a negative prompt."""
    upload_bytes: int = 20 << 20
    """Of one image."""
    upload_pixels: int = 25_000_000
    """Of one image, when it is decoded."""
    body_bytes: int = 64 << 20
    """Of a whole request."""
    dataset_upload_bytes: int = 4 << 30
    """Of the files of one request that adds to a dataset; they are written to the disk as they come."""

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if value < 1:
                raise UsageError(f"the limit {name} = {value}: must be at least 1")

    def check(self, request: ImageRequest, *, native_size: int, upscalers: Iterable[str]) -> None:
        """Check what a request asks for.

        Args:
            request: of one or several pictures.
            native_size: side in pixels of the model's images, for sizes that are left open.
            upscalers: names that a second pass may use; anything else would be a path.

        Raises:
            ServeError: beyond a limit (400); names the value and the limit.
        """
        width, height = _drawn_size(request, native_size)
        scale = 1.0 if request.hires is None else request.hires.scale
        width, height = int(width * scale), int(height * scale)
        hires_steps = 0 if request.hires is None else request.hires.steps or 0
        regions = request.regions.regions if request.regions else ()
        for what, value, limit in (
            ("width", width, self.side),
            ("height", height, self.side),
            ("pixels (width x height)", width * height, self.pixels),
            ("steps", max(request.steps, hires_steps), self.steps),
            ("pictures", request.count, self.count),
            ("characters of the prompt", len(request.prompt), self.prompt),
            ("characters of the negative prompt", len(request.negative), self.prompt),
            *(("characters of a region's prompt", len(region.prompt), self.prompt) for region in regions),
        ):
            if value > limit:
                raise ServeError(400, "over_limit", f"{what}: {value:,} is more than this server's limit of {limit:,}")
        self._check_upscaler(request, upscalers)

    @staticmethod
    def _check_upscaler(request: ImageRequest, upscalers: Iterable[str]) -> None:
        if request.hires is None:
            return
        known = {name.lower() for name in upscalers}
        if request.hires.upscaler.strip().lower() not in known:
            raise ServeError(
                400,
                "unknown_upscaler",
                f"upscaler {request.hires.upscaler!r} is unknown",
                hint=f"allowed are {', '.join(sorted(known))}",
            )


def _drawn_size(request: ImageRequest, native_size: int) -> tuple[int, int]:
    """Return width and height of what is drawn first. An image that is begun from decides what is left open."""
    if request.image is None:
        return request.width or native_size, request.height or native_size
    canvas = plan_canvas(
        request.image, request.inpaint, width=request.width, height=request.height, multiple=1, native=native_size
    )
    return canvas.drawn if canvas.only_masked else canvas.canvas
