"""`dataset sort`: move images into a folder per concept."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Generator, Iterator, Mapping, Sequence
from functools import partial
from pathlib import PurePosixPath
from typing import Literal, Self

import numpy as np
from PIL import Image
from pydantic import Field, model_validator

from bakehouse.core.bundled_models import BUNDLED_TAGGER
from bakehouse.core.errors import UsageError
from bakehouse.core.events import Event, Noted, Progress
from bakehouse.core.message_text import counted, listed
from bakehouse.core.settings import Spec
from bakehouse.curation.changeset import Proposal
from bakehouse.curation.open_records import open_on_white, open_or_skip
from bakehouse.curation.repeats import NUMBERED_FOLDER
from bakehouse.curation.sidecars import move_with_sidecars
from bakehouse.curation.sorting.clustering import cluster
from bakehouse.data.captions import split_tags
from bakehouse.data.image_records import ImageRecord, ImageSet
from bakehouse.vision.image_embeddings import Floats, load_embedder, normalize_rows

Assignment = tuple[ImageRecord, str, str]
"""An image, its folder (empty if none fits) and the reason."""
Embedded = Generator[Event, None, tuple[list[ImageRecord], Floats]]
"""The images that could be decoded, and their embeddings [N, D]."""

_BATCH = 32
_MIN_TAG_SHARE = 0.6
"""A group is named after a tag that at least this share of its images has."""


class Sort(Spec):
    """Settings of `dataset sort`. Only images at the top level of the dataset are moved, not those in folders."""

    by: Literal["tag", "cluster", "example"] = "tag"
    """Criterion: a caption tag; clusters of similar images; or the existing folder with the most similar images."""
    tags: tuple[str, ...] = ()
    """For `tag`: the tags, most specific first. An image goes to the folder of the first tag that it has."""
    clusters: int | None = Field(None, ge=2, le=100)
    """For `cluster`: number of clusters. None: the best-fitting number."""
    embedder: str = BUNDLED_TAGGER
    """Embedding model that defines similarity: crumb (the bundled tagger), or the path of an ONNX network."""
    sure: float = Field(0.02, ge=0, le=1)
    """For `example`: smallest lead in similarity of the best folder over the second; other images stay."""
    folders: Mapping[str, str] = {}
    """For `tag`: folders in the dataset by words in the caption, such as a trigger. `tags` use the folder `1_tag`, or
    the one of that name with other repeats."""

    @model_validator(mode="after")
    def _has_tags(self) -> Self:
        if self.by == "tag" and not (self.tags or self.folders):
            raise ValueError("by = 'tag' needs the tags to sort by")
        return self

    def propose(self, images: ImageSet) -> Iterator[Proposal | Event]:
        """Propose to move each image with a fitting folder; yield a note on the others.

        Raises:
            UsageError: `example` with fewer than two folders of images, or the embedding model does not exist.
        """
        loose = [record for record in images if images.name(record.path).parent == PurePosixPath()]
        ways = {"tag": self._by_tag, "cluster": self._by_cluster, "example": self._by_example}
        unsorted: list[str] = []
        for step in ways[self.by](loose, images):
            if isinstance(step, Event):
                yield step
                continue
            record, folder, why = step
            if not folder:
                unsorted.append(record.path.name)
                continue
            to = PurePosixPath(folder) / record.path.name
            yield Proposal(
                images.name(record.path), f"{why}: into {folder}/", partial(move_with_sidecars, record, images, to)
            )
        if unsorted:
            yield Noted(message=f"no folder for {counted(len(unsorted), 'image')}: {listed(unsorted, 5)}")

    def _by_tag(self, loose: Sequence[ImageRecord], images: ImageSet) -> Iterator[Assignment | Event]:
        worded = {_normalize(words): folder for words, folder in self.folders.items()}
        wanted = dict(worded)
        for tag in self.tags:
            wanted.setdefault(_normalize(tag), _folder_for(_normalize(tag), images))
        doubtful = 0
        for record in loose:
            there = _tags(record)
            own = [tag for tag in wanted if tag in there or (tag in worded and _contains_words(there, tag))]
            doubtful += len(own) > 1
            yield record, wanted[own[0]] if own else "", f"has {own[0]!r}" if own else ""
        if doubtful:
            yield Noted(message=f"{counted(doubtful, 'image')} with several of the tags; the first tag was used")

    def _by_cluster(self, loose: Sequence[ImageRecord], images: ImageSet) -> Iterator[Assignment | Event]:
        loose, vectors = yield from self._embedded(loose, images)
        if not loose:
            return
        labels = cluster(vectors, self.clusters)
        groups: list[list[ImageRecord]] = [[] for _ in range(int(labels.max()) + 1)]
        for record, label in zip(loose, labels.tolist(), strict=True):
            groups[label].append(record)
        names = _group_names(groups)
        centroids = _centroids(vectors, labels)
        for record, vector, label in zip(loose, vectors, labels.tolist(), strict=True):
            why = f"similarity {float(vector @ centroids[label]):.2f} to group {label + 1}"
            yield record, _folder_for(names[label], images), why

    def _by_example(self, loose: Sequence[ImageRecord], images: ImageSet) -> Iterator[Assignment | Event]:
        examples = [record for record in images if images.name(record.path).parent.parts]
        _check_folders(_top_folders(examples, images), images)
        examples, known = yield from self._embedded(examples, images)
        _check_folders(folders := _top_folders(examples, images), images)
        labels = np.array([folders.index(_top_folder(record, images)) for record in examples])
        centroids = _centroids(known, labels)
        loose, vectors = yield from self._embedded(loose, images)
        for record, row in zip(loose, vectors @ centroids.T if loose else (), strict=True):
            second, first = np.argsort(row, kind="stable")[-2:]
            why = f"similarity {row[first]:.2f} to {folders[first]}, {row[second]:.2f} to {folders[second]}"
            yield record, folders[first] if row[first] - row[second] >= self.sure else "", why

    def _embedded(self, records: Sequence[ImageRecord], images: ImageSet) -> Embedded:
        """Return the embeddings of images, loading few at a time; yield a warning for each that cannot be decoded."""
        embed = load_embedder(self.embedder)
        usable: list[ImageRecord] = []
        rows: list[Floats] = []
        for start in range(0, len(records), _BATCH):
            loaded: list[Image.Image] = []
            for record in records[start : start + _BATCH]:
                image = yield from open_or_skip(record, images, open_on_white)
                if image is not None:
                    usable.append(record)
                    loaded.append(image)
            if loaded:
                rows.append(embed(loaded))
            done = min(start + _BATCH, len(records))
            yield Progress(what="embedding images", done=done, total=len(records))
        return usable, np.concatenate(rows) if rows else np.zeros((0, 0), np.float32)


def _top_folder(record: ImageRecord, images: ImageSet) -> str:
    return images.name(record.path).parent.parts[0]


def _top_folders(records: Sequence[ImageRecord], images: ImageSet) -> list[str]:
    return sorted({_top_folder(record, images) for record in records})


def _check_folders(folders: Sequence[str], images: ImageSet) -> None:
    """Check that there are two folders to choose from.

    Raises:
        UsageError: there are fewer.
    """
    if len(folders) < 2:
        raise UsageError(
            f"{images.root} has {counted(len(folders), 'folder')} of images; sorting by example needs two or more",
            hint="put a few images of each concept into a folder of its own, then run the command again",
        )


def _centroids(vectors: Floats, labels: np.ndarray[tuple[int], np.dtype[np.int64]]) -> Floats:
    return normalize_rows(np.stack([vectors[labels == k].mean(0) for k in range(int(labels.max()) + 1)]))


def _folder_for(name: str, images: ImageSet) -> str:
    """Return the existing folder of that name, whatever its repeats, else `1_name`."""
    for folder in sorted(path.name for path in images.root.iterdir() if path.is_dir()):
        match = NUMBERED_FOLDER.fullmatch(folder)
        if (match and match[2].strip() == name) or folder == name:
            return folder
    return f"1_{name}"


def _group_names(groups: Sequence[Sequence[ImageRecord]]) -> list[str]:
    """Name each group after its most distinctive tag, if most of its images have it, else by its number."""
    everywhere = [Counter(tag for record in group for tag in _tags(record)) for group in groups]
    names: list[str] = []
    for k, group in enumerate(groups):
        rest = sum((count for j, count in enumerate(everywhere) if j != k), Counter())
        others = max(1, sum(len(g) for g in groups) - len(group))
        distinctiveness = {
            tag: count / len(group) - rest[tag] / others
            for tag, count in everywhere[k].items()
            if count >= _MIN_TAG_SHARE * len(group)
        }
        best = max(sorted(distinctiveness), key=distinctiveness.__getitem__, default="")
        name = (
            _SAFE.sub(" ", best).strip() if best and distinctiveness[best] >= _MIN_TAG_SHARE / 2 else f"group {k + 1}"
        )
        names.append(name if name not in names else f"group {k + 1}")
    return names


_SAFE = re.compile(r"[^\w\- ]+")


def _tags(record: ImageRecord) -> set[str]:
    return {_normalize(tag) for line in record.captions for tag in split_tags(line)}


def _contains_words(tags: set[str], words: str) -> bool:
    """Return whether a tag contains these words: `zwx person` contains `zwx`."""
    return any(f" {words} " in f" {tag} " for tag in tags)


def _normalize(tag: str) -> str:
    return " ".join(tag.replace("_", " ").casefold().split())
