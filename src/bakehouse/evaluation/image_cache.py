"""Images of an evaluation, cached by content: each is generated once and scored once."""

from __future__ import annotations

import io
import json
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from bakehouse.core.files import atomic_path, key_of, sha256_bytes, sha256_file, write_bytes, write_text
from bakehouse.core.model_catalogue.conventions import with_quality
from bakehouse.core.parse_json_toml_yaml import parse_json
from bakehouse.data.open_image import open_image
from bakehouse.evaluation.metrics import Floats, small_pixels
from bakehouse.evaluation.own_marks import OwnMarks, Shown
from bakehouse.evaluation.prompt_set import EvalPrompt
from bakehouse.evaluation.scored_images import ScoredImages

if TYPE_CHECKING:
    from bakehouse.evaluation.image_scorers import ImageScorer
    from bakehouse.generation.model_source import ModelSource
    from bakehouse.generation.pipeline import Pipeline

LOSSLESS_BELOW = 512
"""Side in pixels from which images are saved as WebP of quality 95, a tenth of the size."""


@dataclass(frozen=True)
class GenerationSettings:
    """The settings with which every image of an evaluation is generated."""

    steps: int
    guidance: float
    sampler: str = "dpm++ 2m"
    size: int | None = None
    """Side in pixels; None: the model's native size."""
    quality: str = ""
    """The base's quality words, which images are generated with; nothing that scores an image reads them."""
    negative: str = ""

    @property
    def words(self) -> tuple[str, ...]:
        """All words beside the prompt, for the key of an image; empty where there are none."""
        return (self.quality, self.negative) if self.quality or self.negative else ()


@dataclass(frozen=True)
class AdapterVariant:
    """The model that generates images: weights of the run at a strength, or the untouched base."""

    weights: Path | None = None
    strength: float = 1.0

    @property
    def is_full_model(self) -> bool:
        """Whether the weights are a full model, which has no strength."""
        return self.weights is not None and self.weights.is_dir()


class ImageGenerator(Protocol):
    """Generates images. `PipelineImageGenerator` uses a model, the tests coloured squares."""

    def key(self, variant: AdapterVariant) -> str:
        """Return a key of the weights' content."""

    def generate(
        self, variant: AdapterVariant, prompts: Sequence[EvalPrompt], settings: GenerationSettings
    ) -> Iterator[Image.Image]:
        """Yield one image for each prompt, in order."""

    def denoising_errors(self, images: Sequence[Image.Image], prompts: Sequence[str]) -> Floats | None:
        """Return the untouched base's error maps [N, T, h, w] on images of one size; None if it has no such model."""


class PipelineImageGenerator:
    """Generates with one pipeline for the whole evaluation: the base is read once, adapters are swapped."""

    def __init__(self, source: ModelSource, device: str = "auto") -> None:
        self.source = source
        self.device = device
        self._pipeline: Pipeline | None = None
        self._loaded: Path | None = None

    def key(self, variant: AdapterVariant) -> str:
        """Return a key of the files' content; no model is loaded, so that a cached evaluation loads none."""
        from bakehouse.models.weights_fingerprint import files_fingerprint

        base = weight_files(self.source.base)
        base_key = files_fingerprint(base) if base else self.source.base
        weights_key = files_fingerprint(weight_files(str(variant.weights))) if variant.weights else ""
        strength = variant.strength if variant.weights and not variant.is_full_model else 0.0
        return key_of(base_key, *self.source.base_settings[1:], self.source.clip_skip, weights_key, strength)

    def generate(
        self, variant: AdapterVariant, prompts: Sequence[EvalPrompt], settings: GenerationSettings
    ) -> Iterator[Image.Image]:
        """Yield one image for each prompt, in order."""
        from bakehouse.generation.request import ImageRequest

        requests = [
            ImageRequest(
                prompt=with_quality(prompt.prompt, settings.quality),
                negative=settings.negative,
                prompt_syntax="plain",  # tags such as `mira (character)` are meant as they are
                seed=prompt.seed,
                steps=settings.steps,
                guidance=settings.guidance,
                sampler=settings.sampler,
                width=settings.size,
                height=settings.size,
            )
            for prompt in prompts
        ]
        pipeline = self._open(variant)
        strengths = () if variant.is_full_model or variant.weights is None else (variant.strength,)
        with pipeline.adapter_strengths(*strengths):
            for generated in pipeline.generate(requests):
                yield generated.image

    def denoising_errors(self, images: Sequence[Image.Image], prompts: Sequence[str]) -> Floats | None:
        """Return the untouched base's error maps [N, T, h, w] on images of one size, each with its bare prompt.

        The loaded model is used with its adapter off. Only after a full model the base is read again, in its place.
        """
        is_base = self._pipeline is not None and not (self._loaded is not None and self._loaded.is_dir())
        pipeline = self._pipeline if self._pipeline is not None and is_base else self._open(AdapterVariant())
        return pipeline.base_denoising_errors(images, prompts).double().numpy()

    def close(self) -> None:
        """Release the model's memory."""
        if self._pipeline is not None:
            self._pipeline.close()
            self._pipeline = None

    def _open(self, variant: AdapterVariant) -> Pipeline:
        from bakehouse.generation.pipeline import Pipeline

        if self._pipeline is None or (variant.weights is None and self._loaded is not None):
            self.close()
            self._pipeline, self._loaded = Pipeline.open(self.source, device=self.device), None
        if variant.weights != self._loaded and variant.weights is not None:
            self._pipeline.swap(variant.weights)
            self._loaded = variant.weights
        return self._pipeline


@dataclass
class ImageCache:
    """Generated images and their scores in a folder, by content: nothing is generated or scored twice.

    WebP has no checksum, so the sha256 of each image is saved beside it.
    """

    folder: Path
    generator: ImageGenerator
    settings: GenerationSettings
    _keys: dict[AdapterVariant, str] = field(default_factory=dict)

    def path(self, variant: AdapterVariant, prompt: EvalPrompt) -> Path:
        """Return the path of an image, whether it exists or not."""
        if variant not in self._keys:
            self._keys[variant] = self.generator.key(variant)
        settings = self.settings
        look = (settings.steps, settings.guidance, settings.sampler, settings.size, *settings.words)
        parts = (*look, prompt.prompt, prompt.seed)
        return self.folder / "pictures" / f"{key_of('picture 1', self._keys[variant], *parts)[:24]}.webp"

    def paths(self, variant: AdapterVariant, prompts: Sequence[EvalPrompt]) -> list[Path]:
        """Return the paths of images, whether they exist or not."""
        return [self.path(variant, prompt) for prompt in prompts]

    def missing(self, variant: AdapterVariant, prompts: Sequence[EvalPrompt]) -> list[EvalPrompt]:
        """Return the prompts whose images do not exist or are damaged, one for each image."""
        different = {self.path(variant, prompt): prompt for prompt in reversed(prompts)}
        return [prompt for path, prompt in reversed(different.items()) if not _is_intact(path)]

    def damaged(self, variant: AdapterVariant, prompts: Sequence[EvalPrompt]) -> list[Path]:
        """Return the images that differ from what was saved; those of versions that saved no hash are left out."""
        paths = [self.path(variant, prompt) for prompt in dict.fromkeys(prompts)]
        return [path for path in paths if path.is_file() and _hash_path(path).is_file() and not _is_intact(path)]

    def generate(self, variant: AdapterVariant, prompts: Sequence[EvalPrompt]) -> Iterator[Path]:
        """Generate images; each is saved at once and its path yielded."""
        if not prompts:
            return
        for prompt, image in zip(prompts, self.generator.generate(variant, prompts, self.settings), strict=True):
            path, lossless, stream = self.path(variant, prompt), max(image.size) < LOSSLESS_BELOW, io.BytesIO()
            image.convert("RGB").save(stream, format="WEBP", lossless=lossless, quality=70 if lossless else 95)
            write_text(_hash_path(path), sha256_bytes(stream.getvalue()))
            write_bytes(path, stream.getvalue())
            yield path

    def load(self, variant: AdapterVariant, prompts: Sequence[EvalPrompt]) -> list[Image.Image]:
        """Return the images as saved, so that every scoring sees the same pixels."""
        return [open_image(self.path(variant, prompt)) for prompt in prompts]

    def score(self, scorer: ImageScorer, variant: AdapterVariant, prompts: Sequence[EvalPrompt]) -> ScoredImages:
        """Return the scores of images, from the cache if they were scored before."""
        names, bare = [self.path(variant, prompt).stem for prompt in prompts], [p.bare_prompt for p in prompts]
        path = self.folder / "judged" / f"{key_of('judged 2', scorer.name, names, bare)[:24]}.npz"
        if (cached := _load_scores(path)) is not None:
            return cached
        scores = score_images(scorer, self.load(variant, prompts), bare)
        _save_scores(path, scores)
        return scores

    def score_photos(self, scorer: ImageScorer, paths: Sequence[Path]) -> ScoredImages:
        """Return the scores of photos without prompts, from the cache if the same files were scored before."""
        key = key_of("photos 1", scorer.name, [sha256_file(path) for path in paths])
        path = self.folder / "judged" / f"{key[:24]}.npz"
        if (cached := _load_scores(path)) is not None:
            return cached
        scores = score_images(scorer, [center_square(open_image(path)) for path in paths])
        _save_scores(path, scores)
        return scores

    def look_for(self, marks: OwnMarks, scorer: ImageScorer, paths: Sequence[Path]) -> Shown:
        """Return which own marks the images show, and where, from the cache if they were looked at before."""
        found_in = [sha256_bytes(np.concatenate([m.prototype, [m.threshold]]).tobytes()) for m in marks.marks]
        key = key_of("marks 1", scorer.name, found_in, [sha256_file(path) for path in paths])

        def look() -> dict[str, NDArray[Any]]:
            shown = marks.look_at(scorer.patches([center_square(open_image(path)) for path in paths]))
            return {"similarity": shown.similarity, "present": shown.present, "boxes": shown.boxes}

        return Shown(**self._arrays(key, ("similarity", "present", "boxes"), look))

    def denoising_errors(self, paths: Sequence[Path], prompts: Sequence[str]) -> Floats | None:
        """Return the untouched base's error maps [N, T, h, w] on images, each cut to the model's size; None if unknown.

        The same images are measured once.
        """
        if not paths:
            return None
        base = self.generator.key(AdapterVariant())
        key = key_of("errors 1", base, list(prompts), [sha256_file(path) for path in paths])

        def measure() -> dict[str, NDArray[Any]] | None:
            images = [center_square(open_image(path)).convert("RGB") for path in paths]
            side = self.settings.size or min(min(image.size) for image in images)
            even = [i if i.width == side else i.resize((side, side), Image.Resampling.LANCZOS) for i in images]
            errors = self.generator.denoising_errors(even, prompts)
            return None if errors is None else {"errors": errors}

        found = self._arrays(key, ("errors",), measure)
        return found["errors"] if found else None

    def _arrays(
        self, key: str, names: Sequence[str], make: Callable[[], dict[str, NDArray[Any]] | None]
    ) -> dict[str, NDArray[Any]]:
        """Return arrays from the cache, or make and save them; an empty dict if they cannot be made."""
        path = self.folder / "judged" / f"{key[:24]}.npz"
        saved = _load_arrays(path)
        if saved is not None and set(names) <= saved.keys():
            return saved
        made = make()
        if made is None:
            return {}
        with atomic_path(path) as temporary, temporary.open("wb") as f:
            np.savez_compressed(f, **made)  # type: ignore[arg-type]
        return made


def _hash_path(path: Path) -> Path:
    return path.with_suffix(".sha256")


def _is_intact(path: Path) -> bool:
    """Return whether an image exists with the bytes that were saved."""
    try:
        return sha256_file(path) == _hash_path(path).read_text("ascii")
    except (OSError, UnicodeDecodeError):
        return False


def score_images(
    scorer: ImageScorer, images: Sequence[Image.Image], prompts: Sequence[str] | None = None
) -> ScoredImages:
    """Score images in every way that the scorer knows; without prompts the prompt scores are NaN."""
    scores = scorer.prompt_scores(images, prompts) if prompts else np.full(len(images), np.nan)
    embeddings = np.asarray(scorer.embed(images), dtype=np.float64)
    return ScoredImages(
        embeddings, np.asarray(scores, dtype=np.float64), scorer.attributes(images), small_pixels(images)
    )


def center_square(image: Image.Image) -> Image.Image:
    """Return the central square of an image, since scorers squeeze other shapes."""
    side = min(image.size)
    return image if image.width == image.height else ImageOps.fit(image, (side, side), Image.Resampling.LANCZOS)


def weight_files(ref: str) -> list[Path]:
    """Return the local weights files of a model or adapter, sorted."""
    from bakehouse.models.crumb import base_path

    path = base_path(ref)
    return sorted(path.rglob("*.safetensors")) if path.is_dir() else [path] if path.is_file() else []


def _save_scores(path: Path, scores: ScoredImages) -> None:
    attributes = np.frombuffer(json.dumps(list(scores.attributes)).encode(), dtype=np.uint8)
    with atomic_path(path) as temporary, temporary.open("wb") as f:
        np.savez_compressed(
            f, embeddings=scores.embeddings, prompt=scores.prompt, small=scores.small, attributes=attributes
        )


def _load_scores(path: Path) -> ScoredImages | None:
    """Return saved scores; None if there are none or the file is damaged."""
    saved = _load_arrays(path)
    try:
        if saved is None:
            return None
        attributes = parse_json(saved["attributes"].tobytes())
        return ScoredImages(saved["embeddings"], saved["prompt"], attributes, saved["small"])
    except (ValueError, KeyError):
        return None


def _load_arrays(path: Path) -> dict[str, NDArray[Any]] | None:
    """Return saved arrays; None if there are none or the file is damaged: zip files have checksums."""
    if not path.is_file():
        return None
    try:
        with np.load(io.BytesIO(path.read_bytes())) as saved:
            return {name: saved[name] for name in saved.files}
    except (OSError, ValueError, KeyError, EOFError, NotImplementedError, zipfile.BadZipFile, zlib.error):
        return None
