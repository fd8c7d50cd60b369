"""What kohya trains besides LoRAs and whole models of SD 1.x, 2.x and SDXL: known, so that it is refused by name."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from importlib import resources
from typing import Any

from bakehouse.core.errors import UsageError
from bakehouse.core.json_toml_yaml import parse_toml
from bakehouse.recipe.importers.import_report import Note
from bakehouse.recipe.importers.option_table import Given

_HINT = "bakehouse trains LoRAs and whole models of Stable Diffusion 1.x, 2.x and SDXL"

_BY_SCRIPT: tuple[tuple[str, str], ...] = (
    ("textual_inversion", "an embedding (textual inversion)"),
    ("lllite", "a ControlNet-LLLite"),
    ("control_net", "a ControlNet"),
    ("controlnet", "a ControlNet"),
    ("leco", "a slider from prompts (LECO)"),
    ("flux", "Flux"),
    ("sd3", "Stable Diffusion 3"),
    ("lumina", "Lumina"),
    ("chroma", "Chroma"),
    ("anima", "Anima"),
    ("hunyuan", "HunyuanImage"),
)
_BY_MODULE: Mapping[str, str] = {
    "networks.lora_flux": "Flux",
    "networks.oft_flux": "Flux",
    "networks.lora_sd3": "Stable Diffusion 3",
    "networks.lora_lumina": "Lumina",
    "networks.lora_anima": "Anima",
    "networks.lora_hunyuan_image": "HunyuanImage",
}
_BY_KEY: Mapping[str, str] = {
    "cond_emb_dim": "a ControlNet-LLLite",
    "controlnet_model_name_or_path": "a ControlNet",
    "token_string": "an embedding (textual inversion)",
    "init_word": "an embedding (textual inversion)",
    "clip_g": "Stable Diffusion 3",
    "gemma2": "Lumina",
    "qwen3": "Anima",
    "byt5": "HunyuanImage",
    "ae": "Flux",
    "t5xxl": "Flux or Stable Diffusion 3",
    "train_inpainting": "an inpainting model",
}
"""Options without which these are not trained, and that nothing else has."""


def trained_by(script: str) -> str:
    """What a script of kohya's trains that bakehouse does not; empty where it is none that is known."""
    return next((what for part, what in _BY_SCRIPT if part in script), "")


def refuse_others(given: Mapping[str, Given], where: str = "these settings") -> None:
    """Refuses what is another kind of training, by its script, its network or the files that it needs.

    Raises:
        UsageError: with what it trains.
    """
    values = {k: v.value for k, v in given.items()}
    what = trained_by(str(values.get("script") or "")) or _BY_MODULE.get(str(values.get("network_module")), "")
    key = next((k for k in _BY_KEY if values.get(k)), "")
    if what := what or (_BY_KEY[key] if key else ""):
        reason = f" ({given[key].said})" if key and what == _BY_KEY[key] else ""
        raise UsageError(f"{where} train {what}{reason}", hint=_HINT)


@functools.cache
def _data() -> Mapping[str, Any]:
    """Options of other models with their defaults, and by script what it lacks of the others' options."""
    text = resources.files("bakehouse.recipe.importers").joinpath("kohya_unsupported.toml").read_text("utf-8")
    return parse_toml(text)


def of_other_models() -> frozenset[str]:
    """Options that kohya has for other models and methods alone."""
    return frozenset(_data()["defaults"])


def without_others(given: Mapping[str, Given]) -> tuple[dict[str, Given], list[Note]]:
    """Options without those that this training's script passes over, and a note on each of these."""
    script = str(given["script"].value) if "script" in given else ""
    defaults, lacks = _data()["defaults"], set(_data()["lacks"].get(script, ()))
    kept: dict[str, Given] = {}
    notes = []
    for key, item in given.items():
        if key not in defaults and key not in lacks:
            kept[key] = item
        elif not item.quiet:
            why = f"{script} has no such option" if key in lacks else "belongs to other models"
            off = not item.value or item.value in defaults.get(key, ())
            notes.append(Note(item.said, item.value, "no effect", why, off=off))
    return kept, notes
