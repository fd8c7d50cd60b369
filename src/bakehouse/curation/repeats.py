"""`dataset repeats`: compute balanced repeats per concept, and write them as folder names or dataset files."""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Literal

import tomlkit
from pydantic import Field

from bakehouse.core.errors import UsageError, did_you_mean
from bakehouse.core.events import Event, Warned
from bakehouse.core.message_text import counted
from bakehouse.core.settings import Spec
from bakehouse.curation.changeset import Edit, Move, Proposal, Write
from bakehouse.curation.sidecars import move_with_sidecars
from bakehouse.data.balance_repeats import balance_repeats, fair_target, unbalanced
from bakehouse.data.buckets import BucketSpec, assign, bucket_table
from bakehouse.data.dataset_formats import MOST_REPEATS
from bakehouse.data.image_records import ImageRecord, ImageSet

NUMBERED_FOLDER = re.compile(r"([0-9]+)_(.*)")
"""Kohya's folders: repeats and name."""
REGULARIZATION_FOLDER = "reg"
"""kohya's folder for class (regularization) images."""


@dataclass(frozen=True)
class ConceptImages:
    """The images of one concept: those that share a folder."""

    name: str
    folder: PurePosixPath
    """Relative to the dataset; `.` is the dataset itself."""
    records: tuple[ImageRecord, ...]
    repeats: int | None
    """The current repeats in the folder's name."""

    @property
    def is_reg(self) -> bool:
        """Whether these are class images, which are not balanced."""
        return self.folder.parts[:1] == (REGULARIZATION_FOLDER,)


@dataclass(frozen=True)
class ConceptRepeats:
    """Repeats of one concept."""

    name: str
    images: int
    repeats: int
    target: int
    """Wanted images per epoch."""

    @property
    def shows(self) -> int:
        """Images per epoch with these repeats."""
        return self.images * self.repeats


def find_concepts(images: ImageSet) -> list[ConceptImages]:
    """Return the concepts of a dataset: its `N_name` folders, else its folders, else the dataset as one concept."""
    found: dict[PurePosixPath, list[ImageRecord]] = defaultdict(list)
    for record in images:
        found[_concept_folder(images.name(record.path).parent)].append(record)
    made = []
    for folder, records in sorted(found.items()):
        repeats, name = _parse_folder_name(folder.name)
        name = name or images.root.resolve().name
        made.append(ConceptImages(name, folder, tuple(records), repeats))
    return made


def _concept_folder(parent: PurePosixPath) -> PurePosixPath:
    """Return the concept's folder on a path: the first `N_name` one, else the first (below `img/` or `reg/`)."""
    for i, part in enumerate(parent.parts):
        if _parse_folder_name(part)[0] is not None:
            return PurePosixPath(*parent.parts[: i + 1])
    outer = parent.parts[:1] if parent.parts[:1] in (("img",), ("image",), (REGULARIZATION_FOLDER,)) else ()
    return PurePosixPath(*parent.parts[: len(outer) + 1])


def _parse_folder_name(name: str) -> tuple[int | None, str]:
    """Return the repeats and the name of an `N_name` folder; (None, name) for other folders."""
    match = NUMBERED_FOLDER.fullmatch(name)
    if match and 0 < int(match[1]) <= MOST_REPEATS:
        return int(match[1]), match[2].strip()
    return None, name


class Repeats(Spec):
    """Settings of `dataset repeats`: whole numbers of repeats that balance the concepts."""

    shows: int = Field(300, ge=1)
    """Wanted images per epoch of each concept. 300 suits a main concept over 8 epochs with Prodigy (docs/plan.md)."""
    sub: tuple[str, ...] = ()
    """Names of sub-concepts, such as an outfit of a character, which get fewer images per epoch."""
    sub_shows: int = Field(100, ge=1)
    """Wanted images per epoch of each sub-concept."""
    write: Literal["folders", "toml", "jsonl"] = "folders"
    """Output: `N_name` folders, a dataset.toml for kohya's scripts, or a metadata.jsonl for Hugging Face datasets."""
    resolution: int = Field(512, ge=16, le=4096)
    """Training resolution, for dataset.toml and to count steps (batches never mix buckets)."""
    batch: int = Field(1, ge=1)
    """Batch size, for dataset.toml and to count steps."""
    root: Path | None = None
    """The dataset's path to write into dataset.toml, if it will be read elsewhere. None: its current path."""

    def solve(self, counts: Mapping[str, int]) -> list[ConceptRepeats]:
        """Return the repeats of each concept, given its number of images.

        The target may move by up to a quarter of the wanted number if that balances the concepts better.

        Raises:
            UsageError: a sub-concept does not exist, or a concept has no images.
        """
        if unknown := [name for name in self.sub if name not in counts]:
            known = did_you_mean(unknown[0], counts) or f"; concepts: {', '.join(counts)}"
            raise UsageError(f"--sub {unknown[0]!r}: no such concept{known}")
        rows = []
        for wished, names in ((self.shows, [n for n in counts if n not in self.sub]), (self.sub_shows, self.sub)):
            group = {name: counts[name] for name in names}
            target = fair_target(group, wished) if group else wished
            rows += [ConceptRepeats(n, counts[n], times, target) for n, times in balance_repeats(group, target).items()]
        order = list(counts)
        return sorted(rows, key=lambda row: order.index(row.name))

    def rows(self, images: ImageSet) -> list[ConceptRepeats]:
        """Return the repeats of each concept of a dataset, as `solve`.

        Raises:
            UsageError: two concept folders have the same name, or as `solve`.
        """
        taught = [c for c in find_concepts(images) if not c.is_reg]
        doubled = [name for name, count in Counter(c.name for c in taught).items() if count > 1]
        if doubled:
            where = ", ".join(str(c.folder) for c in taught if c.name == doubled[0])
            raise UsageError(f"two folders for concept {doubled[0]!r}: {where}", hint="rename one, or merge them")
        return self.solve({c.name: len(c.records) for c in taught})

    def steps(self, images: ImageSet, rows: Sequence[ConceptRepeats]) -> int:
        """Return the optimizer steps per epoch; each bucket's last batch may be partly filled."""
        repeats = {row.name: row.repeats for row in rows}
        taught = [c for c in find_concepts(images) if not c.is_reg]
        records = [(record, repeats[c.name]) for c in taught for record in c.records]
        placements = assign([(r.width, r.height) for r, _ in records], BucketSpec(resolution=self.resolution))
        return sum(row.batches for row in bucket_table(placements, self.batch, repeats=[n for _, n in records]))

    def propose(self, images: ImageSet) -> Iterator[Proposal | Event]:
        """Propose to rename the folders, or to write one dataset file."""
        rows = self.rows(images)
        yield from (Warned(message=text) for text in repeat_warnings(rows, find_concepts(images)))
        found = {c.name: c for c in find_concepts(images) if not c.is_reg}
        if self.write == "folders":
            for row in rows:
                yield from _rename_folder(found[row.name], row, images)
            return
        name, text = (
            ("dataset.toml", self.dataset_toml(images, rows))
            if self.write == "toml"
            else ("metadata.jsonl", metadata_jsonl(images, rows))
        )
        path, summary = PurePosixPath(name), ", ".join(f"{row.name} x {row.repeats}" for row in rows)
        yield Proposal(path, summary, lambda: [Write(path, text.encode())])

    def dataset_toml(self, images: ImageSet, rows: Sequence[ConceptRepeats]) -> str:
        """Return a dataset configuration for kohya's scripts; paths are absolute, so it can be used from any folder."""
        repeats = {row.name: row.repeats for row in rows}
        dataset = tomlkit.table()
        dataset.update({"resolution": self.resolution, "batch_size": self.batch, "enable_bucket": True})
        subsets = tomlkit.aot()
        for concept in find_concepts(images):
            subset = tomlkit.table()
            subset["image_dir"] = ((self.root or images.root).resolve() / concept.folder).as_posix()
            subset["class_tokens"] = concept.name
            subset["num_repeats"] = repeats.get(concept.name, 1) if not concept.is_reg else concept.repeats or 1
            # The default of kohya's scripts is .caption.
            subset["caption_extension"] = _usual_caption_extension(concept.records)
            if concept.is_reg:
                subset["is_reg"] = True
            subsets.append(subset)
        dataset["subsets"] = subsets
        document = tomlkit.document()
        datasets = tomlkit.aot()
        datasets.append(dataset)
        document["datasets"] = datasets
        return tomlkit.dumps(document)


def metadata_jsonl(images: ImageSet, rows: Sequence[ConceptRepeats]) -> str:
    """Return one JSON line per image with `file_name`, `text` and `repeats`."""
    repeats = {row.name: row.repeats for row in rows}
    lines = [
        json.dumps(
            {
                "file_name": str(images.name(record.path)),
                "text": record.captions[0] if record.captions else concept.name,
                "repeats": repeats[concept.name],
            },
            ensure_ascii=False,
        )
        for concept in find_concepts(images)
        if not concept.is_reg
        for record in concept.records
    ]
    return "\n".join(lines) + "\n"


def repeat_warnings(rows: Sequence[ConceptRepeats], found: Sequence[ConceptImages] = ()) -> Iterator[str]:
    """Yield concepts that no whole number of repeats balances, and class images that a trainer would drop."""
    for target in sorted({row.target for row in rows}):
        group = [row for row in rows if row.target == target]
        off = unbalanced({r.name: r.images for r in group}, {r.name: r.repeats for r in group}, target)
        for row in group:
            if share := off.get(row.name):
                word = f"{abs(share):.0%} {'more' if share > 0 else 'less'} than {target}"
                advice = "remove images, or raise --shows" if share > 0 else "try another --shows"
                yield f"{row.name}: {counted(row.images, 'image')} x {row.repeats} = {row.shows}, {word}; {advice}"
    shows = sum(row.shows for row in rows)
    reg = sum(len(c.records) * (c.repeats or 1) for c in found if c.is_reg)
    if reg > shows:
        extra = f"{reg - shows} more than subject images"
        yield f"{REGULARIZATION_FOLDER}: {reg} class images per epoch, {extra}; kohya drops the surplus"


def _rename_folder(concept: ConceptImages, row: ConceptRepeats, images: ImageSet) -> Iterator[Proposal]:
    """Propose to rename a concept's folder, if its repeats change."""
    inside = concept.folder.parent if concept.folder.parts else concept.folder
    to = inside / f"{row.repeats}_{concept.name}"
    if to == concept.folder:
        return
    why = f"becomes {to}: {counted(row.images, 'image')} x {row.repeats} = {row.shows} per epoch"
    yield Proposal(concept.folder, why, partial(_folder_moves, concept, to, images))


def _folder_moves(concept: ConceptImages, to: PurePosixPath, images: ImageSet) -> Sequence[Edit]:
    if not concept.folder.parts:  # the dataset itself keeps its name
        return [
            edit
            for r in concept.records
            for edit in move_with_sidecars(r, images, to / images.name(r.path).relative_to(concept.folder))
        ]
    root = images.root / concept.folder
    inside = sorted(path for path in root.rglob("*") if path.is_file())
    return [Move(images.name(path), to / path.relative_to(root).as_posix()) for path in inside]


def _usual_caption_extension(records: Sequence[ImageRecord]) -> str:
    counts = Counter(r.caption_path.suffix for r in records if r.caption_path is not None)
    return counts.most_common(1)[0][0] if counts else ".txt"
