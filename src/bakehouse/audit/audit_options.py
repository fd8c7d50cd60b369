"""What an audit is told: how the images will be used, and from where on a thing is a fault."""

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
    """Where a fault begins."""

    megapixels: Annotated[float, Field(gt=0)] = 100.0
    """Larger images are not decoded."""
    side: Annotated[int, Field(ge=1)] = 16384
    """Pixels; longer images are not decoded."""
    enlarged: Annotated[float, Field(ge=1)] = 1.05
    """What a bucket enlarges less than this is left to it."""
    enlarged_badly: Annotated[float, Field(ge=1)] = 4.0
    """An image enlarged more than this for its bucket shows the enlarger, not the subject."""
    lost: Share = 0.08
    """Of an image's area that its bucket cuts away."""
    lost_badly: Share = 0.20
    """Of an image's area that its bucket cuts away: an error."""
    buckets: Count = 9
    """More shapes are hard to fill."""
    border: Share = 0.02
    """Of a side that is one colour."""
    sharpness: Annotated[float, Field(ge=0)] = 100.0
    """Variance of the Laplacian, at the size of the bucket."""
    jpeg_quality: Annotated[int, Field(ge=1, le=100)] = 60
    """Below it the blocks are learned."""
    blocks: Annotated[float, Field(ge=0)] = 0.5
    """Excess of edges on the grid of 8 x 8 over those beside it, where no quality is known."""
    grey_colour: Annotated[float, Field(ge=0)] = 14.0
    """Images whose colours stay below this are monochrome."""
    grey: Share = 0.5
    """Share of images that may be monochrome."""
    grey_badly: Share = 0.8
    """Share of monochrome images that leaves no colours to learn."""
    face: Annotated[int, Field(ge=1)] = 64
    """Pixels; a lower face in the bucket is learned as a blur. Counted at 512; it grows with the resolution."""
    same_place: Share = 0.10
    """Share of images with text at one place: a watermark that will be learned."""
    framing: Share = 0.70
    """Share of images with one framing."""
    background: Share = 0.30
    """Share of images with one background."""
    background_distance: Annotated[float, Field(ge=0)] = 6.0
    """Mean difference, of 255, between the borders of two images with one background."""
    tokens: Annotated[int, Field(ge=1)] = 75
    """Longer captions are cut, or cost one more pass of the text encoder."""
    tokens_most: Annotated[int, Field(ge=1)] = 225
    """Longer captions are cut by every trainer."""
    caption_bytes: Annotated[int, Field(ge=1)] = 1024
    """A longer list of tags was made by a tagger whose threshold was far too low."""
    known: Annotated[int, Field(ge=0)] = 1000
    """Pictures from which on a base model knows a tag well."""
    fused: Share = 0.60
    """Share of a trigger's shows with a tag, weighted by repeats: the two begin to be one."""
    images: Count = 8
    """Images an outfit or character needs."""
    pack_images: Count = 50
    """Images each one of several characters needs."""
    spread: Share = 0.15
    """By which images x repeats of siblings may differ from their mean."""
    views: Annotated[int, Field(ge=1)] = 200
    """Times that one image is shown."""


class AuditSpec(Spec):
    """How the images will be used. What is left out is not checked, or taken from the folder."""

    kind: Literal["character", "outfits", "pack", "style", "concept", "pose", "object", "dreambooth"] = "character"
    """What shall be taught."""
    base: str = "sd15"
    """The base model, as commands name it."""
    recipe: str = ""
    """The file that all of this was taken from, as commands name it; empty where it was said otherwise."""
    family: Literal["crumb", "sd1", "sd2", "sdxl"] = "sd1"
    """Of the base model."""
    buckets: BucketSpec = BucketSpec()
    """Resolution and shapes of the training."""
    batch: Annotated[int, Field(ge=1)] = 1
    """Images a step."""
    triggers: tuple[Trigger, ...] = ()
    """The words that are to be learned."""
    declared: bool = False
    """The triggers stand in a file that `captions compile` reads."""
    compiled: bool = False
    """Captions are compiled from the triggers when they are trained: those on disk need not hold them."""
    keep_tokens: Count = 0
    """Tags at the beginning of captions that stay there."""
    mark: str = ""
    """The keep-tokens separator, `|||`."""
    max_tokens: Annotated[int, Field(ge=1)] = 75
    """Tokens of a caption that the training uses."""
    repeats: dict[str, int] = Field(default_factory=dict)
    """By folder, relative to the dataset, where they are not in the folders' names."""
    reg: tuple[str, ...] = ()
    """Folders with regularization images, relative to the dataset."""
    optimizer: Literal["adamw", "prodigy"] = "adamw"
    """The sort of optimizer: one whose rate is set, or one that finds it."""
    faster: bool = False
    """min-SNR weighting or input perturbation, which need fewer steps."""
    epochs: Annotated[int, Field(ge=1)] | None = None
    vocabulary: str = ""
    """Tags that the base model was taught: `crumb`, a tagger's name, or a `selected_tags.csv`."""
    tokenizer: Path | None = None
    """A folder or `tokenizer.json` of the base model's tokenizer; left out, tokens are estimated."""
    faces: bool | None = None
    """Look for faces. Left out: where a finder is installed and there are at most `slow` images."""
    text: bool | None = None
    """Read text. Left out: where a reader is installed and there are at most `slow` images."""
    slow: Count = 100
    """So many images are read and searched for faces unasked: a second or two for each."""
    limits: Limits = Limits()
