"""Reading of adapters in any format: .safetensors, pickles of tensors, folders of diffusers and PEFT."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from bakehouse.adapters.adapter_file import AdapterFile, coverage_of_tensors, from_state, matches_nothing
from bakehouse.adapters.file_coverage import Coverage
from bakehouse.adapters.peft_format import STANDARD_NAMES, read_settings
from bakehouse.adapters.tensor_files import check_suffix, open_tensors, read_pickle
from bakehouse.adapters.tensor_names import group_by_module, number_text_encoders, seems_sdxl
from bakehouse.core.errors import UsageError
from bakehouse.core.files_of_adapter import DIFFUSERS_FILE, PEFT_FILE, adapter_files
from bakehouse.pickles import damaged

_PREFIXES = {"unet": "lora_unet_", "text_encoder": "lora_te_", "text_encoder_2": "lora_te2_"}


def read_adapter(path: Path | str, *, strict: bool = True, drop: Sequence[str] = ()) -> AdapterFile:
    """Read an adapter from a .safetensors, a pickle of tensors, or a folder (see `adapter_files`).

    Args:
        strict: refuse a file with tensors or settings that cannot be applied; False: list them in its coverage.
        drop: patterns of keys to leave out.

    Raises:
        UsageError: it does not exist, is not an adapter, or has something that cannot be applied.
        BakehouseError: it is damaged, or a pickle that holds more than tensors.
    """
    path = Path(path)
    files = adapter_files(path)
    if not files:
        raise UsageError(f"{path} is not an adapter: {_NO_FILE}")
    if "" not in files:
        return _several(path, files, strict, drop)
    path = files[""]
    if path.suffix == ".safetensors" or not path.is_file():
        return read_safetensors_adapter(path, strict=strict, drop=drop)
    check_suffix(path)
    return from_state(read_pickle(path), source=str(path), strict=strict, drop=drop)


_NO_FILE = f"the folder contains no {DIFFUSERS_FILE} or {PEFT_FILE}, nor a {PEFT_FILE} in unet/ or text_encoder/"


def adapter_coverage(path: Path | str) -> Coverage:
    """Return what of an adapter is not applied; only the headers of its files are read.

    Raises:
        UsageError: a folder that is not an adapter.
        BakehouseError: it is damaged.
    """
    files = adapter_files(path)
    if not files:
        raise UsageError(f"{path} is not an adapter: {_NO_FILE}")
    return sum(map(safetensors_coverage, files.values()), Coverage())


def _several(folder: Path, files: Mapping[str, Path], strict: bool, drop: Sequence[str]) -> AdapterFile:
    modules: dict[str, Mapping[str, Tensor]] = {}
    metadata: dict[str, str] = {}
    extras: dict[str, Tensor] = {}
    coverage = Coverage()
    kinds = []
    patterns = {part: _of_file(drop, file) for part, file in files.items()}
    for pattern in drop:
        if not any(pattern in own for own in patterns.values()):
            raise matches_nothing(pattern, str(folder))
    for part, file in files.items():
        read = read_safetensors_adapter(file, strict=strict, drop=patterns[part])
        kinds.append(read.kind)
        metadata.update(read.metadata)
        extras.update(read.extras)
        coverage += read.coverage
        # PEFT's keys do not say which network they are of: the folder's name does.
        modules.update({_PREFIXES[part] + _bare(stem): tensors for stem, tensors in read.modules.items()})
    return AdapterFile(number_text_encoders(modules, metadata), metadata, kinds[0], str(folder), extras, coverage)


def _of_file(patterns: Sequence[str], path: Path) -> list[str]:
    """Return the patterns that match a key of this file."""
    if not patterns:
        return []
    with open_tensors(path) as file:
        return [pattern for pattern in patterns if any(fnmatchcase(key, pattern) for key in file.shapes)]


def _bare(stem: str) -> str:
    for prefix in ("lora_unet_", "lora_te1_", "lora_te2_", "lora_te_"):
        if stem.startswith(prefix):
            return stem.removeprefix(prefix)
    return stem


def is_sdxl(file: AdapterFile) -> bool:
    """Return whether an adapter is for SDXL, by its header and modules."""
    return seems_sdxl(file.modules, file.metadata)


def with_modules(file: AdapterFile, modules: Mapping[str, Mapping[str, Tensor]]) -> AdapterFile:
    """Return the file with other modules."""
    return dataclasses.replace(file, modules=modules)


def read_safetensors_adapter(path: Path | str, *, strict: bool = True, drop: Sequence[str] = ()) -> AdapterFile:
    """Read a .safetensors adapter file of kohya, LyCORIS, diffusers or PEFT.

    Args:
        strict: refuse a file with tensors or settings that cannot be applied; False: list them in its coverage.
        drop: patterns of keys to leave out.

    Raises:
        UsageError: it does not exist, is not an adapter, or has something that cannot be applied.
        BakehouseError: it is damaged.
    """
    path = Path(path)
    if not path.is_file():
        raise UsageError(f"adapter {path} does not exist")
    state, metadata = _read(path)
    return from_state(state, metadata, source=str(path), peft=read_settings(path, metadata), strict=strict, drop=drop)


def safetensors_coverage(path: Path | str) -> Coverage:
    """Return what of a .safetensors adapter is not applied; only its header is read.

    Raises:
        BakehouseError: it is damaged.
    """
    try:
        with safe_open(path, framework="pt", device="cpu") as f:
            shapes = {key: f.get_slice(key).get_shape() for key in f.keys()}  # noqa: SIM118
            metadata = dict(f.metadata() or {})
    except (OSError, SafetensorError) as e:
        raise damaged(Path(path), e) from e
    found = group_by_module({key: torch.empty(shape, device="meta") for key, shape in shapes.items()}, metadata)
    modules = {s: {STANDARD_NAMES.get(n, n): t for n, t in tensors.items()} for s, tensors in found.modules.items()}
    return coverage_of_tensors(found, modules, metadata, read_settings(Path(path), metadata))


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    if path.suffix != ".safetensors":
        raise UsageError(
            f"adapter {path} is not a .safetensors file", hint="pickles are not read here, since they can run code"
        )
    try:
        with safe_open(path, framework="pt", device="cpu") as f:
            return {key: f.get_tensor(key) for key in f.keys()}, dict(f.metadata() or {})  # noqa: SIM118
    except (OSError, SafetensorError) as e:
        raise damaged(Path(path), e) from e
