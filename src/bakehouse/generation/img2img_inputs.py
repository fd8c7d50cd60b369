"""Source images given as a file or a folder, each with its caption and its mask."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from bakehouse.core.errors import Problems, UsageError
from bakehouse.data.captions import read_caption
from bakehouse.data.scan import caption_files, list_files, scan, stem_of


@dataclass(frozen=True)
class Img2ImgInput:
    """One image to begin from."""

    path: Path
    caption: str | None
    """The first caption of its caption file."""
    mask: Path | None


@dataclass(frozen=True)
class Img2ImgInputs:
    """The images of a file or folder, in natural order."""

    images: tuple[Img2ImgInput, ...]
    notes: tuple[str, ...] = ()
    """Which files of the folder are skipped, and why."""


def img2img_inputs(image: Path, mask: Path | None = None) -> Img2ImgInputs:
    """Return one image, or all of a folder and its subfolders.

    Args:
        image: a file or a folder.
        mask: a mask for all images, or a folder with one for each, of the image's name.

    Raises:
        UsageError: no such file or folder, or a folder without images.
        Problems: images without a mask in the folder of masks.
        ImageError: a mask that cannot be used.
    """
    if not image.exists():
        raise UsageError(
            f"image = {image}: there is no such file or folder", hint="give an image, or a folder of images"
        )
    if image.is_dir():
        found = scan(image)  # decodes each once: one that is cut short is skipped, not an end halfway through
        captions = {record.path: record.captions[0] if record.captions else None for record in found}
        notes = tuple(f"{skipped.path} is skipped: {skipped.reason}" for skipped in found.skipped)
    else:
        captions, notes = {image: _caption_of(image)}, ()
    masks = _masks(list(captions), mask)
    return Img2ImgInputs(tuple(Img2ImgInput(path, captions[path], masks[path]) for path in captions), notes)


def _caption_of(image: Path) -> str | None:
    files = caption_files(image, list_files(image.parent, recursive=False))
    lines = read_caption(files[0]).lines if files else ()
    return lines[0] if lines else None


def _masks(images: list[Path], mask: Path | None) -> dict[Path, Path | None]:
    if mask is None:
        return dict.fromkeys(images)
    if not mask.exists():
        raise UsageError(f"mask = {mask}: there is no such file or folder", hint="white is redrawn, black stays")
    if not mask.is_dir():
        return dict.fromkeys(images, mask)
    by_stem = {stem_of(record.path): record.path for record in scan(mask, whole=False)}
    missing = [f"{path} has no mask {path.stem}.png there" for path in images if stem_of(path) not in by_stem]
    if missing:
        raise Problems(f"mask = {mask}: every image needs a mask of its name:", missing)
    return {path: by_stem[stem_of(path)] for path in images}
