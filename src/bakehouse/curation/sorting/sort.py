"""`dataset sort`: images into a folder for each concept."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Generator, Iterator, Mapping, Sequence
from functools import partial
from pathlib import PurePosixPath
from typing import Literal, Self

import numpy as np
from pydantic import Field, model_validator

from bakehouse.core.errors import UsageError
from bakehouse.core.events import Event, Noted, Progress
from bakehouse.core.pluralize import counted, listed
from bakehouse.core.settings import Spec
from bakehouse.curation.changeset import Proposal
from bakehouse.curation.repeats import NUMBERED
from bakehouse.curation.sidecars import moved
from bakehouse.curation.sorting.clustering import cluster
from bakehouse.data.captions import split_tags
from bakehouse.data.image_records import ImageRecord, ImageSet
from bakehouse.data.open_image import open_image
from bakehouse.vision.image_embeddings import Floats, open_embedder, unit

Found = tuple[ImageRecord, str, str]
"""An image, its folder (empty where it finds none) and why."""
Embedded = Generator[Event, None, Floats]

_BATCH = 32
_SHARED = 0.6
"""A group is called by a tag that this share of its images has."""


class Sort(Spec):
    """Puts the images that lie in the dataset itself into a folder for each concept; what lies in folders stays."""

    by: Literal["tag", "cluster", "example"] = "tag"
    """A tag of the caption; groups of images that look alike; or the folder whose images look most like it."""
    tags: tuple[str, ...] = ()
    """With `tag`: the tags, the most telling first; an image goes to the first that it has."""
    clusters: int | None = Field(None, ge=2, le=100)
    """With `cluster`: how many groups. Left out: as many as fit best."""
    embedder: str = "crumb"
    """What likeness is: the embedded tagger's, or a network in an ONNX file."""
    sure: float = Field(0.02, ge=0, le=1)
    """With `example`: an image whose likeness to two folders differs by less stays where it is."""
    folders: Mapping[str, str] = {}
    """With `tag`: folders below the dataset by the words, a trigger say, that their captions hold. For `tags` it is
    `1_tag`, or the folder of that name with other repeats."""

    @model_validator(mode="after")
    def _says_what(self) -> Self:
        if self.by == "tag" and not (self.tags or self.folders):
            raise ValueError("by = 'tag' needs tags: which ones make a concept?")
        return self

    def propose(self, images: ImageSet) -> Iterator[Proposal | Event]:
        """One proposal for each image that finds its folder; those that find none are told.

        Raises:
            UsageError: `example` without folders of images, or no such network.
        """
        loose = [record for record in images if images.name(record.path).parent == PurePosixPath()]
        ways = {"tag": self._by_tag, "cluster": self._by_cluster, "example": self._by_example}
        stays: list[str] = []
        for step in ways[self.by](loose, images):
            if isinstance(step, Event):
                yield step
                continue
            record, folder, why = step
            if not folder:
                stays.append(record.path.name)
                continue
            to = PurePosixPath(folder) / record.path.name
            yield Proposal(images.name(record.path), f"{why}: into {folder}/", partial(moved, record, images, to))
        if stays:
            yield Noted(message=f"{len(stays)} found no folder: {listed(stays, 5)}")

    def _by_tag(self, loose: Sequence[ImageRecord], images: ImageSet) -> Iterator[Found | Event]:
        worded = {_plain(words): folder for words, folder in self.folders.items()}
        wanted = dict(worded)
        for tag in self.tags:
            wanted.setdefault(_plain(tag), _folder_for(_plain(tag), images))
        doubtful = 0
        for record in loose:
            there = _tags(record)
            mine = [tag for tag in wanted if tag in there or (tag in worded and _holds(there, tag))]
            doubtful += len(mine) > 1
            yield record, wanted[mine[0]] if mine else "", f"has {mine[0]!r}" if mine else ""
        if doubtful:
            yield Noted(message=f"{counted(doubtful, 'image')} with several of the tags; the first one counted")

    def _by_cluster(self, loose: Sequence[ImageRecord], images: ImageSet) -> Iterator[Found | Event]:
        if not loose:
            return
        vectors = yield from self._embedded(loose)
        labels = cluster(vectors, self.clusters)
        groups: list[list[ImageRecord]] = [[] for _ in range(int(labels.max()) + 1)]
        for record, label in zip(loose, labels.tolist(), strict=True):
            groups[label].append(record)
        names = _names(groups)
        centres = _centres(vectors, labels)
        for record, vector, label in zip(loose, vectors, labels.tolist(), strict=True):
            why = f"{float(vector @ centres[label]):.2f} like group {label + 1}"
            yield record, _folder_for(names[label], images), why

    def _by_example(self, loose: Sequence[ImageRecord], images: ImageSet) -> Iterator[Found | Event]:
        shown = defaultdict(list)
        for record in images:
            if parent := images.name(record.path).parent.parts:
                shown[parent[0]].append(record)
        if len(shown) < 2:
            raise UsageError(
                f"{images.root} has {counted(len(shown), 'folder')} of images; sorting by example needs two or more",
                hint="put a few images of each concept into a folder of its own, and run it again",
            )
        folders = sorted(shown)
        known = yield from self._embedded([record for folder in folders for record in shown[folder]])
        labels = np.repeat(np.arange(len(folders)), [len(shown[folder]) for folder in folders])
        centres = _centres(known, labels)
        likeness = (yield from self._embedded(loose)) @ centres.T if loose else np.zeros((0, len(folders)))
        for record, row in zip(loose, likeness, strict=True):
            second, first = np.argsort(row, kind="stable")[-2:]
            why = f"{row[first]:.2f} like {folders[first]}, {row[second]:.2f} like {folders[second]}"
            yield record, folders[first] if row[first] - row[second] >= self.sure else "", why

    def _embedded(self, records: Sequence[ImageRecord]) -> Embedded:
        """[N, D] the vector of each image; few images are in memory at a time."""
        embed = open_embedder(self.embedder)
        rows: list[Floats] = []
        for start in range(0, len(records), _BATCH):
            rows.append(embed([open_image(record.path) for record in records[start : start + _BATCH]]))
            done = min(start + _BATCH, len(records))
            yield Progress(what="looking for likeness", done=done, total=len(records))
        return np.concatenate(rows)


def _centres(vectors: Floats, labels: np.ndarray[tuple[int], np.dtype[np.int64]]) -> Floats:
    return unit(np.stack([vectors[labels == k].mean(0) for k in range(int(labels.max()) + 1)]))


def _folder_for(name: str, images: ImageSet) -> str:
    """`1_name`, or the folder of that name that is there, whatever its repeats."""
    for folder in sorted(path.name for path in images.root.iterdir() if path.is_dir()):
        match = NUMBERED.fullmatch(folder)
        if (match and match[2].strip() == name) or folder == name:
            return folder
    return f"1_{name}"


def _names(groups: Sequence[Sequence[ImageRecord]]) -> list[str]:
    """Each group by the tag that tells it best from the others, if most of it has that; else by its number."""
    everywhere = [Counter(tag for record in group for tag in _tags(record)) for group in groups]
    names: list[str] = []
    for k, group in enumerate(groups):
        rest = sum((count for j, count in enumerate(everywhere) if j != k), Counter())
        others = max(1, sum(len(g) for g in groups) - len(group))
        telling = {
            tag: count / len(group) - rest[tag] / others
            for tag, count in everywhere[k].items()
            if count >= _SHARED * len(group)
        }
        best = max(sorted(telling), key=telling.__getitem__, default="")
        name = _SAFE.sub(" ", best).strip() if best and telling[best] >= _SHARED / 2 else f"group {k + 1}"
        names.append(name if name not in names else f"group {k + 1}")
    return names


_SAFE = re.compile(r"[^\w\- ]+")


def _tags(record: ImageRecord) -> set[str]:
    return {_plain(tag) for line in record.captions for tag in split_tags(line)}


def _holds(tags: set[str], words: str) -> bool:
    """Whether one of the tags has these words in it: `zwx person` has `zwx`."""
    return any(f" {words} " in f" {tag} " for tag in tags)


def _plain(tag: str) -> str:
    return " ".join(tag.replace("_", " ").casefold().split())
