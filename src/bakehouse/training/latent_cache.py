"""Encoded images, kept by content: same picture, crop and encoder, same file, in whatever folder it lies."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from bakehouse.core.events import Event, Progress, Warned
from bakehouse.core.files import DamagedError, atomic_path, cache_dir, key_of
from bakehouse.data.augment import Variation
from bakehouse.data.masks import load_mask
from bakehouse.data.open_image import open_image, to_pixels
from bakehouse.models.denoiser import Denoiser, Moments
from bakehouse.models.model_hash import tensors_sha256
from bakehouse.recipe.plan import PlannedImage
from bakehouse.recipe.recipe import DataSpec

_SHA256 = "sha256"
"""Of the tensors, in a file's metadata."""
_VERSION = 1
"""Raised whenever the same image would be encoded otherwise, so that old files are not found."""


@dataclass(frozen=True)
class Show:
    """One image as one sample sees it."""

    index: int
    """Into the cache's images."""
    flip: bool = False
    variant: int = 0
    """Number of the variation; 0 is the image as it is placed."""


@dataclass(frozen=True)
class _Job:
    image: PlannedImage
    variation: Variation
    flip: bool
    key: str


class LatentCache:
    """Moments of every image (its mirror image, its variations), in memory for a run and on disk between runs."""

    def __init__(self, images: Sequence[PlannedImage], settings: DataSpec) -> None:
        self.images = images
        self.flip = settings.flip
        self.augment = settings.augment
        self.alpha_mask = settings.alpha_mask
        self.kept = settings.cache != "none"
        self.on_disk = settings.cache == "disk"
        self.workers = settings.workers
        self._moments: dict[Show, Moments] = {}
        self._masks: dict[Show, Tensor] = {}
        self._model: Denoiser | None = None
        self._damaged: list[DamagedError] = []

    def fill(self, model: Denoiser) -> Iterator[Event]:
        """Encodes what is not on disk yet; without a cache, notes who will encode.

        On a CPU images are encoded one by one: in a batch, rounding depends on the neighbours, and a run that was
        killed while encoding would end with other bits than one that was not.
        """
        self._model = model
        if not self.kept:
            return
        jobs = [(show, self._job(show, model)) for show in self._shows()]
        with ThreadPoolExecutor(max(1, self.workers)) as pool:
            opened = pool.map(lambda job: self._stored(job[1]) or _pixels(job[1]), jobs)
            for done, ((show, job), found) in enumerate(zip(jobs, opened, strict=True), start=1):
                self._moments[show] = self._encoded(job, found, model)
                yield Progress(what="encoding images", done=done, total=len(jobs))
        yield from (Warned(message=f"{damage}; the image was encoded again") for damage in self._damaged)
        self._masks = {show: self._mask(show, model) for show, _ in jobs if self._masked(show.index)}

    def variants(self, index: int) -> int | None:
        """How many variations of an image there are to choose from; None: as many as there are numbers."""
        if self.images[index].prior or not self.augment.on:
            return 1
        return (self.augment.variants or 1) if self.kept else None

    def moments(self, show: Show) -> Moments:
        """[1, C, h, w] of one image."""
        if self.kept:
            return self._moments[show]
        assert self._model is not None, "fill() comes first"
        job = self._job(show, self._model)
        with torch.autocast(self._model.device.type, enabled=False):
            return self._encoded(job, _pixels(job), self._model)

    def mask(self, show: Show) -> Tensor | None:
        """[1, 1, h, w] in 0..1, or None where the image has no mask."""
        if self.kept or not self._masked(show.index):
            return self._masks.get(show)
        assert self._model is not None, "fill() comes first"
        return self._mask(show, self._model)

    def sizes(self, show: Show) -> tuple[int, int, int, int, int, int]:
        """What SDXL is told of the picture: original height and width, crop's top and left, target height and width."""
        return self._variation(show).sizes(self.images[show.index].record, flip=show.flip)

    def _shows(self) -> Iterator[Show]:
        """Every way in which an image can be shown."""
        for index in range(len(self.images)):
            for variant in range(self.variants(index) or 0):
                for flip in (False, True) if self.flip else (False,):
                    yield Show(index, flip, variant)

    def _variation(self, show: Show) -> Variation:
        image = self.images[show.index]
        return self.augment.vary(image.record, image.placement, show.variant)

    def _job(self, show: Show, model: Denoiser) -> _Job:
        image, variation = self.images[show.index], self._variation(show)
        return _Job(image, variation, show.flip, _key(image, variation, show.flip, model))

    def _masked(self, index: int) -> bool:
        record = self.images[index].record
        return record.mask is not None or (record.has_alpha and self.alpha_mask)

    def _mask(self, show: Show, model: Denoiser) -> Tensor:
        """[1, 1, h, w]: each latent's share of learned pixels."""
        mask = load_mask(self.images[show.index].record, self._variation(show).placement)
        if show.flip:
            mask = np.ascontiguousarray(mask[:, ::-1])
        return torch.nn.functional.avg_pool2d(torch.from_numpy(mask)[None, None], model.downscale)

    def _encoded(self, job: _Job, found: Moments | Tensor, model: Denoiser) -> Moments:
        """The moments of an image [1, 3, H, W], kept on disk; or those that were found there."""
        if isinstance(found, Moments):
            return Moments(found.mean.to(model.device), found.std.to(model.device))
        with torch.no_grad():
            moments = model.encode_image(found.to(model.device))
        if self.on_disk:
            _write(self._path(job), moments)
        return moments

    def _path(self, job: _Job) -> Path:
        return cache_dir("latents", job.key[:2], f"{job.key}.safetensors")

    def _stored(self, job: _Job) -> Moments | None:
        """What is on disk; None where there is nothing, or nothing whole."""
        if not self.on_disk or not self._path(job).is_file():
            return None
        try:
            return _read(self._path(job))
        except DamagedError as e:
            self._damaged.append(e)
            return None


def _write(path: Path, moments: Moments) -> None:
    tensors = {"mean": moments.mean.cpu().contiguous(), "std": moments.std.cpu().contiguous()}
    with atomic_path(path) as temporary:
        save_file(tensors, temporary, {_SHA256: tensors_sha256(tensors)})


def _read(path: Path) -> Moments | None:
    """Moments on the CPU; None in a file of an earlier version, which kept no hash.

    Raises:
        DamagedError: it is not what was written.
    """
    try:
        with safe_open(path, "pt") as f:
            names = f.keys()
            tensors = {name: f.get_tensor(name) for name in names}
            digest = (f.metadata() or {}).get(_SHA256)
    except (OSError, SafetensorError) as e:
        raise DamagedError(path, "cannot be read or is damaged") from e
    if digest is None and tensors.keys() == {"mean", "std"}:
        return None
    if digest != tensors_sha256(tensors):
        raise DamagedError(path, "is damaged (its sha256 does not match)")
    return Moments(tensors["mean"], tensors["std"])


def _key(image: PlannedImage, variation: Variation, flip: bool, model: Denoiser) -> str:
    """Names a file by all that its numbers come from."""
    place = variation.placement
    parts = (image.record.sha256, place.bucket, place.resized, place.crop_box, flip, model.fingerprint)
    colours = () if variation.colours is None else (variation.colours,)
    return key_of(_VERSION, *parts, str(next(model.parameters()).dtype), *colours)


def _pixels(job: _Job) -> Tensor:
    """[1, 3, H, W] in -1..1."""
    image = job.variation.apply(open_image(job.image.record.path), flip=job.flip)
    return torch.from_numpy(to_pixels(image))[None]
