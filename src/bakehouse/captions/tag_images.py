"""The verb that writes captions: what taggers see, beside what a person wrote, never over it unasked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal, get_args

from pydantic import Field

from bakehouse.captions.rule import matcher
from bakehouse.captions.tagger_cache import Memory
from bakehouse.core.bundled_models import BUNDLED_TAGGER
from bakehouse.core.errors import UsageError, did_you_mean
from bakehouse.core.events import Event, Noted, Warned
from bakehouse.core.files import file_exists, sha256_file
from bakehouse.core.pluralize import counted
from bakehouse.core.settings import Spec
from bakehouse.curation.changeset import Proposal, Write
from bakehouse.curation.history import read_history
from bakehouse.data.captions import read_caption
from bakehouse.data.dataset_formats import METADATA_FILES
from bakehouse.data.image_records import ImageRecord, ImageSet
from bakehouse.data.scan import nfc
from bakehouse.data.tags import join_tags, keeps_underscores, key, split_caption
from bakehouse.data.triggers import RAW_SUFFIX
from bakehouse.vision.taggers.base import MIN_SCORE, Tagger, TagPrediction
from bakehouse.vision.taggers.factory import load_tagger

VERB = "tag"
Category = Literal["rating", "quality", "character", "copyright", "artist", "general", "meta", "model"]
CATEGORIES: tuple[Category, ...] = get_args(Category)
"""In the order in which they are said."""


class Tag(Spec):
    """Captions by taggers. A caption that a person wrote or changed stays, unless `existing` says otherwise."""

    taggers: tuple[str, ...] = Field((BUNDLED_TAGGER,), min_length=1)
    """`crumb`, names on the shelf, paths of ONNX models, captioners. Sentences come first, tags behind them."""
    merge: Literal["any", "all"] = "any"
    """Of several taggers: what one of them sees, or only what all of them see."""
    existing: Literal["keep", "append", "replace"] = "keep"
    """Captions that are not the tagger's own: left alone, new tags at their end, or written anew."""
    thresholds: dict[str, float] = Field(default_factory=dict)
    """By category: `{general = 0.3}`. What is left out is each tagger's own."""
    categories: tuple[Category, ...] = ("character", "general")
    """What is said. Ratings, artists, copyrights and the rest only where they are asked for."""
    exclude: tuple[str, ...] = ()
    """Tags that are never written; `*` stands for anything."""
    front: tuple[str, ...] = ()
    """Put before what the taggers say: a trigger."""
    underscores: bool = False
    """Tags as boorus spell them, `blue_hair`; else with spaces."""
    most: int = Field(0, ge=0)
    """At most so many tags from each tagger, the surest; 0 is all."""
    prompt: str = ""
    """For captioners: how a sentence begins, or Florence-2's task."""
    extension: Literal[".txt", ".caption"] = ".txt"
    """Of new caption files."""
    batch: int = Field(8, ge=1)
    """Pictures at once."""
    device: str = "auto"
    """For captioners: cpu, cuda, mps."""

    def propose(self, images: ImageSet) -> Iterator[Proposal | Event]:
        """One proposal for each caption that changes, after the taggers have looked; what they saw is kept.

        Raises:
            UsageError: no such tagger, or the captions stand in a metadata file.
        """
        if listed := next((n for n in METADATA_FILES if (images.root / n).is_file()), None):
            raise UsageError(
                f"{images.root}: the captions stand in {listed}, and those would be passed over",
                hint=f"bakehouse dataset import {images.root / listed} -o FOLDER writes each beside its image",
            )
        own = written_by_taggers(images.root)
        twins = Counter(_stem(record.path) for record in images)
        places = [self._place(record, images, own, twins) for record in images]
        wanted = [p for p in places if not p.is_by_hand or self.existing != "keep"]
        if kept := len(places) - len(wanted):
            by_hand = f"{counted(kept, 'caption')} written or changed by hand"
            yield Noted(message=f"{by_hand}: left alone; --existing says otherwise")
        said: list[list[_Said]] = [[] for _ in wanted]
        for where in self.taggers if wanted else ():
            tagger = load_tagger(where, prompt=self.prompt, device=self.device)
            predictions = yield from Memory(tagger).look([p.record for p in wanted], self.batch)
            for words, prediction in zip(said, predictions, strict=True):
                words.append(_Said(tuple(self._words(tagger, prediction)), bool(prediction.text)))
        for place, words in zip(wanted, said, strict=True):
            yield from self._caption(place, words)

    def _caption(self, place: _Place, said: Sequence[_Said]) -> Iterator[Proposal | Event]:
        """The proposal for one image, if its caption changes."""
        new = [tag for tag in self._merged(said) if key(tag) not in set(map(key, self.front))]
        if not new:
            yield Warned(message=f"{place.name}: nothing was seen surely enough to say")
            return
        lines: tuple[str, ...] = (join_tags([*self.front, *new]),)
        why = counted(len(new), "tag")
        if place.is_by_hand and self.existing == "append":
            lines = tuple(_appended(line, new) for line in place.lines)
            there = sum(len(split_caption(line)) for line in place.lines)
            why = f"{sum(len(split_caption(line)) for line in lines) - there} tags behind what was there"
        if lines == place.lines:
            return
        content = "".join(f"{line}\n" for line in lines).encode()
        yield Proposal(place.image, why, lambda: (Write(place.name, content),))

    def _merged(self, said: Sequence[_Said]) -> list[str]:
        """Tags of all taggers in the order of the first, each once; sentences are never left out."""
        sentences = [word for one in said if one.is_sentence for word in one.words]
        tags = [one.words for one in said if not one.is_sentence]
        seers = Counter(k for words in tags for k in set(map(key, words)))
        needed = len(tags) if self.merge == "all" else 1
        once = {key(tag): tag for words in reversed(tags) for tag in words if seers[key(tag)] >= needed}
        order = dict.fromkeys(key(tag) for words in tags for tag in words)
        told = [once[k] for k in order if k in once]
        return [*(sentence.rstrip(". ") if told else sentence for sentence in sentences), *told]

    def _place(self, record: ImageRecord, images: ImageSet, own: frozenset[str], twins: Counter[str]) -> _Place:
        raw = record.path.with_suffix(RAW_SUFFIX)
        standing = raw if file_exists(raw) else record.caption_path
        # `a.png` and `a.jpg` share `a.txt`; what is written is each one's own.
        new = record.path.with_suffix(self.extension)
        if twins[_stem(record.path)] > 1:
            new = Path(f"{record.path}{self.extension}")
        image = images.name(record.path)
        if standing is None:
            return _Place(record, image, images.name(new), (), False)
        lines = read_caption(standing).lines
        by_hand = bool(lines) and sha256_file(standing) not in own
        shared = twins[_stem(record.path)] > 1 and standing.stem == record.path.stem and standing != raw
        path = new if shared else standing
        path = path.with_suffix(".txt") if path.suffix.lower() == ".json" else path
        return _Place(record, image, images.name(path), lines, by_hand)

    def _words(self, tagger: Tagger, prediction: TagPrediction) -> list[str]:
        own = {**tagger.thresholds, **self.thresholds}
        least: dict[str, float] = {c: own.get(c, own.get("general", 0.5)) for c in CATEGORIES if c in self.categories}
        words = tagger.to_tags(prediction, least)
        if prediction.text:
            return words
        excluded = matcher(self.exclude)
        spelled = [tag if self.underscores or keeps_underscores(tag) else tag.replace("_", " ") for tag in words]
        kept = [tag for tag in spelled if not excluded(tag)]
        return kept[: self.most] if self.most else kept


@dataclass(frozen=True)
class _Said:
    """What one tagger says of one image."""

    words: tuple[str, ...]
    is_sentence: bool


@dataclass(frozen=True)
class _Place:
    """One image's caption, as it is before tagging."""

    record: ImageRecord
    image: PurePosixPath
    name: PurePosixPath
    """Of the caption that will be written; below the folder."""
    lines: tuple[str, ...]
    is_by_hand: bool
    """There is a caption, and it is not as a tagger wrote it."""


def _stem(path: Path) -> str:
    return nfc(str(path.with_suffix(""))).casefold()


def _appended(line: str, new: Sequence[str]) -> str:
    there = {key(tag) for tag in split_caption(line)}
    more = [tag for tag in new if key(tag) not in there]
    return join_tags([line.rstrip(", "), *more]) if more else line


def written_by_taggers(root: Path) -> frozenset[str]:
    """The sha256 of every caption that is a tagger's alone, by the history of a dataset.

    What was appended to a person's caption is not; neither is what was edited afterwards, since its bytes are others.
    """
    own: set[str] = set()
    for step in read_history(root):
        if step.operation != VERB or step.state != "done":
            continue
        mixes = step.settings.get("existing") == "append"
        own |= {c.after for c in step.changes if c.after and (c.before is None or c.before in own or not mixes)}
    return frozenset(own)


def thresholds_of(words: Sequence[str]) -> dict[str, float]:
    """`0.3` is for general tags; `character=0.9` for a category.

    Raises:
        UsageError: no number from 0 to 1, or no such category.
    """
    found: dict[str, float] = {}
    for text in words:
        category, _, number = text.rpartition("=")
        category = category.strip() or "general"
        try:
            value = float(number)
        except ValueError:
            raise UsageError(f"threshold {text!r} is no number", hint="write 0.3, or character=0.9") from None
        if category not in CATEGORIES:
            hint = f"allowed are {', '.join(CATEGORIES)}"
            raise UsageError(f"no category {category!r}{did_you_mean(category, CATEGORIES)}", hint=hint)
        if not MIN_SCORE <= value <= 1:
            raise UsageError(f"threshold {text!r}: allowed is {MIN_SCORE} to 1")
        found[category] = value
    return found
