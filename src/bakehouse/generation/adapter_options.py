"""Adapters that a user adds beside a model's own: `--adapter FILE:STRENGTH`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from bakehouse.core.errors import UsageError
from bakehouse.core.model_catalogue import locate_model
from bakehouse.core.run_folder import Run
from bakehouse.generation.adapter_header import check_family, weights_at
from bakehouse.generation.model_source import ModelSource, did_you_mean_beside
from bakehouse.generation.run_weights import selected_weights


def parse_adapters(source: ModelSource, texts: Sequence[str]) -> tuple[tuple[Path, float], ...]:
    """Return files and strengths for `a.safetensors:0.7`, `runs/x`, `runs/x:0.5`, `name:-1`.

    The default strength is 1 for a file, and for a run what its evaluation selected. Only headers are read.

    Raises:
        UsageError: not found, not a number, a whole model, or made for another family than the base's.
        BakehouseError: a file is damaged.
    """
    found = tuple(_file_and_strength(text.strip()) for text in texts)
    for path, _ in found:
        check_family(path, source.base)
    return found


def _file_and_strength(text: str) -> tuple[Path, float]:
    ref, colon, number = text.rpartition(":")
    if not colon or Path(text).expanduser().exists():
        return _adapter_of(text)
    try:
        strength = float(number)
    except ValueError:
        strength = math.nan
    if not math.isfinite(strength):
        raise UsageError(
            f"--adapter {text}: the strength {number!r} is not a number", hint="write FILE:0.7; FILE alone means 1"
        )
    return _adapter_of(ref)[0], strength


def _adapter_of(text: str) -> tuple[Path, float]:
    """Return the adapter of a file, a folder, a run or a name in the catalogue, with its default strength."""
    path = Path(text).expanduser()
    if not path.exists():
        installed = locate_model(text, "adapter")
        if installed is None:
            raise UsageError(
                f"adapter {text!r} does not exist{did_you_mean_beside(path)}",
                hint="an adapter is a .safetensors file, a folder of diffusers or PEFT, or a run",
            )
        path = Path(installed)
    strength = 1.0
    if (path / "recipe.toml").is_file():
        path, strength = selected_weights(Run(path))
    found = weights_at(path)
    if found is None:
        raise UsageError(
            f"{text} is not an adapter" + (": it is a whole model" if (path / "model_index.json").is_file() else ""),
            hint="--adapter takes .safetensors files of adapters and embeddings, folders of diffusers or PEFT, and "
            "runs; pass a whole model as MODEL",
        )
    return found, strength
