"""The pictures that are judged, each made once: they are kept by what they were made with, and found again."""

from __future__ import annotations

import io
import json
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
from PIL import Image, ImageOps

from bakehouse.core.files import atomic_path, key_of, sha256_bytes, sha256_file, write_bytes, write_text
from bakehouse.core.json_toml_yaml import parse_json
from bakehouse.data.open_image import open_image
from bakehouse.evaluation.cell_scores import Looked
from bakehouse.evaluation.metrics import small_pixels
from bakehouse.evaluation.prompt_set import Ask

if TYPE_CHECKING:
    from bakehouse.evaluation.image_scorers import Judge
    from bakehouse.generation.model_source import ModelSource
    from bakehouse.generation.pipeline import Pipeline

LOSSLESS_BELOW = 512
"""Pixels: larger pictures are kept as WebP of quality 95, a tenth of the disk."""


@dataclass(frozen=True)
class Look:
    """How every picture of an evaluation is made."""

    steps: int
    guidance: float
    sampler: str = "dpm++ 2m"
    size: int | None = None
    """Pixels; None: the model's own."""


@dataclass(frozen=True)
class Shot:
    """What makes the pictures: weights of the run at a weight, or the untouched base."""

    weights: Path | None = None
    weight: float = 1.0

    @property
    def whole(self) -> bool:
        """A whole model, which has no weight."""
        return self.weights is not None and self.weights.is_dir()


class Painter(Protocol):
    """Makes pictures. `PipelinePainter` does it with a model, the tests with coloured squares."""

    def key(self, shot: Shot) -> str:
        """Names the weights by content."""

    def paint(self, shot: Shot, asks: Sequence[Ask], look: Look) -> Iterator[Image.Image]:
        """One picture for each, in order."""


class PipelinePainter:
    """One pipeline for the whole evaluation: the base is read once, adapters are put on and taken off."""

    def __init__(self, source: ModelSource, device: str = "auto") -> None:
        self.source = source
        self.device = device
        self._pipeline: Pipeline | None = None
        self._on: Path | None = None

    def key(self, shot: Shot) -> str:
        """By content and without reading a model: an evaluation that is all there loads nothing."""
        from bakehouse.models.model_hash import files_fingerprint

        base = files_of(self.source.base)
        known = files_fingerprint(base) if base else self.source.base
        more = files_fingerprint(files_of(str(shot.weights))) if shot.weights else ""
        weight = shot.weight if shot.weights and not shot.whole else 0.0
        return key_of(known, *self.source.base_settings[1:], self.source.clip_skip, more, weight)

    def paint(self, shot: Shot, asks: Sequence[Ask], look: Look) -> Iterator[Image.Image]:
        from bakehouse.generation.request import ImageRequest

        requests = [
            ImageRequest(
                prompt=ask.prompt,
                seed=ask.seed,
                steps=look.steps,
                guidance=look.guidance,
                sampler=look.sampler,
                width=look.size,
                height=look.size,
            )
            for ask in asks
        ]
        pipeline = self._with(shot)
        weights = () if shot.whole or shot.weights is None else (shot.weight,)
        with pipeline.adapter_strengths(*weights):
            for picture in pipeline.generate(requests):
                yield picture.image

    def close(self) -> None:
        """Gives the memory back."""
        if self._pipeline is not None:
            self._pipeline.close()
            self._pipeline = None

    def _with(self, shot: Shot) -> Pipeline:
        from bakehouse.generation.pipeline import Pipeline

        if self._pipeline is None or (shot.weights is None and self._on is not None):
            self.close()
            self._pipeline, self._on = Pipeline.open(self.source, device=self.device), None
        if shot.weights != self._on and shot.weights is not None:
            self._pipeline.swap(shot.weights)
            self._on = shot.weights
        return self._pipeline


@dataclass
class Album:
    """Pictures and what a judge said of them, in a folder, by content: nothing is made or judged twice.

    WebP has no checksum, so the sha256 of each picture lies beside it.
    """

    folder: Path
    painter: Painter
    look: Look
    _keys: dict[Shot, str] = field(default_factory=dict)

    def path(self, shot: Shot, ask: Ask) -> Path:
        """Where the picture is or will be."""
        if shot not in self._keys:
            self._keys[shot] = self.painter.key(shot)
        look = self.look
        parts = (look.steps, look.guidance, look.sampler, look.size, ask.prompt, ask.seed)
        return self.folder / "pictures" / f"{key_of('picture 1', self._keys[shot], *parts)[:24]}.webp"

    def missing(self, shot: Shot, asks: Sequence[Ask]) -> list[Ask]:
        """Those whose pictures are not there yet, or are not what was kept."""
        return [ask for ask in dict.fromkeys(asks) if not _is_whole(self.path(shot, ask))]

    def damaged(self, shot: Shot, asks: Sequence[Ask]) -> list[Path]:
        """Pictures that are there and are not what was kept; those of versions that noted no hash are no news."""
        paths = [self.path(shot, ask) for ask in dict.fromkeys(asks)]
        return [path for path in paths if path.is_file() and _hash_of(path).is_file() and not _is_whole(path)]

    def make(self, shot: Shot, asks: Sequence[Ask]) -> Iterator[Path]:
        """Makes pictures and keeps each as soon as it is there."""
        if not asks:
            return
        for ask, image in zip(asks, self.painter.paint(shot, asks, self.look), strict=True):
            path, lossless, kept = self.path(shot, ask), max(image.size) < LOSSLESS_BELOW, io.BytesIO()
            image.convert("RGB").save(kept, format="WEBP", lossless=lossless, quality=70 if lossless else 95)
            write_text(_hash_of(path), sha256_bytes(kept.getvalue()))
            write_bytes(path, kept.getvalue())
            yield path

    def open(self, shot: Shot, asks: Sequence[Ask]) -> list[Image.Image]:
        """The pictures as they were kept, so that a second look sees what the first saw."""
        return [open_image(self.path(shot, ask)) for ask in asks]

    def looked(self, judge: Judge, shot: Shot, asks: Sequence[Ask]) -> Looked:
        """What the judge sees in them, from the folder where it has seen them before."""
        names = [self.path(shot, ask).stem for ask in asks]
        kept = self.folder / "judged" / f"{key_of('judged 1', judge.name, names, [a.judged for a in asks])[:24]}.npz"
        if (found := _read(kept)) is not None:
            return found
        looked = look_at(judge, self.open(shot, asks), [a.judged for a in asks])
        _write(kept, looked)
        return looked


def _hash_of(path: Path) -> Path:
    return path.with_suffix(".sha256")


def _is_whole(path: Path) -> bool:
    """Whether a picture is there with every byte as it was kept."""
    try:
        return sha256_file(path) == _hash_of(path).read_text("ascii")
    except (OSError, UnicodeDecodeError):
        return False


def look_at(judge: Judge, images: Sequence[Image.Image], prompts: Sequence[str] | None = None) -> Looked:
    """All that is ever asked of the same pictures; without prompts their prompt fidelity is unknown."""
    scores = judge.prompt_scores(images, prompts) if prompts else np.full(len(images), np.nan)
    embeddings = np.asarray(judge.embed(images), dtype=np.float64)
    return Looked(embeddings, np.asarray(scores, dtype=np.float64), judge.attributes(images), small_pixels(images))


def square(image: Image.Image) -> Image.Image:
    """The middle of a picture: judges squeeze what is not square."""
    side = min(image.size)
    return image if image.width == image.height else ImageOps.fit(image, (side, side), Image.Resampling.LANCZOS)


def files_of(ref: str) -> list[Path]:
    """The weight files of a model or adapter on this machine, in one order."""
    from bakehouse.models.crumb import base_path

    path = base_path(ref)
    return sorted(path.rglob("*.safetensors")) if path.is_dir() else [path] if path.is_file() else []


def _write(path: Path, looked: Looked) -> None:
    words = np.frombuffer(json.dumps(list(looked.attributes)).encode(), dtype=np.uint8)
    with atomic_path(path) as temporary, temporary.open("wb") as f:
        np.savez_compressed(f, embeddings=looked.embeddings, prompt=looked.prompt, small=looked.small, attributes=words)


def _read(path: Path) -> Looked | None:
    """What was written; None where there is nothing, or it is damaged: zip files have a checksum of each part."""
    if not path.is_file():
        return None
    try:
        with np.load(io.BytesIO(path.read_bytes())) as kept:
            attributes = parse_json(kept["attributes"].tobytes())
            return Looked(kept["embeddings"], kept["prompt"], attributes, kept["small"])
    except (OSError, ValueError, KeyError, EOFError, NotImplementedError, zipfile.BadZipFile, zlib.error):
        return None
