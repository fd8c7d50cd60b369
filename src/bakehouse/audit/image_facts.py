"""What an audit knows: everything that the checks look at, gathered once and frozen."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Literal

from bakehouse.captions.triggers import Explanation
from bakehouse.curation.dedupe.image_hashes import ImageHashes
from bakehouse.data.buckets import Placement
from bakehouse.data.image_header import ImageHeader
from bakehouse.data.image_records import ImageRecord
from bakehouse.data.triggers import CompiledImage
from bakehouse.vision.text_detection import TextRegion

Sides = tuple[int, int, int, int]
"""Left, top, right, bottom, in pixels."""
Box4 = tuple[float, float, float, float]
"""The same, between pixels."""


@dataclass(frozen=True)
class Pixels:
    """What was measured while an image was decoded."""

    clear: float
    """Share of pixels that are not opaque."""
    hidden: float
    """Share of pixels that are wholly transparent and have a colour other than white under it."""
    border: Sides
    """What `bakehouse dataset trim` would cut off."""
    sharpness: float
    """Variance of the Laplacian of the grey levels (0..255), at the size of the image's bucket."""
    blocks: float
    """How much stronger edges are along a grid of 8 x 8 pixels than beside it: 0 is not at all, 1 is twice."""
    colour: float
    """Distance of the least from the greatest channel that 95 % of the pixels stay below, 0..255."""
    look: ImageHashes
    """By which its copies are found."""
    ring: bytes
    """The outer two rows of the image in 16 x 16 pixels: 112 RGB values."""


@dataclass(frozen=True)
class Box:
    """A rectangle in shares of the image's sides, and how sure its finder is."""

    left: float
    top: float
    right: float
    bottom: float
    score: float = 1.0

    @property
    def height(self) -> float:
        return self.bottom - self.top

    @property
    def area(self) -> float:
        return (self.right - self.left) * self.height


@dataclass(frozen=True)
class ImageFacts:
    """One file that is an image or claims to be one."""

    name: str
    """Path in the folder, with `/`."""
    path: Path
    bytes: int
    problem: str = ""
    """Why it cannot be used; then nothing below is known."""
    oversized: bool = False
    """The problem is its size: it was not decoded."""
    header: ImageHeader | None = None
    named_right: bool = True
    """Its extension is one of its format."""
    frames: tuple[int, int] = (1, 1)
    """Of an animation: those that differ, and those looked at."""
    record: ImageRecord | None = None
    pixels: Pixels | None = None
    placement: Placement | None = None
    faces: tuple[Box, ...] | None = None
    """None where nobody looked."""
    texts: tuple[TextRegion, ...] | None = None
    """None where nobody looked; without those that its mask leaves out of the loss."""
    rough: frozenset[Box4] = frozenset()
    """The boxes of texts that stand on rough ground, where `bakehouse dataset clean` paints only with a network."""

    @property
    def group(self) -> str:
        """The folder it lies in, as a path in the dataset; empty for the dataset's own."""
        parent = str(PurePosixPath(self.name).parent)
        return "" if parent == "." else parent

    @property
    def size(self) -> tuple[int, int]:
        """Width and height after rotation; zeros where it cannot be read."""
        return (self.header.width, self.header.height) if self.header else (0, 0)

    @property
    def captions(self) -> tuple[str, ...]:
        return self.record.captions if self.record else ()


@dataclass(frozen=True)
class CaptionFacts:
    """One caption file."""

    name: str
    path: Path
    image: str | None
    """The image that it is of; None for a stray one."""
    bytes: int
    encoding: str
    notes: tuple[str, ...]
    """What reading it remarked."""
    lines: tuple[str, ...]
    crlf: bool
    used: bool
    """It is the one that counts among the caption files of its image."""


@dataclass(frozen=True)
class MaskFacts:
    """One mask file."""

    name: str
    path: Path
    image: str | None
    problem: str = ""
    share: float = 0.0
    """Of the image's area that is learned: the mean of the mask."""
    faults: tuple[str, ...] = ()
    """What the quality check says against it, with figures."""
    checked: bool = True
    """The quality check was run."""


@dataclass(frozen=True)
class Group:
    """One folder with images of its own: a concept as kohya sees it."""

    name: str
    """Path in the dataset; empty for the dataset's own folder."""
    label: str
    """What it is called: `red dress` of `10_red dress`."""
    repeats: int | None
    """From the folder's name or the recipe; None where nobody said."""
    role: Literal["train", "reg"]
    images: tuple[ImageFacts, ...]

    @property
    def shown(self) -> int:
        """Images an epoch."""
        return len(self.images) * (self.repeats or 1)


@dataclass(frozen=True)
class TriggerFacts:
    """The declared triggers, put to the taught images."""

    compiled: tuple[CompiledImage, ...] = ()
    """In the order of the taught images."""
    explanation: Explanation | None = None
    said: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """By trigger and tag: the share of the trigger's shows whose caption says the tag."""
    problems: tuple[str, ...] = ()
    """Why they fit no image; then there is nothing above."""


@dataclass(frozen=True)
class Facts:
    """A dataset as it was found."""

    root: Path
    images: tuple[ImageFacts, ...]
    """In natural order, those that cannot be used among them."""
    captions: tuple[CaptionFacts, ...] = ()
    masks: tuple[MaskFacts, ...] = ()
    junk: tuple[str, ...] = ()
    """Files of other programs: `._a.jpg`, `Thumbs.db`."""
    stale: tuple[str, ...] = ()
    """Latents of other trainers that are older than their images."""
    links: Mapping[str, str] = field(default_factory=dict)
    """Links that lead out of the folder, in a circle, or nowhere: name and what is wrong."""
    groups: tuple[Group, ...] = ()
    unnumbered: tuple[str, ...] = ()
    """Folders with images beside `N_name` folders, which kohya passes over."""
    triggers: TriggerFacts = TriggerFacts()
    looked_for: frozenset[str] = frozenset()
    """What finders were at work: `faces`, `text`."""
    painter: bool = False
    """There is a network that paints over text on rough ground."""
    thumbnails: Mapping[str, bytes] = field(default_factory=dict)
    """Small WebP pictures by the images' names, where they were asked for."""

    @cached_property
    def usable(self) -> tuple[ImageFacts, ...]:
        """Images that can be trained on."""
        return tuple(image for image in self.images if not image.problem)

    @cached_property
    def taught(self) -> tuple[ImageFacts, ...]:
        """Usable images of groups that are no regularization images."""
        return tuple(image for group in self.taught_groups for image in group.images)

    @cached_property
    def taught_groups(self) -> tuple[Group, ...]:
        return tuple(group for group in self.groups if group.role == "train")

    @cached_property
    def reg(self) -> tuple[ImageFacts, ...]:
        """Usable regularization images."""
        return tuple(image for group in self.groups if group.role == "reg" for image in group.images)

    def measured(self) -> Iterator[tuple[ImageFacts, Pixels]]:
        """Taught images with what was measured of them."""
        for image in self.taught:
            if image.pixels is not None:
                yield image, image.pixels

    @cached_property
    def repeats(self) -> Mapping[str, int]:
        """Of each image, by name."""
        return {image.name: group.repeats or 1 for group in self.groups for image in group.images}
