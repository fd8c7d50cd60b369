"""Class images: made once by the untouched base model, and found again by what they were made with."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path

from PIL import Image

from bakehouse.core.events import Event, Progress
from bakehouse.core.files import atomic_path, cache_dir, write_json
from bakehouse.models.denoiser import Denoiser
from bakehouse.models.text_encoders import CHUNK_TOKENS
from bakehouse.models.text_to_image import ImageSpec, generate_images, model_key
from bakehouse.recipe.class_images import ClassImage

_WHAT = "making class images"
_TOGETHER = 8
"""Pictures made at once. Groups are cut by the plan, never by what is missing: rounding depends on the neighbours."""
_PIXELS_ON_CPU = _TOGETHER * 128 * 128
"""A processor makes larger pictures no faster together: fewer at once show sooner that something happens."""
_PNG_END = bytes.fromhex("0000000049454e44ae426082")
"""The last part of a PNG, which no reader checks."""


def class_image_path(image: ClassImage, model: Denoiser) -> Path:
    """Where a class image is, or will be."""
    return cache_dir("class-images", image.key(model_key(model))[:24], f"{image.seed:05d}.png")


def make_class_images(images: Sequence[ClassImage], model: Denoiser) -> Iterator[Event]:
    """Makes those that are not there yet; a killed run goes on where it was. Silent where all are there.

    Raises:
        NotFiniteError: a picture came out as NaN or infinity.
    """
    groups = []
    for _, same_kind in groupby(images, key=lambda i: _spec(i).batch_key):
        alike = list(same_kind)
        together = _together(alike[0], model)
        groups += [alike[i : i + together] for i in range(0, len(alike), together)]
    missing = [g for g in groups if not all(_is_whole(class_image_path(i, model)) for i in g)]
    done, total = 0, sum(len(g) for g in missing)
    for group in missing:
        yield Progress(what=_WHAT, done=done, total=total)
        _make(group, model)
        done += len(group)
    if missing:
        yield Progress(what=_WHAT, done=done, total=total)


def _is_whole(path: Path) -> bool:
    """Whether a picture is there with every byte as it was written: PNG keeps a checksum of each of its parts."""
    try:
        data = path.read_bytes()
        with Image.open(io.BytesIO(data), formats=["PNG"]) as picture:
            picture.verify()
    except (OSError, SyntaxError, ValueError, struct.error, zlib.error):
        return False
    return data.endswith(_PNG_END)


def _together(image: ClassImage, model: Denoiser) -> int:
    if model.device.type != "cpu":
        return _TOGETHER
    return min(_TOGETHER, max(1, _PIXELS_ON_CPU // (image.width * image.height)))


def _make(group: Sequence[ClassImage], model: Denoiser) -> None:
    for image, picture in zip(group, generate_images(model, [_spec(i) for i in group]), strict=True):
        path = class_image_path(image, model)
        if _is_whole(path):
            continue
        write_json(path.with_name("made-with.json"), {"model": model.name, **vars(image), "seed": "the file's name"})
        with atomic_path(path) as temporary:
            picture.save(temporary, format="PNG")


def _spec(image: ClassImage) -> ImageSpec:
    return ImageSpec(
        prompt=image.prompt,
        width=image.width,
        height=image.height,
        seed=image.noise_seed,
        steps=image.steps,
        guidance=image.guidance,
        sampler=image.sampler,
        clip_skip=image.clip_skip,
        chunks=image.max_tokens // CHUNK_TOKENS,
    )
