"""The compiler of captions: tags that a trigger absorbs are left out of its images' captions.

A tag in a caption stays under the control of prompts. What an image shows and its caption does not name is learned as
part of what the caption does name: the trigger. So a strategy is a list of tags to leave out; it can be changed as long
as the raw tags are kept. The command that writes compiled captions: `captions/triggers/write_compiled_captions.py`.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path, PurePath

from bakehouse.core.errors import Problems, did_you_mean
from bakehouse.core.files import file_exists
from bakehouse.data.captions import read_caption, split_tags
from bakehouse.data.image_records import ImageRecord, ImageSet
from bakehouse.data.tag_groups import matches, plain
from bakehouse.data.triggers import Trigger, check_unique_words

RAW_SUFFIX = ".tags"
"""Extension of the file beside an image with its tags before captions were compiled."""
RARE = 0.25
"""A tag in a smaller share of a trigger's images is a variation of its look, and stays in captions."""
SENTENCE_WORDS = 8
"""So many words between two commas are a sentence, which always stays in captions."""


@dataclass(frozen=True)
class Wording:
    """A compiled caption: its triggers, its tags, and the tags that were absorbed."""

    triggers: tuple[str, ...]
    """Words of its triggers, in the order of their declaration."""
    head: tuple[str, ...]
    """Their tags, which are at the beginning."""
    said: tuple[str, ...]
    """The raw tags that stay in the caption, in their order."""
    unsaid: Mapping[str, tuple[str, ...]]
    """The raw tags that are left out, each with the words of the triggers that absorb it."""

    def text(self, mark: str = "") -> str:
        """Return the caption; `mark`, such as `|||`, separates the triggers from the tags that may be shuffled."""
        if mark and self.head and self.said:
            return f"{', '.join(self.head)} {mark} {', '.join(self.said)}"
        return ", ".join((*self.head, *self.said))


@dataclass(frozen=True)
class CompiledImage:
    """An image with its raw and its compiled captions. `wordings` is empty if all of them would be empty."""

    record: ImageRecord
    raw: tuple[str, ...]
    wordings: tuple[Wording, ...]


def raw_captions(record: ImageRecord) -> tuple[str, ...]:
    """Return the captions before compiling: from the `.tags` file if there is one, else those of the record."""
    path = raw_path(record)
    return read_caption(path).lines if file_exists(path) else record.captions


def raw_path(record: ImageRecord) -> Path:
    """Return the path of the file with an image's raw tags."""
    return record.path.with_suffix(RAW_SUFFIX)


def compile_captions(
    images: Sequence[ImageRecord], triggers: Sequence[Trigger], roots: Sequence[Path]
) -> tuple[CompiledImage, ...]:
    """Compile the captions of a set of images from their raw tags.

    Compiling is idempotent, and captions can be compiled for another strategy at any time.

    Args:
        images: the whole set: whether a tag is part of a look or a variation depends on how common it is.
        triggers: in the order in which captions have them.
        roots: the folders that were scanned, by the index of the concept; `Trigger.folders` are names in and below
            them.

    Raises:
        Problems: folders or tags of triggers match no image, or two triggers have the same word.
    """
    raw = [raw_captions(record) for record in images]
    owners = [_owners(record, lines, triggers, roots) for record, lines in zip(images, raw, strict=True)]
    _check(images, owners, triggers, roots)
    owners = _apply_shares(owners, triggers)
    taken = {
        t.word: _absorbed_tags(t, [lines for lines, own in zip(raw, owners, strict=True) if t in own]) for t in triggers
    }
    own_words = frozenset(plain(w) for t in triggers for w in (t.word, t.head))
    return tuple(
        CompiledImage(record, lines, tuple(_wordings(lines, own, taken, own_words)))
        for record, lines, own in zip(images, raw, owners, strict=True)
    )


def with_compiled(images: ImageSet, compiled: Sequence[CompiledImage], mark: str = "") -> ImageSet:
    """Return the set with compiled captions instead of its own."""
    records = tuple(
        dataclasses.replace(c.record, captions=tuple(dict.fromkeys(w.text(mark) for w in c.wordings))) for c in compiled
    )
    return dataclasses.replace(images, records=records)


def inseparable_pairs(compiled: Sequence[CompiledImage]) -> list[tuple[str, str]]:
    """Return pairs of triggers that are in exactly the same captions, so that training cannot tell them apart."""
    where: dict[str, set[tuple[int, int]]] = {}
    for i, image in enumerate(compiled):
        for j, wording in enumerate(image.wordings):
            for word in wording.triggers:
                where.setdefault(word, set()).add((i, j))
    return [(a, b) for a, b in itertools.combinations(where, 2) if where[a] == where[b]]


def tags_of(lines: Iterable[str]) -> set[str]:
    """Return all tags of some captions, normalised."""
    return {plain(tag) for line in lines for tag in split_tags(line)}


def is_sentence(tag: str) -> bool:
    """Whether the text between two commas is a sentence, which always stays in captions."""
    return len(tag.split()) >= SENTENCE_WORDS


def _owners(
    record: ImageRecord, lines: Sequence[str], triggers: Sequence[Trigger], roots: Sequence[Path]
) -> list[Trigger]:
    """The triggers that an image belongs to, by folder and tags."""
    tags = tags_of(lines)
    return [
        t
        for t in triggers
        if (not t.folders or any(_in_folder(record.path, f, roots[record.concept]) for f in t.folders))
        and all(any(matches(tag, w) for tag in tags) for w in t.when)
    ]


def _in_folder(path: Path, pattern: str, root: Path) -> bool:
    """Whether the pattern matches consecutive folders of the path that end at the root or below it."""
    parts, wanted = path.parent.parts, PurePath(pattern).parts
    first = len(root.parts) if path.is_relative_to(root) else 1
    return any(
        all(_fits(part, want) for part, want in zip(parts[end - len(wanted) : end], wanted, strict=True))
        for end in range(max(first, len(wanted)), len(parts) + 1)
    )


def _fits(name: str, pattern: str) -> bool:
    """Whether a folder name matches; kohya's `10_` before the name may be omitted."""
    bare = name.split("_", 1)[1] if "_" in name and name.split("_", 1)[0].isdecimal() else name
    return fnmatchcase(name, pattern) or fnmatchcase(bare, pattern)


def _check(
    images: Sequence[ImageRecord],
    owners: Sequence[Sequence[Trigger]],
    triggers: Sequence[Trigger],
    roots: Sequence[Path],
) -> None:
    problems = []
    for trigger in triggers:
        for pattern in trigger.folders:
            if not any(_in_folder(r.path, pattern, roots[r.concept]) for r in images):
                there = sorted({r.path.parent.name for r in images})
                names = f" (folders with images: {', '.join(there[:8])})"
                problems.append(
                    f"trigger {trigger.word!r}: no image in {pattern!r}{did_you_mean(pattern, there)}{names}"
                )
        if trigger.when and not any(trigger in own for own in owners):
            wanted = ", ".join(trigger.when)
            problems.append(f"trigger {trigger.word!r}: no image in its folders has the tags {wanted}")
    try:
        check_unique_words(triggers)
    except ValueError as e:
        problems.append(str(e))
    if problems:
        raise Problems("these triggers do not fit the images:", problems)


def _apply_shares(owners: Sequence[Sequence[Trigger]], triggers: Sequence[Trigger]) -> list[list[Trigger]]:
    """Apply each trigger's `share`, evenly over the images, so that both parts have images of all kinds."""
    seen: Counter[str] = Counter()
    kept: list[list[Trigger]] = []
    for own in owners:
        mine = []
        for trigger in own:
            n = seen[trigger.word]
            seen[trigger.word] += 1
            # Rounding: 0.1 x 10 counts as 1.
            if int((n + 1) * trigger.share + 1e-9) > int(n * trigger.share + 1e-9):
                mine.append(trigger)
        kept.append(mine)
    return kept


def _absorbed_tags(trigger: Trigger, captions: Sequence[Sequence[str]]) -> frozenset[str]:
    """The tags of its images that a trigger absorbs: those of its look that are common enough to be part of it."""
    counts = Counter(tag for lines in captions for tag in tags_of(lines))
    enough = RARE * len(captions)
    return frozenset(
        tag
        for tag, n in counts.items()
        if not is_sentence(tag) and trigger.takes(tag) and (n >= enough or trigger.names(tag))
    )


def _wordings(
    lines: Sequence[str], own: Sequence[Trigger], taken: Mapping[str, frozenset[str]], own_words: frozenset[str]
) -> Iterable[Wording]:
    """Yield an image's captions: with all its triggers, without each one that has `also_without`, without clothes."""
    for chosen in [own, *([t for t in own if t is not left] for left in own if left.also_without)]:
        for line in lines or ("",):
            wording = _wording(line, chosen, taken, own_words)
            if wording.head or wording.said:
                yield wording
    for alone in own if len(own) == 1 and own[0].also_bare else ():
        for line in lines:
            clothes = {plain(tag) for tag in split_tags(line) if not is_sentence(tag) and alone.takes_bare(tag)}
            if clothes - taken[alone.word]:
                yield _wording(line, own, {**taken, alone.word: taken[alone.word] | clothes}, own_words)


def _wording(
    line: str, chosen: Sequence[Trigger], taken: Mapping[str, frozenset[str]], own_words: frozenset[str]
) -> Wording:
    classes = {plain(t.class_word) for t in chosen if t.class_word}
    said: list[str] = []
    unsaid: dict[str, tuple[str, ...]] = {}
    for tag in split_tags(line):
        key = plain(tag)
        if key in own_words or key in classes:
            continue
        if takers := tuple(t.word for t in chosen if key in taken[t.word]):
            unsaid[key] = takers
        else:
            said.append(tag)
    return Wording(tuple(t.word for t in chosen), tuple(t.head for t in chosen), tuple(said), unsaid)
