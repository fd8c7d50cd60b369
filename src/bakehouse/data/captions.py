"""Captions: read in whatever encoding they were written, and made into the text of one training step."""

from __future__ import annotations

import codecs
import json
import math
import random
import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from bakehouse.core.errors import BakehouseError
from bakehouse.core.json_toml_yaml import parse_json
from bakehouse.core.setting_needs import Needs, is_on, reached_by
from bakehouse.core.settings import Spec
from bakehouse.data.fact_names import CHOICES, JOINED, MARKED, MOVABLE, RUN_STEPS, UNMARKED

CAPTION_EXTENSIONS = (".txt", ".caption", ".json")
"""In the order in which they are looked for."""


@dataclass(frozen=True)
class CaptionFile:
    """The captions of one file, as they stand there."""

    lines: tuple[str, ...]
    """One caption a line, without white space around it and without blank ones; one tag a line is one caption."""
    encoding: str
    """As `bytes.decode` takes it."""
    notes: tuple[str, ...] = ()
    """What a person should know; each begins with a lower-case letter and does not name the file."""


# --- reading ----------------------------------------------------------------------------------------------------------


def read_caption(path: Path | str) -> CaptionFile:
    """Reads a caption file; never changes it.

    `.json` gives `caption` and `tags` (kohya), or `text` or `prompt`; anything else is text, one caption a line. Text
    with one tag a line, as gallery-dl writes it, is one caption (see `line_form`).

    Raises:
        BakehouseError: the file cannot be read.
    """
    path = Path(path)
    try:
        data = path.read_bytes()
    except OSError as e:
        raise BakehouseError(f"cannot read the caption {path}: {e.strerror or e}") from e
    text, encoding, notes = decode_text(data)
    if path.suffix.lower() == ".json":
        lines, more = _from_json(text)
    else:
        lines, more = _from_text(text)
    if not lines and not more:
        more = ["it is empty"]
    return CaptionFile(lines, encoding, (*notes, *more, *_look_at(lines)))


def decode_text(data: bytes) -> tuple[str, str, list[str]]:
    """Bytes as text, the encoding's name, and notes where it is not plain UTF-8.

    Marks at the beginning decide; then zeros at every other byte (UTF-16), then valid UTF-8, then Chinese in its most
    common characters (GBK), then Japanese that makes sense (cp932), and at last the Windows code page of western
    Europe, in which nearly every byte means something.
    """
    for mark, encoding, name in _MARKS:
        if data.startswith(mark):
            notes = [f"it begins with a byte-order mark ({name}); it is not part of the text"]
            try:
                return data[len(mark) :].decode(encoding), encoding if encoding != "utf-8" else "utf-8-sig", notes
            except UnicodeDecodeError:
                notes.append(f"some bytes are not valid {name} and became U+FFFD")
                return data[len(mark) :].decode(encoding, "replace"), encoding, notes
    if wide := _wide_without_mark(data):
        return data.decode(wide), wide, [f"it is {wide.upper()} without a byte-order mark"]
    try:
        return data.decode("utf-8"), "utf-8", []
    except UnicodeDecodeError:
        pass
    if _is_chinese(data):
        note = "it is not UTF-8; read as GBK (simplified Chinese), which Korean in EUC-KR looks like, so look at it"
        return data.decode("gb18030"), "gb18030", [note]
    if (japanese := _as_japanese(data)) is not None:
        return japanese, "cp932", ["it is not UTF-8; read as Shift-JIS (cp932)"]
    encoding = "cp1252" if not set(data) & {0x81, 0x8D, 0x8F, 0x90, 0x9D} else "latin-1"
    return data.decode(encoding), encoding, [f"it is not UTF-8; read as {encoding}, so look at the accented letters"]


_MARKS = (
    (codecs.BOM_UTF8, "utf-8", "UTF-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le", "UTF-32"),
    (codecs.BOM_UTF32_BE, "utf-32-be", "UTF-32"),
    (codecs.BOM_UTF16_LE, "utf-16-le", "UTF-16"),
    (codecs.BOM_UTF16_BE, "utf-16-be", "UTF-16"),
)


def _wide_without_mark(data: bytes) -> str | None:
    """`utf-16-le` or `-be` if most units are ASCII in that order and the rest decodes."""
    if len(data) < 4 or len(data) % 2:
        return None
    for encoding, high, low in (("utf-16-le", data[1::2], data[::2]), ("utf-16-be", data[::2], data[1::2])):
        if high.count(0) * 2 <= len(high):  # nearly all files: seen without counting byte by byte
            continue
        ascii_units = sum(h == 0 and 0x20 <= v < 0x7F for h, v in zip(high, low, strict=True))
        if ascii_units * 2 > len(high):
            try:
                data.decode(encoding)
            except UnicodeDecodeError:
                return None
            return encoding
    return None


def _is_chinese(data: bytes) -> bool:
    """Whether all that is not ASCII is pairs of the first level of GB 2312, at least two characters of it.

    The first bytes of that level, B0 to D7, are capitals and signs in western code pages, and half-width kana in
    Shift-JIS: nobody writes captions in those. Full-width signs (A1, A3) may stand between.
    """
    rest = re.sub(rb"[\x00-\x7f]+", b" ", data)
    pairs = re.findall(rb"[\xb0-\xd7][\xa1-\xfe]|[\xa1\xa3][\xa1-\xfe]| ", rest)
    characters = sum(pair[0] >= 0xB0 for pair in pairs)
    return characters >= 2 and b"".join(pairs) == rest


def _as_japanese(data: bytes) -> str | None:
    """The text if it is Shift-JIS that makes sense, else None.

    Accented western text is often valid Shift-JIS too, but there each accent swallows the letter behind it, which gives
    single kanji between Latin letters; Japanese comes in runs, has kana, or stands alone between separators.
    """
    try:
        text = data.decode("cp932")
    except UnicodeDecodeError:
        return None
    marks = [_is_japanese(c) for c in text]
    if any("\u3040" <= c <= "\u30ff" for c in text) or any(a and b for a, b in pairwise(marks)):
        return text
    for i, japanese in enumerate(marks):
        around = text[max(i - 1, 0) : i] + text[i + 1 : i + 2]
        if japanese and not any(c.isascii() and c.isalpha() for c in around):
            return text
    return None


def _is_japanese(c: str) -> bool:
    return "\u3000" <= c <= "\u30ff" or "\u4e00" <= c <= "\u9fff" or "\uff01" <= c <= "\uff60"


LineForm = Literal["tags", "captions", "either"]

_LINE_END = re.compile(r"\r\n|\n|\r")
"""Only newlines separate lines (not U+2028 and its kin)."""
_TAG_WORDS = 4
"""Words of the longest tag that stands on a line by itself."""
_PROSE_WORDS = frozenset({"a", "an", "the", "of", "with", "in", "on", "and", "is", "at"})
_TAG_MARK = re.compile(r"\w_\w|^\w+:\w")
"""An underscore between letters or a namespace (`artist:name`): only tags have these."""


def line_form(lines: Sequence[str]) -> LineForm:
    """Whether several lines of a file are one tag each or captions of their own; `either` cannot be told.

    Tags are short, without commas, full stops and articles. Four such lines are tags, as are three single words, and
    any number where one has an underscore or a namespace.
    """
    if len(lines) < 2 or not all(map(_may_be_tag, lines)):
        return "captions"
    words = max(len(line.split()) for line in lines)
    certain = len(lines) > 3 or (len(lines) == 3 and words == 1) or any(map(_TAG_MARK.search, lines))
    return "tags" if certain else "either"


def joined_lines(lines: Sequence[str]) -> tuple[str, ...]:
    """The captions of a text file's lines, none of them blank: each line is one, or all are the tags of one."""
    return (", ".join(lines),) if line_form(lines) == "tags" else tuple(lines)


def _may_be_tag(line: str) -> bool:
    words = line.split()
    ends = line.endswith((".", ";", "!", "?")) and any(map(str.isalnum, line))  # `:d` and `...` are tags
    return "," not in line and len(words) <= _TAG_WORDS and not ends and not is_prose(words)


def is_prose(words: Iterable[str]) -> bool:
    """Whether words stand among them that sentences have and short tags do not."""
    return not _PROSE_WORDS.isdisjoint(map(str.lower, words))


def _from_text(text: str) -> tuple[tuple[str, ...], list[str]]:
    """Captions of a text file, and notes about their form."""
    raw = _LINE_END.split(text)
    lines = tuple(stripped for line in raw if (stripped := line.strip()))
    notes = []
    match line_form(lines):
        case "tags":
            notes.append(f"it has one tag a line: its {len(lines)} lines are read as one caption")
        case "either":
            notes.append(f"its {len(lines)} lines are read as captions of their own; if they are tags, join them")
        case "captions" if len(lines) > 1:
            notes.append(f"it has {len(lines)} lines; each is a caption of its own")
    if lines and not raw[0].strip():
        notes.append("its first line is blank; other trainers read only that one")
    return joined_lines(lines), notes


def _from_json(text: str) -> tuple[tuple[str, ...], list[str]]:
    """Captions in kohya's sidecar JSON: `caption` (text or list) with `tags` (text or list) behind it."""
    try:
        value = parse_json(text)
    except json.JSONDecodeError as e:
        return (), [f"it is not valid JSON ({e})"]
    lines = captions_in(value)
    return lines, [] if lines else ["it is JSON without `caption`, `tags`, `text` or `prompt`"]


def captions_in(value: Any) -> tuple[str, ...]:
    """The captions of a JSON object with `caption`, `text` or `prompt` (text or list) and `tags` (text or list)."""
    if isinstance(value, str):
        return (value.strip(),) if value.strip() else ()
    if not isinstance(value, dict):
        return ()
    found: Any = next((value[key] for key in ("caption", "text", "prompt") if value.get(key)), [])
    texts = [t.strip() for t in (found if isinstance(found, list) else [found]) if isinstance(t, str) and t.strip()]
    tags = value.get("tags") or ""
    if isinstance(tags, list | dict):  # some taggers write tag -> confidence
        tags = ", ".join(str(tag).strip() for tag in tags)
    tags = str(tags).strip()
    if not tags:
        return tuple(texts)
    return tuple(f"{text}, {tags}" for text in texts) if texts else (tags,)


def _look_at(lines: Sequence[str]) -> list[str]:
    """Characters that will surprise: they are kept."""
    text = "\n".join(lines)
    notes = []
    if any(c in text for c in "，、；"):
        notes.append("it has full-width commas, which separate no tags")
    if "\0" in text:
        notes.append("it has NUL characters")
    if "\u00a0" in text or "\u3000" in text:
        notes.append("it has no-break or ideographic spaces")
    if any(c in text for c in "\u00ad\u200b\u2060\ufeff"):
        notes.append("it has characters without width, which split the words that they stand in")
    if "\ufffd" in text:
        notes.append("it has U+FFFD: another program has already lost characters here")
    if text != unicodedata.normalize("NFC", text):
        notes.append("it has decomposed accents (NFD), which tokenizers read differently")
    return notes


def split_tags(caption: str, separator: str = ",") -> list[str]:
    """The tags of a caption in order, without white space around them and without empty ones."""
    return [tag for part in caption.split(separator) if (tag := part.strip())]


# --- during training --------------------------------------------------------------------------------------------------


_TAGS_MOVE = (is_on("shuffle"), is_on("tag_dropout"), is_on("token_warmup_step"))
_NO_WORDS = "leaves every caption empty, so no word is learned"


class CaptionOptions(Spec):
    """What happens to a caption each time its image is used. The names and the order are kohya's."""

    shuffle: Annotated[bool, Needs(is_on(MOVABLE))] = False
    """Puts the tags into a new order each time, all but the kept ones."""
    keep_tokens: Annotated[int, Needs(*_TAGS_MOVE), Needs(is_on(UNMARKED))] = Field(0, ge=0, le=225)
    """So many tags at the beginning stay where they are and are never dropped: the trigger words."""
    keep_tokens_separator: Annotated[str, Needs(is_on(MARKED))] = ""
    """For example `|||`: what stands before it is kept (and what stands behind a second one, at the end)."""
    caption_dropout: Annotated[float, Needs(at=(1.0,), otherwise=_NO_WORDS)] = Field(0.0, ge=0.0, le=1.0)
    """How often the whole caption is left empty."""
    dropout_every_n_epochs: Annotated[int, Needs(at=(1,), otherwise=_NO_WORDS), Needs(reached_by("train.epochs"))] = (
        Field(0, ge=0)
    )
    """In every n-th epoch all captions are left empty; 0 is never."""
    tag_dropout: float = Field(0.0, ge=0.0, le=1.0)
    """How often each tag is left out, all but the kept ones."""
    token_warmup_min: Annotated[int, Needs(is_on("token_warmup_step"))] = Field(1, ge=0)
    """With so many tags (behind the kept ones) the warm-up begins."""
    token_warmup_step: Annotated[
        int, Needs(is_on(MOVABLE)), Needs(reached_by(RUN_STEPS), otherwise="never comes to all tags,")
    ] = Field(0, ge=0)
    """After so many steps all tags are used; 0 is no warm-up."""
    wildcards: Annotated[bool, Needs(is_on(CHOICES))] = False
    """`{red|blue}` becomes one of them each time; `{{` and `}}` are braces."""
    secondary_separator: Annotated[str, Needs(is_on(JOINED))] = ""
    """For example `;;;`: tags that it joins are moved and dropped together, and it becomes a comma at the end."""
    prefix: str = ""
    """Put before every caption, with a space."""
    suffix: str = ""
    """Put behind every caption, with a space."""
    separator: Annotated[str, Needs(*_TAGS_MOVE, is_on("keep_tokens_separator"), is_on("secondary_separator"))] = Field(
        ",", min_length=1
    )
    """What separates tags: between them again once they were moved, as the caption writes it."""


def training_caption(
    captions: Sequence[str],
    options: CaptionOptions,
    *,
    rng: random.Random,
    epoch: int,
    step: int,
    fallback: str,
) -> str:
    """The text that one image is trained with at one step; the same `rng` state gives the same text.

    Of several captions (or several lines) one is chosen. Then, in kohya's order: prefix and suffix, dropout of the
    whole caption, wildcards, split into kept and free tags, warm-up, shuffle, tag dropout, join, secondary separator.

    Args:
        captions: of the image; blank ones do not count.
        options: what to do.
        rng: the only source of chance.
        epoch: counted from 1.
        step: optimizer steps done, from 0.
        fallback: stands in where the image has no caption: the class prompt or the subject.
    """
    lines = _lines(captions)
    text = (lines[0] if len(lines) == 1 else rng.choice(lines)) if lines else fallback
    text = _framed(text, options)
    if options.caption_dropout > 0 and rng.random() < options.caption_dropout:
        return ""
    if options.dropout_every_n_epochs > 0 and epoch % options.dropout_every_n_epochs == 0:
        return ""
    if options.wildcards:
        text = _choose_wildcards(text, rng)
    if _takes_tags_apart(text, options):
        head, free, tail = _kept_and_free(text, options)
        free = free[: _warmed_up(len(free), options, step)]
        if options.shuffle:
            rng.shuffle(free)
        if options.tag_dropout > 0:
            free = [tag for tag in free if rng.random() >= options.tag_dropout]
        text = _joined([*head, *free, *tail], text, options.separator)
    if options.secondary_separator:
        text = text.replace(options.secondary_separator, options.separator)
    return text


def all_texts(captions: Sequence[str], options: CaptionOptions, fallback: str) -> list[str]:
    """Every text that an image's captions start from: with prefix and suffix, before anything is left to chance."""
    return [_framed(line, options) for line in _lines(captions) or [fallback]]


def has_wildcards(text: str) -> bool:
    """Whether `wildcards` would choose something in a text."""
    return _WILDCARD.search(text) is not None


def count_movable_tags(text: str, options: CaptionOptions) -> int:
    """How many tags of a text may be moved or dropped."""
    return len(_kept_and_free(text, options)[1])


def is_fixed(options: CaptionOptions, captions: Sequence[str]) -> bool:
    """Whether the text is the same at every step, so that its embedding can be computed once."""
    if options.caption_dropout > 0 or options.dropout_every_n_epochs > 0:
        return False
    lines = _lines(captions)
    if len(set(lines)) > 1:
        return False
    text = _framed(lines[0] if lines else "", options)
    if options.wildcards and _WILDCARD.search(text):
        return False
    if not lines:  # the fallback is not known here; with tags to move it may be anything
        return not (options.shuffle or options.tag_dropout > 0 or options.token_warmup_step > 0 or options.wildcards)
    free = _kept_and_free(text, options)[1]
    if not free:
        return True
    changing = options.tag_dropout > 0 or (options.token_warmup_step > 0 and options.token_warmup_min < len(free))
    return not changing and not (options.shuffle and len(set(free)) > 1)


def _lines(captions: Sequence[str]) -> list[str]:
    return [stripped for caption in captions for line in caption.split("\n") if (stripped := line.strip())]


def _framed(text: str, options: CaptionOptions) -> str:
    if options.prefix:
        text = f"{options.prefix} {text}"
    return f"{text} {options.suffix}" if options.suffix else text


_WILDCARD = re.compile(r"\{([^{}]+)\}")
_BRACES = (("{{", "\ue000"), ("}}", "\ue001"))


def _choose_wildcards(text: str, rng: random.Random) -> str:
    for written, private in _BRACES:
        text = text.replace(written, private)
    text = _WILDCARD.sub(lambda match: rng.choice(match.group(1).split("|")), text)
    return text.replace("\ue000", "{").replace("\ue001", "}")


def _takes_tags_apart(text: str, options: CaptionOptions) -> bool:
    # kohya leaves a keep-tokens separator in the text when nothing is shuffled; it is no word for the model to learn.
    marked = bool(options.keep_tokens_separator) and options.keep_tokens_separator in text
    return marked or options.shuffle or options.tag_dropout > 0 or options.token_warmup_step > 0


def _kept_and_free(text: str, options: CaptionOptions) -> tuple[list[str], list[str], list[str]]:
    """Tags kept at the beginning, tags free to move, tags kept at the end."""
    mark = options.keep_tokens_separator
    if mark and mark in text:
        head, _, rest = text.partition(mark)
        free, _, tail = rest.partition(mark)
        return (
            split_tags(head, options.separator),
            split_tags(free, options.separator),
            split_tags(tail, options.separator),
        )
    tags = split_tags(text, options.separator)
    return tags[: options.keep_tokens], tags[options.keep_tokens :], []


def _joined(tags: Sequence[str], text: str, separator: str) -> str:
    """The tags as one caption again. Commas get a space, as kohya's; others stand as `text` writes them: `a. b.`."""
    if separator == ",":
        return ", ".join(tags)
    written = re.search(rf"\s*{re.escape(separator)}\s*(?=\S)", text)
    between = written[0] if written else f"{separator} "
    end = separator.rstrip() if tags and text.rstrip().endswith(separator.strip() or separator) else ""
    # A separator with a space behind it, as `. `, leaves its point at the last part.
    return between.join(tag.removesuffix(end) for tag in tags) + end


def _warmed_up(free: int, options: CaptionOptions, step: int) -> int:
    """How many of `free` tags are used at `step`: a straight line from `token_warmup_min` to all."""
    if not options.token_warmup_step or step >= options.token_warmup_step:
        return free
    grown = math.floor(step * ((free - options.token_warmup_min) / options.token_warmup_step))
    return max(0, min(free, grown + options.token_warmup_min))
