"""The caption files of a dataset: what stands in each, and its bytes after a change."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from bakehouse.core.errors import BakehouseError, UsageError
from bakehouse.core.files import file_exists
from bakehouse.core.pluralize import listed
from bakehouse.data.captions import CAPTION_EXTENSIONS, LOST_BYTES, decode_text, joined_lines, read_caption
from bakehouse.data.dataset_formats import METADATA_FILES
from bakehouse.data.image_records import ImageRecord, ImageSet
from bakehouse.data.scan import NO_FILE, FileTree, caption_files, check_image_folder, list_files, natural_key
from bakehouse.data.triggers import RAW_SUFFIX

_LINE_ENDS = re.compile(r"\r\n|\n|\r")


@dataclass(frozen=True)
class CaptionText:
    """One caption file, decoded."""

    path: Path
    name: PurePosixPath
    """Below the folder."""
    lines: tuple[str, ...]
    """Every line of it, blank ones too, as they stand there; of JSON, its captions."""
    encoding: str
    """As it was read. JSON is read as `json`, and written as text beside it."""
    lossy: bool = False
    """Some bytes could not be read, so that it cannot be written again without losing them."""
    plain: bool = True
    """UTF-8 without a mark, and lines that end in `\\n`."""
    ends: bool = True
    """The last line has an end."""

    @property
    def captions(self) -> tuple[str, ...]:
        """One caption a line, without white space around it and without blank ones; one tag a line is one caption."""
        return joined_lines([text for line in self.lines if (text := line.strip())])

    @property
    def one_tag_a_line(self) -> bool:
        """Whether its one caption stands on several lines, a tag on each."""
        return sum(bool(line.strip()) for line in self.lines) > len(self.captions)

    @property
    def target(self) -> PurePosixPath:
        """Where a changed caption is written: JSON gets a text file beside it, which comes first wherever one looks."""
        return self.name.with_suffix(".txt") if self.encoding == "json" else self.name

    def with_captions(self, captions: Sequence[str]) -> bytes:
        """The file with other captions in its lines, as UTF-8: as many as there were, or each on a line of its own."""
        if len(captions) != sum(bool(line.strip()) for line in self.lines):
            return "".join(f"{caption}\n" for caption in captions).encode()
        new = iter(captions)
        lines = [next(new) if line.strip() else line.strip() for line in self.lines]
        return ("\n".join(lines) + ("\n" if self.ends and lines else "")).encode()


@dataclass(frozen=True)
class CaptionFolder:
    """The captions of a dataset, each with its image."""

    root: Path
    captions: tuple[CaptionText, ...]
    images: dict[Path, CaptionText | None]
    """Every image in natural order, and its caption if there is one."""
    notes: tuple[str, ...] = ()
    """What a person should know of encodings, lines and characters."""

    def name(self, path: Path) -> PurePosixPath:
        """A file's path below the folder."""
        return PurePosixPath(path.relative_to(self.root).as_posix())


@dataclass(frozen=True)
class Glanced(ImageSet):
    """Images of which none was opened: sizes are 0, hashes and captions empty."""

    found: FileTree = field(default_factory=FileTree, repr=False)
    """All files of the folder, which need not be looked for again."""


def read_folder(folder: Path | str, found: FileTree | None = None) -> CaptionFolder:
    """Every caption that belongs to an image, without decoding an image. Of a folder without images, every caption.

    Args:
        folder: of the images.
        found: its files, where they are known already.

    Raises:
        UsageError: no such folder; neither images nor captions in it; or its captions stand in one metadata file.
    """
    root = Path(folder)
    check_image_folder(root)
    found = found or list_files(root)
    paths = sorted([*found.images, *found.unnamed], key=lambda p: natural_key(p, root))
    if listed := next((n for n in METADATA_FILES if (root / n).is_file()), None):
        raise UsageError(
            f"{root}: the captions stand in {listed}, not beside the images",
            hint=f"bakehouse dataset import {root / listed} -o FOLDER writes each beside its image",
        )
    remarks: dict[str, list[str]] = {}
    files_of = {path: caption_files(path, found) for path in paths}
    images = {path: _of_image(path, files, root, remarks) for path, files in files_of.items()}
    captions = [caption for caption in images.values() if caption is not None]
    if not images:
        files = sorted(found.captions.values(), key=lambda p: natural_key(p, root))
        captions = [caption for path in files if (caption := _read(path, root, remarks)) is not None]
    elif strays := set(found.captions.values()).difference(*files_of.values()):
        names = [path.relative_to(root).as_posix() for path in strays if path.suffix.lower() != ".json"]
        remarks["it belongs to no image and is passed over"] = sorted(names)
    remarks[f"{NO_FILE}, and is passed over"] = [
        str(PurePosixPath(path.relative_to(root)))
        for path in found.special
        if path.suffix.lower() in CAPTION_EXTENSIONS
    ]
    if not images and not captions:
        raise UsageError(f"{root} has neither images nor captions", hint="give the folder that holds them")
    once = {caption.path: caption for caption in captions}
    return CaptionFolder(root, tuple(once.values()), images, _notes(remarks))


def glance(folder: Path | str, progress: Callable[[int, int], None] | None = None) -> Glanced:
    """The images of a folder without opening one. For verbs that read captions.

    Raises:
        UsageError: no such folder.
    """
    root = Path(folder)
    check_image_folder(root)
    found = list_files(root)
    records = [ImageRecord(path, 0, 0, "") for path in [*found.images, *found.unnamed]]
    if progress is not None and records:
        progress(len(records), len(records))
    return Glanced(tuple(records), root=root, found=found)


def _of_image(path: Path, files: Sequence[Path], root: Path, remarks: dict[str, list[str]]) -> CaptionText | None:
    # The caption before triggers were compiled into it: where there is one, it is what rules and taggers change.
    raw = path.with_suffix(RAW_SUFFIX)
    candidates = [raw] if file_exists(raw) else files[:1]
    return _read(candidates[0], root, remarks) if candidates else None


def _read(path: Path, root: Path, remarks: dict[str, list[str]]) -> CaptionText | None:
    """One file; notes go to `remarks`."""
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
        remarks.setdefault(note, []).append(str(name))
    lines = tuple(_LINE_ENDS.split(text))
    ends = lines[-1] == ""
    lines = lines[:-1] if ends else lines
    lossy = any(LOST_BYTES in note for note in notes)
    return CaptionText(path, name, lines, encoding, lossy, encoding == "utf-8" and "\r" not in text, ends)


def _notes(remarks: dict[str, list[str]]) -> tuple[str, ...]:
    def told(note: str, names: list[str]) -> str:
        return f"{listed(names, 3)}: {note}"

    return tuple(told(note, names) for note, names in remarks.items() if names)
