"""Latent cache: VAE moments of images, keyed by content (image, crop, encoder), in memory and on disk.

On disk they are files of one image each, or shards of many (`tensor_shards`). What is there is used in either form.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
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
from bakehouse.core.system_memory import available_memory
from bakehouse.core.thread_pool import map_ahead
from bakehouse.data.augment import Variation
from bakehouse.data.masks import load_mask
from bakehouse.data.open_image import open_image, to_pixels
from bakehouse.models.denoiser import Denoiser, Moments
from bakehouse.models.weights_fingerprint import tensors_sha256
from bakehouse.recipe.plan import PlannedImage
from bakehouse.recipe.recipe import DataSpec
from bakehouse.training.ranks import ALONE, Ranks
from bakehouse.training.tensor_shards import TensorShards

_SHA256 = "sha256"
"""Metadata key of the tensors' hash."""
_MANY = 2000
"""Encoded images from which on they are written in shards, where the recipe leaves it open."""
_VERSION = 1
"""Part of each key; raised whenever the same image would be encoded differently, so that old files are not used."""


@dataclass(frozen=True)
class AugmentedView:
    """An image with its augmentation in one sample."""

    index: int
    """Index into the cache's images."""
    flip: bool = False
    variant: int = 0
    """Number of the variation; 0 is the image without augmentation."""


@dataclass(frozen=True)
class _EncodeJob:
    image: PlannedImage
    variation: Variation
    flip: bool
    key: str


class LatentCache:
    """Moments of every image, its mirror image and its variations: in memory during a run, on disk between runs.

    With `data.cache = "disk"` only as many are kept in memory as `data.cache_gb` allows: those that come first, since
    an epoch shows each image once, so that none is worth more than another.
    """

    def __init__(self, images: Sequence[PlannedImage], settings: DataSpec) -> None:
        self.images = images
        self.flip = settings.flip
        self.augment = settings.augment
        self.alpha_mask = settings.alpha_mask
        self.cached = settings.cache != "none"
        self.on_disk = settings.cache == "disk"
        self.workers = settings.workers
        self.kept_bytes = 0
        """Bytes of moments and masks in memory."""
        self._limit = _limit(settings)
        self._in_shards = settings.cache_shards
        self._moments: dict[AugmentedView, Moments] = {}
        self._masks: dict[AugmentedView, Tensor] = {}
        self._model: Denoiser | None = None
        self._shards: TensorShards | None = None
        self._damaged: list[DamagedError] = []

    def fill(self, model: Denoiser, ranks: Ranks = ALONE) -> Iterator[Event]:
        """Encode what is not on disk yet; with `data.cache = "none"`, only keep the model to encode with later.

        Each rank reads or encodes its share, and has the others' from them: each image is encoded once.

        Images are encoded one by one: in a batch, rounding depends on the other images, and a run that was killed while
        encoding would end with other bits than one that was not.
        """
        self._model = model
        if not self.cached:
            return
        jobs = [(view, self._job(view, model)) for view in self._views()]
        shards = TensorShards(cache_dir("latents", "shards", key_of(model.fingerprint)[:16]))
        self._shards = shards if self.on_disk else None
        self._in_shards = len(jobs) >= _MANY if self._in_shards is None else self._in_shards
        with shards.flushing(), ThreadPoolExecutor(max(1, self.workers)) as pool:
            share = ranks.share(jobs)
            opened = map_ahead(pool, lambda job: self._load(job[1]) or _pixels(job[1]), share, 2 * max(1, self.workers))
            encoded = self._encoded(zip(share, opened, strict=True), model)
            for done, (view, moments) in enumerate(ranks.exchanged(encoded, len(jobs)), start=1):
                self._keep(view, moments)
                yield Progress(what="encoding images", done=done, total=len(jobs))
        damaged = [damage for of_rank in ranks.gathered([str(d) for d in self._damaged]) for damage in of_rank]
        yield from (Warned(message=f"{damage}; the image was encoded again") for damage in damaged)

    def _keep(self, view: AugmentedView, moments: Moments) -> None:
        """Keep an image in main memory, with its mask, if there is room."""
        mask = self._mask(view) if self._has_mask(view.index) else None
        size = sum(t.nbytes for t in (moments.mean, moments.std, mask) if t is not None)
        if self.kept_bytes + size > self._limit:
            return
        self.kept_bytes += size
        self._moments[view] = moments.to(torch.device("cpu"))
        if mask is not None:
            self._masks[view] = mask

    def _encoded(
        self, opened: Iterable[tuple[tuple[AugmentedView, _EncodeJob], Moments | Tensor]], model: Denoiser
    ) -> Iterator[tuple[AugmentedView, Moments]]:
        for (view, job), loaded in opened:
            yield view, self._encode(job, loaded, model)

    def variants(self, index: int) -> int | None:
        """Return the number of variations of an image; None: unlimited, each sample makes its own."""
        if self.images[index].prior or not self.augment.on:
            return 1
        return (self.augment.variants or 1) if self.cached else None

    def moments(self, view: AugmentedView) -> Moments:
        """Return the moments of one image, [1, C, h, w], on the model's device."""
        model = self._model
        assert model is not None, "fill() comes first"
        known = self._moments.get(view)
        if known is None:
            job = self._job(view, model)
            # A file that was damaged or deleted since `fill` is made again: encoded alone, an image has the same bits.
            known = self._load(job)
            if known is None:
                with torch.autocast(model.device.type, enabled=False):
                    return self._encode(job, _pixels(job), model)
        return known.to(model.device)

    def mask(self, view: AugmentedView) -> Tensor | None:
        """Return the mask [1, 1, h, w] in 0..1, or None where the image has none."""
        if view in self._masks or not self._has_mask(view.index):
            return self._masks.get(view)
        return self._mask(view)

    def sizes(self, view: AugmentedView) -> tuple[int, int, int, int, int, int]:
        """Return SDXL's size conditions: original height and width, crop's top and left, target height and width."""
        return self._variation(view).sizes(self.images[view.index].record, flip=view.flip)

    def _views(self) -> Iterator[AugmentedView]:
        """Yield every view that is cached."""
        for index in range(len(self.images)):
            for variant in range(self.variants(index) or 0):
                for flip in (False, True) if self.flip else (False,):
                    yield AugmentedView(index, flip, variant)

    def _variation(self, view: AugmentedView) -> Variation:
        image = self.images[view.index]
        return self.augment.vary(image.record, image.placement, view.variant)

    def _job(self, view: AugmentedView, model: Denoiser) -> _EncodeJob:
        image, variation = self.images[view.index], self._variation(view)
        return _EncodeJob(image, variation, view.flip, _key(image, variation, view.flip, model))

    def _has_mask(self, index: int) -> bool:
        record = self.images[index].record
        return record.mask is not None or (record.has_alpha and self.alpha_mask)

    def _mask(self, view: AugmentedView) -> Tensor:
        """Return the mean of the mask over each latent's pixels, [1, 1, h, w]."""
        assert self._model is not None, "fill() comes first"
        mask = load_mask(self.images[view.index].record, self._variation(view).placement)
        if view.flip:
            mask = np.ascontiguousarray(mask[:, ::-1])
        return torch.nn.functional.avg_pool2d(torch.from_numpy(mask)[None, None], self._model.downscale)

    def _encode(self, job: _EncodeJob, loaded: Moments | Tensor, model: Denoiser) -> Moments:
        """Return moments as they were loaded from disk, or of pixels [1, 3, H, W], which are saved."""
        if isinstance(loaded, Moments):
            return loaded
        with torch.no_grad():
            moments = model.encode_image(loaded.to(model.device))
        if self._shards is not None and self._in_shards:
            self._shards.put(job.key, vars(moments))
        elif self._shards is not None:
            _write(self._path(job), moments)
        return moments

    def _path(self, job: _EncodeJob) -> Path:
        return cache_dir("latents", job.key[:2], f"{job.key}.safetensors")

    def _load(self, job: _EncodeJob) -> Moments | None:
        """Return the moments on disk; None where there are none, or a damaged file."""
        if self._shards is None:
            return None
        try:
            found = None if job.key not in self._shards else self._shards.get(job.key)
            if found is not None:
                return Moments(**found)
            return _read(self._path(job)) if self._path(job).is_file() else None
        except DamagedError as e:
            self._damaged.append(e)
            return None


def _limit(settings: DataSpec) -> float:
    """Return the bytes that may be kept in memory."""
    if settings.cache != "disk":
        return math.inf
    if settings.cache_gb is not None:
        return settings.cache_gb * 1e9
    memory = available_memory()
    return math.inf if memory is None else memory / 2


def _write(path: Path, moments: Moments) -> None:
    tensors = {"mean": moments.mean.cpu().contiguous(), "std": moments.std.cpu().contiguous()}
    with atomic_path(path) as temporary:
        save_file(tensors, temporary, {_SHA256: tensors_sha256(tensors)})


def _read(path: Path) -> Moments | None:
    """Return moments on the CPU; None for a file of an earlier version, which has no hash.

    Raises:
        DamagedError: the file cannot be read, or was changed after it was written.
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
    """Return the key of an encoded image: a hash of all that its moments depend on."""
    place = variation.placement
    parts = (image.record.sha256, place.bucket, place.resized, place.crop_box, flip, model.fingerprint)
    colours = () if variation.colours is None else (variation.colours,)
    return key_of(_VERSION, *parts, str(next(model.parameters()).dtype), *colours)


def _pixels(job: _EncodeJob) -> Tensor:
    """Return the pixels of an image, [1, 3, H, W] in -1..1."""
    image = job.variation.apply(open_image(job.image.record.path), flip=job.flip)
    return torch.from_numpy(to_pixels(image))[None]
