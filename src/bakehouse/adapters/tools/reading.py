"""Adapter files of any form: safetensors, pickles of tensors, PEFT's folders."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from bakehouse.adapters.formats import AdapterFile, from_state, read_adapter
from bakehouse.adapters.tools.files import read_pickle
from bakehouse.core.errors import UsageError

_PEFT_FILE = "adapter_model.safetensors"
_PEFT_PARTS = {"unet": "lora_unet_", "text_encoder": "lora_te_", "text_encoder_2": "lora_te2_"}


def open_adapter(path: Path | str) -> AdapterFile:
    """An adapter by kohya's stems, from a .safetensors, a pickle of tensors, or a folder that PEFT wrote.

    Raises:
        UsageError: not there, or no adapter.
        BakehouseError: broken, or a pickle that holds more than tensors.
    """
    path = Path(path)
    if path.is_dir():
        return _peft_folder(path)
    if path.suffix == ".safetensors" or not path.is_file():
        return read_adapter(path)
    return from_state(read_pickle(path), source=str(path))


def is_peft_folder(path: Path) -> bool:
    """Whether a folder holds PEFT's adapter files, its own or one for each network."""
    return any((path / part / _PEFT_FILE).is_file() for part in ("", *_PEFT_PARTS))


def _peft_folder(folder: Path) -> AdapterFile:
    found = {part: folder / part / _PEFT_FILE for part in _PEFT_PARTS if (folder / part / _PEFT_FILE).is_file()}
    if not found:
        if not (folder / _PEFT_FILE).is_file():
            raise UsageError(f"{folder} is no adapter: it holds no {_PEFT_FILE}")
        return read_adapter(folder / _PEFT_FILE)
    modules: dict[str, Mapping[str, Tensor]] = {}
    metadata: dict[str, str] = {}
    kinds = []
    for part, file in found.items():
        read = read_adapter(file)
        kinds.append(read.kind)
        metadata.update(read.metadata)
        # PEFT's keys do not say which network they are of: the folder's name does.
        modules.update({_PEFT_PARTS[part] + _bare(stem): tensors for stem, tensors in read.modules.items()})
    return AdapterFile(modules, metadata, kinds[0], str(folder))


def _bare(stem: str) -> str:
    for prefix in ("lora_unet_", "lora_te1_", "lora_te2_", "lora_te_"):
        if stem.startswith(prefix):
            return stem.removeprefix(prefix)
    return stem


def is_sdxl(file: AdapterFile) -> bool:
    """Whether an adapter is for SDXL: by its second text encoder, its blocks, or what its header says."""
    version = file.metadata.get("ss_base_model_version", "") + file.metadata.get("modelspec.architecture", "")
    if "xl" in version.lower():
        return True
    if any(stem.startswith(("lora_te2_", "lora_te1_")) for stem in file.modules):
        return True
    deep = any("_transformer_blocks_1_" in stem for stem in file.modules)
    wide = any(_context(tensors) == 2048 for stem, tensors in file.modules.items() if stem.endswith("attn2_to_k"))
    return deep or wide


def _context(tensors: Mapping[str, torch.Tensor]) -> int:
    down = tensors.get("lora_down.weight")
    return int(down.shape[1]) if down is not None and down.ndim > 1 else 0


def with_modules(file: AdapterFile, modules: Mapping[str, Mapping[str, Tensor]]) -> AdapterFile:
    """The same file with other tensors."""
    return dataclasses.replace(file, modules=modules)
