"""`dataset upscale --img2img`: repairs enlarged images by image-to-image with a model that learned the subject."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Annotated, ClassVar, Self

from PIL import Image
from pydantic import Field, PrivateAttr

from bakehouse.core.events import Event, Warned
from bakehouse.core.files import atomic_path, cache_dir, key_of, sha256_bytes
from bakehouse.curation.changeset import Proposal
from bakehouse.curation.upscale import Upscale
from bakehouse.data.image_records import ImageRecord, ImageSet
from bakehouse.data.open_image import open_image
from bakehouse.evaluation.image_cache import weight_files
from bakehouse.generation.img2img_settings import FromImage
from bakehouse.generation.model_source import ModelSource, resolve
from bakehouse.generation.pipeline import Pipeline
from bakehouse.generation.request import ImageRequest
from bakehouse.models.weights_fingerprint import files_fingerprint

USUAL = (0.1, 0.3)
"""Strengths that repair pixels and keep the content."""
_CACHE_VERSION = 1


class RepairedUpscale(Upscale):
    """Settings of `dataset upscale --img2img`. Use it in a `with` block, which releases the model at its end."""

    command: ClassVar[str] = "upscale"

    img2img: Annotated[float, Field(gt=0, le=1)]
    """How much the model changes each image: 0.1 to 0.3 repairs it, more invents new content."""
    repair_with: Annotated[str, Field(min_length=1)]
    """MODEL: a run, whose picked checkpoint is used, an adapter, or a whole model."""
    seed: Annotated[int, Field(ge=0, le=2**32 - 1)] = 0
    """The seed of every image."""

    _lock: threading.Lock = PrivateAttr(default_factory=threading.Lock)
    _loaded: list[Pipeline] = PrivateAttr(default_factory=list)
    _source: list[ModelSource] = PrivateAttr(default_factory=list)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        for pipeline in self._loaded:
            pipeline.close()
        self._loaded.clear()

    def propose(self, images: ImageSet) -> Iterator[Proposal | Event]:
        """Propose to upscale and repair each image that is too small; a model is loaded when contents are asked for.

        Raises:
            UsageError: no upscaler is installed, or `repair_with` is no model.
        """
        self._source[:] = [resolve(self.repair_with)]
        low, high = USUAL
        if not low <= self.img2img <= high:
            yield Warned(
                message=f"img2img {self.img2img:g}: {low:g} to {high:g} is usual; "
                + ("more changes what the images show" if self.img2img > high else "less changes next to nothing")
            )
        without = [images.name(record.path) for record in images if not record.captions]
        if without:
            yield Warned(message=f"{len(without)} images without a caption are repaired with an empty prompt")
        yield from super().propose(images)

    def finish_label(self) -> str:
        """Return what the repair does, for the reason of a proposal."""
        return f"repaired at strength {self.img2img:g} by {self._source[0].title}"

    def finish(self, record: ImageRecord, image: Image.Image) -> Image.Image:
        """Return the image after image-to-image, of the same size; alpha stays. Results are cached.

        Raises:
            BakehouseError: the image does not fit into memory, or a file of the model is damaged.
        """
        prompt = next(iter(record.captions), "")
        kept = cache_dir("repaired", f"{self._key(image, prompt)}.png")
        if kept.is_file():
            drawn = open_image(kept)
        else:
            request = ImageRequest(
                prompt=prompt,
                prompt_syntax="plain",
                seed=self.seed,
                image=FromImage(image=image.convert("RGB"), strength=self.img2img),
            )
            drawn = next(iter(self._pipeline().txt2img(request))).image.convert("RGB")
            with atomic_path(kept) as temporary:
                drawn.save(temporary, "PNG", compress_level=1)
        if image.mode == "RGBA":
            drawn.putalpha(image.getchannel("A"))
        return drawn

    def _key(self, image: Image.Image, prompt: str) -> str:
        source = self._source[0]
        weights = [(files_fingerprint(weight_files(str(path))), strength) for path, strength in source.adapters]
        files = weight_files(source.base)
        base = files_fingerprint(files) if files else source.base
        pixels = sha256_bytes(image.convert("RGB").tobytes())
        how = (self.img2img, self.seed, prompt)
        return key_of(_CACHE_VERSION, pixels, image.size, base, source.base_settings[1:], weights, how)

    def _pipeline(self) -> Pipeline:
        """Return the model, loaded once."""
        with self._lock:
            if not self._loaded:
                self._loaded.append(Pipeline.open(self._source[0]))
            return self._loaded[0]
