"""Options that the tabs of kohya_ss pass to kohya: keys, their names there, and derived values."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from bakehouse.recipe.importers.common import folder_path
from bakehouse.recipe.importers.kohya_gui_defaults import HANDED_ON, GuiSettings, number, whole
from bakehouse.recipe.importers.option_table import GivenValue
from bakehouse.recipe.importers.value_types import is_folder

TYPES: Mapping[str, tuple[str, str]] = {
    "Standard": ("networks.lora", ""),
    "Kohya LoCon": ("networks.lora", ""),
    "LoRA-FA": ("networks.lora_fa", ""),
    "Kohya DyLoRA": ("networks.dylora", ""),
    "Kohya LoHa": ("networks.loha", ""),
    "Kohya LoKr": ("networks.lokr", ""),
    "LyCORIS/LoCon": ("lycoris.kohya", "locon"),
    "LyCORIS/LoHa": ("lycoris.kohya", "loha"),
    "LyCORIS/LoKr": ("lycoris.kohya", "lokr"),
    "LyCORIS/iA3": ("lycoris.kohya", "ia3"),
    "LyCORIS/DyLoRA": ("lycoris.kohya", "dylora"),
    "LyCORIS/Diag-OFT": ("lycoris.kohya", "diag-oft"),
    "LyCORIS/BOFT": ("lycoris.kohya", "boft"),
    "LyCORIS/GLoRA": ("lycoris.kohya", "glora"),
    "LyCORIS/Native Fine-Tuning": ("lycoris.kohya", "full"),
}
"""The GUI's LoRA types: module and algorithm."""

_SCRIPTS = {
    ("lora", False): "train_network.py",
    ("lora", True): "sdxl_train_network.py",
    ("dreambooth", False): "train_db.py",
    ("dreambooth", True): "sdxl_train.py",
    ("finetune", False): "fine_tune.py",
    ("finetune", True): "sdxl_train.py",
}

_RENAMED = {"max_resolution": "resolution", "optimizer": "optimizer_type"}


def options_of(gui: GuiSettings, folder: Path) -> dict[str, GivenValue]:
    """Return kohya's options as the tab passes them; those that the GUI decides by itself are quiet."""
    keys = [*HANDED_ON["every_tab"], *HANDED_ON[gui.tab], *_RENAMED]
    passed = {_RENAMED.get(k, k): gui.given(k, gui[k]) for k in keys if k in gui.values}
    passed |= {k: gui.given(k, gui[k]) for k in HANDED_ON["unless_0"] if k in gui.values and number(gui[k])}
    for name, (key, value) in (*_derived(gui), *_noise(gui), *_rates(gui), *_length(gui, folder)):
        passed[name] = gui.given(key, value)
    # The LoRA tab takes 0 for "not given", as Python's 0 == False.
    empty: tuple[Any, ...] = ("", False, None) if gui.tab == "lora" else ()
    kept = {
        k: v
        for k, v in passed.items()
        if (k in gui.data if v.value is False else v.value not in (*empty, "", None))  # a flag's no is the user's
    }
    if gui.tab == "lora":
        kept["max_data_loader_n_workers"] = passed["max_data_loader_n_workers"]
    return kept


_Made = Iterator[tuple[str, tuple[str, Any]]]
"""An option's name, the key that it comes from, and its value."""


def _derived(gui: GuiSettings) -> _Made:
    """Yield the script, attention kernel, warm-up and list arguments."""
    sdxl_key = "sdxl_checkbox" if gui.tab == "finetune" else "sdxl"
    sdxl = bool(gui[sdxl_key])
    yield "script", ("LoRA_type" if gui.tab == "lora" else sdxl_key, _SCRIPTS[gui.tab, sdxl])
    if gui.tab == "lora":
        yield "network_module", ("LoRA_type", TYPES[gui["LoRA_type"]][0])
    if gui.tab == "finetune":
        yield "enable_bucket", ("generate_image_buckets", True)
        yield "train_data_dir", ("image_folder", gui["image_folder"])
        yield "in_json", ("caption_metadata_filename", f"{gui['train_dir']}/{gui['caption_metadata_filename']}")
    yield "xformers", ("xformers", gui["xformers"] == "xformers")
    yield "sdpa", ("xformers", gui["xformers"] == "sdpa")
    steps = number(gui["lr_warmup_steps"])
    share = number(gui["lr_warmup"]) / 100
    yield "lr_warmup_steps", ("lr_warmup_steps", int(steps)) if steps > 0 else ("lr_warmup", share)
    for name in ("optimizer_args", "lr_scheduler_args"):
        yield name, (name, str(gui[name]).replace('"', "").split() or "")
    if gui.tab != "finetune":
        cycles = gui["lr_scheduler_num_cycles"]
        empty = cycles in ("", None)
        yield (
            "lr_scheduler_num_cycles",
            ("epoch", gui["epoch"]) if empty else ("lr_scheduler_num_cycles", whole(cycles, 1)),
        )
    if gui["train_inpainting"]:
        yield from ((name, ("train_inpainting", False)) for name in ("cache_latents", "cache_latents_to_disk"))


def _noise(gui: GuiSettings) -> _Made:
    """Yield the noise options; the LoRA tab passes those of one kind of noise only."""
    if gui.tab != "lora":
        return
    other = {"Original": ("multires_noise_iterations", "multires_noise_discount")}.get(
        str(gui["noise_offset_type"]), ("noise_offset", "noise_offset_random_strength", "adaptive_noise_scale")
    )
    yield from ((name, (name, "")) for name in other)


def _rates(gui: GuiSettings) -> _Made:
    """Yield which parts are trained, and their learning rates."""
    if gui.tab == "lora":
        text, unet = number(gui["text_encoder_lr"]), number(gui["unet_lr"])
        yield "text_encoder_lr", ("text_encoder_lr", [text, text] if text > 0 else "")
        yield "unet_lr", ("unet_lr", unet or "")
        yield "network_train_unet_only", ("text_encoder_lr", text == 0 and unet != 0)
        yield "network_train_text_encoder_only", ("unet_lr", text != 0 and unet == 0)
        return
    if gui.tab == "dreambooth":
        yield (
            "stop_text_encoder_training",
            ("stop_text_encoder_training", whole(gui["stop_text_encoder_training"]) or ""),
        )
    if not gui["sdxl_checkbox" if gui.tab == "finetune" else "sdxl"]:
        yield "learning_rate_te", ("learning_rate_te", gui["learning_rate_te"])
        return
    encoders = ("learning_rate_te1", "learning_rate_te2")
    yield from ((name, (name, gui[name])) for name in encoders)
    if gui.tab == "dreambooth":
        yield "train_text_encoder", ("learning_rate_te1", any(number(gui[name]) > 0 for name in encoders))


# --- length -----------------------------------------------------------------------------------------------------------


def _length(gui: GuiSettings, folder: Path) -> _Made:
    """Yield the steps, computed from the GUI's epochs and the images unless steps or kohya's epochs are given."""
    if whole(gui["max_train_epochs"]) or whole(gui["max_train_steps"]) or gui["dataset_config"]:
        halved = gui.tab == "finetune" and gui["flip_aug"] and not gui["dataset_config"]
        if halved and (steps := whole(gui["max_train_steps"])):
            yield "max_train_steps", ("max_train_steps", math.ceil(steps / 2))
        return
    shown = _shown(gui, folder)
    epochs = whole(gui["epoch"]) * (2 if gui.tab != "finetune" and gui["reg_data_dir"] else 1)
    batch, accumulation = max(1, whole(gui["train_batch_size"])), max(1, whole(gui["gradient_accumulation_steps"]))
    steps = math.ceil(shown / batch / accumulation * epochs)
    flipped = gui.tab == "finetune" and gui["flip_aug"]
    if steps:
        yield "max_train_steps", ("epoch", math.ceil(steps / 2) if flipped else steps)
    else:
        yield "max_train_epochs", ("epoch", math.ceil(whole(gui["epoch"]) / 2) if flipped else whole(gui["epoch"]))


def _shown(gui: GuiSettings, folder: Path) -> int:
    """Return the images in an epoch, as the GUI counts them; 0 if they are not on this machine."""
    if gui.tab == "finetune":
        return (
            _images(folder_path(str(gui["image_folder"]), folder)) * whole(gui["dataset_repeats"])
            if gui["image_folder"]
            else 0
        )
    root = folder_path(str(gui["train_data_dir"]), folder)
    if not gui["train_data_dir"] or not is_folder(root):
        return 0
    counted = [(p, re.match(r"\s*([+-]?\d+)\s*(?:_|$)", p.name)) for p in root.iterdir() if p.is_dir()]
    return sum(int(match[1]) * _images(path) for path, match in counted if match)


def _images(folder: Path) -> int:
    if not is_folder(folder):
        return 0
    return sum(p.name.lower().endswith((".jpg", ".jpeg", ".png", ".webp")) for p in folder.iterdir())


# --- networks ---------------------------------------------------------------------------------------------------------

_DROPOUTS = ("rank_dropout", "module_dropout")
_SIZES = ("conv_dim", "conv_alpha")
_BLOCKS = (
    *("down_lr_weight", "mid_lr_weight", "up_lr_weight", "block_lr_zero_threshold"),
    *("block_dims", "block_alphas", "conv_block_dims", "conv_block_alphas"),
)
_LORA_PLUS = ("loraplus_lr_ratio", "loraplus_unet_lr_ratio", "loraplus_text_encoder_lr_ratio")
_LYCORIS = ("rank_dropout_scale", "train_norm", *_SIZES, *_DROPOUTS)
_FACTORED = (*_LYCORIS, "use_tucker", "bypass_mode", "dora_wd", "use_scalar")
_ALWAYS: Mapping[str, tuple[str, ...]] = {
    "Kohya LoCon": _SIZES,
    "LyCORIS/BOFT": (*_LYCORIS, "use_tucker"),
    "LyCORIS/Diag-OFT": (*_LYCORIS, "use_tucker", "constrain", "rescaled"),
    "LyCORIS/DyLoRA": (*_SIZES, *_DROPOUTS, "use_tucker", "unit", "train_norm"),
    "LyCORIS/GLoRA": (*_LYCORIS, "use_tucker"),
    "LyCORIS/iA3": (*_SIZES, "train_on_input"),
    "LyCORIS/LoCon": _FACTORED,
    "LyCORIS/LoHa": _FACTORED,
    "LyCORIS/LoKr": (*(k for k in _FACTORED if k != "use_tucker"), "factor", "use_cp", "decompose_both"),
    "LyCORIS/Native Fine-Tuning": tuple(k for k in _LYCORIS if k not in _SIZES),
}
"""Arguments that a type passes on whatever their value."""
_IF_SET: Mapping[str, tuple[str, ...]] = {
    "Standard": (*_BLOCKS, *_DROPOUTS),
    "Kohya LoCon": (*_BLOCKS, *_DROPOUTS),
    "LoRA-FA": (*_BLOCKS, *_DROPOUTS),
    "Kohya DyLoRA": (*_BLOCKS, *_DROPOUTS, *_SIZES, "unit"),
    "Kohya LoHa": ("use_tucker", *_DROPOUTS),
    "Kohya LoKr": ("use_tucker", *_DROPOUTS),
}
"""Arguments that a type passes on unless they are empty, 0 or off."""


def network_arguments(gui: GuiSettings) -> dict[str, GivenValue]:
    """Return kohya's `network_args` as the LoRA type passes them; their keys are added to `handed_on`."""
    if gui.tab != "lora":
        return {}
    kind = gui["LoRA_type"]
    algorithm = TYPES[kind][1]
    keys = [*_ALWAYS.get(kind, ()), *(k for k in (*_IF_SET.get(kind, ()), *_LORA_PLUS) if _set(gui[k]))]
    if kind in ("Kohya LoHa", "Kohya LoKr"):
        keys += _SIZES if number(gui["conv_dim"]) > 0 else ()
        keys += ["factor"] if kind == "Kohya LoKr" and whole(gui["factor"], -1) != -1 else []
    names = {"constrain": "constraint", **({"unit": "block_size"} if algorithm else {})}
    passed = {names.get(k, k): gui.given(k, gui[k]) for k in dict.fromkeys(keys)}
    if algorithm:
        passed["preset"] = gui.given("LyCORIS_preset", gui["LyCORIS_preset"] or "full")
        passed["algo"] = GivenValue(algorithm, "LoRA_type", quiet=True)
    gui.handed_on.update(item.source_key for item in passed.values() if not item.quiet)
    return passed


def _set(value: Any) -> bool:
    return bool(number(value)) if not isinstance(value, str) or value.replace(".", "").isdigit() else bool(value)
