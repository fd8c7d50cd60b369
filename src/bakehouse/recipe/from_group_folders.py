"""A recipe's concepts from folders of a character's outfits, or of several characters.

The names of folders say what their images show. kohya's `N_` may stand before each.

| folder | images |
|---|---|
| `red dress/` | the character in an outfit, whose word is `red-dress` |
| `red dress + vest/` | an outfit that builds on it: its words are `red-dress` and `vest` |
| `misc/` | the character in other clothes |

Of a pack, each character has such a folder, named by its trigger and class, `zwx person/`: with images, or with folders
of outfits. `zwx person + qvk robot/` shows both.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from bakehouse.core.errors import Problems, UsageError
from bakehouse.core.message_text import counted, listed
from bakehouse.data.dataset_formats import MOST_REPEATS
from bakehouse.data.scan import MASK_FOLDERS, scan

MISC = "misc"
"""Name of the folder of images in other clothes."""
_REG = "reg"
_CONTAINERS = ("img", "image")
"""Folders of other trainers that contain the `N_name` folders."""
_PLUS = re.compile(r"\s\+\s")


class _Folder:
    """A folder with images, or with such folders."""

    def __init__(self, path: Path) -> None:
        self.path = path
        found = re.fullmatch(r"([0-9]+)_(.*)", path.name)
        numbered = found is not None and 0 < int(found[1]) <= MOST_REPEATS
        self.name = found[2].strip() if found and numbered else path.name
        self.repeats = int(found[1]) if found and numbered else None

    @property
    def inside(self) -> list[_Folder]:
        """The folders in it, by name."""
        found = [p for p in sorted(self.path.iterdir()) if p.is_dir() and not p.name.startswith(".")]
        others = {_REG, *MASK_FOLDERS}
        return [_Folder(p) for p in found if p.name not in others and not p.name.endswith("-holdout")]

    def loose(self) -> int:
        """Return the number of images directly in it."""
        try:
            return len(scan(self.path, recursive=False))
        except UsageError:
            return 0


def group_concepts(root: Path, kind: str, subject: str) -> list[dict[str, Any]]:
    """Return the values of a recipe's concepts for the folders in `root`.

    Args:
        root: folder of a dataset.
        kind: `outfits` or `pack`.
        subject: trigger and class of the character, for outfits.

    Raises:
        UsageError: no subject for outfits, one for a pack, or no folders.
        Problems: folders whose names cannot be read, or images beside folders, all at once.
    """
    if not root.is_dir():
        raise UsageError(f"{root}: kind = {kind!r} needs a folder with a folder for each group of images")
    if kind == "outfits" and not subject:
        raise UsageError(
            f"{root} has no subject, and outfits need the character that wears them",
            hint='pass the character\'s trigger and class word: --subject "zwx person"',
        )
    if kind == "pack" and subject:
        raise UsageError(
            f"--subject {subject!r} is one character, and a pack has several",
            hint=f"name the folders in {root} by their characters: '{subject}', 'qvk robot', '{subject} + qvk robot'",
        )
    top = _Folder(root)
    inside = next((f.inside for f in top.inside if f.name in _CONTAINERS and f.inside), top.inside)
    if not inside:
        example = "'red dress', 'misc'" if kind == "outfits" else "'zwx person', 'qvk robot'"
        raise UsageError(
            f"{root} has no folders: kind = {kind!r} needs one for each group of images, such as {example}",
            hint="`bakehouse dataset sort` sorts images into folders by a tag of their captions, or by their looks",
        )
    problems: list[str] = []
    made = list(_outfits(top, inside, subject, problems) if kind == "outfits" else _pack(top, inside, problems))
    if problems:
        raise Problems(f"{root} has {counted(len(problems), 'problem')}:", problems)
    if all(c.get("repeats") == 1 for c in made):  # as `dataset sort` names them: no choice of the user's
        for concept in made:
            del concept["repeats"]
    return made


def outfit_word(name: str) -> str:
    """Return the word of an outfit for the name of its folder: `red dress` becomes `red-dress`."""
    return "-".join(re.sub(r"[^\w'-]+", " ", name).split())


def _outfits(at: _Folder, inside: Sequence[_Folder], subject: str, problems: list[str]) -> Iterator[dict[str, Any]]:
    """Yield the groups of one character."""
    if loose := at.loose():
        problems.append(
            f"{at.path}: {counted(loose, 'image')} beside the folders of outfits: move them into {at.path / MISC}, if "
            "they show the character in other clothes, or remove them"
        )
    words = {f.name: outfit_word(f.name) for f in inside}
    for f in inside:
        concept = {"folder": str(f.path), "subject": subject, **({"repeats": f.repeats} if f.repeats else {})}
        *below, last = _PLUS.split(f.name)
        if f.name.casefold() in (MISC, subject.casefold(), subject.split()[0].casefold()):
            yield concept
            continue
        base = " + ".join(below)
        if base and base not in words:
            problems.append(
                f"{f.path}: {base!r} is not a folder beside it that this outfit could build on (folders: "
                f"{listed(sorted(words))})"
            )
        if not outfit_word(last):
            problems.append(f"{f.path}: the name has no word for an outfit")
        over = {"over": outfit_word(below[-1])} if below else {}
        yield {**concept, "outfit": outfit_word(last), **over}


def _pack(at: _Folder, inside: Sequence[_Folder], problems: list[str]) -> Iterator[dict[str, Any]]:
    """Yield the groups of each character, and those of several."""
    if loose := at.loose():
        problems.append(
            f"{at.path}: {counted(loose, 'image')} beside the folders of characters: move them into the right folder"
        )
    names = [f.name for f in inside]
    for f in inside:
        concept = {"folder": str(f.path), **({"repeats": f.repeats} if f.repeats else {})}
        together = _PLUS.split(f.name)
        if len(together) > 1:
            if unknown := [name for name in together if name not in names]:
                problems.append(
                    f"{f.path}: {unknown[0]!r} is not a folder beside it (folders: {listed(sorted(names))})"
                )
            yield {**concept, "characters": [name.split()[0] for name in together]}
        elif f.inside and not f.loose():
            yield from _outfits(f, f.inside, f.name, problems)
        elif f.inside:
            problems.append(f"{f.path}: images beside folders of outfits: move them into {f.path / MISC}")
        else:
            yield {**concept, "subject": f.name}
