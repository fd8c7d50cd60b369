"""Tag vocabularies: the tags that a base model was trained with, and how many images had them."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from bakehouse.core.bundled_models import BUNDLED_TAGGER_NAMES
from bakehouse.core.errors import BakehouseError, UsageError
from bakehouse.core.parse_json_toml_yaml import parse_json
from bakehouse.data.captions import decode_text
from bakehouse.data.tags import key

CATEGORIES = {0: "general", 1: "artist", 3: "copyright", 4: "character", 5: "meta", 9: "rating"}
"""Danbooru's category numbers, as in `selected_tags.csv`."""


@dataclass(frozen=True)
class VocabularyTag:
    """One tag of a vocabulary."""

    name: str
    category: str = "general"
    count: int | None = None
    """Number of images with the tag; None if unknown."""


class TagVocabulary(Protocol):
    """The tags that a base model was trained with. Underscores, case and escapes are ignored."""

    def knows(self, tag: str) -> bool:
        """Whether the model was trained with the tag."""

    def count(self, tag: str) -> int | None:
        """Return the number of images with the tag; None if the tag or its count is unknown."""

    def names(self) -> Iterable[str]:
        """Return all tags, with spaces instead of underscores."""


class ListedVocabulary:
    """A vocabulary from a file: `selected_tags.csv`, `tag_mapping.json`, a tag-completion list, or plain lines."""

    def __init__(self, entries: Iterable[VocabularyTag], aliases: Mapping[str, str] | None = None) -> None:
        self.entries = {key(entry.name): entry for entry in entries}
        self.aliases = {key(alias): key(name) for alias, name in (aliases or {}).items()}

    def find(self, tag: str) -> VocabularyTag | None:
        """Return the entry of a tag or alias; None if there is none."""
        k = key(tag)
        return self.entries.get(k) or self.entries.get(self.aliases.get(k, ""))

    def knows(self, tag: str) -> bool:
        """Whether the model was trained with the tag; aliases do not count."""
        return key(tag) in self.entries

    def count(self, tag: str) -> int | None:
        """Return the number of images with the tag; None if unknown."""
        entry = self.entries.get(key(tag))
        return entry.count if entry else None

    def names(self) -> Iterator[str]:
        """Return all tags, with spaces instead of underscores."""
        return iter(self.entries)


class CrumbVocabulary:
    """The tags of the bundled base model crumb, from the grammar of its tagger."""

    def __init__(self) -> None:
        from bakehouse.data.crumb_attributes import Vocabulary

        self._words = Vocabulary.load()

    def knows(self, tag: str) -> bool:
        """Whether the tag names something that crumb was trained with."""
        return bool(self._words.atoms(tag))

    def count(self, tag: str) -> int | None:
        """Return None: counts are unknown."""
        return None

    def names(self) -> Iterator[str]:
        """Return every tag of its captions."""
        return iter(self._words.caption_tags())


def load_vocabulary(where: str | Path) -> TagVocabulary:
    """Return a vocabulary by name or path: `crumb`, a tagger's name or folder, or a file.

    Raises:
        UsageError: there is no such file or model, or the file holds no tags.
    """
    if str(where) in BUNDLED_TAGGER_NAMES:
        return CrumbVocabulary()
    path = _vocabulary_file(where)
    readers = {".csv": _from_csv, ".json": _from_json, ".txt": _from_lines}
    if path.suffix.lower() not in readers:
        raise UsageError(
            f"{path} is not a vocabulary",
            hint="allowed are .csv (selected_tags.csv), .json (tag_mapping.json) and .txt",
        )
    text, _, _ = decode_text(path.read_bytes())
    found = readers[path.suffix.lower()](text)
    if not found.entries:
        raise UsageError(
            f"{path} holds no tags", hint="it must have one tag per line, or be the selected_tags.csv of a tagger"
        )
    return found


VOCABULARY_FILES = ("selected_tags.csv", "tag_mapping.json", "tags.txt")


def _vocabulary_file(name_or_path: str | Path) -> Path:
    """The path of a vocabulary file; of a tagger, the list beside its model."""
    path = Path(name_or_path).expanduser()
    if not path.exists() or path.suffix.lower() == ".onnx":
        from bakehouse.core.model_catalogue import model_path

        path = model_path(name_or_path, "tagger")
    if path.is_file() and path.suffix.lower() != ".onnx":
        return path
    folder = path if path.is_dir() else path.parent
    for name in VOCABULARY_FILES:
        if (folder / name).is_file():
            return folder / name
    raise UsageError(f"{folder} holds no vocabulary", hint=f"it must hold one of {', '.join(VOCABULARY_FILES)}")


def _from_csv(text: str) -> ListedVocabulary:
    """Read `tag_id,name,category,count` with a header, or `name,category,count,aliases` as in tag-completion lists."""
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
    """Return tags and their categories in the order of a model's outputs.

    The JSON is `{"idx_to_tag": {"0": ...}, "tag_to_category": {...}}`, also inside `dataset_info.tag_mapping`, or
    `{"0": {"tag": ..., "category": ...}}`, or a list of tags.

    Raises:
        BakehouseError: it has none of these forms, or the indices have a gap.
    """
    try:
        value: Any = parse_json(text)
    except json.JSONDecodeError as e:
        raise BakehouseError(f"the tag mapping is not valid JSON: {e}") from e
    if isinstance(value, dict) and isinstance(inner := value.get("dataset_info"), dict):
        value = inner.get("tag_mapping", value)
    if isinstance(value, list) and all(isinstance(tag, str) for tag in value):
        return [(tag, "general") for tag in value]
    if isinstance(value, dict) and isinstance(value.get("idx_to_tag"), dict | list):
        return _indexed(value["idx_to_tag"], value.get("tag_to_category", {}))
    if isinstance(value, dict) and all(isinstance(v, dict) and "tag" in v for v in value.values()):
        categories = {v["tag"]: v.get("category", "general") for v in value.values()}
        return _indexed({i: v["tag"] for i, v in value.items()}, categories)
    raise BakehouseError("the tag mapping has neither `idx_to_tag` nor entries by index")


def _indexed(tags: dict[str, str] | list[str], categories: Mapping[str, str]) -> list[tuple[str, str]]:
    table = {int(i): tag for i, tag in (tags.items() if isinstance(tags, dict) else enumerate(tags))}
    if sorted(table) != list(range(len(table))):
        raise BakehouseError(f"the tag mapping has {len(table)} indices that are not 0 to {len(table) - 1}")
    return [(table[i], str(categories.get(table[i], "general")).lower()) for i in range(len(table))]


def _from_lines(text: str) -> ListedVocabulary:
    return ListedVocabulary(VocabularyTag(line.strip()) for line in text.splitlines() if line.strip())
