"""Conversion of base models between a diffusers folder, a single .safetensors and a .ckpt, and merging into them."""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from bakehouse.adapters.tensor_files import (
    Planned,
    Shape,
    check_output_path,
    dtype_of,
    float_types,
    write_tensors,
)
from bakehouse.core.errors import BakehouseError, UsageError
from bakehouse.core.events import OnEvent
from bakehouse.core.files import atomic_path
from bakehouse.dtypes import DTYPES
from bakehouse.models.identify import read_header
from bakehouse.models.load import load_model, resolve_model
from bakehouse.models.single_file import EMA, header_of, join, read_single_file, save_single_file
from bakehouse.weights.base_modules import open_base
from bakehouse.weights.merge_adapters import Merge, merge_adapters
from bakehouse.weights.merge_into_base import WeightedAdapter, merge_into_base, merged_header
from bakehouse.weights.rank_selection import parse_rank_rules
from bakehouse.weights.result import Result

_PICKLES = (".ckpt", ".pt")


@dataclass(frozen=True)
class Converted:
    """What was written, or with `dry_run` would be."""

    path: Path
    family: str
    source: str
    layout: str
    """`folder`, `single file` or `ckpt`."""
    dtype: str
    dry_run: bool
    notes: tuple[str, ...] = ()


def base_path(ref: str | Path) -> Path:
    """Return the path of a base model: `crumb`, a folder, a file, or a downloaded Hub id.

    Raises:
        UsageError: there is no such model, or it is not on this machine.
    """
    where = resolve_model(ref)
    if where.path is None:
        raise UsageError(f"{ref} is not on this machine", hint=f"download it first: bakehouse models fetch {ref}")
    return where.path


def layout_of(path: Path) -> str:
    """Return the layout that a path's name implies."""
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
    on_event: OnEvent | None = None,
    header: Mapping[str, str] | None = None,
) -> Converted:
    """Write a base model in the layout that `out`'s name implies; values are unchanged unless a type is given.

    EMA weights (`model_ema.`) are left out. The prediction type, as found in the file, in a YAML beside it or from the
    weights, is written into the new file's header and markers, so that it is kept without the YAML.

    Args:
        header: more header keys of a single file made from a folder.

    Raises:
        UsageError: it is not a base model, or of an unknown family.
        BakehouseError: it is damaged, a pickle that holds more than tensors, or the file cannot be written.
    """
    out, where, to = Path(out), resolve_model(source), dtype_of(dtype)
    path = base_path(source)
    check_output_path(out, [path], overwrite=overwrite, makes="folder" if layout_of(out) == "folder" else "either")
    with open_base(path) as base:
        types = float_types(shape for file in base.files.values() for shape in file.shapes.values())
        twins = sum(name.startswith(EMA) for file in base.files.values() for name in file.shapes)
    wanted = dtype or types[0]
    notes = (f"{twins} EMA weights ({EMA}...) are left out",) if twins else ()
    made = Converted(out, str(where.family), str(path), layout_of(out), wanted, dry_run, notes)
    if dry_run:
        return made
    if layout_of(out) == "ckpt":
        _write_pickle(path, out, wanted, dtype, on_event)
    elif path.is_dir() and layout_of(out) == "folder":
        merge_into_base(path, [], out, dtype=dtype, overwrite=overwrite, on_event=on_event)
    elif path.is_file() and layout_of(out) == "single file":
        _copy_file(path, out, to, on_event)
    else:
        _across(path, out, to or DTYPES[wanted], header)
    return made


def merge_base(
    base: str | Path,
    adapters: Sequence[WeightedAdapter],
    out: str | Path,
    *,
    dtype: str | None = None,
    dry_run: bool = False,
    overwrite: bool = False,
    on_event: OnEvent | None = None,
) -> Result:
    """Merge adapters into a base, written in the layout that `out`'s name implies; see `merge_into_base`."""
    path, out = base_path(base), Path(out)
    check_output_path(out, [path], overwrite=overwrite, makes="folder" if layout_of(out) == "folder" else "either")
    if dry_run or layout_of(path if path.is_file() else Path("folder")) == layout_of(out):
        return merge_into_base(
            path, adapters, out, dtype=dtype, dry_run=dry_run, overwrite=overwrite, on_event=on_event
        )
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".merge.", dir=out.parent) as folder:
        between = Path(folder) / ("merged.safetensors" if path.is_file() else "merged")
        result = merge_into_base(path, adapters, between, dtype=dtype, on_event=on_event)
        convert_base(between, out, overwrite=overwrite, on_event=on_event, header=merged_header(path, adapters))
    return Result(out, result.modules, False, result.notes)


def _across(path: Path, out: Path, dtype: torch.dtype, header: Mapping[str, str] | None = None) -> None:
    model = load_model(path, dtype=dtype)
    if layout_of(out) == "folder":
        model.save(out, dtype=dtype)
    else:
        save_single_file(model, out, dtype=dtype, metadata=header)  # type: ignore[arg-type]


def _copy_file(path: Path, out: Path, dtype: torch.dtype | None, on_event: OnEvent | None) -> None:
    """Copy a single file in another type, or from a pickle."""
    file = read_single_file(path)
    planned = []
    for name, tensor in join(file).items():
        to = dtype if dtype is not None and tensor.is_floating_point() else tensor.dtype
        planned.append(Planned(name, Shape(to, tuple(tensor.shape)), functools.partial(_itself, tensor)))
    write_tensors(out, planned, {**read_header(path).metadata, **header_of(file.configs)}, on_event=on_event)


def _itself(tensor: torch.Tensor) -> torch.Tensor:
    return tensor


def _write_pickle(path: Path, out: Path, wanted: str, dtype: str | None, on_event: OnEvent | None) -> None:
    """Write `{"state_dict": ..., "metadata": ...}`, which all older programs read."""
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".convert.", dir=out.parent) as folder:
        single = path
        if path.is_dir():
            single = Path(folder) / "model.safetensors"
            _across(path, single, DTYPES[wanted])
        content = read_single_file(single)
        state, to = join(content), dtype_of(dtype)
        if to is not None:
            state = {name: t.to(to) if t.is_floating_point() else t for name, t in state.items()}
        with atomic_path(out) as temporary:
            torch.save({"state_dict": state, "metadata": header_of(content.configs)}, temporary)


def is_base(path: str | Path) -> bool:
    """Return whether a path or name is a base model, rather than an adapter."""
    try:
        base_path(path)
    except BakehouseError:
        return False
    return True


def merge_all(
    adapters: Sequence[WeightedAdapter],
    out: str | Path,
    *,
    base: str | Path | None = None,
    rules: Mapping[str, Any] | None = None,
    dtype: str | None = None,
    dry_run: bool = False,
    overwrite: bool = False,
    on_event: OnEvent | None = None,
) -> Result:
    """Merge adapters into a base if one is given, else with each other.

    Args:
        rules: of a merge without base: `method`, `rank`, `by`, `conv_rank`, `conv_by`.

    Raises:
        UsageError: a rule that does not apply with a base, or an error of the merge.
    """
    words = {key: value for key, value in (rules or {}).items() if value is not None}
    if base is not None:
        idle = [key for key in words if key != "method" or words[key] != "concat"]
        if idle:
            raise UsageError(f"{idle[0]} has no effect when merging into a base", hint="leave it out")
        return merge_base(base, adapters, out, dtype=dtype, dry_run=dry_run, overwrite=overwrite, on_event=on_event)
    method = words.pop("method", "concat")
    linear, conv = parse_rank_rules(**{"rank": None, "by": None, **words}) if words else (None, None)
    values = {"method": method, "linear": linear, "conv": conv, "dtype": dtype or "fp16"}
    settings = Merge.parse(values, source="merge")
    return merge_adapters(adapters, out, settings, dry_run=dry_run, overwrite=overwrite, on_event=on_event)
