"""Writing of adapter files by the tools: kohya's keys, the source's header, new hashes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bakehouse.adapters.file_metadata import as_text
from bakehouse.adapters.module_names import file_names
from bakehouse.adapters.peft_format import HEADER as PEFT_HEADER
from bakehouse.adapters.tensor_files import Planned, write_tensors
from bakehouse.core.errors import BakehouseError, UsageError
from bakehouse.core.events import OnEvent

Modules = Mapping[str, Mapping[str, Tensor]]

CONVERTED = "bakehouse.converted"
"""Header key of what another format cannot express, so that converting back gives the same bytes."""


def write_adapter(
    path: Path,
    modules: Modules,
    metadata: Mapping[str, Any],
    *,
    extras: Mapping[str, Tensor],
    dtype: torch.dtype | None = None,
    on_event: OnEvent | None = None,
) -> Path:
    """Write modules with kohya's keys and hashes; alpha stays in single precision, since it scales everything.

    Modules are given by our stems; SDXL's get block numbers in the file (`file_names`).

    Args:
        extras: the sources' tensors that belong to no module, by their own keys; written unchanged.

    Raises:
        UsageError: a module has no form in kohya's files: PEFT's rotations of inputs, or its IA3 on a bias.
        BakehouseError: there is nothing to write, a value overflows its type, or the file cannot be written.
    """
    header = {k: as_text(v) for k, v in metadata.items() if v is not None and k not in _OF_OTHER_FORMS}
    names = file_names(modules, header)
    planned = [
        Planned.of(f"{names[stem]}.{suffix}", tensor, torch.float32 if suffix == "alpha" else dtype)
        for stem, tensors in modules.items()
        for suffix, tensor in tensors.items()
    ]
    check_names(modules, path)
    planned += [Planned.of(key, tensor) for key, tensor in extras.items()]
    if not modules:
        raise BakehouseError(f"nothing to write to {path}: no module is left")
    return write_tensors(path, planned, header, hashed=True, on_event=on_event)


_OF_OTHER_FORMS = (PEFT_HEADER, CONVERTED)
"""Header keys of diffusers' and PEFT's formats for ranks and alphas, which are in the tensors here."""
_NAMELESS = {
    "rotations": "PEFT's rotations of inputs",
    "out_factors": "PEFT's rotations of inputs",
    "bias_factors": "factors of PEFT's IA3 that scale the bias too",
}
"""PEFT's tensors, as read here, that no other format can hold."""


def check_names(modules: Modules, path: Path) -> None:
    """Check that kohya's and LyCORIS' formats can hold the modules.

    Raises:
        UsageError: they cannot; gives their number and names the first.
    """
    for name, what in _NAMELESS.items():
        stems = [stem for stem, tensors in modules.items() if name in tensors]
        if stems:
            raise UsageError(
                f"{path}: {len(stems)} of {len(modules)} modules hold {what}, which kohya's format cannot hold: "
                f"first {stems[0]}",
                hint="merge it into a base (`weights merge FILE --base MODEL -o PATH`), or make a LoRA of it: "
                "`weights resize FILE --to-lora --base MODEL --rank N -o PATH`",
            )


def network_header(modules: Modules) -> dict[str, str]:
    """Return kohya's `ss_network_*` keys for the modules: one rank and alpha, or `Dynamic`, as its own tools write."""
    kernels: set[tuple[int, float]] = set()
    others: set[tuple[int, float]] = set()
    for tensors in modules.values():
        down = tensors.get("lora_down.weight")
        if down is not None:
            wide = down.ndim == 4 and tuple(down.shape[2:]) != (1, 1)
            alpha = float(tensors["alpha"]) if "alpha" in tensors else float(down.shape[0])
            (kernels if wide else others).add((int(down.shape[0]), alpha))
    header = {"ss_network_module": "networks.lora", **_dims(others or kernels)}
    if kernels and others:
        dims = _dims(kernels)
        args = {"conv_dim": dims["ss_network_dim"], "conv_alpha": dims["ss_network_alpha"]}
        header["ss_network_args"] = as_text(args)
    return header


def _dims(found: set[tuple[int, float]]) -> dict[str, str]:
    if len(found) == 1:
        rank, alpha = next(iter(found))
        return {"ss_network_dim": str(rank), "ss_network_alpha": str(alpha)}
    return {"ss_network_dim": "Dynamic", "ss_network_alpha": "Dynamic"}


def out_dtype(modules: Modules, requested: torch.dtype | None) -> torch.dtype:
    """Return the requested type, else the type of most values of the source."""
    if requested is not None:
        return requested
    counts: dict[torch.dtype, int] = {}
    for tensors in modules.values():
        for suffix, tensor in tensors.items():
            if suffix != "alpha" and tensor.is_floating_point():
                counts[tensor.dtype] = counts.get(tensor.dtype, 0) + tensor.numel()
    return max(counts, key=lambda d: counts[d]) if counts else torch.float32
