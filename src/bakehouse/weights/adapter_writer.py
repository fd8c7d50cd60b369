"""How results become adapter files: kohya's keys, the header carried on, hashes made anew."""

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
"""What another form has no word for, so that the way back to kohya's gives the same bytes."""


def write_adapter(
    path: Path,
    modules: Modules,
    metadata: Mapping[str, Any],
    *,
    extras: Mapping[str, Tensor],
    dtype: torch.dtype | None = None,
    on_event: OnEvent | None = None,
) -> Path:
    """Writes modules with kohya's keys and hashes; alpha stays in single precision, since it scales everything.

    Modules go by our stems; SDXL's get block numbers in the file (`file_names`).

    Args:
        extras: what belongs to no module and came with the sources, by its own keys; written as it is.

    Raises:
        UsageError: a module is in a form that no file has: PEFT's rotations of inputs, or its IA3 on a bias.
        BakehouseError: nothing to write, a number does not fit its type, or the place cannot be written.
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
        raise BakehouseError(f"nothing to write into {path}: no module is left")
    return write_tensors(path, planned, header, hashed=True, on_event=on_event)


_OF_OTHER_FORMS = (PEFT_HEADER, CONVERTED)
"""What a source in diffusers' or PEFT's form says of its ranks and alphas: here these stand in the tensors."""
_NAMELESS = {
    "turns": "PEFT's rotations of inputs",
    "out_factors": "PEFT's rotations of inputs",
    "bias_factors": "factors of PEFT's IA3 that scale the bias too",
}
"""What reading makes of PEFT's tensors that no other program has a form for."""


def check_names(modules: Modules, path: Path) -> None:
    """Sees to it that kohya's and LyCORIS' names can hold the modules.

    Raises:
        UsageError: they cannot; says how many, and names the first.
    """
    for name, what in _NAMELESS.items():
        stems = [stem for stem, tensors in modules.items() if name in tensors]
        if stems:
            raise UsageError(
                f"{path}: {len(stems)} of {len(modules)} modules hold {what}, which kohya's form has no names for: "
                f"first {stems[0]}",
                hint="merge it into a base (`weights merge FILE --base MODEL -o PLACE`), or make a LoRA of it: "
                "`weights resize FILE --to-lora --base MODEL --rank N -o PLACE`",
            )


def network_header(modules: Modules) -> dict[str, str]:
    """Kohya's `ss_network_*` for what is in the file: one rank and alpha, or `Dynamic` as its own tools say."""
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


def out_dtype(modules: Modules, asked: torch.dtype | None) -> torch.dtype:
    """What was asked for, else the type that most numbers of the source have."""
    if asked is not None:
        return asked
    counts: dict[torch.dtype, int] = {}
    for tensors in modules.values():
        for suffix, tensor in tensors.items():
            if suffix != "alpha" and tensor.is_floating_point():
                counts[tensor.dtype] = counts.get(tensor.dtype, 0) + tensor.numel()
    return max(counts, key=lambda d: counts[d]) if counts else torch.float32
