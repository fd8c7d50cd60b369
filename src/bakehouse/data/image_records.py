"""What the program knows of an image before it opens it again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import overload


@dataclass(frozen=True)
class ImageRecord:
    """One readable image and what lies beside it."""

    path: Path
    width: int
    """Pixels, after EXIF rotation."""
    height: int
    sha256: str
    """Of the file's bytes."""
    captions: tuple[str, ...] = ()
    """Captions found beside it, in the file's own order; empty where there is none."""
    caption_path: Path | None = None
    concept: int = 0
    """Which of the recipe's concepts it belongs to."""
    mask: Path | None = None
    """A grey picture of the same shape: white is learned, black is not."""
    has_alpha: bool = False
    """At least one pixel is not opaque."""
    frames: int = 1
    """Of a moving picture, of which the first frame is what is trained; 1 for all else."""


@dataclass(frozen=True)
class Skipped:
    """A file that looks like an image and cannot be used, and why."""

    path: Path
    reason: str


@dataclass(frozen=True)
class ImageSet(Sequence[ImageRecord]):
    """The images of a folder in a stable order, and what was passed over."""

    records: tuple[ImageRecord, ...]
    skipped: tuple[Skipped, ...] = ()
    notes: tuple[str, ...] = ()
    """Things a person should know: captions without an image, two images of one stem."""
    root: Path = Path()
    """The folder that was looked into."""

    def name(self, path: Path) -> PurePosixPath:
        """A file's path below the folder, written the same way on every system.

        Raises:
            ValueError: it lies elsewhere.
        """
        return PurePosixPath(path.relative_to(self.root).as_posix())

    @cached_property
    def masks(self) -> Mapping[Path, int]:
        """How many images each mask serves."""
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
