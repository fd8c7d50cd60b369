"""Captions: reading caption files in any encoding, and making the text of one training step from them."""

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
from bakehouse.core.parse_json_toml_yaml import parse_json
from bakehouse.core.setting_needs import Needs, is_on, reached_by
from bakehouse.core.settings import Spec
from bakehouse.data.plan_fact_names import CHOICES, JOINED, MARKED, MOVABLE, RUN_STEPS, UNMARKED

CAPTION_EXTENSIONS = (".txt", ".caption", ".json")
"""In the order in which they are tried."""

EMPTY = "it is empty"
ONE_TAG_PER_LINE = "it has one tag per line"
CAPTION_PER_LINE = "each is read as a caption"
LOST_BYTES = "became U+FFFD"
"""Parts of the notes below, by which other modules recognise them."""


@dataclass(frozen=True)
class CaptionFile:
    """The captions of one file."""

    lines: tuple[str, ...]
    """One caption each, stripped, without blank ones. A file with one tag a line gives one caption."""
    encoding: str
    """Name of the codec, for `bytes.decode`."""
    notes: tuple[str, ...] = ()
    """Remarks for the user; each begins in lower case and does not name the file."""


# --- reading ----------------------------------------------------------------------------------------------------------


def read_caption(path: Path | str) -> CaptionFile:
    """Read a caption file.

    From `.json`, `caption` and `tags` are read (kohya), or `text` or `prompt`; other files are text with one caption a
    line. Text with one tag a line, as gallery-dl writes it, is one caption (see `line_form`).

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
        more = [EMPTY]
    return CaptionFile(lines, encoding, (*notes, *more, *_character_notes(lines)))


def decode_text(data: bytes) -> tuple[str, str, list[str]]:
    """Return bytes as text, the name of the encoding, and notes if it is not plain UTF-8.

    In this order: a byte-order mark, zeros at every other byte (UTF-16), valid UTF-8, common Chinese characters (GBK),
    plausible Japanese (cp932), and the code page of western Europe, in which nearly every byte is a letter.

    charset-normalizer needs longer texts: of 15 captions of 2 to 30 letters in cp1252, GBK and cp932 this function
    reads 14 right in 0.1 ms each, charset-normalizer 3.5 reads 5 in 10 ms each.
    """
    for mark, encoding, name in _MARKS:
        if data.startswith(mark):
            notes = [f"it begins with a byte-order mark ({name}); it is not part of the text"]
            try:
                return data[len(mark) :].decode(encoding), encoding if encoding != "utf-8" else "utf-8-sig", notes
            except UnicodeDecodeError:
                notes.append(f"some bytes are not valid {name} and {LOST_BYTES}")
                return data[len(mark) :].decode(encoding, "replace"), encoding, notes
    if wide := _wide_without_mark(data):
        return data.decode(wide), wide, [f"it is {wide.upper()} without a byte-order mark"]
    try:
        return data.decode("utf-8"), "utf-8", []
    except UnicodeDecodeError:
        pass
    if _is_chinese(data):
        note = "it is not UTF-8; read as GBK (simplified Chinese): check it, since Korean in EUC-KR looks the same"
        return data.decode("gb18030"), "gb18030", [note]
    if (japanese := _as_japanese(data)) is not None:
        return japanese, "cp932", ["it is not UTF-8; read as Shift-JIS (cp932)"]
    encoding = "cp1252" if not set(data) & {0x81, 0x8D, 0x8F, 0x90, 0x9D} else "latin-1"
    return data.decode(encoding), encoding, [f"it is not UTF-8; read as {encoding}: check the accented letters"]


_MARKS = (
    (codecs.BOM_UTF8, "utf-8", "UTF-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le", "UTF-32"),
    (codecs.BOM_UTF32_BE, "utf-32-be", "UTF-32"),
    (codecs.BOM_UTF16_LE, "utf-16-le", "UTF-16"),
    (codecs.BOM_UTF16_BE, "utf-16-be", "UTF-16"),
)


def _wide_without_mark(data: bytes) -> str | None:
    """`utf-16-le` or `utf-16-be` if most code units are ASCII in that byte order and the rest decodes."""
    if len(data) < 4 or len(data) % 2:
        return None
    for encoding, high, low in (("utf-16-le", data[1::2], data[::2]), ("utf-16-be", data[::2], data[1::2])):
        if high.count(0) * 2 <= len(high):  # nearly all files: known without counting byte by byte
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
    """Whether all bytes that are not ASCII are characters of level 1 of GB 2312, and at least two of them.

    The first bytes of that level, B0 to D7, are capitals and signs in western code pages and half-width kana in
    Shift-JIS, which captions do not consist of. Full-width signs (A1, A3) may stand between them.
    """
    rest = re.sub(rb"[\x00-\x7f]+", b" ", data)
    pairs = re.findall(rb"[\xb0-\xd7][\xa1-\xfe]|[\xa1\xa3][\xa1-\xfe]| ", rest)
    characters = sum(pair[0] >= 0xB0 for pair in pairs)
    return characters >= 2 and b"".join(pairs) == rest


def _as_japanese(data: bytes) -> str | None:
    """The text if it is plausible Shift-JIS, else None.

    Accented western text is often valid Shift-JIS too, but each accent then takes the next letter with it, which gives
    single kanji between Latin letters. Japanese comes in runs, has kana, or stands alone between separators.
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
"""Other line separators, such as U+2028, do not end a line."""
_TAG_WORDS = 4
"""Most words of a tag that is alone on its line."""
_PROSE_WORDS = frozenset({"a", "an", "the", "of", "with", "in", "on", "and", "is", "at"})
_TAG_MARK = re.compile(r"\w_\w|^\w+:\w")
"""An underscore between letters, or a namespace (`artist:name`): only tags have them."""


def line_form(lines: Sequence[str]) -> LineForm:
    """Whether each line of a file is a tag or a caption; `either` if it cannot be decided.

    Tags are short, without commas, full stops and articles. Four such lines are tags, as are three single words, and
    any number of lines if one has an underscore or a namespace.
    """
    if len(lines) < 2 or not all(map(_may_be_tag, lines)):
        return "captions"
    words = max(len(line.split()) for line in lines)
    certain = len(lines) > 3 or (len(lines) == 3 and words == 1) or any(map(_TAG_MARK.search, lines))
    return "tags" if certain else "either"


def joined_lines(lines: Sequence[str]) -> tuple[str, ...]:
    """Return the captions of a text file's lines, none of which is blank: one a line, or one with all lines as tags."""
    return (", ".join(lines),) if line_form(lines) == "tags" else tuple(lines)


def _may_be_tag(line: str) -> bool:
    words = line.split()
    ends = line.endswith((".", ";", "!", "?")) and any(map(str.isalnum, line))  # `:d` and `...` are tags
    return "," not in line and len(words) <= _TAG_WORDS and not ends and not is_prose(words)


def is_prose(words: Iterable[str]) -> bool:
    """Whether one of the words occurs in sentences but not in short tags."""
    return not _PROSE_WORDS.isdisjoint(map(str.lower, words))


def _from_text(text: str) -> tuple[tuple[str, ...], list[str]]:
    """The captions of a text file, and notes on their form."""
    raw = _LINE_END.split(text)
    lines = tuple(stripped for line in raw if (stripped := line.strip()))
    notes = []
    match line_form(lines):
        case "tags":
            notes.append(f"{ONE_TAG_PER_LINE}: its {len(lines)} lines are read as one caption")
        case "either":
            notes.append(
                f"its {len(lines)} lines are read as {len(lines)} captions; if they are tags, join them into one line"
            )
        case "captions" if len(lines) > 1:
            notes.append(f"it has {len(lines)} lines; {CAPTION_PER_LINE}")
    if lines and not raw[0].strip():
        notes.append("its first line is blank; other trainers read only that one")
    return joined_lines(lines), notes


def _from_json(text: str) -> tuple[tuple[str, ...], list[str]]:
    """The captions of kohya's sidecar JSON: `caption` (text or list), with `tags` (text or list) appended."""
    try:
        value = parse_json(text)
    except json.JSONDecodeError as e:
        return (), [f"it is not valid JSON ({e})"]
    lines = captions_in(value)
    return lines, [] if lines else ["it is JSON without `caption`, `tags`, `text` or `prompt`"]


def captions_in(value: Any) -> tuple[str, ...]:
    """Return the captions of a JSON object with `caption`, `text` or `prompt`, and `tags`; each a text or a list."""
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


def _character_notes(lines: Sequence[str]) -> list[str]:
    """Notes on unusual characters, which are kept."""
    text = "\n".join(lines)
    notes = []
    if any(c in text for c in "，、；"):
        notes.append("it has full-width commas, which do not separate tags")
    if "\0" in text:
        notes.append("it has NUL characters")
    if "\u00a0" in text or "\u3000" in text:
        notes.append("it has no-break or ideographic spaces")
    if any(c in text for c in "\u00ad\u200b\u2060\ufeff"):
        notes.append("it has zero-width characters, which split words")
    if "\ufffd" in text:
        notes.append("it has U+FFFD: another program has lost characters here")
    if text != unicodedata.normalize("NFC", text):
        notes.append("it has decomposed accents (NFD), which tokenizers treat differently")
    return notes


def split_tags(caption: str, separator: str = ",") -> list[str]:
    """Return the tags of a caption in order, stripped, without empty ones."""
    return [tag for part in caption.split(separator) if (tag := part.strip())]


# --- during training --------------------------------------------------------------------------------------------------


_TAGS_MOVE = (is_on("shuffle"), is_on("tag_dropout"), is_on("token_warmup_step"))
_NO_WORDS = "leaves every caption empty, so no word is learned"


class CaptionOptions(Spec):
    """Changes of a caption each time its image is shown. Names and order are as in kohya."""

    shuffle: Annotated[bool, Needs(is_on(MOVABLE))] = False
    """Shuffle the tags each time, except the kept ones."""
    keep_tokens: Annotated[int, Needs(*_TAGS_MOVE), Needs(is_on(UNMARKED))] = Field(0, ge=0, le=225)
    """Number of tags at the beginning that are never moved or dropped: the trigger words."""
    keep_tokens_separator: Annotated[str, Needs(is_on(MARKED))] = ""
    """Separator that ends the kept tags, e.g. `|||`; tags after a second one are kept too, at the end."""
    caption_dropout: Annotated[float, Needs(at=(1.0,), otherwise=_NO_WORDS)] = Field(0.0, ge=0.0, le=1.0)
    """Probability that the whole caption is left empty."""
    dropout_every_n_epochs: Annotated[int, Needs(at=(1,), otherwise=_NO_WORDS), Needs(reached_by("train.epochs"))] = (
        Field(0, ge=0)
    )
    """All captions are left empty in every n-th epoch; 0: never."""
    tag_dropout: float = Field(0.0, ge=0.0, le=1.0)
    """Probability that a tag is left out, except the kept ones."""
    token_warmup_min: Annotated[int, Needs(is_on("token_warmup_step"))] = Field(1, ge=0)
    """Number of tags, besides the kept ones, at the first step of the warm-up."""
    token_warmup_step: Annotated[
        int, Needs(is_on(MOVABLE)), Needs(reached_by(RUN_STEPS), otherwise="never comes to all tags,")
    ] = Field(0, ge=0)
    """Number of steps after which all tags are used; 0: no warm-up."""
    wildcards: Annotated[bool, Needs(is_on(CHOICES))] = False
    """Replace `{red|blue}` by one of the words each time; `{{` and `}}` are braces."""
    secondary_separator: Annotated[str, Needs(is_on(JOINED))] = ""
    """Separator, e.g. `;;;`, of tags that are moved and dropped together; it becomes a comma afterwards."""
    prefix: str = ""
    """Added before every caption, with a space."""
    suffix: str = ""
    """Added after every caption, with a space."""
    separator: Annotated[str, Needs(*_TAGS_MOVE, is_on("keep_tokens_separator"), is_on("secondary_separator"))] = Field(
        ",", min_length=1
    )
    """Separator of tags, also between tags that were moved, as the caption writes it."""


def training_caption(
    captions: Sequence[str],
    options: CaptionOptions,
    *,
    rng: random.Random,
    epoch: int,
    step: int,
    fallback: str,
) -> str:
    """Return the text that an image is trained with at one step; the same `rng` state gives the same text.

    One of several captions (or lines) is chosen. Then, in kohya's order: prefix and suffix, dropout of the
    whole caption, wildcards, split into kept and free tags, warm-up, shuffle, tag dropout, join, secondary separator.

    Args:
        captions: of the image; blank ones are ignored.
        options: the changes to make.
        rng: the only source of randomness.
        epoch: counted from 1.
        step: number of optimizer steps done, from 0.
        fallback: used if the image has no caption: the class prompt or the subject.
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
    """Return the image's captions with prefix and suffix, before any random change."""
    return [_framed(line, options) for line in _lines(captions) or [fallback]]


def has_wildcards(text: str) -> bool:
    """Whether a text has wildcards such as `{red|blue}`."""
    return _WILDCARD.search(text) is not None


def count_movable_tags(text: str, options: CaptionOptions) -> int:
    """Return how many tags of a text may be moved or dropped."""
    return len(_kept_and_free(text, options)[1])


def is_fixed(options: CaptionOptions, captions: Sequence[str]) -> bool:
    """Whether the text is the same at every step, so that its embedding can be cached."""
    if options.caption_dropout > 0 or options.dropout_every_n_epochs > 0:
        return False
    lines = _lines(captions)
    if len(set(lines)) > 1:
        return False
    text = _framed(lines[0] if lines else "", options)
    if options.wildcards and _WILDCARD.search(text):
        return False
    if not lines:  # the fallback is unknown here, and may have tags to move
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
    # kohya leaves the keep-tokens separator in the text if nothing is shuffled; the model should not learn it.
    marked = bool(options.keep_tokens_separator) and options.keep_tokens_separator in text
    return marked or options.shuffle or options.tag_dropout > 0 or options.token_warmup_step > 0


def _kept_and_free(text: str, options: CaptionOptions) -> tuple[list[str], list[str], list[str]]:
    """The tags kept at the beginning, those free to move, and those kept at the end."""
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
    """Join tags into a caption. Commas get a space, as in kohya; other separators are written as in `text`: `a. b.`."""
    if separator == ",":
        return ", ".join(tags)
    written = re.search(rf"\s*{re.escape(separator)}\s*(?=\S)", text)
    between = written[0] if written else f"{separator} "
    end = separator.rstrip() if tags and text.rstrip().endswith(separator.strip() or separator) else ""
    # With a separator such as `. `, the last part keeps its full stop.
    return between.join(tag.removesuffix(end) for tag in tags) + end


def _warmed_up(free: int, options: CaptionOptions, step: int) -> int:
    """How many of `free` tags are used at `step`, growing linearly from `token_warmup_min` to all."""
    if not options.token_warmup_step or step >= options.token_warmup_step:
        return free
    grown = math.floor(step * ((free - options.token_warmup_min) / options.token_warmup_step))
    return max(0, min(free, grown + options.token_warmup_min))
