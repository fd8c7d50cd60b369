"""Which files of a run are copied to its mirror, in which order, and which copies are no longer needed."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bakehouse.core.parse_json_toml_yaml import parse_json
from bakehouse.core.run_folder import Run

MANIFEST = "mirror.json"
"""Lists what has been copied, at the mirror."""
_FIRST = ("recipe.toml", "plan.json", "inputs.json")
_FOLDERS = ("weights", "samples", "report", "checkpoints", "tensorboard")
_MARKERS = frozenset({"state.json", "model_index.json"})
"""Without its marker a folder is no state and no model, so it is copied last."""
_STATE_FOLDER = re.compile(r"checkpoints/step-(\d+)")
_STATE = re.compile(r"checkpoints/step-(\d+)/state\.json")


@dataclass(frozen=True)
class SourceFile:
    """A file of the run."""

    name: str
    """Relative to the run's folder, with slashes."""
    path: Path
    stamp: list[int]
    """Size in bytes, and time of its last change in nanoseconds: files are replaced, never changed."""

    @property
    def is_journal(self) -> bool:
        """Whether it grows with each step, so that it is only copied beside something else."""
        return self.name == "events.jsonl" or self.name.startswith("tensorboard/")


def mirrored_files(run: Run) -> list[SourceFile]:
    """Return the run's files that belong into a copy from which it can be resumed and used, in the order of copying."""
    return list(_files(run))


def _files(run: Run) -> Iterator[SourceFile]:
    paths = [run.folder / name for name in _FIRST]
    for folder in _FOLDERS:
        below = sorted(p for p in (run.folder / folder).rglob("*") if not _is_hidden(p.relative_to(run.folder)))
        paths += sorted(below, key=lambda p: (p.parent, p.name in _MARKERS, p.name))
    for path in (*paths, run.events):
        name = path.relative_to(run.folder).as_posix()
        if name.startswith("report/cache/"):
            continue
        try:
            found = path.stat()
        except FileNotFoundError:  # not there yet, or removed meanwhile
            continue
        if path.is_file():
            yield SourceFile(name, path, [found.st_size, found.st_mtime_ns])


def _is_hidden(path: Path) -> bool:
    """Whether it, or a folder that it is in, is temporary."""
    return any(part.startswith(".") for part in path.parts)


def read_manifest(content: bytes | None) -> Mapping[str, Any]:
    """Return a manifest; empty if there is none, or it is damaged: then everything is copied again."""
    if content is None:
        return {}
    try:
        value = parse_json(content)
    except ValueError:
        return {}
    known = isinstance(value, dict) and isinstance(value.get("files"), dict)
    return value if known else {}


def newest_step(names: Iterable[str]) -> int:
    """Return the step of the newest whole state among files' names; 0 if there is none."""
    return max((int(m[1]) for name in names if (m := _STATE.fullmatch(name))), default=0)


def is_of_older_state(name: str, newest: int) -> bool:
    """Return whether a file belongs to a state before the newest one, which a run removes in its time."""
    found = _STATE_FOLDER.match(name)
    return found is not None and int(found[1]) < newest


def superseded(run: Run, copied: Mapping[str, object], *, prune: bool) -> list[str]:
    """Return the copies that are no longer needed.

    They are states that the run has removed and that are older than one that both have; with `prune`, also weights that
    the run has removed. Nothing else is ever removed: who empties the run's folder keeps the copy.
    """
    here = {f.name for f in mirrored_files(run)}
    both = newest_step(name for name in copied if name in here)
    states = {m[0]: int(m[1]) for name in copied if (m := _STATE_FOLDER.match(name))}
    old = [folder for folder, step in sorted(states.items()) if step < both and not (run.folder / folder).exists()]
    weights = {_whole(name) for name in copied if name.startswith("weights/")}
    gone = sorted(name for name in weights if not (run.folder / name).exists()) if prune and both else []
    return [*old, *gone]


def _whole(name: str) -> str:
    """The file, or the folder of the model, that a file of weights belongs to."""
    return "/".join(name.split("/")[:2])
