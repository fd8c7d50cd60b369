"""Settings of an audit: how the images will be used, and the thresholds of the checks."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from bakehouse.core.settings import Spec
from bakehouse.data.buckets import BucketSpec
from bakehouse.data.triggers import Trigger

Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=0)]


class Limits(Spec):
    """Thresholds of the checks."""

    megapixels: Annotated[float, Field(gt=0)] = 100.0
    """Larger images are not decoded (A02)."""
    side: Annotated[int, Field(ge=1)] = 16384
    """Pixels; images with a longer side are not decoded (A02)."""
    enlarged: Annotated[float, Field(ge=1)] = 1.05
    """Images enlarged more than this for their bucket are reported (B01)."""
    enlarged_badly: Annotated[float, Field(ge=1)] = 4.0
    """Images enlarged more than this for their bucket are an error (B01)."""
    lost: Share = 0.08
    """Share of an image's area cropped by its bucket (B02)."""
    lost_badly: Share = 0.20
    """Share of an image's area cropped by its bucket: an error (B02)."""
    buckets: Count = 9
    """Most buckets; with more of them many batches are not full (B03)."""
    border: Share = 0.02
    """Share of a side that is a border of one colour (B04)."""
    sharpness: Annotated[float, Field(ge=0)] = 100.0
    """Least variance of the Laplacian at bucket size (B05)."""
    jpeg_quality: Annotated[int, Field(ge=1, le=100)] = 60
    """Least JPEG quality; below it the block artefacts are learned (B06)."""
    blocks: Annotated[float, Field(ge=0)] = 0.5
    """Relative excess of edges on the 8 x 8 grid, used if the JPEG quality is unknown (B06)."""
    grey_colour: Annotated[float, Field(ge=0)] = 14.0
    """Images with a lower chroma (0..255) are monochrome (B07)."""
    grey: Share = 0.5
    """Share of monochrome images: a warning (B07)."""
    grey_badly: Share = 0.8
    """Share of monochrome images: an error (B07)."""
    face: Annotated[int, Field(ge=1)] = 64
    """Least height of a face in the bucket, in pixels at resolution 512; scales with the resolution (B08)."""
    same_place: Share = 0.10
    """Share of images with text in the same position: a watermark (B09)."""
    framing: Share = 0.70
    """Share of images with one framing (B11)."""
    background: Share = 0.30
    """Share of images with the same background (B12)."""
    background_distance: Annotated[float, Field(ge=0)] = 6.0
    """Mean difference, 0..255, between the outer pixels of two images with the same background (B12)."""
    tokens: Annotated[int, Field(ge=1)] = 75
    """Tokens of a caption; longer ones are cut off, or need another chunk of the text encoder (C04)."""
    tokens_most: Annotated[int, Field(ge=1)] = 225
    """Tokens of a caption that trainers use at most: an error (C04)."""
    caption_bytes: Annotated[int, Field(ge=1)] = 1024
    """Bytes of a tag list; longer ones come from a tagger with too low a threshold (C13)."""
    known: Annotated[int, Field(ge=0)] = 1000
    """Training images from which a base model knows a tag well (C11)."""
    fused: Share = 0.60
    """Share of a trigger's exposures whose caption has a tag: the two are correlated (D04)."""
    images: Count = 8
    """Fewest images of a character or outfit (E01)."""
    pack_images: Count = 50
    """Fewest images of each character in a pack (E01)."""
    spread: Share = 0.15
    """Largest deviation of images x repeats from the mean of all concepts (E02)."""
    views: Annotated[int, Field(ge=1)] = 200
    """Most exposures of one image in the whole training (E06)."""


class AuditSpec(Spec):
    """How the images will be used. What is not given is not checked, or read from the folder."""

    kind: Literal["character", "outfits", "pack", "style", "concept", "pose", "object", "dreambooth"] = "character"
    """Kind of subject."""
    base: str = "sd15"
    """Base model, as in the commands that the audit recommends."""
    recipe: str = ""
    """Path of the recipe that these settings come from, as in the recommended commands; empty without a recipe."""
    family: Literal["crumb", "sd1", "sd2", "sdxl"] = "sd1"
    """Family of the base model."""
    buckets: BucketSpec = BucketSpec()
    """Resolution and buckets of the training."""
    batch: Annotated[int, Field(ge=1)] = 1
    """Batch size."""
    triggers: tuple[Trigger, ...] = ()
    """Trigger words of the training."""
    declared: bool = False
    """The triggers are declared in a file that `captions compile` reads."""
    compiled: bool = False
    """The training compiles captions from the triggers, so that captions on disk need no triggers."""
    keep_tokens: Count = 0
    """Number of tags that stay at the beginning of captions."""
    mark: str = ""
    """keep_tokens_separator, usually `|||`."""
    max_tokens: Annotated[int, Field(ge=1)] = 75
    """Most tokens of a caption that the training uses."""
    repeats: dict[str, int] = Field(default_factory=dict)
    """Repeats by folder, relative to the dataset, if they are not in the folders' names."""
    reg: tuple[str, ...] = ()
    """Folders of class (regularization) images, relative to the dataset."""
    optimizer: Literal["adamw", "prodigy"] = "adamw"
    """Type of optimizer: with a given learning rate, or adapting it."""
    faster: bool = False
    """min-SNR weighting or input perturbation is on, which needs fewer steps."""
    epochs: Annotated[int, Field(ge=1)] | None = None
    """Epochs of the training; None: unknown."""
    vocabulary: str = ""
    """Tags that the base model knows: `crumb`, a tagger's name, or a `selected_tags.csv`."""
    tokenizer: Path | None = None
    """Folder or `tokenizer.json` of the base model's tokenizer; None: tokens are estimated."""
    faces: bool | None = None
    """Detect faces. None: if a detector is installed and there are at most `slow` images."""
    text: bool | None = None
    """Detect text. None: if a detector is installed and there are at most `slow` images."""
    slow: Count = 100
    """Most images on which detectors run by default: they take a second or two for each."""
    limits: Limits = Limits()
