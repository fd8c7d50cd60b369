"""The description of a family of base models, known before one is loaded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from bakehouse.models.noise_schedule import PredictionType

if TYPE_CHECKING:
    from bakehouse.models.stable_diffusion import StableDiffusion


@dataclass(frozen=True, kw_only=True)
class Family:
    """Base models that are trained, sampled and evaluated alike. `sd1.py` and its neighbours declare one each.

    Other packages ask a family for an answer; none of them asks which family it is.
    """

    name: str
    """`sd1`, ...: the name under which presets, the memory estimate and the cost estimate have their numbers."""
    network_class: type[StableDiffusion]
    """The class that loads and runs it."""
    native_size: int
    """Side in pixels of the images it was trained on, where a model's own settings do not say."""

    evaluation_steps: int | None = None
    """Denoising steps of evaluation images by default; None: as every evaluation's settings say."""
    batch_size: int = 1
    """Images at once in training by default."""
    images_per_step: int = 4
    """Images in an optimizer step where the batch size is found by trying."""
    scorer: Literal["bundled tagger", "CLIP and DINO"] = "CLIP and DINO"
    """What scores its images in evaluation."""
    vocabulary: str | None = None
    """The tag vocabulary of its training captions (`data.tag_vocabulary`); None: not known."""
    bundled: bool = False
    """Whether it is part of the package."""

    text_keys: tuple[str, ...]
    """Prefix of each text encoder's keys in a single file, in the order of `network_class.text_parts`."""
    pad_tokens: Mapping[str, str] = field(default_factory=dict)
    """The token that fills a prompt up, by text encoder, where it is not the end mark."""
    modelspec: Mapping[PredictionType, str]
    """The predictions that models of the family make, each with its `modelspec.architecture`."""
