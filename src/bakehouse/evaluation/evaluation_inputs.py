"""Inputs of an evaluation: checkpoints, photos, names of the subject, and photos of other subjects."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bakehouse.core.errors import BakehouseError
from bakehouse.core.events import Saved
from bakehouse.core.files import read_json
from bakehouse.core.message_text import counted
from bakehouse.core.run_folder import Run
from bakehouse.data.crumb_attributes import ASSETS
from bakehouse.data.image_records import ImageRecord
from bakehouse.data.open_image import open_image
from bakehouse.data.provenance import originals
from bakehouse.data.scan import scan
from bakehouse.evaluation.image_cache import GenerationSettings, PipelineImageGenerator, center_square
from bakehouse.evaluation.metrics import Floats, root_mean_square, small_pixels
from bakehouse.evaluation.prompt_set import subject_phrase
from bakehouse.models.families import family_of
from bakehouse.recipe.image_groups import characters_of, is_grouped
from bakehouse.recipe.recipe import ConceptSpec, EvaluateSpec, Recipe

SAME_IMAGE = 0.03
"""Root mean square of pixels, 0..1: small copies of two images that differ by less are of the same image."""
MAX_IMPOSTOR_PHOTOS = 24
"""Of a larger folder of another subject this many images are scored, evenly spaced."""


@dataclass(frozen=True)
class Checkpoint:
    """Weights of a run and when they were saved: `number` counts epochs, or steps if the run saved by steps only."""

    number: int
    unit: str
    path: Path


def checkpoints(run: Run, most: int) -> list[Checkpoint]:
    """Return at most `most` of a run's checkpoints, evenly spaced; the last is always among them.

    Raises:
        UsageError: the run has no weights yet.
    """
    from bakehouse.generation.run_weights import epoch_weights, run_weights

    found = [Checkpoint(number, "epoch", path) for number, path in epoch_weights(run).items()]
    saved = {Path(e.path).name: e.step for e in run.history() if isinstance(e, Saved)}
    by_step = [Checkpoint(saved[path.name], "step", path) for path in run_weights(run) if path.name in saved]
    if len(found) < 2 <= len(by_step):
        found = sorted(by_step, key=lambda c: c.number)
    count = min(most, len(found))
    # Counted from the end, 5 of 8 are 2, 3, 5, 6, 8: the first have learned least.
    chosen = sorted({round((i + 1) * len(found) / count) - 1 for i in range(count)})
    return [found[i] for i in chosen]


def pipeline(recipe: Recipe, run: Run, device: str) -> PipelineImageGenerator:
    """Return the generator on the recipe's base, with the settings of its training."""
    from bakehouse.generation.model_source import ModelSource

    model = recipe.model
    precision = recipe.train.precision
    source = ModelSource(
        model.base,
        vae=model.vae,
        clip_skip=model.clip_skip,
        prediction=model.prediction,
        zero_terminal_snr=recipe.noise.zero_terminal_snr,
        precision=precision,
        title=run.name,
        run=run,
    )
    return PipelineImageGenerator(source, device)


def image_size(recipe: Recipe) -> int | None:
    """Return the training resolution if the recipe sets it, in multiples of 8 (one latent)."""
    return recipe.buckets.resolution // 8 * 8 if "resolution" in recipe.buckets.model_fields_set else None


def generation_settings(recipe: Recipe, spec: EvaluateSpec) -> GenerationSettings:
    """Return how the images of an evaluation are generated: as `spec` says, with the steps that suit the base."""
    usual = family_of(recipe.model.base).evaluation_steps
    return GenerationSettings(
        steps=usual if usual is not None and "steps" not in spec.model_fields_set else spec.steps,
        guidance=spec.guidance,
        sampler=spec.sampler,
        size=image_size(recipe),
        quality=spec.quality,
        negative=spec.negative,
    )


def captions(images: Sequence[ImageRecord]) -> list[str]:
    return [caption for image in images for caption in image.captions[:1]]


def as_captioned(concept: ConceptSpec, images: Sequence[ImageRecord]) -> ConceptSpec:
    """Return the concept with the subject as its captions name it."""
    phrase = subject_phrase(captions(images), concept.trigger_word)
    if phrase is None or phrase == concept.subject:
        return concept
    words = {"subject": phrase, "trigger": concept.trigger_word, "class_word": concept.class_name}
    return concept.model_copy(update=words)


def subject_folders(recipe: Recipe, concept: int) -> list[Path]:
    """Return the folders of a concept's subject: of a character, all groups that show it alone, in whatever clothes."""
    mine = recipe.concepts[concept]
    if not is_grouped(recipe):
        return [mine.folder]
    return [c.folder for c in recipe.concepts if c.trigger_word == mine.trigger_word and not c.characters]


def subject_concepts(recipe: Recipe) -> list[int]:
    """Return the concepts to evaluate, by number: all of them; of outfits and packs the first of each character."""
    if not is_grouped(recipe):
        return list(range(len(recipe.concepts)))
    return [recipe.concepts.index(concept) for concept in characters_of(recipe).values()]


def photos_of(folders: Sequence[Path], most: int) -> Sequence[ImageRecord]:
    """Return the images of some folders, at most `most`, evenly spaced.

    Raises:
        UsageError: a folder is missing, or holds no image.
    """
    return evenly_spaced([r for folder in folders for r in scan(folder).records], most)


def holdout_folder(folder: Path) -> Path | None:
    """Return the folder of held-out images beside the images, `NAME-holdout`, if it exists."""
    found = folder.parent / f"{folder.name}-holdout"
    return found if found.is_dir() else None


def named_attributes(folder: Path) -> dict[str, str]:
    """Return the subject's attributes from an example.json beside the images, if there is one."""
    named = _example(folder).get("attributes")
    return {str(k): str(v) for k, v in named.items()} if isinstance(named, dict) else {}


def _example(folder: Path) -> dict[str, Any]:
    path = folder / "example.json"
    value = read_json(path) if path.is_file() else None
    return value if isinstance(value, dict) else {}


def evenly_spaced(records: Sequence[ImageRecord], most: int) -> Sequence[ImageRecord]:
    """Return at most `most` of the records, evenly spaced."""
    if len(records) <= most:
        return records
    return [records[round(i)] for i in np.linspace(0, len(records) - 1, most)]


def training_images(folders: Sequence[Path], most: int) -> tuple[Sequence[ImageRecord], list[str]]:
    """Return at most `most` images of a subject to compare with, evenly spaced, and notes.

    Drawn and composed images are left out if there are others: what a model drew does not say how the subject looks.
    """
    found = [r for folder in folders for r in scan(folder).records]
    own = originals(found) or found
    left_out = len(found) - len(own)
    note = f"{counted(left_out, 'image')} drawn or composed: the subject is compared with the other {len(own)}"
    return evenly_spaced(own, most), [note] if left_out else []


@dataclass(frozen=True)
class Impostor:
    """Photos of another subject, or of several in another style."""

    name: str
    records: Sequence[ImageRecord]
    one_subject: bool = True


def impostor_photos(recipe: Recipe, concept: int, own: Sequence[ImageRecord], *, bundled: bool) -> list[Impostor]:
    """Return photos of other subjects: the recipe's other concepts, and for crumb the bundled examples.

    A folder that has one of the subject's own images is left out.
    """
    folders = {
        c.subject or c.folder.name: c.folder
        for i, c in enumerate(recipe.concepts)
        if i != concept and recipe.concepts[concept].trigger_word not in (c.trigger_word, *c.characters)
    }
    of_style = recipe.kind == "style"
    one_subject = dict.fromkeys(folders, True)
    for folder in sorted((ASSETS / "examples").glob("*")) if bundled else ():
        if folder.is_dir() and not folder.name.endswith("-holdout"):
            name = f"example {folder.name}"
            folders[name] = folder
            one_subject[name] = (_example(folder).get("kind") == "style") == of_style
    mine = _small(own)
    found = []
    for name, folder in folders.items():
        try:
            records = evenly_spaced(scan(folder).records, MAX_IMPOSTOR_PHOTOS)
            theirs = _small(records)
        except BakehouseError:
            # Whether the subject is learned does not depend on another one's damaged images.
            continue
        if len(records) and root_mean_square(theirs, mine).min(initial=1.0) >= SAME_IMAGE:
            found.append(Impostor(name, records, one_subject[name]))
    return found


def _small(records: Sequence[ImageRecord]) -> Floats:
    return small_pixels([center_square(open_image(r.path)) for r in records])
