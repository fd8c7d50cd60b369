"""Training settings of an adapter or a fine-tuned model: from the run that holds it, or from the file's metadata."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bakehouse.core.bundled_models import BUNDLED_BASE
from bakehouse.core.model_catalogue import find_model
from bakehouse.core.parse_json_toml_yaml import parse_toml
from bakehouse.core.run_folder import Run

RECIPE_KEY = "bakehouse.recipe"
"""The metadata key under which our adapters keep their recipe."""


def run_of(path: Path) -> Run | None:
    """Return the run whose weights/ holds a file or folder."""
    run = Run(path.resolve().parent.parent)
    return run if path.resolve().parent.name == "weights" and run.recipe.is_file() else None


def settings_from_metadata(metadata: Mapping[str, str]) -> dict[str, Any]:
    """Return `base`, `vae`, `clip_skip`, ... as far as metadata tell: our own recipe first, then kohya's keys."""
    try:
        recipe = parse_toml(metadata.get(RECIPE_KEY, ""))
    except tomllib.TOMLDecodeError:
        recipe = {}
    model = dict(recipe.get("model", {}))
    kohya = metadata.get("ss_sd_model_name")
    if "base" not in model and recipe:
        model["base"] = BUNDLED_BASE  # the default of a recipe
    if "base" not in model and kohya not in (None, "", "None"):
        model["base"] = kohya
    model.setdefault("clip_skip", metadata.get("ss_clip_skip"))
    # Other trainers write the key for epsilon models too, which cannot be sampled from pure noise.
    predicts_v = metadata.get("modelspec.prediction_type") == "v"
    model["zero_terminal_snr"] = predicts_v and metadata.get("ss_zero_terminal_snr") == "True"
    return model


def find_base(named: Any, adapter: Path, *, is_hub_id: bool) -> str | None:
    """Return where the base that metadata name is now: itself, or a file of that name beside the adapter."""
    if not named:
        return None
    text = str(named)
    if Path(text).exists() or find_model(text) is not None:
        return text
    neighbour = adapter.parent / Path(text).name
    if neighbour.exists():
        return str(neighbour)
    return text if is_hub_id and Path(text).suffix not in (".safetensors", ".ckpt") else None


def whole_number(value: Any) -> int | None:
    """Return metadata text as a whole number; None where it is not one."""
    try:
        return int(value)
    except (TypeError, ValueError):
        return None
