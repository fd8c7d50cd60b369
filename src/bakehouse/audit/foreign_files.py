"""What lies in a dataset and is no part of it: files of other programs, stale caches, links that lead astray."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from bakehouse.curation.changeset import HISTORY_FOLDER

JUNK = frozenset({"thumbs.db", "desktop.ini", ".ds_store", "ehthumbs.db", "__macosx"})
_CACHE = re.compile(r"(?P<stem>.+?)(_\d+x\d+)?(_(sd|sdxl|te|flux)[a-z0-9_]*)?", re.IGNORECASE)
"""kohya's `a.npz` and `a_0512x0768_sd.npz` hold the latents of `a.png`."""


@dataclass(frozen=True)
class ForeignFiles:
    """By their paths in the folder."""

    junk: tuple[str, ...]
    stale: tuple[str, ...]
    links: Mapping[str, str]


def foreign_files(root: Path, images: Mapping[Path, str]) -> ForeignFiles:
    """Walks the folder without following links.

    Args:
        root: the dataset.
        images: their paths.
    """
    junk, stale, links = [], [], {}
    ages = {(path.parent, path.stem): path.stat().st_mtime for path in images if path.exists()}
    for path in _walk(root):
        name = path.relative_to(root).as_posix()
        if path.is_symlink() and (wrong := astray(path, root)):
            links[name] = wrong
        elif path.name.startswith("._") or path.name.lower() in JUNK:
            junk.append(name)
        elif path.suffix == ".npz" and _older(path, ages):
            stale.append(name)
    return ForeignFiles(tuple(sorted(junk)), tuple(sorted(stale)), dict(sorted(links.items())))


def astray(link: Path, root: Path) -> str:
    """What is wrong with a link; empty where it leads to something in the dataset that is not around itself."""
    try:
        target = link.resolve(strict=True)
    except (OSError, RuntimeError):
        return "it leads nowhere, or in a circle"
    home = root.resolve()
    if link.parent.resolve().is_relative_to(target):
        return f"it leads back to {link.readlink()}, which it lies in"
    if not target.is_relative_to(home):
        return f"it leads out of the folder, to {target}"
    return ""


def _walk(root: Path) -> Iterator[Path]:
    for folder, names, files in os.walk(root):
        here = Path(folder)
        yield from (here / name for name in [*names, *files] if (here / name).is_symlink() or name in files)
        names[:] = [n for n in names if n != HISTORY_FOLDER and not (here / n).is_symlink()]


def _older(cache: Path, ages: Mapping[tuple[Path, str], float]) -> bool:
    match = _CACHE.fullmatch(cache.stem)
    image = ages.get((cache.parent, cache.stem)) or (ages.get((cache.parent, match["stem"])) if match else None)
    return image is not None and cache.stat().st_mtime < image
