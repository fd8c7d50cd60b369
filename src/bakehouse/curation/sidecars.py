"""Sidecar files of an image (captions and mask), moved and removed together with it."""

from __future__ import annotations

import functools
from collections import defaultdict
from pathlib import Path, PurePosixPath

from bakehouse.curation.changeset import Edit, Move, Remove
from bakehouse.data.captions import CAPTION_EXTENSIONS
from bakehouse.data.compile_captions import RAW_SUFFIX
from bakehouse.data.image_records import ImageRecord, ImageSet
from bakehouse.data.open_image import EXTENSIONS
from bakehouse.data.scan import MASK_ENDINGS, nfc

TEXT_SUFFIXES = (*CAPTION_EXTENSIONS, RAW_SUFFIX)
"""Extensions of caption files and of the tag files that captions are compiled from."""


def sidecar_files(record: ImageRecord, images: ImageSet) -> tuple[Path, ...]:
    """Return all caption files of an image, not only the one in use, and its mask.

    Files shared with another image are left out (`a.txt` next to `a.png` and `a.jpg`), and so is a mask outside the
    dataset.
    """
    folder, stem, name = record.path.parent, _key(record.path.stem), _key(record.path.name)
    listing = _listing(folder, folder.stat().st_mtime_ns)
    whole = listing.get(name, ()) if name != stem else ()  # `a.png.txt`; an image without extension has none
    own = [p for p in whole if p.suffix.lower() in TEXT_SUFFIXES]
    beside = [p for p in listing.get(stem, ()) if p != record.path]
    if not any(p.suffix.lower() in EXTENSIONS for p in beside):
        own += [p for p in beside if p.suffix.lower() in TEXT_SUFFIXES]
    mask = record.mask
    if mask is not None and mask.is_relative_to(images.root) and images.masks.get(mask, 1) == 1:
        own.append(mask)
    return tuple(sorted(own))


def remove_with_sidecars(record: ImageRecord, images: ImageSet) -> list[Edit]:
    """Return the edits that remove an image with its captions and mask."""
    return [Remove(images.name(path)) for path in (record.path, *sidecar_files(record, images))]


def move_with_sidecars(record: ImageRecord, images: ImageSet, to: PurePosixPath) -> list[Edit]:
    """Return the edits that move an image to `to` (relative to the dataset), and its captions and mask accordingly."""
    if images.name(record.path) == to:
        return []
    edits: list[Edit] = [Move(images.name(record.path), to)]
    return edits + sidecar_moves(record, images, to)


def sidecar_moves(record: ImageRecord, images: ImageSet, to: PurePosixPath) -> list[Edit]:
    """Return the moves of an image's captions and mask for an image that is renamed to `to`."""
    moves = [(images.name(path), _new_name(path, record, images, to)) for path in sidecar_files(record, images)]
    return [Move(path, target) for path, target in moves if path != target]


@functools.lru_cache(maxsize=64)
def _listing(folder: Path, mtime: int) -> dict[str, list[Path]]:
    """Return the files of a folder by stem. The folder's `mtime` is part of the cache key, so no listing is stale."""
    del mtime
    found: dict[str, list[Path]] = defaultdict(list)
    for path in sorted(folder.iterdir()):
        if not path.name.startswith(".") and (path.is_file() or path.is_symlink()):
            found[_key(path.stem)].append(path)
    return found


def _key(name: str) -> str:
    return nfc(name).lower()


def _new_name(path: Path, record: ImageRecord, images: ImageSet, to: PurePosixPath) -> PurePosixPath:
    """Return a sidecar's new path: `a.png.txt`, `a.txt` and `a.mask.png` beside the image, `masks/a.png` below it."""
    if path != record.mask:
        whole = record.path.suffix and _key(path.stem) == _key(record.path.name)
        kept = to.name if whole else to.stem
        return to.with_name(f"{kept}{path.suffix}")
    if ending := next((e for e in MASK_ENDINGS if path.stem.lower().endswith(e)), ""):
        return to.with_name(f"{to.stem}{ending}{path.suffix}")
    if to.parent == images.name(record.path).parent:
        return images.name(path).with_name(f"{to.stem}{path.suffix}")
    return to.parent / path.parent.name / f"{to.stem}{path.suffix}"
