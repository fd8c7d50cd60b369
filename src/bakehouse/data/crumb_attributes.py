"""The caption tags of the bundled base model crumb and the attributes that they name.

An image of crumb has one value in each group ("hair": "afro", "hair color": "pink"); a caption tag ("pink afro") names
one or more of them, its *atoms*. The grammar of tags is in `vocabulary.json`.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from bakehouse.core.parse_json_toml_yaml import parse_json

Atoms = dict[str, str]
ASSETS = Path(__file__).resolve().parents[1] / "assets"
FOLDER = ASSETS / "crumb-tagger"
WORDS = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*")


@dataclass(frozen=True)
class Vocabulary:
    """Groups with their values (the first is the default, which captions do not name), and the grammar of tags."""

    groups: Mapping[str, tuple[str, ...]]
    scored_groups: tuple[str, ...]
    """Groups that the evaluation scores."""
    grammar: Mapping[str, Any]

    @classmethod
    def load(cls, path: Path | None = None) -> Vocabulary:
        return cls.from_json(parse_json((path or FOLDER / "vocabulary.json").read_text(encoding="utf-8")))

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Vocabulary:
        """Return the vocabulary that a file's JSON object describes."""
        groups = {name: tuple(values) for name, values in value["groups"].items()}
        grammar = {name: part for name, part in value.items() if name not in ("groups", "judged")}
        return cls(groups, tuple(value["judged"]), grammar)

    def atoms(self, tag: str) -> Atoms:
        """Return the attributes that a tag names: `pink afro` -> hair afro, hair color pink. Empty if unknown."""
        return dict(self._phrases.get(tuple(self._words(tag)), {}))

    def atoms_of_prompt(self, prompt: str) -> Atoms:
        """Return the attributes that tags or a sentence name; the longest known phrase wins, then the first one."""
        words, found, i = self._words(prompt), Atoms(), 0
        while i < len(words):
            for n in range(min(self._longest, len(words) - i), 0, -1):
                atoms = self._phrases.get(tuple(words[i : i + n]))
                if atoms is not None:
                    for group, value in atoms.items():
                        found.setdefault(group, value)
                    i += n
                    break
            else:
                i += 1
        return found

    def tags_of(self, atoms: Mapping[str, str]) -> list[str]:
        """Return the caption tags that name these attributes, as few as possible: the inverse of `atoms`."""
        left = {g: v for g, v in atoms.items() if not self._is_silent(g, v)}
        tags = []
        for group in self.groups:
            while group in left:
                tag = next((t for t, a in self._tags_by_atom[(group, left[group])] if a.items() <= left.items()), None)
                if tag is None:
                    break
                tags.append(tag)
                for g in self.atoms(tag):
                    left.pop(g, None)
        return tags

    def accepts(self, group: str, wanted: str, seen: str) -> bool:
        """Whether `seen` is `wanted` or a special case of it (a wayfarer is a pair of sunglasses)."""
        return wanted == seen or seen in self.grammar["accepts"].get(group, {}).get(wanted, ())

    def caption_tags(self) -> list[str]:
        """Return every tag that a caption may have, without aliases."""
        return [tag for tag, _ in self._tags()]

    def _is_silent(self, group: str, value: str) -> bool:
        return value in {"none", "neutral"} or self.grammar["silent"].get(group) == value

    def _words(self, text: str) -> list[str]:
        spelling = self.grammar["spelling"]
        found = WORDS.findall(text.lower().replace("_", " "))
        return [w for word in found for w in spelling.get(word, word).split()]

    def _tags(self) -> Iterator[tuple[str, Atoms]]:
        g = self.grammar
        yield from g["phrases"].items()
        for noun, entry in g["nouns"].items():
            group = entry["color"]
            for color in self.groups[group]:
                if not self._is_silent(group, color):
                    yield f"{color} {noun}", {**entry["atoms"], group: color}
        for pattern in g["patterns"]:
            yield from self._two_colors(pattern)

    def _two_colors(self, pattern: Mapping[str, Any]) -> Iterator[tuple[str, Atoms]]:
        first, second = pattern["colors"]
        colors = [c for c in self.groups[first] if not self._is_silent(first, c)]
        pairs: Iterable[tuple[str, str]] = itertools.permutations(colors, 2)
        for a, b in pairs:
            # If the colours have no order in the image, both orders mean the sorted one.
            low, high = (a, b) if not pattern["sorted"] or colors.index(a) < colors.index(b) else (b, a)
            yield pattern["template"].format(a, b), {**pattern["atoms"], first: low, second: high}

    @cached_property
    def _phrases(self) -> dict[tuple[str, ...], Atoms]:
        known = {tuple(self._words(t)): dict(a) for t, a in self.grammar["aliases"].items()}
        return known | {tuple(self._words(t)): dict(a) for t, a in self._tags()}

    @cached_property
    def _longest(self) -> int:
        return max(len(words) for words in self._phrases)

    @cached_property
    def _tags_by_atom(self) -> dict[tuple[str, str], list[tuple[str, Atoms]]]:
        """Tags by each attribute that they name, those with most attributes first."""
        by_atom: dict[tuple[str, str], list[tuple[str, Atoms]]] = {
            (group, value): [] for group, values in self.groups.items() for value in values
        }
        for tag, atoms in self._tags():
            for atom in atoms.items():
                by_atom[atom].append((tag, atoms))
        for tags in by_atom.values():
            tags.sort(key=lambda ta: -len(ta[1]))
        return by_atom
