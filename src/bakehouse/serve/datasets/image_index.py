"""What is in a dataset: images with captions, kept in memory and brought up to date by what the file system says.

A folder's modification time changes with each file that comes, goes or is renamed; a caption's with its content. So an
unchanged dataset of ten thousand images is answered without listing it again.
"""

from __future__ import annotations

import os
import threading
import time
from collections import Counter, OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from bakehouse.core.errors import UsageError
from bakehouse.data.captions import read_caption
from bakehouse.data.compile_captions import RAW_SUFFIX
from bakehouse.data.open_image import ImageError, image_size
from bakehouse.data.scan import FileTree, caption_files, list_files, natural_key, stem_of
from bakehouse.data.tags import BARRIER, split_caption

_UNSURE_SECONDS = 0.1
"""A folder that was changed so short a time ago may be changed again within the same tick of its clock."""
_KEPT = 16
"""Datasets whose index stays in memory."""


@dataclass
class IndexedImage:
    """One image of a dataset."""

    path: str
    """In the dataset, with `/`."""
    file: Path
    caption_file: Path | None
    mask: Path | None
    caption: str | None = None
    tags: tuple[str, ...] = ()
    bytes: int = 0
    changed: int = 0
    """Nanoseconds since the epoch."""
    _caption_seen: tuple[int, int] | None = None
    _size: tuple[tuple[int, int], tuple[int, int] | None] | None = None

    @property
    def folder(self) -> str:
        return self.path.rpartition("/")[0]

    def size(self) -> tuple[int, int] | None:
        """Return width and height in pixels; None if the file cannot be read."""
        seen = self.changed, self.bytes
        if self._size is None or self._size[0] != seen:
            try:
                self._size = seen, image_size(self.file)
            except ImageError:
                self._size = seen, None
        return self._size[1]

    def refresh(self) -> None:
        """Read again what has changed on the disk."""
        status = self.file.stat()
        self.bytes, self.changed = status.st_size, status.st_mtime_ns
        if self.caption_file is None:
            return
        found = self.caption_file.stat()
        seen = found.st_mtime_ns, found.st_size
        if self._caption_seen != seen:
            self.caption = "\n".join(line.strip() for line in read_caption(self.caption_file).lines)
            first = self.caption.partition("\n")[0]
            self.tags = tuple(tag for tag in split_caption(first) if tag != BARRIER)
            self._caption_seen = seen


@dataclass
class DatasetIndex:
    """The images of one dataset."""

    root: Path
    images: list[IndexedImage] = field(default_factory=list)
    _seen: dict[str, int] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def refresh(self) -> list[IndexedImage]:
        """Return all images in natural order, as they are now."""
        with self._lock:
            folders = _folder_times(self.root)
            now = time.time_ns() - int(_UNSURE_SECONDS * 1e9)
            if folders != self._seen:
                self.images = self._listed()
                self._seen = folders if max(folders.values(), default=0) < now else {}
            self.images = [image for image in self.images if _refreshed(image)]
            return self.images

    def tags(self) -> Counter[str]:
        """Return how many images have each tag."""
        return Counter(tag for image in self.refresh() for tag in set(image.tags))

    def _listed(self) -> list[IndexedImage]:
        known = {image.path: image for image in self.images}
        found = list_files(self.root)
        paths = sorted([*found.images, *found.unnamed], key=lambda path: natural_key(path, self.root))
        return [self._entry(path, found, known) for path in paths]

    def _entry(self, path: Path, found: FileTree, known: dict[str, IndexedImage]) -> IndexedImage:
        name = path.relative_to(self.root).as_posix()
        raw = path.with_suffix(RAW_SUFFIX)
        beside = [raw] if raw.is_file() else caption_files(path, found)
        entry = IndexedImage(name, path, next(iter(beside), None), found.masks.get((path.parent, stem_of(path))))
        before = known.get(name)
        if before is not None:
            entry._size = before._size
            if before.caption_file == entry.caption_file:
                entry.caption, entry.tags, entry._caption_seen = before.caption, before.tags, before._caption_seen
        return entry


class Indexes:
    """The indexes of the datasets that were used last."""

    def __init__(self) -> None:
        self._indexes: OrderedDict[Path, DatasetIndex] = OrderedDict()
        self._lock = threading.Lock()

    def of(self, folder: Path) -> DatasetIndex:
        """Return the index of a dataset's folder."""
        with self._lock:
            index = self._indexes.pop(folder, None) or DatasetIndex(folder)
            self._indexes[folder] = index
            while len(self._indexes) > _KEPT:
                self._indexes.popitem(last=False)
            return index


def _refreshed(image: IndexedImage) -> bool:
    try:
        image.refresh()
    except OSError:
        return False  # it has gone since it was listed
    return True


def _folder_times(root: Path) -> dict[str, int]:
    """Return the modification time of each folder of a dataset; hidden ones are left out."""
    return dict(_walk_folders(root))


def _walk_folders(root: Path) -> Iterator[tuple[str, int]]:
    try:
        yield str(root), root.stat().st_mtime_ns
    except OSError as e:
        raise UsageError(f"{root.name} does not exist any more") from e
    for where, folders, _ in os.walk(root, followlinks=False):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in folders:
            path = Path(where, name)
            try:
                yield str(path), path.stat().st_mtime_ns
            except OSError:
                continue
