"""What a base model can be told: the tags it was taught with, and how often."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from bakehouse.core.errors import BakehouseError, UsageError
from bakehouse.core.json_toml_yaml import parse_json
from bakehouse.data.captions import decode_text
from bakehouse.data.tags import key

CATEGORIES = {0: "general", 1: "artist", 3: "copyright", 4: "character", 5: "meta", 9: "rating"}
"""Danbooru's numbers, which `selected_tags.csv` has."""


@dataclass(frozen=True)
class VocabularyTag:
    """One tag of a vocabulary, as it is written there."""

    name: str
    category: str = "general"
    count: int | None = None
    """Pictures with the tag; None where the file does not say."""


class TagVocabulary(Protocol):
    """Whether a base model was taught a tag. Spelling does not count: underscores, case, escapes."""

    def knows(self, tag: str) -> bool:
        """Whether the tag is one of them."""

    def count(self, tag: str) -> int | None:
        """Pictures with the tag; None for an unknown tag, or where nobody counted."""

    def names(self) -> Iterable[str]:
        """All of them, with spaces."""


class ListedVocabulary:
    """A vocabulary out of a file: `selected_tags.csv`, `tag_mapping.json`, a tag-completion list, or plain lines."""

    def __init__(self, entries: Iterable[VocabularyTag], aliases: Mapping[str, str] | None = None) -> None:
        self.entries = {key(entry.name): entry for entry in entries}
        self.aliases = {key(alias): key(name) for alias, name in (aliases or {}).items()}

    def find(self, tag: str) -> VocabularyTag | None:
        """What the file says of a tag, or of what it is another name of."""
        k = key(tag)
        return self.entries.get(k) or self.entries.get(self.aliases.get(k, ""))

    def knows(self, tag: str) -> bool:
        """Whether the tag is one of them; another name of one is not what the model was taught."""
        return key(tag) in self.entries

    def count(self, tag: str) -> int | None:
        """Pictures with the tag."""
        entry = self.entries.get(key(tag))
        return entry.count if entry else None

    def names(self) -> Iterator[str]:
        """All of them, with spaces."""
        return iter(self.entries)


class CrumbVocabulary:
    """The words of the embedded base model, by the grammar of its tagger."""

    def __init__(self) -> None:
        from bakehouse.data.crumb_attributes import Vocabulary

        self._words = Vocabulary.load()

    def knows(self, tag: str) -> bool:
        """Whether the tag names something that crumb draws."""
        return bool(self._words.atoms(tag))

    def count(self, tag: str) -> int | None:
        """Nobody counted."""
        return None

    def names(self) -> Iterator[str]:
        """Every tag that a caption may hold."""
        return iter(self._words.caption_tags())


def load_vocabulary(where: str | Path) -> TagVocabulary:
    """A vocabulary by name or path: `crumb`, a tagger's name or folder, or a file.

    Raises:
        UsageError: nothing of that name, or a file that holds no tags.
    """
    if str(where) in ("crumb", "crumb-tagger"):
        return CrumbVocabulary()
    path = _vocabulary_file(where)
    readers = {".csv": _from_csv, ".json": _from_json, ".txt": _from_lines}
    if path.suffix.lower() not in readers:
        raise UsageError(
            f"{path} is no vocabulary", hint="a .csv (selected_tags.csv), .json (tag_mapping.json) or .txt"
        )
    text, _, _ = decode_text(path.read_bytes())
    found = readers[path.suffix.lower()](text)
    if not found.entries:
        raise UsageError(f"{path} holds no tags", hint="one a line, or selected_tags.csv as taggers bring it")
    return found


VOCABULARY_FILES = ("selected_tags.csv", "tag_mapping.json", "tags.txt")


def _vocabulary_file(where: str | Path) -> Path:
    """A file as it is; of a tagger, the list beside its model."""
    path = Path(where).expanduser()
    if not path.exists() or path.suffix.lower() == ".onnx":
        from bakehouse.core.model_catalogue import model_path

        path = model_path(where, "tagger")
    if path.is_file() and path.suffix.lower() != ".onnx":
        return path
    folder = path if path.is_dir() else path.parent
    for name in VOCABULARY_FILES:
        if (folder / name).is_file():
            return folder / name
    raise UsageError(f"{folder} has no vocabulary", hint=f"one of {', '.join(VOCABULARY_FILES)}")


def _from_csv(text: str) -> ListedVocabulary:
    """`tag_id,name,category,count` with its header, or `name,category,count,aliases` as tag completion has it."""
    rows = [row for row in csv.reader(io.StringIO(text)) if row]
    if rows and "name" in rows[0]:
        named = [dict(zip(rows[0], row, strict=False)) for row in rows[1:]]
        return ListedVocabulary(
            VocabularyTag(row["name"], _category(row.get("category")), _number(row.get("count"))) for row in named
        )
    entries, aliases = [], {}
    for row in rows:
        name, category, count, others = (*row, "", "", "")[:4]
        entries.append(VocabularyTag(name, _category(category), _number(count)))
        aliases.update({other.strip(): name for other in others.split(",") if other.strip()})
    return ListedVocabulary(entries, aliases)


def _category(value: str | None) -> str:
    number = _number(value)
    return (value or "general").lower() if number is None else CATEGORIES.get(number, "general")


def _number(value: str | None) -> int | None:
    return int(value) if value is not None and value.strip().isdigit() else None


def _from_json(text: str) -> ListedVocabulary:
    return ListedVocabulary(VocabularyTag(name, category) for name, category in read_mapping(text))


def read_mapping(text: str) -> list[tuple[str, str]]:
    """Tags and their categories in the order of a model's outputs.

    `{"idx_to_tag": {"0": ...}, "tag_to_category": {...}}`, with or without something around it, or
    `{"0": {"tag": ..., "category": ...}}`, or a list of tags.

    Raises:
        BakehouseError: of none of these forms, or with a gap.
    """
    try:
        value: Any = parse_json(text)
    except json.JSONDecodeError as e:
        raise BakehouseError(f"the mapping of tags is not valid JSON: {e}") from e
    if isinstance(value, dict) and isinstance(inner := value.get("dataset_info"), dict):
        value = inner.get("tag_mapping", value)
    if isinstance(value, list) and all(isinstance(tag, str) for tag in value):
        return [(tag, "general") for tag in value]
    if isinstance(value, dict) and isinstance(value.get("idx_to_tag"), dict | list):
        return _indexed(value["idx_to_tag"], value.get("tag_to_category", {}))
    if isinstance(value, dict) and all(isinstance(v, dict) and "tag" in v for v in value.values()):
        categories = {v["tag"]: v.get("category", "general") for v in value.values()}
        return _indexed({i: v["tag"] for i, v in value.items()}, categories)
    raise BakehouseError("the mapping of tags has neither `idx_to_tag` nor a table by number")


def _indexed(tags: dict[str, str] | list[str], categories: Mapping[str, str]) -> list[tuple[str, str]]:
    table = {int(i): tag for i, tag in (tags.items() if isinstance(tags, dict) else enumerate(tags))}
    if sorted(table) != list(range(len(table))):
        raise BakehouseError(f"the mapping of tags has {len(table)} numbers that do not run from 0 without a gap")
    return [(table[i], str(categories.get(table[i], "general")).lower()) for i in range(len(table))]


def _from_lines(text: str) -> ListedVocabulary:
    return ListedVocabulary(VocabularyTag(line.strip()) for line in text.splitlines() if line.strip())
