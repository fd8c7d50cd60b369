"""Writes textual inversions in the layouts that A1111, ComfyUI, kohya's scripts and diffusers read."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors.torch import save_file
from torch import Tensor

from bakehouse.core.errors import BakehouseError, UsageError
from bakehouse.core.files import atomic_path
from bakehouse.core.finite import count_not_finite
from bakehouse.models.textual_inversion import TextualInversion

Layout = Literal["a1111", "diffusers"]
SUFFIXES = (".safetensors", ".pt", ".bin")
SDXL_NAMES = {"text_encoder": "clip_l", "text_encoder_2": "clip_g"}
"""The names of SDXL's text encoders in files of all programs."""
SINGLE_NAME = "emb_params"
"""The one tensor of a .safetensors for SD 1.x and 2.x, as A1111's users and kohya's scripts write it."""
_STAR = 265
"""CLIP's token of `*`, A1111's placeholder while it trains."""


def token_of(word: str) -> str:
    """Return diffusers' token for a word: `zwx` -> `<zwx>`, which is in no tokenizer."""
    return word if word.startswith("<") and word.endswith(">") else f"<{'-'.join(word.split())}>"


def write_textual_inversion(
    inversion: TextualInversion,
    path: Path,
    *,
    layout: Layout = "a1111",
    metadata: Mapping[str, str] | None = None,
    dtype: torch.dtype = torch.float32,
) -> Path:
    """Write the vectors of one word; the suffix chooses safetensors or a pickle (.pt, .bin) of tensors.

    SD 1.x and 2.x: in A1111's layout `emb_params`, or `string_to_param` in a pickle; in diffusers' `<word>`. SDXL: both
    are `clip_l` and `clip_g`.

    Args:
        inversion: vectors by text encoder, [n, D] each; under "" for a model with one encoder.
        path: where to; A1111 and ComfyUI use the file's name as the word.
        layout: the names of the tensors.
        metadata: of the training. A pickle of A1111's layout keeps what it has a place for: steps and base.
        dtype: of the tensors.

    Raises:
        UsageError: another suffix.
        BakehouseError: a vector is NaN or overflows `dtype`, or the file cannot be written.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise UsageError(f"{path} is not a name for an embedding's file", hint=f"end it in {', '.join(SUFFIXES)}")
    is_pickle = path.suffix.lower() != ".safetensors"
    tensors = named_tensors(inversion, layout, dtype)
    with atomic_path(path) as temporary:
        if not is_pickle:
            save_file(tensors, temporary, metadata=dict(metadata or {}))
        elif SINGLE_NAME in tensors:
            torch.save(_as_a1111_trains(tensors[SINGLE_NAME], path.stem, metadata or {}), temporary)
        else:
            torch.save(tensors, temporary)
    return path


def named_tensors(inversion: TextualInversion, layout: Layout, dtype: torch.dtype) -> dict[str, Tensor]:
    """Return the tensors of a file in a layout, on the CPU.

    Raises:
        BakehouseError: a vector is NaN or overflows `dtype`.
    """
    vectors = {part: t.detach().to("cpu", dtype).contiguous().clone() for part, t in inversion.vectors.items()}
    for part, tensor in vectors.items():
        if count_not_finite(tensor):
            why = "holds NaN or infinity" if count_not_finite(inversion.vectors[part]) else f"overflows {dtype}"
            raise BakehouseError(
                f"the embedding of {inversion.name!r} {why}, so it is not written", hint="go back to an earlier one"
            )
    if len(vectors) > 1:
        return {SDXL_NAMES[part]: tensor for part, tensor in vectors.items()}
    (tensor,) = vectors.values()
    return {SINGLE_NAME if layout == "a1111" else token_of(inversion.name): tensor}


def _as_a1111_trains(tensor: Tensor, name: str, metadata: Mapping[str, str]) -> dict[str, Any]:
    """Return a .pt as A1111's own training saves it."""
    steps = metadata.get("ss_steps", "")
    base_hash = metadata.get("ss_new_sd_model_hash", "")
    return {
        "string_to_token": {"*": _STAR},
        "string_to_param": {"*": tensor},
        "name": name,
        "step": int(steps) if steps.isdecimal() else None,
        "sd_checkpoint": base_hash[:10] or None,
        "sd_checkpoint_name": metadata.get("ss_sd_model_name") or None,
    }
