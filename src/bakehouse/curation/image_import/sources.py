"""What a source holds, as files of a dataset: which image goes where, with which caption and mask."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from bakehouse.core.errors import UsageError
from bakehouse.core.files import fit_file_name
from bakehouse.curation.changeset import Edit, Proposal, Write
from bakehouse.curation.frame_selection import distinct, frames
from bakehouse.curation.image_import.booru_tags import Sidecar, has_tag_lines, read_sidecars
from bakehouse.curation.image_import.import_options import Intake
from bakehouse.curation.image_import.video import FILM_ENDINGS
from bakehouse.curation.output_images import png
from bakehouse.curation.sidecars import TEXTS, companions
from bakehouse.data import ConceptFolder, ImageRecord, ImageSet, read_dataset, scan
from bakehouse.data.captions import CAPTION_EXTENSIONS, read_caption, split_tags
from bakehouse.data.image_header import read_image_header
from bakehouse.data.scan import natural_key, nfc
from bakehouse.data.tags import spaced
from bakehouse.data.triggers import RAW_SUFFIX


@dataclass(frozen=True)
class Arrival:
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
    sidecar: Sidecar | None = None
    """What a downloader wrote about it, as a caption."""

    def proposal(self, options: Intake) -> Proposal:
        """The copy of it, computed when it is asked for."""
        return Proposal(self.to, self.why, lambda: list(self._edits(options)))

    @property
    def written(self) -> list[Path]:
        """Its caption files, without the tags that triggers are compiled from."""
        return [path for path in self.captions if path.suffix.lower() != RAW_SUFFIX]

    def _edits(self, options: Intake) -> Iterator[Edit]:
        captions = list(self._captions(options))
        for name, content in self._pictures(options):
            yield Write(name, content, _age(self.path))
            yield from (Write(name.with_suffix(ending), text, age) for ending, text, age in captions)
        if self.mask is not None:
            place = self.to.parent / "masks" / f"{self.to.stem}{self.mask.suffix}"
            yield Write(place, self.mask.read_bytes(), _age(self.mask))

    def _pictures(self, options: Intake) -> Iterator[tuple[PurePosixPath, bytes]]:
        """The file as it is, or the frames of an animation: `a.png`, `a-0007.png`."""
        if options.frames == "first" or read_image_header(self.path).frames < 2:
            yield self.to, self.path.read_bytes()
            return
        every = frames(self.path)
        chosen = (
            enumerate(every)
            if options.frames == "all"
            else ((frame.index, frame.image) for frame in distinct(every, alike=options.alike))
        )
        for count, (index, image) in enumerate(chosen):
            ending = f"-{index + 1:04d}" if count else ""
            yield self.to.with_name(fit_file_name(self.to.stem, f"{ending}.png")), png(image)

    def _captions(self, options: Intake) -> Iterator[tuple[str, bytes, int | None]]:
        """Endings, contents and ages of its caption files; one that is made of others is new."""
        if options.captions == "none":
            return
        kept = {path.suffix.lower(): path for path in reversed(self.captions)}
        if self.sidecar is not None or not self.written:
            kept = {ending: path for ending, path in kept.items() if ending == RAW_SUFFIX}
            text = self.text if self.sidecar is None else self.sidecar.caption
            yield from [(".txt", text.encode(), None)] if text else []
        yield from ((ending, path.read_bytes(), _age(path)) for ending, path in sorted(kept.items()))


def _age(path: Path) -> int:
    """When a file was last written, in nanoseconds since the epoch."""
    return path.stat().st_mtime_ns


def with_sidecars(arrivals: Sequence[Arrival], options: Intake) -> tuple[list[Arrival], list[str]]:
    """Arrivals with the captions that downloaders' files come to, and notes about what is not taken from them."""
    if options.captions != "auto":
        return list(arrivals), []
    lines = has_tag_lines(path for arrival in arrivals for path in arrival.written)
    kept = {"artists": options.artists, "ratings": options.ratings, "underscores": options.underscores}
    found = [replace(a, sidecar=read_sidecars(a.written, **kept, tag_lines=lines)) for a in arrivals]
    notes = [note for arrival in found for note in _unused(arrival)]
    left = Counter(kind for a in found if a.sidecar for kind, _ in a.sidecar.left_out)
    if left:
        kinds = ", ".join(f"{kind} {count}" for kind, count in sorted(left.items()))
        flags = [f"--{kind}s keeps {kind}s" for kind in ("artist", "rating") if kind in left]
        notes.append("; ".join([f"tags left out, which say nothing of the picture: {kinds}", *flags]))
    return found, notes


def _unused(arrival: Arrival) -> Iterator[str]:
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


def of_layout(path: Path) -> tuple[list[Arrival], list[str], list[Path]]:
    """What a folder or a description of a dataset holds, notes for the user, and the films among it.

    Raises:
        UsageError: nothing that can be used.
    """
    films = sorted(_films(path), key=lambda p: natural_key(p, path)) if path.is_dir() else []
    try:
        concepts = read_dataset(path)
    except UsageError:
        if not films:
            raise
        return [], [], films
    arrivals, notes = [], []
    for concept in concepts:
        home = _home(concept, alone=len(concepts) == 1)
        arrivals += [_arrival(record, concept.images, home) for record in concept.records]
        notes += [*concept.notes, *(f"passed over: {s.path.name}: {s.reason}" for s in concept.images.skipped)]
        notes += [note for note in concept.images.notes if not _is_settled(note, concept.records)]
        if concept.class_folder is not None and concept.class_folder.is_dir():
            images = scan(concept.class_folder)
            prior = PurePosixPath("reg") / f"1_{_safe(concept.class_prompt or concept.class_folder.name)}"
            arrivals += [_arrival(record, images, prior) for record in images]
    return arrivals, list(dict.fromkeys(notes)), films


_ELSEWHERE = re.compile(r"\d+ x (animation, of which|caption with this note)|.* has several captions that differ: ")


def _is_settled(note: str, records: Sequence[ImageRecord]) -> bool:
    """Whether a note is about frames, which the import chooses itself, or about what captions say.

    Captions are copied as they are or made of tag files; what is wrong in them then, the audit says with what mends it.
    """
    captions = {record.caption_path.name for record in records if record.caption_path}
    return bool(_ELSEWHERE.match(note)) or note.partition(": ")[0] in captions


def of_frames(paths: Sequence[Path], film: Path, home: PurePosixPath) -> list[Arrival]:
    """The frames that were taken out of a film, with what a downloader wrote about it."""
    beside = (film.with_suffix(end) for end in CAPTION_EXTENSIONS)
    named = (film.with_name(film.name + end) for end in CAPTION_EXTENSIONS)
    about = tuple(path for path in (*named, *beside) if path.is_file())
    return [Arrival(p, home / p.name, f"a frame of {film.name}", about) for p in paths]


def of_image(path: Path) -> list[Arrival]:
    """One image by itself, with the captions beside it."""
    images = scan(path.parent, recursive=False)
    found = [record for record in images if record.path == path]
    if not found:
        reason = next((s.reason for s in images.skipped if s.path == path), "it is not an image")
        raise UsageError(f"cannot import {path}: {reason}")
    return [_arrival(found[0], images, PurePosixPath())]


def unique(arrivals: Iterable[Arrival], into: PurePosixPath) -> list[Arrival]:
    """The arrivals in their folder of the dataset, each under a name of its own."""
    taken: set[str] = set()
    placed = []
    for arrival in arrivals:
        to = _free(into / arrival.to, taken)
        taken.add(_key(to.with_suffix("")))
        placed.append(replace(arrival, to=to))
    return placed


def _free(name: PurePosixPath, taken: set[str]) -> PurePosixPath:
    """`a.jpg`, or `a-jpg.jpg`, `a-2.jpg` where an image of that stem came before: captions and caches go by stems."""
    endings = ["", f"-{name.suffix.lower().lstrip('.')}", *(f"-{n}" for n in range(2, 100_000))]
    names = (name.with_name(fit_file_name(name.stem, f"{ending}{name.suffix}")) for ending in endings)
    return next(to for to in names if _key(to.with_suffix("")) not in taken)


def _arrival(record: ImageRecord, images: ImageSet, home: PurePosixPath) -> Arrival:
    about = [path for path in companions(record, images) if path.suffix.lower() in TEXTS]
    if record.caption_path is not None and record.caption_path not in about:
        about.append(record.caption_path)
    if record.caption_path is None and record.captions:
        about = []  # said in the description of the dataset, which comes before files
    elif record.caption_path is not None:
        about.sort(key=lambda path: path != record.caption_path)
    to, text = home / images.name(record.path), "\n".join(record.captions)
    return Arrival(record.path, to, f"from {images.name(record.path)}", tuple(about), text, record.mask)


def _home(concept: ConceptFolder, *, alone: bool) -> PurePosixPath:
    """Where a concept's images go: `N_name` folders for what has repeats or class tokens, which training reads."""
    if alone and concept.repeats is None and concept.class_tokens is None:
        return PurePosixPath()
    name = f"{concept.repeats or 1}_{_safe(concept.class_tokens or concept.folder.name)}"
    return PurePosixPath("reg") / name if concept.is_reg else PurePosixPath(name)


def _safe(name: str) -> str:
    """A text as a folder's name on every system."""
    return re.sub(r'[<>:"/\\|?*\x00-\x1f]', "_", name).strip(" .")[:120] or "unnamed"


def _films(root: Path) -> Iterator[Path]:
    for path in root.rglob("*"):
        hidden = any(part.startswith(".") for part in path.relative_to(root).parts)
        if path.suffix.lower() in FILM_ENDINGS and not hidden and path.is_file():
            yield path


def _key(name: PurePosixPath) -> str:
    return nfc(str(name)).casefold()
