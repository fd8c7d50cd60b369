"""Scorers of a benchmark: DINO and CLIP as in the paper, or the embedded base's tagger instead."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, Protocol

from PIL import Image

from bakehouse.evaluation.image_scorers import CrumbScorer, ImageScorer, Rows, TransformersScorer

Measure = Literal["dino", "clip_i", "clip_t"]
MEASURES: tuple[Measure, ...] = ("dino", "clip_i", "clip_t")
DINO = "facebook/dino-vits16"
"""DINO ViT-S/16, the paper's."""
CLIP = "openai/clip-vit-base-patch32"


class BenchScorer(Protocol):
    """Scores the images of a benchmark."""

    name: str
    """Identifies the models behind it."""
    columns: Mapping[Measure, str]
    """What each column of the table holds; a measure that is not among them is not measured."""

    def embeddings(self, images: Sequence[Image.Image]) -> Mapping[Measure, Rows]:
        """Return embeddings [N, D] for each measure of the subject, rows of unit length."""

    def prompt_scores(self, images: Sequence[Image.Image], prompts: Sequence[str]) -> Rows:
        """Return how well each image matches its prompt [N]; prompts are without the trigger."""


class PaperScorer:
    """DINO for the subject, CLIP for subject and prompt (Ruiz et al. 2022, section 4.1)."""

    columns: Mapping[Measure, str] = {"dino": "DINO", "clip_i": "CLIP-I", "clip_t": "CLIP-T"}

    def __init__(self, clip: str | Path = CLIP, dino: str | Path = DINO, *, device: str = "cpu") -> None:
        """Load both models.

        Raises:
            UsageError: one of them is missing or of another kind.
        """
        self.models = TransformersScorer(clip, dino, device=device)
        self.name = self.models.name

    def embeddings(self, images: Sequence[Image.Image]) -> Mapping[Measure, Rows]:
        return {"dino": self.models.embed(images), "clip_i": self.models.clip_embeddings(images)}

    def prompt_scores(self, images: Sequence[Image.Image], prompts: Sequence[str]) -> Rows:
        return self.models.prompt_scores(images, prompts)


class BundledScorer:
    """The tagger of the embedded base, which knows its drawings, instead of DINO and CLIP."""

    columns: Mapping[Measure, str] = {
        "dino": "tagger's embedding (for DINO)",
        "clip_t": "tagger's prompt accuracy (for CLIP-T)",
    }

    def __init__(self, scorer: ImageScorer) -> None:
        self.scorer = scorer
        self.name = scorer.name

    def embeddings(self, images: Sequence[Image.Image]) -> Mapping[Measure, Rows]:
        return {"dino": self.scorer.embed(images)}

    def prompt_scores(self, images: Sequence[Image.Image], prompts: Sequence[str]) -> Rows:
        return self.scorer.prompt_scores(images, prompts)


def scorer_of(base: str, *, clip: str | None = None, dino: str | None = None, device: str = "cpu") -> BenchScorer:
    """Return the scorer for a base: the tagger for the embedded one unless CLIP or DINO is named."""
    from bakehouse.models.families import family_of

    if clip is None and dino is None and family_of(base).scorer == "bundled tagger":
        return BundledScorer(CrumbScorer.load())
    return PaperScorer(clip or CLIP, dino or DINO, device=device)
