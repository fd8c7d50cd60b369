"""Adapter files of any form: safetensors, pickles of tensors, PEFT's folders."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from torch import Tensor

from bakehouse.adapters.adapter_files import AdapterFile, from_state, read_adapter
from bakehouse.adapters.file_coverage import Account
from bakehouse.adapters.tensor_names import counted, seems_sdxl
from bakehouse.core.errors import UsageError
from bakehouse.weights.tensor_files import check_suffix, open_tensors, read_pickle

_PEFT_FILE = "adapter_model.safetensors"
_PEFT_PARTS = {"unet": "lora_unet_", "text_encoder": "lora_te_", "text_encoder_2": "lora_te2_"}


def open_adapter(path: Path | str, *, whole: bool = True, drop: Sequence[str] = ()) -> AdapterFile:
    """An adapter by kohya's stems, from a .safetensors, a pickle of tensors, or a folder that PEFT wrote.

    Args:
        whole: refuse a file with tensors or settings that cannot be applied; False: tell of them in its account.
        drop: patterns of keys to leave out.

    Raises:
        UsageError: not there, no adapter, or it cannot be applied whole.
        BakehouseError: broken, or a pickle that holds more than tensors.
    """
    path = Path(path)
    if path.is_dir():
        return _peft_folder(path, whole, drop)
    if path.suffix == ".safetensors" or not path.is_file():
        return read_adapter(path, whole=whole, drop=drop)
    check_suffix(path)
    return from_state(read_pickle(path), source=str(path), whole=whole, drop=drop)


def is_peft_folder(path: Path) -> bool:
    """Whether a folder holds PEFT's adapter files, its own or one for each network."""
    return any((path / part / _PEFT_FILE).is_file() for part in ("", *_PEFT_PARTS))


def _peft_folder(folder: Path, whole: bool, drop: Sequence[str]) -> AdapterFile:
    found = {part: folder / part / _PEFT_FILE for part in _PEFT_PARTS if (folder / part / _PEFT_FILE).is_file()}
    if not found:
        if not (folder / _PEFT_FILE).is_file():
            raise UsageError(f"{folder} is no adapter: it holds no {_PEFT_FILE}")
        return read_adapter(folder / _PEFT_FILE, whole=whole, drop=drop)
    modules: dict[str, Mapping[str, Tensor]] = {}
    metadata: dict[str, str] = {}
    extras: dict[str, Tensor] = {}
    account = Account()
    kinds = []
    for part, file in found.items():
        read = read_adapter(file, whole=whole, drop=_of_file(drop, file))
        kinds.append(read.kind)
        metadata.update(read.metadata)
        extras.update(read.extras)
        account += read.account
        # PEFT's keys do not say which network they are of: the folder's name does.
        modules.update({_PEFT_PARTS[part] + _bare(stem): tensors for stem, tensors in read.modules.items()})
    return AdapterFile(counted(modules, metadata), metadata, kinds[0], str(folder), extras, account)


def _of_file(patterns: Sequence[str], path: Path) -> list[str]:
    """Those patterns that fit a key of one of several files."""
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
    """Whether an adapter is for SDXL, as far as it tells."""
    return seems_sdxl(file.modules, file.metadata)


def with_modules(file: AdapterFile, modules: Mapping[str, Mapping[str, Tensor]]) -> AdapterFile:
    """The same file with other tensors."""
    return dataclasses.replace(file, modules=modules)
