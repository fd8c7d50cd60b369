"""Wildcard files: one line each for a choice, in folders of .txt, or lists in .yaml and .json."""

from __future__ import annotations

import fnmatch
import functools
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bakehouse.core.errors import UsageError, did_you_mean
from bakehouse.core.parse_json_toml_yaml import parse_json, parse_yaml
from bakehouse.generation.templates.syntax import Nodes, Option, Slot, TemplateSyntaxError, Wildcard, parse, walk

LIBRARY = Path(__file__).parent / "library" / "wildcards"
"""The wildcards that are shipped."""
_MOST_FILES = 50_000
_LISTS = (".yaml", ".yml", ".json")
_WEIGHT = re.compile(r"(\d+(?:\.\d*)?|\.\d+)::(.*)", re.DOTALL)


@dataclass(frozen=True)
class Line:
    """One line of a wildcard file and where it is."""

    text: str
    where: str
    """`hair.txt, line 3`."""

    @functools.cached_property
    def option(self) -> Option:
        """The line parsed.

        Raises:
            UsageError: it cannot be read; names file and line.
        """
        weighted = _WEIGHT.fullmatch(self.text)
        try:
            return Option(float(weighted[1]) if weighted else 1.0, parse(weighted[2] if weighted else self.text))
        except TemplateSyntaxError as e:
            raise UsageError(f"{self.where}: {e.message}", hint=e.hint) from e


class Wildcards:
    """The wildcards of some folders; one in an earlier folder hides one of the same name in a later folder."""

    def __init__(self, folders: Sequence[Path]) -> None:
        """Find the files of folders; they are read when they are used.

        Raises:
            UsageError: a folder does not exist, or holds no wildcard file.
        """
        self._files: dict[str, Path] = {}
        self._lines: dict[str, tuple[Line, ...]] = {}
        self._checked: set[str] = set()
        for folder in folders:
            self._add(folder)

    @property
    def names(self) -> list[str]:
        """All names, sorted."""
        return sorted(self._files.keys() | self._lines.keys())

    def match(self, pattern: str) -> list[str]:
        """Return the wildcards that a pattern names, sorted; `*` is any part of a name and `**` any folders."""
        if "*" not in pattern:
            return [pattern] if pattern in self._files or pattern in self._lines else []
        if "**" in pattern:
            return [n for n in self.names if fnmatch.fnmatchcase(n, pattern.replace("**/", "*").replace("**", "*"))]
        depth = pattern.count("/")
        return [n for n in self.names if n.count("/") == depth and fnmatch.fnmatchcase(n, pattern)]

    def lines(self, pattern: str, *, inside: Sequence[str] = ()) -> list[tuple[str, Line]]:
        """Return the lines that a pattern stands for, each with its wildcard's name.

        Args:
            pattern: a name, or one with `*`.
            inside: the wildcards whose lines use this one: a pattern with `*` leaves them out.

        Raises:
            UsageError: there is no such wildcard, or a file is empty or cannot be read.
        """
        found = self.match(pattern)
        if not found:
            where = ", ".join(self.names) or "none"
            raise UsageError(
                f"__{pattern}__: there is no such wildcard{did_you_mean(pattern, self.names)}",
                hint=rf"name their folder with --wildcards DIR (known: {where}); plain text is \_\_{pattern}\_\_",
            )
        return [(n, line) for n in found if not ("*" in pattern and n in inside) for line in self._read(n)]

    def check(self, nodes: Nodes, slots: Mapping[str, object], inside: tuple[str, ...] = ()) -> None:
        """Check all that a template could draw, whatever the seed: its wildcards, theirs, and their slots.

        Raises:
            UsageError: a wildcard or a slot is unknown, a line cannot be read, or a wildcard leads back to itself.
        """
        for node in walk(nodes):
            if isinstance(node, Slot) and node.name not in slots:
                raise unknown_slot(node.name, slots)
            if not isinstance(node, Wildcard):
                continue
            if node.pattern in inside:
                chain = " -> ".join((*inside[inside.index(node.pattern) :], node.pattern))
                raise UsageError(f"wildcards lead back to themselves: {chain}", hint="take one of these lines out")
            for name, line in self.lines(node.pattern, inside=inside):
                if name in self._checked:
                    continue
                try:
                    self.check(line.option.nodes, slots, (*inside, name))
                except UsageError as e:
                    raise e if line.where in e.message else UsageError(f"{line.where}: {e.message}", hint=e.hint) from e
            self._checked.update(self.match(node.pattern))

    def _add(self, folder: Path) -> None:
        if not folder.is_dir():
            raise UsageError(f"{folder} is not a folder of wildcards", hint="pass the folder that holds the .txt files")
        files = list(_files(folder))
        for path in files:
            relative = path.relative_to(folder)
            if path.suffix.lower() == ".txt":
                self._files.setdefault(relative.with_suffix("").as_posix(), path)
            elif path.suffix.lower() in _LISTS:
                for name, lines in _lists(path):
                    full = (relative.parent / name).as_posix()
                    if full not in self._files:
                        self._lines.setdefault(full, lines)
        if not files:
            raise UsageError(f"{folder}: has no wildcard file", hint="wildcards are .txt files, one line for a choice")

    def _read(self, name: str) -> tuple[Line, ...]:
        if name not in self._lines:
            path = self._files[name]
            numbered = enumerate(read_lines(path), start=1)
            lines = [(i, text.strip()) for i, text in numbered if text.strip() and not text.lstrip().startswith("#")]
            if not lines:
                raise UsageError(f"{path}: the wildcard has no line", hint="write one choice on each line")
            self._lines[name] = tuple(Line(text, f"{path}, line {i}") for i, text in lines)
        return self._lines[name]


def _files(folder: Path) -> Iterator[Path]:
    """Yield the wildcard files below a folder, in their order; links to folders are not followed."""
    seen = 0
    for here, below, names in os.walk(folder):
        below.sort()
        seen += len(names)
        if seen > _MOST_FILES:
            raise UsageError(
                f"{folder} has more than {_MOST_FILES:,} files", hint="pass the folder that holds the wildcards alone"
            )
        yield from (Path(here, n) for n in sorted(names) if Path(n).suffix.lower() in (".txt", *_LISTS))


def unknown_slot(name: str, slots: Mapping[str, object]) -> UsageError:
    """Return the error of a slot that nothing fills."""
    known = ", ".join(f"{{{slot}}}" for slot in slots) or "none"
    return UsageError(
        f"nothing is known for {{{name}}}{did_you_mean(name, slots)}",
        hint=f'say it with --slot {name}="..." (known slots: {known}); a plain brace is \\{{',
    )


def read_lines(path: Path) -> list[str]:
    """Return the lines of a text file.

    Raises:
        UsageError: it cannot be read, or is not UTF-8.
    """
    try:
        return path.read_text("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as e:
        raise UsageError(f"cannot read {path}: {e}", hint="templates and wildcards are UTF-8 text") from e


def _lists(path: Path) -> Iterator[tuple[str, tuple[Line, ...]]]:
    """Yield the lists of a YAML or JSON file by the path of their keys, `clothing/hats`; other values are skipped."""
    text = "\n".join(read_lines(path))
    try:
        value = parse_json(text) if path.suffix.lower() == ".json" else parse_yaml(text)
    except ValueError as e:
        raise UsageError(f"cannot read {path}: {e}") from e

    def inside(value: Any, name: str) -> Iterator[tuple[str, tuple[Line, ...]]]:
        if isinstance(value, dict):
            for key, inner in value.items():
                yield from inside(inner, f"{name}/{key}" if name else str(key))
        elif isinstance(value, list) and name:
            texts = [str(item).strip() for item in value if isinstance(item, str | int | float)]
            lines = tuple(Line(text, f"{path}, {name} number {i}") for i, text in enumerate(texts, start=1) if text)
            if lines:
                yield name, lines

    yield from inside(value, "")
