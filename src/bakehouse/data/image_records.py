"""Records of images: path, size, hash, captions, mask."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import overload


@dataclass(frozen=True, slots=True)
class ImageRecord:
    """A readable image with its caption and mask files."""

    path: Path
    width: int
    """Pixels, after EXIF rotation."""
    height: int
    sha256: str
    """Hex digest of the file."""
    captions: tuple[str, ...] = ()
    """From the caption file, in its order; empty if there is none."""
    caption_path: Path | None = None
    concept: int = 0
    """Index of the recipe's concept that it belongs to."""
    mask: Path | None = None
    """A grey image of the same aspect ratio: white is learned, black is not."""
    has_alpha: bool = False
    """At least one pixel is not opaque."""
    frames: int = 1
    """Number of frames of an animation, of which the first is used; 1 otherwise."""


@dataclass(frozen=True)
class Skipped:
    """A file that is named like an image and cannot be used, with the reason."""

    path: Path
    reason: str


@dataclass(frozen=True)
class ImageSet(Sequence[ImageRecord]):
    """The images of a folder in natural order, and the files that were skipped."""

    records: tuple[ImageRecord, ...]
    skipped: tuple[Skipped, ...] = ()
    notes: tuple[str, ...] = ()
    """Remarks for the user: captions without an image, two images with one stem."""
    root: Path = Path()
    """The folder that was scanned."""

    def name(self, path: Path) -> PurePosixPath:
        """Return a file's path relative to the folder, with forward slashes.

        Raises:
            ValueError: the file is not below the folder.
        """
        return PurePosixPath(path.relative_to(self.root).as_posix())

    @cached_property
    def masks(self) -> Mapping[Path, int]:
        """How many images use each mask."""
        return Counter(record.mask for record in self.records if record.mask is not None)

    @overload
    def __getitem__(self, i: int) -> ImageRecord: ...
    @overload
    def __getitem__(self, i: slice) -> tuple[ImageRecord, ...]: ...
    def __getitem__(self, i: int | slice) -> ImageRecord | tuple[ImageRecord, ...]:
        return self.records[i]

    def __len__(self) -> int:
        return len(self.records)

    def __iter__(self) -> Iterator[ImageRecord]:
        return iter(self.records)
