"""What bakehouse's own API takes: an `ImageRequest` as JSON, with images in base64."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from bakehouse.generation.img2img_settings import Extend, FromImage, Hires, Inpaint
from bakehouse.generation.regions import DEFAULT_BASE, DEFAULT_EDGE, MAX_REGIONS, Region, Regions
from bakehouse.generation.request import ImageRequest
from bakehouse.serve.work.drawing import Drawing, ImageFormat

SaveImage = Callable[[str, str], Awaitable[Path]]
"""Keeps an image that is given as text; the second argument is what the request calls it."""


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class ExtendBody(_Body):
    """Pixels to add on each side."""

    left: int = 0
    right: int = 0
    up: int = 0
    down: int = 0


class ImageBody(_Body):
    """An image to begin from."""

    data: str = Field(description="Base64, or a data: URL.")
    strength: float = 0.75
    resize: Literal["stretch", "crop", "pad"] = "stretch"
    extend: ExtendBody | None = None


class InpaintBody(_Body):
    """Draw only a part of the image anew."""

    mask: str | None = Field(None, description="Base64 of an image: white is drawn anew. None: what `extend` adds.")
    invert: bool = False
    blur: float = 4.0
    content: Literal["fill", "original", "latent noise", "latent nothing"] = "original"
    area: Literal["whole picture", "only masked"] = "whole picture"
    padding: int = 32


class HiresBody(_Body):
    """Enlarge and sample again."""

    scale: float = 2.0
    upscaler: str = "Latent"
    steps: int | None = None
    strength: float = 0.7


class RegionBody(_Body):
    """A part of the image with a prompt of its own."""

    area: str | None = Field(None, description="left, right, top, bottom, left-third ..., or 10,0,50,100 in percent.")
    mask: str | None = Field(None, description="In place of an area, base64 of an image: white is the region.")
    prompt: str


class RegionsBody(_Body):
    """Parts of the image with prompts of their own; the main prompt is everywhere."""

    regions: list[RegionBody] = Field(max_length=MAX_REGIONS)
    base: float = Field(DEFAULT_BASE, description="0 to 1: the main prompt's weight where regions are.")
    edge: float = Field(DEFAULT_EDGE, description="The soft edge, in percent of the image's shorter side.")


class FormatBody(_Body):
    """How finished pictures are written."""

    kind: Literal["png", "jpeg", "webp"] = "png"
    quality: int | None = Field(None, ge=1, le=100)
    infotext: bool = True


class DrawBody(_Body):
    """Pictures to draw. What is left out is filled in by the model."""

    model: str | None = Field(None, description="Name of a served model. Default: the first.")
    prompt: str
    negative: str = ""
    width: int | None = None
    height: int | None = None
    steps: int = 20
    guidance: float | None = None
    guidance_rescale: float = 0.0
    sampler: str = "dpm++ 2m"
    schedule: str | None = None
    seed: int = Field(-1, description="-1: random. Picture i has seed + i.")
    count: int = 1
    clip_skip: int | None = None
    eta: float | None = None
    discard_penultimate: bool = False
    rng: Literal["cpu", "nv"] = "cpu"
    ensd: int = 0
    variation_seed: int = -1
    variation_strength: float = 0.0
    seed_resize: tuple[int, int] | None = None
    tiling: bool = False
    prompt_syntax: Literal["a1111", "plain"] = "a1111"
    emphasis: Literal["original", "no-norm", "ignore", "none"] = "original"
    image: ImageBody | None = None
    inpaint: InpaintBody | None = None
    hires: HiresBody | None = None
    regions: RegionsBody | None = None
    format: FormatBody = Field(default_factory=FormatBody)
    preview_every: int = Field(0, ge=0, description="Steps between previews in a job's events; 0: none.")

    async def drawing(self, default_model: str, save: SaveImage) -> Drawing:
        """Return what the body asks for.

        Raises:
            ServeError: an image that cannot be used.
            Problems: values out of range.
        """
        parts = {"model", "image", "inpaint", "hires", "regions", "format", "preview_every"}
        fields: dict[str, Any] = {name: value for name, value in self if name not in parts}
        if self.image is not None:
            extend = None if self.image.extend is None else Extend(**dict(self.image.extend))
            path = await save(self.image.data, "image.data")
            fields["image"] = FromImage(
                image=path, strength=self.image.strength, resize=self.image.resize, extend=extend
            )
        if self.inpaint is not None:
            mask = None if self.inpaint.mask is None else await save(self.inpaint.mask, "inpaint.mask")
            fields["inpaint"] = Inpaint(**{**dict(self.inpaint), "mask": mask})
        if self.hires is not None:
            fields["hires"] = Hires(**dict(self.hires))
        if self.regions is not None:
            parts_of_image = [await self._region(i, save) for i in range(len(self.regions.regions))]
            fields["regions"] = Regions(regions=tuple(parts_of_image), base=self.regions.base, edge=self.regions.edge)
        return Drawing(
            model=self.model or default_model,
            request=ImageRequest(**fields),
            format=ImageFormat(**dict(self.format)),
            preview_every=self.preview_every,
        )

    async def _region(self, number: int, save: SaveImage) -> Region:
        assert self.regions is not None
        body = self.regions.regions[number]
        mask = None if body.mask is None else await save(body.mask, f"regions.{number}.mask")
        return Region(area=body.area, mask=mask, prompt=body.prompt)
