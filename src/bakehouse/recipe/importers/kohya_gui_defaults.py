"""Tabs of the kohya_ss GUI: their defaults, and how they read a settings file."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from bakehouse.recipe.importers.option_table import GivenValue
from bakehouse.recipe.importers.shipped_tables import shipped_table

Tab = Literal["lora", "dreambooth", "finetune"]

_WHOLE: Mapping[str, int] = {
    **dict.fromkeys(("clip_skip", "epoch", "gradient_accumulation_steps", "keep_tokens", "lr_warmup"), 0),
    **dict.fromkeys(("max_data_loader_n_workers", "max_train_epochs", "save_every_n_epochs", "seed"), 0),
    **dict.fromkeys(("max_train_steps", "caption_dropout_every_n_epochs"), 0),
    "max_token_length": 75,
}
"""Keys that it reads as whole numbers, and the value for text that is not a number."""
_NUMBERS: Mapping[str, float] = {
    **dict.fromkeys(("adaptive_noise_scale", "noise_offset", "learning_rate", "text_encoder_lr", "unet_lr"), 0.0),
    "lr_scheduler_power": 1.0,
}
_OF_A_NOISE = (
    *("noise_offset", "noise_offset_random_strength", "adaptive_noise_scale"),
    *("multires_noise_iterations", "multires_noise_discount"),
)
_MOST = 10**12
_OLD_TYPES = {"LoCon": "LyCORIS/LoCon"}
_OLD_NAMES = {"lora_network_weights": "network_weights"}


HANDED_ON: Mapping[str, list[str]] = shipped_table("kohya_gui.toml")["handed_on"]
"""Keys that a tab passes to kohya under the same name."""


def defaults_of(tab: Tab) -> Mapping[str, Any]:
    """Return a tab's default values."""
    return {**shipped_table("kohya_gui.toml")["common"], **shipped_table("kohya_gui.toml")[tab]}


@dataclass
class GuiSettings:
    """The values of a tab after it has loaded a file."""

    tab: Tab
    data: Mapping[str, Any]
    """The file's content."""
    values: Mapping[str, Any]
    """The values as the GUI reads them; the tab's defaults where the file has none."""
    renamed: Mapping[str, str]
    """Old names of keys in the file, and their present names."""
    handed_on: set[str] = field(default_factory=set)
    """Keys of the file that became arguments of the network, which have notes of their own."""

    @property
    def defaults(self) -> Mapping[str, Any]:
        """The default of every key of this tab."""
        return defaults_of(self.tab)

    def __getitem__(self, key: str) -> Any:
        return self.values.get(key, "")

    def given(self, key: str, value: Any) -> GivenValue:
        """Return `value` as a kohya option that comes from `key`; quiet if the file does not have the key."""
        said = next((old for old, new in self.renamed.items() if new == key), key)
        if said in self.data:
            return GivenValue(value, said)
        return GivenValue(value, f"kohya_ss's default of {key}", quiet=True)

    def is_default(self, key: str) -> bool:
        """Whether the file's value of a key is the tab's default."""
        value, default = self.values.get(key, self.data.get(key)), self.defaults.get(key)
        return value == default or str(value) == str(default) or (not value and not default)

    def why_not(self, key: str) -> str:
        """Return why the GUI does not pass a key of this tab to kohya."""
        if key.startswith(tuple(HANDED_ON["of_other_models"])):
            return "only for other models"
        if key in _OF_A_NOISE:
            return f"noise_offset_type is {self['noise_offset_type']}"
        if key.startswith("learning_rate_te"):
            return f"the model is {'SDXL' if key == 'learning_rate_te' else 'not SDXL'}"
        kind = self["LoRA_type"]
        return f"the GUI does not pass it to kohya{f' where LoRA_type is {kind}' if kind else ''}"


def load_gui_settings(data: Mapping[str, Any], tab: Tab) -> GuiSettings:
    """Return the settings of a tab that has loaded a file."""
    read = {_OLD_NAMES.get(k, k): _read(k, v) for k, v in data.items()}
    if "optimizer" not in read:
        read["optimizer"] = "AdamW8bit" if data.get("use_8bit_adam") else "AdamW"
    values = {**defaults_of(tab), **{k: v for k, v in read.items() if v is not None}}
    kind = str(values.get("LoRA_type", ""))
    values["LoRA_type"] = _OLD_TYPES.get(kind, kind)
    renamed = {old: new for old, new in _OLD_NAMES.items() if old in data}
    if "use_8bit_adam" in data and "optimizer" not in data:
        renamed["use_8bit_adam"] = "optimizer"
    return GuiSettings(tab, data, values, renamed)


def _read(key: str, value: Any) -> Any:
    """Return a value of the file as the GUI reads it."""
    if key in _WHOLE:
        return _number(value, int, _WHOLE[key])
    if key in _NUMBERS:
        return _number(value, float, _NUMBERS[key])
    if key == "xformers" and isinstance(value, bool):
        return "xformers" if value else "none"
    return value


def _number(value: Any, kind: type[int] | type[float], otherwise: float) -> float:
    try:
        return kind(value)
    except (TypeError, ValueError, OverflowError):
        return otherwise


def whole(value: Any, otherwise: int = 0) -> int:
    """Return a value as the GUI's `int()` reads it, limited to what a training can use."""
    return min(_MOST, int(_number(value, int, otherwise)))


def number(value: Any) -> float:
    """Return a value as a number; 0 if it is not one."""
    read = float(_number(value, float, 0.0))
    return read if math.isfinite(read) else 0.0
