"""List the images of an import source with their captions, masks and target paths in the dataset."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from bakehouse.core.errors import UsageError
from bakehouse.core.files import fit_file_name
from bakehouse.curation.changeset import Edit, Proposal, Write
from bakehouse.curation.frame_selection import distinct_frames, read_frames
from bakehouse.curation.image_import.booru_tags import TagCaption, has_tag_lines, read_tag_files
from bakehouse.curation.image_import.import_options import ImportOptions
from bakehouse.curation.image_import.video import VIDEO_SUFFIXES
from bakehouse.curation.output_images import encode_png
from bakehouse.curation.sidecars import TEXT_SUFFIXES, sidecar_files
from bakehouse.data import ConceptFolder, ImageRecord, ImageSet, read_dataset, scan
from bakehouse.data.captions import CAPTION_EXTENSIONS, read_caption, split_tags
from bakehouse.data.compile_captions import RAW_SUFFIX
from bakehouse.data.image_header import read_image_header
from bakehouse.data.scan import name_key, natural_key
from bakehouse.data.tags import spaced


@dataclass(frozen=True)
class ImportItem:
    """One image to import."""

    path: Path
    to: PurePosixPath
    """Target path, relative to the dataset."""
    why: str
    captions: tuple[Path, ...] = ()
    """Its caption and tag files."""
    text: str = ""
    """Its caption, if that comes from a dataset file rather than a file of its own."""
    mask: Path | None = None
    tag_caption: TagCaption | None = None
    """The caption made from a downloader's tag files."""

    def proposal(self, options: ImportOptions) -> Proposal:
        """Return the proposal to copy the image; files are read when it is applied."""
        return Proposal(self.to, self.why, lambda: list(self._edits(options)))

    @property
    def caption_files(self) -> list[Path]:
        """Return its caption files, without the raw tag files from which triggers are compiled."""
        return [path for path in self.captions if path.suffix.lower() != RAW_SUFFIX]

    def _edits(self, options: ImportOptions) -> Iterator[Edit]:
        captions = list(self._captions(options))
        for name, content in self._images(options):
            yield Write(name, content, _mtime(self.path))
            yield from (Write(name.with_suffix(ending), text, age) for ending, text, age in captions)
        if self.mask is not None:
            place = self.to.parent / "masks" / f"{self.to.stem}{self.mask.suffix}"
            yield Write(place, self.mask.read_bytes(), _mtime(self.mask))

    def _images(self, options: ImportOptions) -> Iterator[tuple[PurePosixPath, bytes]]:
        """Yield the unchanged file, or the frames of an animation: `a.png`, `a-0007.png`."""
        if options.frames == "first" or read_image_header(self.path).frames < 2:
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
            yield self.to.with_name(fit_file_name(self.to.stem, f"{ending}.png")), encode_png(image)

    def _captions(self, options: ImportOptions) -> Iterator[tuple[str, bytes, int | None]]:
        """Yield extension, content and modification time (None: now) of each caption file to write."""
        if options.captions == "none":
            return
        kept = {path.suffix.lower(): path for path in reversed(self.captions)}
        if self.tag_caption is not None or not self.caption_files:
            kept = {ending: path for ending, path in kept.items() if ending == RAW_SUFFIX}
            text = self.text if self.tag_caption is None else self.tag_caption.caption
            yield from [(".txt", text.encode(), None)] if text else []
        yield from ((ending, path.read_bytes(), _mtime(path)) for ending, path in sorted(kept.items()))


def _mtime(path: Path) -> int:
    """Return a file's modification time in nanoseconds since the epoch."""
    return path.stat().st_mtime_ns


def with_tag_captions(items: Sequence[ImportItem], options: ImportOptions) -> tuple[list[ImportItem], list[str]]:
    """Return the items with captions made from downloaders' tag files, and notes on what was left out."""
    if options.captions != "auto":
        return list(items), []
    lines = has_tag_lines(path for item in items for path in item.caption_files)
    kept = {"artists": options.artists, "ratings": options.ratings, "underscores": options.underscores}
    found = [replace(a, tag_caption=read_tag_files(a.caption_files, **kept, tag_lines=lines)) for a in items]
    notes = [note for item in found for note in _unused_captions(item)]
    left = Counter(kind for a in found if a.tag_caption for kind, _ in a.tag_caption.left_out)
    if left:
        kinds = ", ".join(f"{kind} {count}" for kind, count in sorted(left.items()))
        flags = [f"--{kind}s keeps {kind}s" for kind in ("artist", "rating") if kind in left]
        notes.append("; ".join([f"tags left out because they do not describe the image: {kinds}", *flags]))
    return found, notes


def _unused_captions(item: ImportItem) -> Iterator[str]:
    """Yield a note if an image has several caption files that differ, naming the one in use."""
    used = item.tag_caption.path if item.tag_caption else next(iter(item.caption_files), None)
    rest = [path for path in item.caption_files if path != used]
    if used is None or (item.text and not item.captions):
        return
    if len({frozenset(_tags(path)) for path in (used, *rest)}) > 1:
        yield f"{item.path.name}: its captions differ; {used.name} is used, not {', '.join(p.name for p in rest)}"


def _tags(path: Path) -> Iterator[str]:
    """Yield the tags of a caption file in a common spelling."""
    for line in read_caption(path).lines:
        yield from map(spaced, split_tags(line))


def dataset_items(path: Path) -> tuple[list[ImportItem], list[str], list[Path]]:
    """Return the images of a folder or dataset file, notes for the user, and the folder's videos.

    Raises:
        UsageError: there are no images and no videos.
    """
    videos = sorted(_video_files(path), key=lambda p: natural_key(p, path)) if path.is_dir() else []
    try:
        concepts = read_dataset(path)
    except UsageError:
        if not videos:
            raise
        return [], [], videos
    items, notes = [], []
    for concept in concepts:
        home = _concept_path(concept, alone=len(concepts) == 1)
        items += [_image_item(record, concept.images, home) for record in concept.records]
        notes += [*concept.notes, *(f"skipped {s.path.name}: {s.reason}" for s in concept.images.skipped)]
        notes += [note for note in concept.images.notes if not _is_handled(note, concept.records)]
        if concept.class_folder is not None and concept.class_folder.is_dir():
            images = scan(concept.class_folder)
            prior = PurePosixPath("reg") / f"1_{_safe_folder_name(concept.class_prompt or concept.class_folder.name)}"
            items += [_image_item(record, images, prior) for record in images]
    return items, list(dict.fromkeys(notes)), videos


_HANDLED_NOTES = re.compile(
    r"[\d,]+ (animated images? of which|captions with this note)|.* has several captions that differ: "
)


def _is_handled(note: str, records: Sequence[ImageRecord]) -> bool:
    """Return whether a note can be omitted: it is about frames, which the import selects, or about captions.

    The audit reports problems in captions, with the command that fixes them.
    """
    captions = {record.caption_path.name for record in records if record.caption_path}
    return bool(_HANDLED_NOTES.match(note)) or note.partition(": ")[0] in captions


def video_items(paths: Sequence[Path], video: Path, home: PurePosixPath) -> list[ImportItem]:
    """Return the frames extracted from a video, with the tag files beside the video."""
    beside = (video.with_suffix(end) for end in CAPTION_EXTENSIONS)
    named = (video.with_name(video.name + end) for end in CAPTION_EXTENSIONS)
    about = tuple(path for path in (*named, *beside) if path.is_file())
    return [ImportItem(p, home / p.name, f"frame of {video.name}", about) for p in paths]


def image_items(path: Path) -> list[ImportItem]:
    """Return a single image with the captions beside it.

    Raises:
        UsageError: the file is not an image or is damaged.
    """
    images = scan(path.parent, recursive=False)
    found = [record for record in images if record.path == path]
    if not found:
        reason = next((s.reason for s in images.skipped if s.path == path), "not an image")
        raise UsageError(f"cannot import {path}: {reason}")
    return [_image_item(found[0], images, PurePosixPath())]


def with_unique_names(items: Iterable[ImportItem], into: PurePosixPath) -> list[ImportItem]:
    """Return the items with paths below `into`, renamed where two would have the same stem."""
    taken: set[str] = set()
    placed = []
    for item in items:
        to = _free_name(into / item.to, taken)
        taken.add(name_key(to.with_suffix("")))
        placed.append(replace(item, to=to))
    return placed


def _free_name(name: PurePosixPath, taken: set[str]) -> PurePosixPath:
    """Return `a.jpg`, or `a-jpg.jpg`, `a-2.jpg` if the stem is in use: captions and caches are found by stem."""
    endings = ["", f"-{name.suffix.lower().lstrip('.')}", *(f"-{n}" for n in range(2, 100_000))]
    names = (name.with_name(fit_file_name(name.stem, f"{ending}{name.suffix}")) for ending in endings)
    return next(to for to in names if name_key(to.with_suffix("")) not in taken)


def _image_item(record: ImageRecord, images: ImageSet, home: PurePosixPath) -> ImportItem:
    about = [path for path in sidecar_files(record, images) if path.suffix.lower() in TEXT_SUFFIXES]
    if record.caption_path is not None and record.caption_path not in about:
        about.append(record.caption_path)
    if record.caption_path is None and record.captions:
        about = []  # the dataset file's caption takes precedence over caption files
    elif record.caption_path is not None:
        about.sort(key=lambda path: path != record.caption_path)
    to, text = home / images.name(record.path), "\n".join(record.captions)
    return ImportItem(record.path, to, f"from {images.name(record.path)}", tuple(about), text, record.mask)


def _concept_path(concept: ConceptFolder, *, alone: bool) -> PurePosixPath:
    """Return a concept's folder: `N_name` if it has repeats or class tokens, else the dataset itself."""
    if alone and concept.repeats is None and concept.class_tokens is None:
        return PurePosixPath()
    name = f"{concept.repeats or 1}_{_safe_folder_name(concept.class_tokens or concept.folder.name)}"
    return PurePosixPath("reg") / name if concept.is_reg else PurePosixPath(name)


def _safe_folder_name(name: str) -> str:
    """Return a text as a folder name that is valid on every system."""
    return re.sub(r'[<>:"/\\|?*\x00-\x1f]', "_", name).strip(" .")[:120] or "unnamed"


def _video_files(root: Path) -> Iterator[Path]:
    for path in root.rglob("*"):
        hidden = any(part.startswith(".") for part in path.relative_to(root).parts)
        if path.suffix.lower() in VIDEO_SUFFIXES and not hidden and path.is_file():
            yield path
