"""`captions tag`: write captions with taggers; hand-written captions are kept unless told otherwise."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal, get_args

from pydantic import Field

from bakehouse.captions.rule import matcher
from bakehouse.captions.tagger_cache import TaggerCache
from bakehouse.core.bundled_models import BUNDLED_TAGGER
from bakehouse.core.errors import UsageError, did_you_mean
from bakehouse.core.events import Event, Noted, Warned
from bakehouse.core.files import file_exists, sha256_file
from bakehouse.core.message_text import counted
from bakehouse.core.settings import Spec
from bakehouse.curation.apply_and_undo import read_history
from bakehouse.curation.changeset import Proposal, Write
from bakehouse.data.captions import read_caption
from bakehouse.data.compile_captions import RAW_SUFFIX
from bakehouse.data.dataset_formats import METADATA_FILES
from bakehouse.data.image_records import ImageRecord, ImageSet
from bakehouse.data.scan import name_key
from bakehouse.data.tags import join_tags, keeps_underscores, key, split_caption
from bakehouse.vision.taggers.base import MIN_SCORE, Tagger, TagPrediction
from bakehouse.vision.taggers.factory import load_tagger

OPERATION = "tag"
Category = Literal["rating", "quality", "character", "copyright", "artist", "general", "meta", "model"]
CATEGORIES: tuple[Category, ...] = get_args(Category)
"""In the order in which their tags are written."""


class Tag(Spec):
    """Caption images with taggers. Captions written or edited by hand are kept, unless `existing` is changed."""

    taggers: tuple[str, ...] = Field((BUNDLED_TAGGER,), min_length=1)
    """`crumb`, installed taggers, paths of ONNX models, captioners. Sentences come first, then tags."""
    merge: Literal["any", "all"] = "any"
    """With several taggers: tags of any of them, or only tags of all of them."""
    existing: Literal["keep", "append", "replace"] = "keep"
    """Captions that no tagger wrote: keep them, append new tags, or replace them."""
    thresholds: dict[str, float] = Field(default_factory=dict)
    """By category: `{general = 0.3}`; default: each tagger's own."""
    categories: tuple[Category, ...] = ("character", "general")
    """Categories of tags that are written."""
    exclude: tuple[str, ...] = ()
    """Tags that are never written; `*` matches anything."""
    front: tuple[str, ...] = ()
    """Tags at the beginning of each caption: a trigger."""
    underscores: bool = False
    """Write tags with underscores, as boorus do: `blue_hair`; else with spaces."""
    most: int = Field(0, ge=0)
    """Most tags of each tagger, by confidence; 0: all."""
    prompt: str = ""
    """For captioners: the beginning of the sentence, or Florence-2's task."""
    extension: Literal[".txt", ".caption"] = ".txt"
    """Extension of new caption files."""
    batch: int = Field(8, ge=1)
    """Batch size."""
    device: str = "auto"
    """For captioners: cpu, cuda, mps."""

    def propose(self, images: ImageSet) -> Iterator[Proposal | Event]:
        """Yield one proposal for each caption that changes; predictions are cached.

        Raises:
            UsageError: there is no such tagger, or the captions are in a metadata file.
        """
        if metadata := next((n for n in METADATA_FILES if (images.root / n).is_file()), None):
            source = shlex.quote(str(images.root / metadata))
            raise UsageError(
                f"{images.root}: the captions are in {metadata}, which comes before caption files",
                hint=f"bakehouse dataset import {source} -o FOLDER writes each beside its image",
            )
        own = tagger_written(images.root)
        stems = Counter(_stem(record.path) for record in images)
        targets = [self._target(record, images, own, stems) for record in images]
        wanted = [t for t in targets if not t.is_by_hand or self.existing != "keep"]
        if kept := len(targets) - len(wanted):
            by_hand = f"{counted(kept, 'caption')} written or edited by hand"
            yield Noted(message=f"{by_hand}: kept; use --existing append or replace to change them")
        outputs: list[list[_TaggerOutput]] = [[] for _ in wanted]
        for where in self.taggers if wanted else ():
            tagger = load_tagger(where, prompt=self.prompt, device=self.device)
            predictions = yield from TaggerCache(tagger).predict([t.record for t in wanted], self.batch)
            for output, prediction in zip(outputs, predictions, strict=True):
                output.append(_TaggerOutput(tuple(self._tags(tagger, prediction)), bool(prediction.text)))
        for target, output in zip(wanted, outputs, strict=True):
            yield from self._caption(target, output)

    def _caption(self, target: _Target, outputs: Sequence[_TaggerOutput]) -> Iterator[Proposal | Event]:
        """Yield the proposal for one image, if its caption changes."""
        new = [tag for tag in self._merge(outputs) if key(tag) not in set(map(key, self.front))]
        if not new:
            yield Warned(message=f"{target.name}: not written, no tag is above the threshold")
            return
        lines: tuple[str, ...] = (join_tags([*self.front, *new]),)
        why = counted(len(new), "tag")
        if target.is_by_hand and self.existing == "append":
            lines = tuple(_append(line, new) for line in target.lines)
            before = sum(len(split_caption(line)) for line in target.lines)
            added = sum(len(split_caption(line)) for line in lines) - before
            why = f"{counted(added, 'tag')} appended"
        if lines == target.lines:
            return
        content = "".join(f"{line}\n" for line in lines).encode()
        yield Proposal(target.image, why, lambda: (Write(target.name, content),))

    def _merge(self, outputs: Sequence[_TaggerOutput]) -> list[str]:
        """Return the sentences, then the tags of all taggers in the order of the first, each once."""
        sentences = [text for output in outputs if output.is_sentence for text in output.texts]
        tags = [output.texts for output in outputs if not output.is_sentence]
        votes = Counter(k for texts in tags for k in set(map(key, texts)))
        needed = len(tags) if self.merge == "all" else 1
        spelling = {key(tag): tag for texts in reversed(tags) for tag in texts if votes[key(tag)] >= needed}
        order = dict.fromkeys(key(tag) for texts in tags for tag in texts)
        merged = [spelling[k] for k in order if k in spelling]
        return [*(sentence.rstrip(". ") if merged else sentence for sentence in sentences), *merged]

    def _target(self, record: ImageRecord, images: ImageSet, own: frozenset[str], stems: Counter[str]) -> _Target:
        raw = record.path.with_suffix(RAW_SUFFIX)
        existing = raw if file_exists(raw) else record.caption_path
        # `a.png` and `a.jpg` share `a.txt`: each gets a caption file of its own.
        new = record.path.with_suffix(self.extension)
        if stems[_stem(record.path)] > 1:
            new = Path(f"{record.path}{self.extension}")
        image = images.name(record.path)
        if existing is None:
            return _Target(record, image, images.name(new), (), False)
        lines = read_caption(existing).lines
        by_hand = bool(lines) and sha256_file(existing) not in own
        shared = stems[_stem(record.path)] > 1 and existing.stem == record.path.stem and existing != raw
        path = new if shared else existing
        path = path.with_suffix(".txt") if path.suffix.lower() == ".json" else path
        return _Target(record, image, images.name(path), lines, by_hand)

    def _tags(self, tagger: Tagger, prediction: TagPrediction) -> list[str]:
        given = {**tagger.thresholds, **self.thresholds}
        thresholds: dict[str, float] = {
            c: given.get(c, given.get("general", 0.5)) for c in CATEGORIES if c in self.categories
        }
        texts = tagger.to_tags(prediction, thresholds)
        if prediction.text:
            return texts
        excluded = matcher(self.exclude)
        spelled = [tag if self.underscores or keeps_underscores(tag) else tag.replace("_", " ") for tag in texts]
        kept = [tag for tag in spelled if not excluded(tag)]
        return kept[: self.most] if self.most else kept


@dataclass(frozen=True)
class _TaggerOutput:
    """What one tagger writes about one image: tags, or sentences."""

    texts: tuple[str, ...]
    is_sentence: bool


@dataclass(frozen=True)
class _Target:
    """One image and the caption file to write."""

    record: ImageRecord
    image: PurePosixPath
    name: PurePosixPath
    """Path of the caption file in the folder."""
    lines: tuple[str, ...]
    """The existing caption."""
    is_by_hand: bool
    """The existing caption was written or edited by hand."""


def _stem(path: Path) -> str:
    return name_key(path.with_suffix(""))


def _append(line: str, new: Sequence[str]) -> str:
    existing = {key(tag) for tag in split_caption(line)}
    more = [tag for tag in new if key(tag) not in existing]
    return join_tags([line.rstrip(", "), *more]) if more else line


def tagger_written(root: Path) -> frozenset[str]:
    """Return the sha256 of every caption that only taggers wrote, by the history of a dataset.

    Hand-written captions with appended tags are not among them.
    """
    own: set[str] = set()
    for step in read_history(root):
        if step.operation != OPERATION or step.state != "done":
            continue
        mixes = step.settings.get("existing") == "append"
        own |= {c.after for c in step.changes if c.after and (c.before is None or c.before in own or not mixes)}
    return frozenset(own)


def parse_thresholds(texts: Sequence[str]) -> dict[str, float]:
    """Parse thresholds by category: `0.3` is for general tags, `character=0.9` for characters.

    Raises:
        UsageError: not a number in the allowed range, or no such category.
    """
    found: dict[str, float] = {}
    for text in texts:
        category, _, number = text.rpartition("=")
        category = category.strip() or "general"
        try:
            value = float(number)
        except ValueError:
            raise UsageError(f"threshold {text!r} is not a number", hint="write 0.3, or character=0.9") from None
        if category not in CATEGORIES:
            hint = f"allowed: {', '.join(CATEGORIES)}"
            raise UsageError(f"unknown category {category!r}{did_you_mean(category, CATEGORIES)}", hint=hint)
        if not MIN_SCORE <= value <= 1:
            raise UsageError(f"threshold {text!r} is out of range: allowed are {MIN_SCORE} to 1")
        found[category] = value
    return found
