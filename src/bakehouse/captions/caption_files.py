"""The caption files of a dataset: reading and decoding them, and their bytes after an edit."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from bakehouse.core.errors import BakehouseError, UsageError
from bakehouse.core.files import file_exists
from bakehouse.core.message_text import listed
from bakehouse.data.captions import CAPTION_EXTENSIONS, LOST_BYTES, decode_text, joined_lines, read_caption
from bakehouse.data.compile_captions import RAW_SUFFIX
from bakehouse.data.dataset_formats import METADATA_FILES
from bakehouse.data.image_records import ImageRecord, ImageSet
from bakehouse.data.scan import NO_FILE, FileTree, caption_files, check_image_folder, list_files, natural_key

_LINE_ENDS = re.compile(r"\r\n|\n|\r")


@dataclass(frozen=True)
class CaptionText:
    """One caption file, decoded."""

    path: Path
    name: PurePosixPath
    """Path in the folder."""
    lines: tuple[str, ...]
    """All lines, blank ones included; of a JSON file, its captions."""
    encoding: str
    """Encoding of the file; `json` for a JSON file, whose captions are written to a .txt file beside it."""
    lossy: bool = False
    """Some bytes could not be decoded: writing the file would lose them."""
    is_plain_utf8: bool = True
    """UTF-8 without a byte-order mark, with `\\n` line endings."""
    ends_with_newline: bool = True

    @property
    def captions(self) -> tuple[str, ...]:
        """The captions: one per line, stripped, without blank lines; a file with one tag per line is one caption."""
        return joined_lines([text for line in self.lines if (text := line.strip())])

    @property
    def has_tag_lines(self) -> bool:
        """Whether the file has one tag per line, which together are one caption."""
        return sum(bool(line.strip()) for line in self.lines) > len(self.captions)

    @property
    def target(self) -> PurePosixPath:
        """File that an edited caption is written to: for JSON a .txt file beside it, which takes precedence."""
        return self.name.with_suffix(".txt") if self.encoding == "json" else self.name

    def with_captions(self, captions: Sequence[str]) -> bytes:
        """Return the bytes of the file with other captions, as UTF-8; blank lines stay if the number is the same."""
        if len(captions) != sum(bool(line.strip()) for line in self.lines):
            return "".join(f"{caption}\n" for caption in captions).encode()
        new = iter(captions)
        lines = [next(new) if line.strip() else line.strip() for line in self.lines]
        return ("\n".join(lines) + ("\n" if self.ends_with_newline and lines else "")).encode()


@dataclass(frozen=True)
class CaptionFolder:
    """The captions of a dataset and their images."""

    root: Path
    captions: tuple[CaptionText, ...]
    images: dict[Path, CaptionText | None]
    """Every image in natural order, with its caption or None."""
    notes: tuple[str, ...] = ()
    """Warnings about encodings, line formats and characters."""

    def name(self, path: Path) -> PurePosixPath:
        """Return a file's path in the folder."""
        return PurePosixPath(path.relative_to(self.root).as_posix())


@dataclass(frozen=True)
class UnopenedImages(ImageSet):
    """Images that were listed and not opened: sizes are 0, hashes and captions empty."""

    found: FileTree = field(default_factory=FileTree, repr=False)
    """All files of the folder."""


def read_captions(folder: Path | str, found: FileTree | None = None) -> CaptionFolder:
    """Read the captions of a folder's images without decoding images; of a folder without images, all captions.

    Args:
        folder: of the images.
        found: its files, if they are known already.

    Raises:
        UsageError: the folder is missing, has neither images nor captions, or has its captions in a metadata file.
    """
    root = Path(folder)
    check_image_folder(root)
    found = found or list_files(root)
    paths = sorted([*found.images, *found.unnamed], key=lambda p: natural_key(p, root))
    if metadata := next((n for n in METADATA_FILES if (root / n).is_file()), None):
        raise UsageError(
            f"{root}: the captions are in {metadata}, not beside the images",
            hint=f"bakehouse dataset import {shlex.quote(str(root / metadata))} -o FOLDER writes each beside its image",
        )
    warnings: dict[str, list[str]] = {}
    files_of = {path: caption_files(path, found) for path in paths}
    images = {path: _of_image(path, files, root, warnings) for path, files in files_of.items()}
    captions = [caption for caption in images.values() if caption is not None]
    if not images:
        files = sorted(found.captions.values(), key=lambda p: natural_key(p, root))
        captions = [caption for path in files if (caption := _read(path, root, warnings)) is not None]
    elif strays := set(found.captions.values()).difference(*files_of.values()):
        names = [path.relative_to(root).as_posix() for path in strays if path.suffix.lower() != ".json"]
        warnings["no image with this name; ignored"] = sorted(names)
    warnings[f"{NO_FILE}; ignored"] = [
        str(PurePosixPath(path.relative_to(root)))
        for path in found.special
        if path.suffix.lower() in CAPTION_EXTENSIONS
    ]
    if not images and not captions:
        raise UsageError(f"{root} has neither images nor captions", hint="pass the folder that contains them")
    unique = {caption.path: caption for caption in captions}
    return CaptionFolder(root, tuple(unique.values()), images, _notes(warnings))


def list_images(folder: Path | str, progress: Callable[[int, int], None] | None = None) -> UnopenedImages:
    """List the images of a folder without opening them, for operations that need only captions.

    Raises:
        UsageError: the folder does not exist.
    """
    root = Path(folder)
    check_image_folder(root)
    found = list_files(root)
    records = [ImageRecord(path, 0, 0, "") for path in [*found.images, *found.unnamed]]
    if progress is not None and records:
        progress(len(records), len(records))
    return UnopenedImages(tuple(records), root=root, found=found)


def _of_image(path: Path, files: Sequence[Path], root: Path, warnings: dict[str, list[str]]) -> CaptionText | None:
    # Raw tags, from which a caption with triggers was compiled: if there are any, rules and taggers edit them.
    raw = path.with_suffix(RAW_SUFFIX)
    candidates = [raw] if file_exists(raw) else files[:1]
    return _read(candidates[0], root, warnings) if candidates else None


def _read(path: Path, root: Path, warnings: dict[str, list[str]]) -> CaptionText | None:
    """Read one file; warnings are added to `warnings`."""
    name = PurePosixPath(*path.parts[len(root.parts) :])
    if path.suffix.lower() == ".json":
        lines = read_caption(path).lines
        return CaptionText(path, name, lines, "json") if lines else None
    try:
        data = path.read_bytes()
    except OSError as e:
        raise BakehouseError(f"cannot read the caption {path}: {e.strerror or e}") from e
    text, encoding, notes = decode_text(data)
    for note in notes:
        warnings.setdefault(note, []).append(str(name))
    lines = tuple(_LINE_ENDS.split(text))
    ends_with_newline = lines[-1] == ""
    lines = lines[:-1] if ends_with_newline else lines
    lossy = any(LOST_BYTES in note for note in notes)
    is_plain = encoding == "utf-8" and "\r" not in text
    return CaptionText(path, name, lines, encoding, lossy, is_plain, ends_with_newline)


def _notes(warnings: dict[str, list[str]]) -> tuple[str, ...]:
    return tuple(f"{listed(names, 3)}: {warning}" for warning, names in warnings.items() if names)
