"""What a source holds, as files of a dataset: which image goes where, with which caption and mask."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from bakehouse.core.errors import UsageError
from bakehouse.core.files import fitted
from bakehouse.curation.changeset import Edit, Proposal, Write
from bakehouse.curation.frame_selection import distinct_frames, read_frames
from bakehouse.curation.image_import.booru_tags import TagCaption, has_tag_lines, read_tag_files
from bakehouse.curation.image_import.import_options import ImportOptions
from bakehouse.curation.image_import.video import VIDEO_SUFFIXES
from bakehouse.curation.output_images import encode_png
from bakehouse.curation.sidecars import TEXT_SUFFIXES, sidecar_files
from bakehouse.data import ConceptFolder, ImageRecord, ImageSet, read_layout, scan
from bakehouse.data.captions import CAPTION_EXTENSIONS, read_caption, split_tags
from bakehouse.data.image_header import header
from bakehouse.data.scan import natural_key, nfc
from bakehouse.data.tags import spaced
from bakehouse.data.triggers import RAW_SUFFIX


@dataclass(frozen=True)
class ImportItem:
    """One image on its way into a dataset."""

    path: Path
    to: PurePosixPath
    """Below the dataset."""
    why: str
    captions: tuple[Path, ...] = ()
    """Files about it."""
    text: str = ""
    """Its caption where it lies in no file of its own."""
    mask: Path | None = None
    sidecar: TagCaption | None = None
    """What a downloader wrote about it, as a caption."""

    def proposal(self, options: ImportOptions) -> Proposal:
        """The copy of it, computed when it is asked for."""
        return Proposal(self.to, self.why, lambda: list(self._edits(options)))

    @property
    def written(self) -> list[Path]:
        """Its caption files, without the tags that triggers are compiled from."""
        return [path for path in self.captions if path.suffix.lower() != RAW_SUFFIX]

    def _edits(self, options: ImportOptions) -> Iterator[Edit]:
        captions = list(self._captions(options))
        for name, content in self._pictures(options):
            yield Write(name, content, _mtime(self.path))
            yield from (Write(name.with_suffix(ending), text, age) for ending, text, age in captions)
        if self.mask is not None:
            place = self.to.parent / "masks" / f"{self.to.stem}{self.mask.suffix}"
            yield Write(place, self.mask.read_bytes(), _mtime(self.mask))

    def _pictures(self, options: ImportOptions) -> Iterator[tuple[PurePosixPath, bytes]]:
        """The file as it is, or the frames of an animation: `a.png`, `a-0007.png`."""
        if options.frames == "first" or header(self.path).frames < 2:
            yield self.to, self.path.read_bytes()
            return
        every = read_frames(self.path)
        chosen = (
            enumerate(every)
            if options.frames == "all"
            else ((frame.index, frame.image) for frame in distinct_frames(every, alike=options.alike))
        )
        for count, (index, image) in enumerate(chosen):
            ending = f"-{index + 1:04d}" if count else ""
            yield self.to.with_name(fitted(self.to.stem, f"{ending}.png")), encode_png(image)

    def _captions(self, options: ImportOptions) -> Iterator[tuple[str, bytes, int | None]]:
        """Endings, contents and ages of its caption files; one that is made of others is new."""
        if options.captions == "none":
            return
        kept = {path.suffix.lower(): path for path in reversed(self.captions)}
        if self.sidecar is not None or not self.written:
            kept = {ending: path for ending, path in kept.items() if ending == RAW_SUFFIX}
            text = self.text if self.sidecar is None else self.sidecar.caption
            yield from [(".txt", text.encode(), None)] if text else []
        yield from ((ending, path.read_bytes(), _mtime(path)) for ending, path in sorted(kept.items()))


def _mtime(path: Path) -> int:
    """When a file was last written, in nanoseconds since the epoch."""
    return path.stat().st_mtime_ns


def with_tag_captions(arrivals: Sequence[ImportItem], options: ImportOptions) -> tuple[list[ImportItem], list[str]]:
    """Arrivals with the captions that downloaders' files come to, and notes about what is not taken from them."""
    if options.captions != "auto":
        return list(arrivals), []
    lines = has_tag_lines(path for arrival in arrivals for path in arrival.written)
    kept = {"artists": options.artists, "ratings": options.ratings, "underscores": options.underscores}
    found = [replace(a, sidecar=read_tag_files(a.written, **kept, tag_lines=lines)) for a in arrivals]
    notes = [note for arrival in found for note in _unused_captions(arrival)]
    left = Counter(kind for a in found if a.sidecar for kind, _ in a.sidecar.left_out)
    if left:
        kinds = ", ".join(f"{kind} {count}" for kind, count in sorted(left.items()))
        flags = [f"--{kind}s keeps {kind}s" for kind in ("artist", "rating") if kind in left]
        notes.append("; ".join([f"tags left out, which say nothing of the picture: {kinds}", *flags]))
    return found, notes


def _unused_captions(arrival: ImportItem) -> Iterator[str]:
    """Says which of several caption files is used where they differ."""
    used = arrival.sidecar.path if arrival.sidecar else next(iter(arrival.written), None)
    rest = [path for path in arrival.written if path != used]
    if used is None or (arrival.text and not arrival.captions):
        return
    if len({frozenset(_tags(path)) for path in (used, *rest)}) > 1:
        yield f"{arrival.path.name}: its captions differ; {used.name} is used, not {', '.join(p.name for p in rest)}"


def _tags(path: Path) -> Iterator[str]:
    """What a caption file says, however it is written."""
    for line in read_caption(path).lines:
        yield from map(spaced, split_tags(line))


def dataset_items(path: Path) -> tuple[list[ImportItem], list[str], list[Path]]:
    """What a folder or a description of a dataset holds, notes for the user, and the films among it.

    Raises:
        UsageError: nothing that can be used.
    """
    films = sorted(_video_files(path), key=lambda p: natural_key(p, path)) if path.is_dir() else []
    try:
        concepts = read_layout(path)
    except UsageError:
        if not films:
            raise
        return [], [], films
    arrivals, notes = [], []
    for concept in concepts:
        home = _concept_path(concept, alone=len(concepts) == 1)
        arrivals += [_image_item(record, concept.images, home) for record in concept.records]
        notes += [*concept.notes, *(f"passed over: {s.path.name}: {s.reason}" for s in concept.images.skipped)]
        notes += [note for note in concept.images.notes if not _is_handled(note, concept.records)]
        if concept.class_folder is not None and concept.class_folder.is_dir():
            images = scan(concept.class_folder)
            prior = PurePosixPath("reg") / f"1_{_safe_folder_name(concept.class_prompt or concept.class_folder.name)}"
            arrivals += [_image_item(record, images, prior) for record in images]
    return arrivals, list(dict.fromkeys(notes)), films


_HANDLED_NOTES = re.compile(r"\d+ x (animation, of which|caption with this note)|.* has several captions that differ: ")


def _is_handled(note: str, records: Sequence[ImageRecord]) -> bool:
    """Whether a note is about frames, which the import chooses itself, or about what captions say.

    Captions are copied as they are or made of tag files; what is wrong in them then, the audit says with what mends it.
    """
    captions = {record.caption_path.name for record in records if record.caption_path}
    return bool(_HANDLED_NOTES.match(note)) or note.partition(": ")[0] in captions


def video_items(paths: Sequence[Path], film: Path, home: PurePosixPath) -> list[ImportItem]:
    """The frames that were taken out of a film, with what a downloader wrote about it."""
    beside = (film.with_suffix(end) for end in CAPTION_EXTENSIONS)
    named = (film.with_name(film.name + end) for end in CAPTION_EXTENSIONS)
    about = tuple(path for path in (*named, *beside) if path.is_file())
    return [ImportItem(p, home / p.name, f"a frame of {film.name}", about) for p in paths]


def image_items(path: Path) -> list[ImportItem]:
    """One image by itself, with the captions beside it."""
    images = scan(path.parent, recursive=False)
    found = [record for record in images if record.path == path]
    if not found:
        reason = next((s.reason for s in images.skipped if s.path == path), "it is not an image")
        raise UsageError(f"cannot import {path}: {reason}")
    return [_image_item(found[0], images, PurePosixPath())]


def with_unique_names(arrivals: Iterable[ImportItem], into: PurePosixPath) -> list[ImportItem]:
    """The arrivals in their folder of the dataset, each under a name of its own."""
    taken: set[str] = set()
    placed = []
    for arrival in arrivals:
        to = _free_name(into / arrival.to, taken)
        taken.add(_key(to.with_suffix("")))
        placed.append(replace(arrival, to=to))
    return placed


def _free_name(name: PurePosixPath, taken: set[str]) -> PurePosixPath:
    """`a.jpg`, or `a-jpg.jpg`, `a-2.jpg` where an image of that stem came before: captions and caches go by stems."""
    endings = ["", f"-{name.suffix.lower().lstrip('.')}", *(f"-{n}" for n in range(2, 100_000))]
    names = (name.with_name(fitted(name.stem, f"{ending}{name.suffix}")) for ending in endings)
    return next(to for to in names if _key(to.with_suffix("")) not in taken)


def _image_item(record: ImageRecord, images: ImageSet, home: PurePosixPath) -> ImportItem:
    about = [path for path in sidecar_files(record, images) if path.suffix.lower() in TEXT_SUFFIXES]
    if record.caption_path is not None and record.caption_path not in about:
        about.append(record.caption_path)
    if record.caption_path is None and record.captions:
        about = []  # said in the description of the dataset, which comes before files
    elif record.caption_path is not None:
        about.sort(key=lambda path: path != record.caption_path)
    to, text = home / images.name(record.path), "\n".join(record.captions)
    return ImportItem(record.path, to, f"from {images.name(record.path)}", tuple(about), text, record.mask)


def _concept_path(concept: ConceptFolder, *, alone: bool) -> PurePosixPath:
    """Where a concept's images go: `N_name` folders for what has repeats or class tokens, which training reads."""
    if alone and concept.repeats is None and concept.class_tokens is None:
        return PurePosixPath()
    name = f"{concept.repeats or 1}_{_safe_folder_name(concept.class_tokens or concept.folder.name)}"
    return PurePosixPath("reg") / name if concept.is_reg else PurePosixPath(name)


def _safe_folder_name(name: str) -> str:
    """A text as a folder's name on every system."""
    return re.sub(r'[<>:"/\\|?*\x00-\x1f]', "_", name).strip(" .")[:120] or "unnamed"


def _video_files(root: Path) -> Iterator[Path]:
    for path in root.rglob("*"):
        hidden = any(part.startswith(".") for part in path.relative_to(root).parts)
        if path.suffix.lower() in VIDEO_SUFFIXES and not hidden and path.is_file():
            yield path


def _key(name: PurePosixPath) -> str:
    return nfc(str(name)).casefold()
