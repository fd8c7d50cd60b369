"""Find what does not belong in a dataset: files of other programs, stale caches, bad links."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from bakehouse.curation.changeset import HISTORY_FOLDER

JUNK = frozenset({"thumbs.db", "desktop.ini", ".ds_store", "ehthumbs.db", "__macosx"})
_CACHE = re.compile(r"(?P<stem>.+?)(_\d+x\d+)?(_(sd|sdxl|te|flux)[a-z0-9_]*)?", re.IGNORECASE)
"""Names of kohya's latent caches: `a.npz` and `a_0512x0768_sd.npz` belong to `a.png`."""


@dataclass(frozen=True)
class ForeignFiles:
    """Paths in the folder."""

    junk: tuple[str, ...]
    """Files of other programs: `Thumbs.db`."""
    stale_caches: tuple[str, ...]
    """Latent caches of other trainers that are older than their images."""
    bad_links: Mapping[str, str]
    """Links that are broken, circular or lead out of the folder, with what is wrong."""


def foreign_files(root: Path, images: Mapping[Path, str]) -> ForeignFiles:
    """Find the foreign files of a folder; links are not followed.

    Args:
        root: the dataset.
        images: the paths of its images (names are not used).
    """
    junk, stale, links = [], [], {}
    ages = {(path.parent, path.stem): path.stat().st_mtime for path in images if path.exists()}
    for path in _walk(root):
        name = path.relative_to(root).as_posix()
        if path.is_symlink() and (problem := link_problem(path, root)):
            links[name] = problem
        elif path.name.startswith("._") or path.name.lower() in JUNK:
            junk.append(name)
        elif path.suffix == ".npz" and _is_stale(path, ages):
            stale.append(name)
    return ForeignFiles(tuple(sorted(junk)), tuple(sorted(stale)), dict(sorted(links.items())))


def link_problem(link: Path, root: Path) -> str:
    """Return what is wrong with a link; empty if it leads to another place in the dataset."""
    try:
        target = link.resolve(strict=True)
    except (OSError, RuntimeError):
        return "broken or circular link"
    home = root.resolve()
    if link.parent.resolve().is_relative_to(target):
        return f"circular link: it leads to {link.readlink()}, the folder that holds it"
    if not target.is_relative_to(home):
        return f"link out of the folder, to {target}"
    return ""


def _walk(root: Path) -> Iterator[Path]:
    for folder, names, files in os.walk(root):
        here = Path(folder)
        yield from (here / name for name in [*names, *files] if (here / name).is_symlink() or name in files)
        names[:] = [n for n in names if n != HISTORY_FOLDER and not (here / n).is_symlink()]


def _is_stale(cache: Path, ages: Mapping[tuple[Path, str], float]) -> bool:
    match = _CACHE.fullmatch(cache.stem)
    image = ages.get((cache.parent, cache.stem)) or (ages.get((cache.parent, match["stem"])) if match else None)
    return image is not None and cache.stat().st_mtime < image
