"""Uploaded images and captions, put into a dataset as one step of its journal."""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from bakehouse.core.file_names import file_name_problem, to_file_name
from bakehouse.core.files import sha256_file
from bakehouse.curation.apply_and_undo import apply_proposals
from bakehouse.curation.changeset import Proposal, Write
from bakehouse.curation.image_import.video import VIDEO_SUFFIXES
from bakehouse.curation.journal import Step
from bakehouse.data.open_image import EXTENSIONS, ImageError, probe, sniff
from bakehouse.data.scan import nfc
from bakehouse.serve.datasets.image_index import DatasetIndex, IndexedImage
from bakehouse.serve.guard.multipart import ReceivedFile
from bakehouse.serve.guard.paths import relative_path

_TEXT = (".txt", ".caption")
_MOST_TEXT = 256 << 10
_ARCHIVES = (".zip", *VIDEO_SUFFIXES)


@dataclass
class Uploaded:
    """What came of uploaded files."""

    added: list[str] = field(default_factory=list)
    refused: list[dict[str, str]] = field(default_factory=list)
    step: int | None = None

    def refuse(self, file: ReceivedFile, why: str) -> None:
        """Note that a file was not taken."""
        self.refused.append({"name": file.name[:200], "why": why})

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {"added": self.added, "refused": self.refused, "step": self.step}


def is_archive(file: ReceivedFile) -> bool:
    """Whether a file is imported in place of being added: a zip archive or a video."""
    return PurePosixPath(file.name).suffix.lower() in _ARCHIVES


def add_files(index: DatasetIndex, files: Sequence[ReceivedFile], folder: str = "") -> Uploaded:
    """Add images, and captions beside them, as one step. Files that cannot be used are refused with the reason.

    Names that are taken get a number. A caption whose image is in the dataset already replaces its caption.

    Raises:
        ServeError: `folder` is not a path (400).
    """
    into = relative_path(folder, "folder") if folder else PurePosixPath()
    uploaded = Uploaded()
    texts = [file for file in files if PurePosixPath(file.name).suffix.lower() in _TEXT]
    images = [file for file in files if file not in texts]
    targets = _image_targets(index, images, into, uploaded)
    writes = [(target, file) for file, target in targets]
    writes += _caption_targets(index, texts, targets, into, uploaded)
    proposals = [Proposal(target, "uploaded", _writes(target, file.path)) for target, file in writes]
    step: Step | None = apply_proposals(index.root, "upload", proposals)
    uploaded.added = [str(target) for target, _ in writes]
    uploaded.step = None if step is None else step.number
    return uploaded


def _writes(target: PurePosixPath, file: Path) -> Any:
    return lambda: [Write(target, file)]


def _image_targets(
    index: DatasetIndex, images: Sequence[ReceivedFile], into: PurePosixPath, uploaded: Uploaded
) -> list[tuple[ReceivedFile, PurePosixPath]]:
    existing = index.refresh()
    by_size: dict[int, list[tuple[Path, str]]] = {}
    for image in existing:
        by_size.setdefault(image.bytes, []).append((image.file, image.path))
    stems = {_key(PurePosixPath(image.path).with_suffix("")) for image in existing}
    targets = []
    for file in images:
        if why := _problem(file):
            uploaded.refuse(file, why)
            continue
        same = [name for path, name in by_size.get(file.bytes, []) if sha256_file(path) == sha256_file(file.path)]
        if same:
            uploaded.refuse(file, f"it is there already, as {same[0]}")
            continue
        target = _free(into / _file_name(file), stems)
        stems.add(_key(target.with_suffix("")))
        by_size.setdefault(file.bytes, []).append((file.path, str(target)))
        targets.append((file, target))
    return targets


def _caption_targets(
    index: DatasetIndex,
    texts: Sequence[ReceivedFile],
    targets: Sequence[tuple[ReceivedFile, PurePosixPath]],
    into: PurePosixPath,
    uploaded: Uploaded,
) -> list[tuple[PurePosixPath, ReceivedFile]]:
    """Return where captions go: beside the image of their name in the upload, or else in the dataset."""
    new = {_stem(file): target for file, target in targets}
    there: dict[str, IndexedImage] = {_key(PurePosixPath(i.path).with_suffix("")): i for i in index.images}
    found: dict[PurePosixPath, ReceivedFile] = {}
    for file in texts:
        image = new.get(_stem(file))
        known = there.get(_key((into / _file_name(file)).with_suffix("")))
        if file.bytes > _MOST_TEXT:
            uploaded.refuse(file, f"it has {file.bytes:,} bytes; captions have at most {_MOST_TEXT:,}")
        elif image is not None:
            found[image.with_suffix(".txt")] = file
        elif known is not None:
            found[PurePosixPath(known.path).with_suffix(".txt")] = file
        else:
            uploaded.refuse(file, "there is no image with this name")
    return list(found.items())


def _problem(file: ReceivedFile) -> str:
    """Return why a file cannot be used as an image; empty if it can."""
    if not sniff(file.path):
        return "it is not an image" if file.bytes else "it is empty"
    try:
        probe(file.path)
    except ImageError as e:
        return e.reason
    return ""


def _file_name(file: ReceivedFile) -> PurePosixPath:
    """Return the name to keep a file under: without folders, in characters that every system takes."""
    name = nfc(file.name.replace("\\", "/").rpartition("/")[2])
    if file_name_problem(name):
        stem, dot, ending = name.rpartition(".")
        name = f"{to_file_name(stem, 'image')}{dot}{ending}" if stem else to_file_name(name, "image")
    path = PurePosixPath(name if not file_name_problem(name) else to_file_name(name, "image"))
    if path.suffix.lower() in (*EXTENSIONS, *_TEXT):
        return path
    return path.with_name(f"{path.name}.{probe(file.path, whole=False).format.lower()}")


def _stem(file: ReceivedFile) -> str:
    return _key(PurePosixPath(file.name.replace("\\", "/")).with_suffix(""))


def _free(target: PurePosixPath, taken: AbstractSet[str]) -> PurePosixPath:
    if _key(target.with_suffix("")) not in taken:
        return target
    numbered = (target.with_name(f"{target.stem}-{n}{target.suffix}") for n in range(2, 1_000_000))
    return next(one for one in numbered if _key(one.with_suffix("")) not in taken)


def _key(name: PurePosixPath) -> str:
    return nfc(str(name)).casefold()
