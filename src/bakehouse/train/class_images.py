"""Class images: made once by the untouched base model, and found again by what they were made with."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path

import torch
from PIL import Image

from bakehouse.core.errors import BakehouseError
from bakehouse.core.events import Event, Progress
from bakehouse.core.files import atomic_path, cache_dir, write_json
from bakehouse.families.denoiser import Conditioning, Denoiser
from bakehouse.families.sampling import initial_noise, sample, to_images
from bakehouse.recipe.prior import ClassImage

_WHAT = "making class images"
_TOGETHER = 8
"""Pictures made at once. Groups are cut by the plan, never by what is missing: rounding depends on the neighbours."""
_PIXELS_ON_CPU = _TOGETHER * 128 * 128
"""A processor makes larger pictures no faster together: fewer at once show sooner that something happens."""
_PNG_END = bytes.fromhex("0000000049454e44ae426082")
"""The last part of a PNG, which no reader checks."""


def class_image_path(image: ClassImage, model: Denoiser) -> Path:
    """Where a class image is, or will be."""
    return cache_dir("class-images", image.key(model.fingerprint)[:24], f"{image.seed:05d}.png")


def make_class_images(images: Sequence[ClassImage], model: Denoiser) -> Iterator[Event]:
    """Makes those that are not there yet; a killed run goes on where it was. Silent where all are there.

    Raises:
        BakehouseError: the model gives pictures that are not numbers.
    """
    groups = []
    for _, same_shape in groupby(images, key=lambda i: (i.width, i.height, i.steps, i.guidance, i.sampler)):
        shape = list(same_shape)
        together = _together(shape[0], model)
        groups += [shape[i : i + together] for i in range(0, len(shape), together)]
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


@torch.no_grad()
def _make(group: Sequence[ClassImage], model: Denoiser) -> None:
    first = group[0]
    cond = Conditioning.cat([model.encode_prompt([i.prompt]) for i in group])
    uncond = Conditioning.cat([model.encode_negative([""])] * len(group)) if first.guidance > 1 else None
    seeds = [_noise_seed(i) for i in group]
    latents = sample(
        model,
        cond,
        uncond,
        noise=initial_noise(seeds, model.latent_shape(first.width, first.height)),
        steps=first.steps,
        guidance=first.guidance,
        sampler=first.sampler,
        seeds=seeds,
    )
    if not torch.isfinite(latents).all():
        raise BakehouseError(
            f"class images of {first.prompt!r} came out as not-a-number",
            hint="the base model overflows in this precision: try --set train.precision=fp32",
        )
    for image, picture in zip(group, to_images(model.decode(latents)), strict=True):
        path = class_image_path(image, model)
        if _is_whole(path):
            continue
        write_json(path.with_name("made-with.json"), {"model": model.name, **vars(image), "seed": "the file's name"})
        with atomic_path(path) as temporary:
            picture.save(temporary, format="PNG")


def _noise_seed(image: ClassImage) -> int:
    """Different prompts get different noise, or a set of class images would share its compositions."""
    return int(image.key("")[:8], 16) + image.seed
