"""The paths that a user names: a run, or adapter files; anything else is an error that says what it is."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bakehouse.core.errors import UsageError
from bakehouse.core.files_of_adapter import adapter_files
from bakehouse.core.message_text import listed
from bakehouse.core.run_folder import Run

_WHAT = "bakehouse doctor takes a run folder, or one or more adapter files"
_IMAGES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".gif", ".avif", ".heic", ".bmp", ".tif", ".tiff"})


@dataclass(frozen=True)
class RunOrFiles:
    """What is examined."""

    run: Run | None = None
    files: tuple[Path, ...] = ()


def run_or_files(paths: Sequence[Path | str]) -> RunOrFiles:
    """Return what paths lead to; only names and headers are read.

    Raises:
        UsageError: there is nothing, or it is neither a run nor an adapter; names what it is.
    """
    found = [Path(p).expanduser() for p in paths]
    if not found:
        raise UsageError("nothing to examine", hint=_WHAT)
    runs = [p for p in found if _is_run(p)]
    if runs and len(found) > 1:
        hint = f"examine it alone: bakehouse doctor {shlex.quote(str(runs[0]))}"
        raise UsageError(f"{runs[0]} is a run; several paths must all be adapter files", hint=hint)
    if runs:
        return RunOrFiles(run=Run.open(runs[0] if runs[0].is_dir() else runs[0].parent))
    for path in found:
        _check_adapter(path)
    twice = [p for i, p in enumerate(found) if p.resolve() in {q.resolve() for q in found[:i]}]
    if twice:
        raise UsageError(f"{twice[0]} is named twice: name two different adapters to compare them")
    return RunOrFiles(files=tuple(found))


def _is_run(path: Path) -> bool:
    """Whether a path is a run folder, or the recipe.toml of one."""
    if path.is_dir():
        return (path / "recipe.toml").is_file()
    is_of_run = any((path.parent / name).is_file() for name in ("inputs.json", "plan.json", "events.jsonl"))
    return path.name == "recipe.toml" and path.is_file() and is_of_run


def _check_adapter(path: Path) -> None:
    """Check that a path may be an adapter, by names and headers."""
    if not path.exists():
        raise UsageError(f"{path} does not exist", hint=_WHAT)
    if path.is_dir():
        if not adapter_files(path):
            raise _unknown_folder(path)
        return
    quoted = shlex.quote(str(path))
    if path.suffix == ".toml":
        hint = f"examine its run after `bakehouse train {quoted}`; before it, see `bakehouse plan {quoted}`"
        raise UsageError(f"{path} is a recipe that was not trained yet", hint=hint)

    from bakehouse.adapters.tensor_files import check_suffix
    from bakehouse.models.damaged_files import check_weights
    from bakehouse.models.identify import identify, read_header

    check_suffix(path)
    check_weights(path)
    kind = identify(read_header(path).shapes)
    if kind.kind not in ("adapter", "unknown"):
        raise UsageError(
            f"{path} is not an adapter but {kind}",
            hint=f"{_WHAT}; `bakehouse weights info {quoted}` shows what this file contains",
        )


def _unknown_folder(path: Path) -> UsageError:
    inside = sorted(p.name for p in path.iterdir() if not p.name.startswith("."))
    quoted = shlex.quote(str(path))
    if not inside:
        return UsageError(f"{path} is an empty folder", hint=_WHAT)
    if "model_index.json" in inside:
        hint = f"{_WHAT}; `bakehouse weights info {quoted}` shows what it contains"
        return UsageError(f"{path} is a full model, not an adapter or a run", hint=hint)
    if any(Path(name).suffix.lower() in _IMAGES for name in inside):
        hint = f"a dataset is checked by `bakehouse dataset audit {quoted}`"
        return UsageError(f"{path} is a folder of images, not a run or an adapter", hint=hint)
    return UsageError(f"{path} is not a run or an adapter: it contains {listed(inside, 5)}", hint=_WHAT)
