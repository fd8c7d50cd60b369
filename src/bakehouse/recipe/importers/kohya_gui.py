"""kohya_ss GUI: its JSON, translated into kohya's options as the GUI itself does before it calls kohya."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from bakehouse.core.errors import UsageError
from bakehouse.recipe.importers.command_line import parse_options
from bakehouse.recipe.importers.document import Document
from bakehouse.recipe.importers.draft import Draft
from bakehouse.recipe.importers.kohya import LAUNCHER, draft_of
from bakehouse.recipe.importers.kohya_network import NETWORK_ARGS
from bakehouse.recipe.importers.kohya_options import KOHYA
from bakehouse.recipe.importers.result import Note
from bakehouse.recipe.importers.table import Given, Option, always, missing, no_effect, parsed, table, taken

TITLE = "kohya_ss GUI"

RENAMED: Mapping[str, str] = {
    "max_resolution": "resolution",
    "epoch": "max_train_epochs",
    "optimizer": "optimizer_type",
    "lora_network_weights": "network_weights",
    "sdxl_cache_text_encoder_outputs": "cache_text_encoder_outputs",
    "sdxl_no_half_vae": "no_half_vae",
}
"""The GUI's names for kohya's options."""

OWN: dict[str, Option] = table(
    taken("LoRA_type", "text", "adapter.kind"),
    taken("LyCORIS_preset", "text", "adapter.targets"),
    taken("lr_warmup", "float", "schedule.warmup", how="per cent there, a share here"),
    taken("additional_parameters", "text", how="read as a command line"),
    always("sdxl", "flag", "the family is read from the model itself"),
    no_effect("model_list", "text", "the GUI's own choice of models"),
    no_effect("save_as_bool", "flag", "the GUI's own"),
    no_effect("training_preset", "text", "the GUI's own"),
    taken("noise_offset_type", "text", "noise", how="says whether the offset or the pyramid counts"),
    no_effect("use_wandb", "flag", "wandb is not used"),
    no_effect("gpu_ids", "text", "`train.device` says which"),
    no_effect("multi_gpu", "flag", LAUNCHER),
    no_effect("num_cpu_threads_per_process", "int", LAUNCHER),
    no_effect("num_machines", "int", LAUNCHER),
    no_effect("num_processes", "int", LAUNCHER),
    no_effect("main_process_port", "int", LAUNCHER),
    no_effect("extra_accelerate_launch_args", "text", LAUNCHER),
    missing("dynamo_mode", "text", "compiled in the usual mode"),
    missing("dynamo_use_dynamic", "flag", "compiled for fixed shapes"),
    missing("dynamo_use_fullgraph", "flag", "compiled in parts where it must be"),
)
"""Keys that are the GUI's alone."""

TYPES: Mapping[str, tuple[str, str]] = {
    "Standard": ("networks.lora", ""),
    "Kohya LoCon": ("networks.lora", ""),
    "LoCon": ("networks.lora", ""),
    "LoRA-FA": ("networks.lora_fa", ""),
    "Kohya DyLoRA": ("networks.dylora", ""),
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

_OF_OTHER_MODELS = (
    "flux1_",
    "sd3_",
    "lumina_",
    "hunyuan_",
    "anima_",
    "t5xxl",
    "clip_l",
    "clip_g",
    "ae",
    "guidance_scale",
)
_NO_CONVOLUTIONS = ("Standard", "LoRA-FA")
_ZERO_IS_UNSET = ("max_train_steps", "max_train_epochs", "vae_batch_size", "lr_scheduler_num_cycles", "lr_warmup_steps")


def knows(document: Document) -> bool:
    """Whether the document is the GUI's."""
    return document.format == "json" and bool({"LoRA_type", "max_resolution", "model_list"} & set(document.table))


def read(documents: Sequence[Document]) -> Draft:
    """All documents as one training; what comes later wins.

    Raises:
        UsageError: settings for another kind of model.
    """
    data = {k: v for document in documents for k, v in document.table.items() if v not in ("", None)}
    if data.get("flux1_checkbox") or data.get("sd3_checkbox"):
        raise UsageError("these settings train Flux or SD 3", hint="bakehouse trains SD 1.x, SD 2.x and SDXL")
    notes: list[Note] = []
    given: dict[str, Given] = {}
    for key, value in data.items():
        if key in OWN or key in NETWORK_ARGS:
            continue
        if key.startswith(_OF_OTHER_MODELS) and key not in KOHYA:
            notes.append(Note(key, value, "no effect", "belongs to Flux and SD 3"))
        elif not (key in _ZERO_IS_UNSET and float(value or 0) == 0):
            given[RENAMED.get(key, key)] = Given(value, key)
    notes += [_own_note(key, data[key]) for key in data if key in OWN]
    _set_length(data, given)
    _set_rates(data, given)
    _set_noise(data, given, notes)
    _set_kernel(given)
    _set_network(data, given, notes)
    _set_warmup(data, given)
    if extra := data.get("additional_parameters"):
        options, _ = parse_options(shlex.split(str(extra)))
        given |= {k: Given(v, f"additional_parameters --{k}") for k, v in options.items()}
    return draft_of(given, (), folder=documents[-1].folder, notes=notes)


def _own_note(key: str, value: Any) -> Note:
    option = OWN[key]
    return Note(key, value, option.fate, option.how, option.to, off=value in (False, 0, "", "0", 1, "none", "custom"))


def _set_length(data: Mapping[str, Any], given: dict[str, Given]) -> None:
    """The GUI makes steps of its epochs unless steps or kohya's own epochs are given."""
    if _number(data.get("max_train_epochs")):
        given["max_train_epochs"] = Given(data["max_train_epochs"], "max_train_epochs")
    elif "max_train_steps" in given:
        given.pop("max_train_epochs", None)


def _set_rates(data: Mapping[str, Any], given: dict[str, Given]) -> None:
    """0 means "not given" where both are, and "does not learn" where one is."""
    if not _number(data.get("unet_lr")) and not _number(data.get("text_encoder_lr")):
        given.pop("unet_lr", None)
        given.pop("text_encoder_lr", None)


def _set_noise(data: Mapping[str, Any], given: dict[str, Given], notes: list[Note]) -> None:
    """The GUI hands on the numbers of one kind of noise alone."""
    kind = data.get("noise_offset_type")
    other = {
        "Original": ("multires_noise_iterations", "multires_noise_discount"),
        "Multires": ("noise_offset", "adaptive_noise_scale", "noise_offset_random_strength"),
    }.get(str(kind), ())
    for name in other:
        if item := given.pop(name, None):
            why = f"noise_offset_type is {kind}"
            notes.append(Note(name, item.value, "no effect", why, off=not item.value))


def _set_kernel(given: dict[str, Given]) -> None:
    """`xformers` names the kernel: xformers, sdpa or none."""
    item = given.get("xformers")
    if item is None or isinstance(item.value, bool):
        return
    given["xformers"] = Given(item.value == "xformers", "xformers")
    if item.value == "sdpa":
        given["sdpa"] = Given(True, "xformers")


def _set_network(data: Mapping[str, Any], given: dict[str, Given], notes: list[Note]) -> None:
    """The LoRA type as a module, and the arguments that this type hands on."""
    kind = data.get("LoRA_type")
    if kind is None:
        given["script"] = Given("train_db.py", "no LoRA_type")
        return
    if kind not in TYPES:
        notes.append(Note("LoRA_type", kind, "missing", f"a plain LoRA is trained; known are {', '.join(TYPES)}"))
    module, algorithm = TYPES.get(str(kind), TYPES["Standard"])
    given["network_module"] = Given(module, "LoRA_type")
    args: dict[str, Any] = {"algo": algorithm, "preset": data.get("LyCORIS_preset", "full")} if algorithm else {}
    for name in NETWORK_ARGS:
        if name not in data or name in ("algo", "preset"):
            continue
        value = data[name]
        if value in (False, 0, "0", -1, 0.0) and name != "conv_dim":
            continue
        if name.startswith("conv_") and kind in _NO_CONVOLUTIONS:
            notes.append(Note(name, value, "no effect", f"LoRA_type is {kind}", off=True))
            continue
        args[name] = value
    if args:
        given["network_args"] = Given(args, "LoRA_type")


def _set_warmup(data: Mapping[str, Any], given: dict[str, Given]) -> None:
    """Per cent of all steps, unless steps are given."""
    if "lr_warmup_steps" not in given and (per_cent := _number(data.get("lr_warmup"))):
        given["lr_warmup_steps"] = Given(per_cent / 100, "lr_warmup")


def _number(value: Any) -> float:
    try:
        return float(parsed(value, "float"))
    except (TypeError, ValueError):
        return 0.0
