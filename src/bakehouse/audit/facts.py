"""The facts of a dataset that the checks work on: collected once, immutable."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Literal

from bakehouse.captions.triggers import Explanation
from bakehouse.curation.dedupe.image_hashes import ImageHashes
from bakehouse.data.buckets import Placement
from bakehouse.data.compile_captions import CompiledImage
from bakehouse.data.image_header import ImageHeader
from bakehouse.data.image_records import ImageRecord
from bakehouse.vision.text_detection import TextRegion

Sides = tuple[int, int, int, int]
"""Left, top, right, bottom, in pixels."""
Box4 = tuple[float, float, float, float]
"""The same, in fractions of pixels."""


@dataclass(frozen=True)
class Pixels:
    """Measurements of a decoded image."""

    transparent: float
    """Share of pixels that are not opaque."""
    hidden_color: float
    """Share of pixels that are fully transparent over a colour other than white."""
    border: Sides
    """Pixels of each side that `bakehouse dataset trim` would cut off."""
    sharpness: float
    """Variance of the Laplacian of the grey levels (0..255), at the size of the image's bucket."""
    blockiness: float
    """How much stronger edges are on a grid of 8 x 8 pixels than beside it: 0 is equal, 1 is twice as strong."""
    chroma: float
    """95th percentile of the largest minus the smallest channel, 0..255."""
    hashes: ImageHashes
    """Perceptual hashes for finding duplicates."""
    outline: bytes
    """The outer two rows of the image scaled to 16 x 16 pixels: 112 RGB values."""


@dataclass(frozen=True)
class Box:
    """A rectangle in shares of the image's sides, with the detector's score."""

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
    """An image file, readable or not."""

    name: str
    """Path in the dataset, with `/`."""
    path: Path
    bytes: int
    problem: str = ""
    """Why it cannot be used; then the fields below have their defaults."""
    oversized: bool = False
    """It was not decoded because it is too large."""
    header: ImageHeader | None = None
    named_right: bool = True
    """Its extension matches its format."""
    frames: tuple[int, int] = (1, 1)
    """Of an animation: the number of different frames, and of those compared."""
    record: ImageRecord | None = None
    pixels: Pixels | None = None
    placement: Placement | None = None
    faces: tuple[Box, ...] | None = None
    """None if faces were not detected."""
    texts: tuple[TextRegion, ...] | None = None
    """None if text was not detected; without texts that the mask excludes from the loss."""
    busy_texts: frozenset[Box4] = frozenset()
    """Boxes of texts on a busy background, which `bakehouse dataset clean` fills only with an inpainting network."""

    @property
    def group(self) -> str:
        """Its folder as a path in the dataset; empty for the dataset's own folder."""
        parent = str(PurePosixPath(self.name).parent)
        return "" if parent == "." else parent

    @property
    def size(self) -> tuple[int, int]:
        """Width and height after rotation; zeros if it cannot be read."""
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
    """Name of its image; None for a stray caption."""
    bytes: int
    encoding: str
    notes: tuple[str, ...]
    """Warnings of the reader: encoding, line format."""
    lines: tuple[str, ...]
    crlf: bool
    used: bool
    """It is the caption file that is read; an image may have several."""


@dataclass(frozen=True)
class MaskFacts:
    """One mask file."""

    name: str
    path: Path
    image: str | None
    problem: str = ""
    share: float = 0.0
    """Share of the image's area that is learned: the mean of the mask."""
    faults: tuple[str, ...] = ()
    """Problems that the quality check found, with figures."""
    checked: bool = True
    """The quality check was run."""


@dataclass(frozen=True)
class Group:
    """A folder that holds images: a concept as kohya sees it."""

    name: str
    """Path in the dataset; empty for the dataset's own folder."""
    label: str
    """Its name without the number: `red dress` of `10_red dress`."""
    repeats: int | None
    """From the folder's name or the recipe; None if neither gives a number."""
    role: Literal["train", "reg"]
    """`reg`: class (regularization) images."""
    images: tuple[ImageFacts, ...]

    @property
    def exposures(self) -> int:
        """Images x repeats: how often its images are trained in an epoch."""
        return len(self.images) * (self.repeats or 1)


@dataclass(frozen=True)
class TriggerFacts:
    """The declared triggers, compiled for the training images."""

    compiled: tuple[CompiledImage, ...] = ()
    """In the order of the training images."""
    explanation: Explanation | None = None
    captioned: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """By trigger and tag: the share of the trigger's exposures whose caption has the tag."""
    problems: tuple[str, ...] = ()
    """Why the triggers cannot be compiled; then the fields above are empty."""


@dataclass(frozen=True)
class Facts:
    """Everything that an audit knows of a dataset."""

    root: Path
    images: tuple[ImageFacts, ...]
    """In natural order, unusable ones included."""
    captions: tuple[CaptionFacts, ...] = ()
    masks: tuple[MaskFacts, ...] = ()
    foreign_files: tuple[str, ...] = ()
    """Files of other programs: `._a.jpg`, `Thumbs.db`."""
    stale_caches: tuple[str, ...] = ()
    """Latent caches of other trainers that are older than their images."""
    bad_links: Mapping[str, str] = field(default_factory=dict)
    """Links that are broken, circular or lead out of the folder: name and what is wrong."""
    groups: tuple[Group, ...] = ()
    unnumbered: tuple[str, ...] = ()
    """Folders without a number beside `N_name` folders, which kohya skips."""
    triggers: TriggerFacts = TriggerFacts()
    detected: frozenset[str] = frozenset()
    """Kinds of detectors that ran: `faces`, `text`."""
    has_inpainter: bool = False
    """An inpainting network for text on a busy background is installed."""
    tagger: str = ""
    """The tagger on this machine whose words the base model can use; empty: none."""
    thumbnails: Mapping[str, bytes] = field(default_factory=dict)
    """WebP thumbnails by the images' names, if they were asked for."""

    @cached_property
    def usable(self) -> tuple[ImageFacts, ...]:
        """Images that can be decoded."""
        return tuple(image for image in self.images if not image.problem)

    @cached_property
    def train_images(self) -> tuple[ImageFacts, ...]:
        """Usable images that are trained, class images excluded."""
        return tuple(image for group in self.train_groups for image in group.images)

    @cached_property
    def train_groups(self) -> tuple[Group, ...]:
        """Groups of images that are trained, class images excluded."""
        return tuple(group for group in self.groups if group.role == "train")

    @cached_property
    def class_images(self) -> tuple[ImageFacts, ...]:
        """Usable class (regularization) images."""
        return tuple(image for group in self.groups if group.role == "reg" for image in group.images)

    def measured(self) -> Iterator[tuple[ImageFacts, Pixels]]:
        """Yield the training images with their measurements."""
        for image in self.train_images:
            if image.pixels is not None:
                yield image, image.pixels

    @cached_property
    def repeats(self) -> Mapping[str, int]:
        """Repeats of each image, by name."""
        return {image.name: group.repeats or 1 for group in self.groups for image in group.images}
