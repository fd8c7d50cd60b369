"""Base models from one layout to another: a diffusers folder, a single .safetensors, a .ckpt."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from bakehouse.adapters.tools.bases import open_base
from bakehouse.adapters.tools.blend import Blend, merge_adapters
from bakehouse.adapters.tools.files import (
    DTYPES,
    Planned,
    Shape,
    Tell,
    check_place,
    dtype_of,
    float_types,
    open_tensors,
    read_pickle,
    write_tensors,
)
from bakehouse.adapters.tools.merge import Weighted, merge_into_base
from bakehouse.adapters.tools.ranks import rules_of
from bakehouse.adapters.tools.report import Result
from bakehouse.core.errors import BakehouseError, UsageError
from bakehouse.core.files import atomic_path
from bakehouse.families.load import load_model, resolve_model
from bakehouse.families.single_file import save_single_file

_PICKLES = (".ckpt", ".pt")


@dataclass(frozen=True)
class Converted:
    """What was written, or would be."""

    path: Path
    family: str
    source: str
    layout: str
    """`folder`, `single file` or `ckpt`."""
    dtype: str
    dry_run: bool


def base_path(ref: str | Path) -> Path:
    """Where a base model lies: `crumb`, a folder, a file, or a Hub id that was fetched.

    Raises:
        UsageError: nothing of that name, or it is not on this machine.
    """
    where = resolve_model(ref)
    if where.path is None:
        raise UsageError(f"{ref} is not on this machine", hint=f"fetch it first: bakehouse models fetch {ref}")
    return where.path


def layout_of(path: Path) -> str:
    """What a path's name says that it is or will be."""
    if path.suffix in _PICKLES:
        return "ckpt"
    return "single file" if path.suffix == ".safetensors" else "folder"


def convert_base(
    source: str | Path,
    out: str | Path,
    *,
    dtype: str | None = None,
    dry_run: bool = False,
    overwrite: bool = False,
    tell: Tell | None = None,
) -> Converted:
    """Writes a base model in the layout that `out`'s name says, each number as it is unless a type is asked for.

    Raises:
        UsageError: no base model, or a family that is not known here.
        BakehouseError: broken, a pickle that holds more than tensors, or the place cannot be written.
    """
    out, where = Path(out), resolve_model(source)
    path = base_path(source)
    check_place(out, [path], overwrite=overwrite)
    with open_base(path) as base:
        types = float_types(shape for file in base.files.values() for shape in file.shapes.values())
    wanted = dtype or types[0]
    made = Converted(out, str(where.family), str(path), layout_of(out), wanted, dry_run)
    if dry_run:
        dtype_of(dtype)
        return made
    if layout_of(out) == "ckpt":
        _write_pickle(path, out, wanted, dtype, tell)
    elif path.is_dir() and layout_of(out) == "folder":
        merge_into_base(path, [], out, dtype=dtype, overwrite=overwrite, tell=tell)
    elif path.is_file() and layout_of(out) == "single file":
        _copy_file(path, out, dtype_of(dtype), tell)
    else:
        _across(path, out, DTYPES[wanted])
    return made


def merge_base(
    base: str | Path,
    adapters: Sequence[Weighted],
    out: str | Path,
    *,
    dtype: str | None = None,
    dry_run: bool = False,
    overwrite: bool = False,
    tell: Tell | None = None,
) -> Result:
    """Adapters into a base, written in the layout that `out`'s name says; see `merge_into_base`."""
    path, out = base_path(base), Path(out)
    if dry_run or layout_of(path if path.is_file() else Path("folder")) == layout_of(out):
        return merge_into_base(path, adapters, out, dtype=dtype, dry_run=dry_run, overwrite=overwrite, tell=tell)
    check_place(out, [path], overwrite=overwrite)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".merge.", dir=out.parent) as folder:
        between = Path(folder) / ("merged.safetensors" if path.is_file() else "merged")
        result = merge_into_base(path, adapters, between, dtype=dtype, tell=tell)
        convert_base(between, out, overwrite=overwrite, tell=tell)
    return Result(out, result.modules, False, result.notes)


def _across(path: Path, out: Path, dtype: torch.dtype) -> None:
    model = load_model(path, dtype=dtype)
    if layout_of(out) == "folder":
        model.save(out, dtype=dtype)
    else:
        save_single_file(model, out, dtype=dtype)  # type: ignore[arg-type]


def _copy_file(path: Path, out: Path, dtype: torch.dtype | None, tell: Tell | None) -> None:
    """A single file in another type, or out of a pickle."""
    with open_tensors(path) as file:
        planned = []
        for name, shape in file.shapes.items():
            to = dtype if dtype is not None and shape.dtype.is_floating_point else shape.dtype
            planned.append(Planned(name, Shape(to, shape.shape), _Read(file.__getitem__, name)))
        write_tensors(out, planned, {"format": "pt", **file.metadata}, tell=tell)


@dataclass(frozen=True)
class _Read:
    get: object
    name: str

    def __call__(self) -> torch.Tensor:
        tensor: torch.Tensor = self.get(self.name)  # type: ignore[operator]
        return tensor


def _write_pickle(path: Path, out: Path, wanted: str, dtype: str | None, tell: Tell | None) -> None:
    """`{"state_dict": ...}`, which every old tool reads."""
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".convert.", dir=out.parent) as folder:
        single = path
        if path.is_dir():
            single = Path(folder) / "model.safetensors"
            _across(path, single, DTYPES[wanted])
        if single.suffix == ".safetensors":
            with open_tensors(single) as file:
                state = file.tensors()
        else:
            state = read_pickle(single)
        to = dtype_of(dtype)
        if to is not None:
            state = {name: t.to(to) if t.is_floating_point() else t for name, t in state.items()}
        with atomic_path(out) as temporary:
            torch.save({"state_dict": state}, temporary)


def is_base(path: str | Path) -> bool:
    """Whether a path or name is a base model, rather than an adapter."""
    try:
        base_path(path)
    except BakehouseError:
        return False
    return True


def merge_all(
    adapters: Sequence[Weighted],
    out: str | Path,
    *,
    base: str | Path | None = None,
    rules: Mapping[str, Any] | None = None,
    dtype: str | None = None,
    dry_run: bool = False,
    overwrite: bool = False,
    tell: Tell | None = None,
) -> Result:
    """Adapters into a base where one is named, else with each other.

    Args:
        rules: of a merge without base: `method`, `rank`, `by`, `conv_rank`, `conv_by`.

    Raises:
        UsageError: a rule that means nothing with a base, or what the merges themselves refuse.
    """
    words = {key: value for key, value in (rules or {}).items() if value is not None}
    if base is not None:
        idle = [key for key in words if key != "method" or words[key] != "concat"]
        if idle:
            raise UsageError(f"{idle[0]} means nothing when adapters go into a base", hint="leave it out")
        return merge_base(base, adapters, out, dtype=dtype, dry_run=dry_run, overwrite=overwrite, tell=tell)
    method = words.pop("method", "concat")
    linear, conv = rules_of(**{"rank": None, "by": None, **words}) if words else (None, None)
    values = {"method": method, "linear": linear, "conv": conv, "dtype": dtype or "fp16"}
    settings = Blend.parse(values, source="merge")
    return merge_adapters(adapters, out, settings, dry_run=dry_run, overwrite=overwrite, tell=tell)
