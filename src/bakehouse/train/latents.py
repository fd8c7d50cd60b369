"""Encoded images, kept by content: same picture, crop and encoder, same file, in whatever folder it lies."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from safetensors.torch import load_file, save_file
from torch import Tensor

from bakehouse.core.events import Event, Progress
from bakehouse.core.files import atomic_path, cache_dir, key_of
from bakehouse.data.buckets import fit
from bakehouse.data.images import open_image, to_pixels
from bakehouse.data.masks import load_mask
from bakehouse.families.denoiser import Denoiser, Moments
from bakehouse.recipe.plan import PlannedImage
from bakehouse.recipe.recipe import DataSpec

_VERSION = 1
"""Raised whenever the same image would be encoded otherwise, so that old files are not found."""


@dataclass(frozen=True)
class _Job:
    image: PlannedImage
    flip: bool
    key: str


class LatentCache:
    """Moments of every image (and of its mirror image), in memory while a run lasts and on disk between runs."""

    def __init__(self, images: Sequence[PlannedImage], settings: DataSpec) -> None:
        self.images = images
        self.flip = settings.flip
        self.alpha_mask = settings.alpha_mask
        self.on_disk = settings.cache == "disk"
        self.workers = settings.workers
        self._moments: dict[tuple[int, bool], Moments] = {}
        self._masks: dict[tuple[int, bool], Tensor] = {}

    def fill(self, model: Denoiser) -> Iterator[Event]:
        """Encodes what is not on disk yet.

        On a CPU images are encoded one by one: in a batch, rounding depends on the neighbours, and a run that was
        killed while encoding would end with other bits than one that was not.
        """
        flips = (False, True) if self.flip else (False,)
        jobs = [(i, _Job(image, f, self._key(image, f, model))) for i, image in enumerate(self.images) for f in flips]
        with ThreadPoolExecutor(max(1, self.workers)) as pool:
            opened = pool.map(lambda job: None if self._stored(job[1]) else _pixels(job[1]), jobs)
            for done, ((index, job), pixels) in enumerate(zip(jobs, opened, strict=True), start=1):
                self._moments[index, job.flip] = self._encoded(job, pixels, model)
                yield Progress(what="encoding images", done=done, total=len(jobs))
        for index, image in enumerate(self.images):
            if image.record.mask or (image.record.has_alpha and self.alpha_mask):
                self._masks |= {(index, f): _latent_mask(image, f, model.downscale) for f in flips}

    def moments(self, index: int, flip: bool) -> Moments:
        """[1, C, h, w] of one image."""
        return self._moments[index, flip and self.flip]

    def mask(self, index: int, flip: bool) -> Tensor | None:
        """[1, 1, h, w] in 0..1, or None where the image has no mask."""
        return self._masks.get((index, flip and self.flip))

    def _encoded(self, job: _Job, pixels: Tensor | None, model: Denoiser) -> Moments:
        path = self._path(job)
        if pixels is None:
            stored = load_file(path)
            return Moments(stored["mean"].to(model.device), stored["std"].to(model.device))
        with torch.no_grad():
            moments = model.encode_image(pixels.to(model.device))
        if self.on_disk:
            with atomic_path(path) as temporary:
                save_file({"mean": moments.mean.cpu().contiguous(), "std": moments.std.cpu().contiguous()}, temporary)
        return moments

    def _path(self, job: _Job) -> Path:
        return cache_dir("latents", job.key[:2], f"{job.key}.safetensors")

    def _stored(self, job: _Job) -> bool:
        return self.on_disk and self._path(job).is_file()

    @staticmethod
    def _key(image: PlannedImage, flip: bool, model: Denoiser) -> str:
        place = image.placement
        return key_of(
            _VERSION,
            image.record.sha256,
            place.bucket,
            place.resized,
            place.crop_box,
            flip,
            model.fingerprint,
            str(next(model.parameters()).dtype),
        )


def _pixels(job: _Job) -> Tensor:
    """[1, 3, H, W] in -1..1, resized and cropped to its bucket."""
    image: Image.Image = fit(open_image(job.image.record.path), job.image.placement)
    if job.flip:
        image = ImageOps.mirror(image)
    return torch.from_numpy(to_pixels(image))[None]


def _latent_mask(image: PlannedImage, flip: bool, downscale: int) -> Tensor:
    """[1, 1, h, w]: each latent's share of learned pixels."""
    mask = load_mask(image.record, image.placement)
    if flip:
        mask = np.ascontiguousarray(mask[:, ::-1])
    return torch.nn.functional.avg_pool2d(torch.from_numpy(mask)[None, None], downscale)
