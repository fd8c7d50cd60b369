"""How often each concept's images are shown an epoch, and the files in which trainers read it."""

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
from bakehouse.core.pluralize import counted
from bakehouse.core.settings import Spec
from bakehouse.curation.changeset import Edit, Move, Proposal, Write
from bakehouse.curation.sidecars import move_with_sidecars
from bakehouse.data.buckets import BucketSpec, assign, bucket_table
from bakehouse.data.dataset_formats import MOST_REPEATS
from bakehouse.data.image_records import ImageRecord, ImageSet
from bakehouse.data.repeats import balance_repeats, fair_target, unbalanced

NUMBERED_FOLDER = re.compile(r"([0-9]+)_(.*)")
"""Kohya's folders: repeats and name."""
REGULARIZATION_FOLDER = "reg"
"""The folder of class images in kohya's layout."""


@dataclass(frozen=True)
class ConceptImages:
    """The images that share a folder."""

    name: str
    folder: PurePosixPath
    """Below the dataset; `.` is the dataset itself."""
    records: tuple[ImageRecord, ...]
    repeats: int | None
    """As the folder's name says now."""

    @property
    def is_reg(self) -> bool:
        """Class images, which are shown beside the subject's and not balanced."""
        return self.folder.parts[:1] == (REGULARIZATION_FOLDER,)


@dataclass(frozen=True)
class ConceptRepeats:
    """One concept's share of an epoch."""

    name: str
    images: int
    repeats: int
    target: int
    """Images wished for in an epoch."""

    @property
    def shows(self) -> int:
        """Images in an epoch."""
        return self.images * self.repeats


def find_concepts(images: ImageSet) -> list[ConceptImages]:
    """The concepts of a dataset: its `N_name` folders, else its folders, else itself."""
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
    """The folder whose name counts: the first numbered one on the way, else the first (below `img/` or `reg/`)."""
    for i, part in enumerate(parent.parts):
        if _parse_folder_name(part)[0] is not None:
            return PurePosixPath(*parent.parts[: i + 1])
    outer = parent.parts[:1] if parent.parts[:1] in (("img",), ("image",), (REGULARIZATION_FOLDER,)) else ()
    return PurePosixPath(*parent.parts[: len(outer) + 1])


def _parse_folder_name(name: str) -> tuple[int | None, str]:
    """Repeats and name as a folder's name says them."""
    match = NUMBERED_FOLDER.fullmatch(name)
    if match and 0 < int(match[1]) <= MOST_REPEATS:
        return int(match[1]), match[2].strip()
    return None, name


class Repeats(Spec):
    """Whole numbers of repeats that show every concept as often as its siblings."""

    shows: int = Field(300, ge=1)
    """Images of each concept in an epoch: 300 for one that matters, over 8 epochs with Prodigy (docs/plan.md)."""
    sub: tuple[str, ...] = ()
    """Names of sub-concepts, an outfit beside a character: they are shown less."""
    sub_shows: int = Field(100, ge=1)
    """Images of each sub-concept in an epoch."""
    write: Literal["folders", "toml", "jsonl"] = "folders"
    """`N_name` folders; or a dataset.toml for kohya's scripts; or a metadata.jsonl as Hugging Face datasets have it."""
    resolution: int = Field(512, ge=16, le=4096)
    """For dataset.toml, and for counting steps: batches never mix buckets."""
    batch: int = Field(1, ge=1)
    """As `resolution`."""
    root: Path | None = None
    """Where the dataset will be when dataset.toml is read, which names whole paths. Left out: where it is."""

    def solve(self, counts: Mapping[str, int]) -> list[ConceptRepeats]:
        """Repeats for each concept by its number of images.

        Where a number of shows within a quarter of the wished one brings siblings nearer to each other, that is taken.

        Raises:
            UsageError: a sub-concept that is not there, or a concept without images.
        """
        if unknown := [name for name in self.sub if name not in counts]:
            known = did_you_mean(unknown[0], counts) or f"; there are {', '.join(counts)}"
            raise UsageError(f"--sub {unknown[0]!r}: no concept has that name{known}")
        rows = []
        for wished, names in ((self.shows, [n for n in counts if n not in self.sub]), (self.sub_shows, self.sub)):
            mine = {name: counts[name] for name in names}
            target = fair_target(mine, wished) if mine else wished
            rows += [ConceptRepeats(n, counts[n], times, target) for n, times in balance_repeats(mine, target).items()]
        order = list(counts)
        return sorted(rows, key=lambda row: order.index(row.name))

    def rows(self, images: ImageSet) -> list[ConceptRepeats]:
        """As `solve`, for the concepts of a dataset.

        Raises:
            UsageError: two folders of one name, or as `solve`.
        """
        taught = [c for c in find_concepts(images) if not c.is_reg]
        doubled = [name for name, count in Counter(c.name for c in taught).items() if count > 1]
        if doubled:
            where = ", ".join(str(c.folder) for c in taught if c.name == doubled[0])
            raise UsageError(f"two folders are called {doubled[0]!r}: {where}", hint="rename one, or put them together")
        return self.solve({c.name: len(c.records) for c in taught})

    def steps(self, images: ImageSet, rows: Sequence[ConceptRepeats]) -> int:
        """Optimizer steps of an epoch: each bucket's last batch may not be full."""
        repeats = {row.name: row.repeats for row in rows}
        taught = [c for c in find_concepts(images) if not c.is_reg]
        records = [(record, repeats[c.name]) for c in taught for record in c.records]
        placements = assign([(r.width, r.height) for r, _ in records], BucketSpec(resolution=self.resolution))
        return sum(row.batches for row in bucket_table(placements, self.batch, repeats=[n for _, n in records]))

    def propose(self, images: ImageSet) -> Iterator[Proposal | Event]:
        """Folders with other names, or one file that says the repeats."""
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
        path, shown = PurePosixPath(name), ", ".join(f"{row.name} x {row.repeats}" for row in rows)
        yield Proposal(path, shown, lambda: [Write(path, text.encode())])

    def dataset_toml(self, images: ImageSet, rows: Sequence[ConceptRepeats]) -> str:
        """A dataset configuration of kohya's scripts; folders are named whole, for those scripts look from anywhere."""
        repeats = {row.name: row.repeats for row in rows}
        dataset = tomlkit.table()
        dataset.update({"resolution": self.resolution, "batch_size": self.batch, "enable_bucket": True})
        subsets = tomlkit.aot()
        for concept in find_concepts(images):
            subset = tomlkit.table()
            subset["image_dir"] = ((self.root or images.root).resolve() / concept.folder).as_posix()
            subset["class_tokens"] = concept.name
            subset["num_repeats"] = repeats.get(concept.name, 1) if not concept.is_reg else concept.repeats or 1
            # Left out, kohya's scripts look for .caption alone.
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
    """A line for each image: `file_name`, `text` and, for who reads it, `repeats`."""
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
    """What no repeats can mend, and what a trainer would leave out."""
    for target in sorted({row.target for row in rows}):
        mine = [row for row in rows if row.target == target]
        off = unbalanced({r.name: r.images for r in mine}, {r.name: r.repeats for r in mine}, target)
        for row in mine:
            if share := off.get(row.name):
                word = f"{abs(share):.0%} {'more' if share > 0 else 'less'} than {target}"
                mend = "take images out, or raise --shows" if share > 0 else "another --shows may fit better"
                yield f"{row.name}: {counted(row.images, 'image')} x {row.repeats} = {row.shows}, {word}; {mend}"
    shows = sum(row.shows for row in rows)
    reg = sum(len(c.records) * (c.repeats or 1) for c in found if c.is_reg)
    if reg > shows:
        extra = f"{reg - shows} more than subject images"
        yield f"{REGULARIZATION_FOLDER}: {reg} class images per epoch, {extra}; kohya drops the surplus"


def _rename_folder(concept: ConceptImages, row: ConceptRepeats, images: ImageSet) -> Iterator[Proposal]:
    """The folder under its new name, with everything in it."""
    inside = concept.folder.parent if concept.folder.parts else concept.folder
    to = inside / f"{row.repeats}_{concept.name}"
    if to == concept.folder:
        return
    why = f"becomes {to}: {counted(row.images, 'image')} x {row.repeats} = {row.shows} an epoch"
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
