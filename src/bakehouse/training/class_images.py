"""Class images: generated once by the base model, and kept under a hash of what they were generated with."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from PIL import Image

from bakehouse.core.events import Event, Progress
from bakehouse.core.files import atomic_path, cache_dir, sha256_file, write_bytes, write_json
from bakehouse.data.buckets import unchanged_placement
from bakehouse.data.image_records import ImageRecord
from bakehouse.models.denoiser import Denoiser
from bakehouse.models.text_encoders import CHUNK_TOKENS
from bakehouse.models.text_to_image import ImageSpec, generate_images, model_key
from bakehouse.recipe.class_image_list import ClassImage
from bakehouse.recipe.plan import Plan, PlannedImage
from bakehouse.training.ranks import ALONE, Ranks

_WHAT = "generating class images"
_BATCH = 8
"""Images in one batch. Batches are cut by the plan, never by what is missing: rounding depends on the whole batch."""
_PIXELS_ON_CPU = _BATCH * 128 * 128
"""Pixels in one batch on a CPU, which is no faster with larger batches: smaller ones show progress sooner."""
_PNG_END = bytes.fromhex("0000000049454e44ae426082")
"""The last chunk of a PNG, which decoders do not check."""


@dataclass(frozen=True)
class CaptionedImage:
    """A class image and its caption."""

    image: PlannedImage
    caption: str


def class_image_path(image: ClassImage, model: Denoiser) -> Path:
    """Return the path of a class image in the cache, generated or not."""
    return cache_dir("class-images", image.key(model_key(model))[:24], f"{image.seed:05d}.png")


def prepare_class_images(
    plan: Plan, model: Denoiser, ranks: Ranks = ALONE
) -> Generator[Event, None, list[CaptionedImage]]:
    """Generate the plan's missing class images, and return all of them in the numbering of the plan's order.

    The user's own come first, then the generated ones.

    Raises:
        NotFiniteError: a generated image is NaN or infinite.
    """
    yield from generate_class_images(plan.class_images, model, ranks)
    recipe = plan.recipe
    prompt = recipe.prior.prompt or next((c.class_name for c in recipe.concepts if c.class_name), "")
    own = [CaptionedImage(i, i.record.captions[0] if i.record.captions else prompt) for i in plan.images if i.prior]
    generated = []
    for image in plan.class_images:
        path = class_image_path(image, model)
        record = ImageRecord(path, image.width, image.height, sha256=sha256_file(path))
        planned = PlannedImage(record, unchanged_placement((image.width, image.height)), 0, prior=True)
        generated.append(CaptionedImage(planned, image.prompt))
    return own + generated


def generate_class_images(images: Sequence[ClassImage], model: Denoiser, ranks: Ranks = ALONE) -> Iterator[Event]:
    """Generate the class images that are not in the cache yet; yields progress, nothing if none is missing.

    Each rank generates a share, and has the others' from them, where they are not in one cache: each is made once.

    Raises:
        NotFiniteError: a generated image is NaN or infinite.
    """
    groups = []
    for _, same_kind in groupby(images, key=lambda i: _spec(i).batch_key):
        same = list(same_kind)
        size = _batch_size(same[0], model)
        groups += [same[i : i + size] for i in range(0, len(same), size)]
    lacking = [n for n, g in enumerate(groups) if not all(_is_whole(class_image_path(i, model)) for i in g)]
    missing = [groups[n] for n in sorted({n for of_rank in ranks.gathered(lacking) for n in of_rank})]
    done, total = 0, sum(len(g) for g in missing)
    if missing:
        yield Progress(what=_WHAT, done=done, total=total)
    for made in ranks.exchanged(_generated(ranks.share(missing), model), len(missing), at_once=1):
        for image, png in made:
            if not _is_whole(path := class_image_path(image, model)):
                write_bytes(path, png)
        done += len(made)
        yield Progress(what=_WHAT, done=done, total=total)


def _is_whole(path: Path) -> bool:
    """Return whether a PNG is complete and undamaged: it has a checksum in each of its chunks."""
    try:
        data = path.read_bytes()
        with Image.open(io.BytesIO(data), formats=["PNG"]) as image:
            image.verify()
    except (OSError, SyntaxError, ValueError, struct.error, zlib.error):
        return False
    return data.endswith(_PNG_END)


def _batch_size(image: ClassImage, model: Denoiser) -> int:
    if model.device.type != "cpu":
        return _BATCH
    return min(_BATCH, max(1, _PIXELS_ON_CPU // (image.width * image.height)))


def _generated(groups: Sequence[Sequence[ClassImage]], model: Denoiser) -> Iterator[list[tuple[ClassImage, bytes]]]:
    """Generate groups, and yield the files of each."""
    for group in groups:
        if not all(_is_whole(class_image_path(i, model)) for i in group):
            _generate(group, model)
        yield [(image, class_image_path(image, model).read_bytes()) for image in group]


def _generate(group: Sequence[ClassImage], model: Denoiser) -> None:
    for image, generated in zip(group, generate_images(model, [_spec(i) for i in group]), strict=True):
        path = class_image_path(image, model)
        if _is_whole(path):
            continue
        write_json(path.with_name("made-with.json"), {"model": model.name, **vars(image), "seed": "the file's name"})
        with atomic_path(path) as temporary:
            generated.save(temporary, format="PNG")


def _spec(image: ClassImage) -> ImageSpec:
    return ImageSpec(
        prompt=image.prompt,
        negative=image.negative,
        width=image.width,
        height=image.height,
        seed=image.noise_seed,
        steps=image.steps,
        guidance=image.guidance,
        sampler=image.sampler,
        clip_skip=image.clip_skip,
        chunks=image.max_tokens // CHUNK_TOKENS,
    )
