"""kohya_ss GUI: its JSON, translated into kohya's options as its tabs do before they call kohya."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bakehouse.core.errors import UsageError
from bakehouse.recipe.importers.build_recipe import Draft
from bakehouse.recipe.importers.command_line import parse_options
from bakehouse.recipe.importers.import_report import Note
from bakehouse.recipe.importers.kohya import LAUNCHER, draft_of, named_dataset
from bakehouse.recipe.importers.kohya_gui_defaults import Tab, Window, window_of
from bakehouse.recipe.importers.kohya_gui_options import TYPES, network_arguments, options_of
from bakehouse.recipe.importers.option_table import Given, Option, always, missing, no_effect, table, taken
from bakehouse.recipe.importers.settings_file import Document

TITLE = "kohya_ss GUI"

_OLD = "of old versions: today's GUI passes over it"

OWN: dict[str, Option] = table(
    taken("LoRA_type", "text", "adapter.kind"),
    taken("LyCORIS_preset", "text", "adapter.targets"),
    taken(
        "epoch", "int", "train.steps", "train.epochs", how="steps, as the GUI counts them; epochs without the images"
    ),
    taken("max_resolution", "text", "buckets.resolution"),
    taken("optimizer", "text", "optimizer.name"),
    taken("lr_warmup", "float", "schedule.warmup", how="per cent there, a share here"),
    taken("additional_parameters", "text", how="read as a command line"),
    taken("image_folder", "text", "concepts", how="of the finetuning tab"),
    taken("dataset_repeats", "int", "concepts.repeats", how="of the finetuning tab"),
    taken("constrain", "float", "adapter.constraint", how="of Diag-OFT"),
    taken("noise_offset_type", "text", "noise", how="of the LoRA tab: says whether the offset or the pyramid counts"),
    always("sdxl", "flag", "the family is read from the model itself"),
    always("sdxl_checkbox", "flag", "the family is read from the model itself"),
    always("sdxl_cache_text_encoder_outputs", "flag", "captions that stay the same are encoded once"),
    always("sdxl_no_half_vae", "flag", "the VAE encodes in fp32 where half precision would break it"),
    no_effect("stop_text_encoder_training", "int", "the LoRA tab does not hand it on"),
    no_effect("batch_size", "int", "of the preparation of latents: batches of the training are train_batch_size"),
    no_effect("train_dir", "text", "for the latents and captions that the GUI prepares"),
    no_effect("caption_metadata_filename", "text", "for the captions that the GUI prepares"),
    no_effect("latent_metadata_filename", "text", "for the latents that the GUI prepares"),
    no_effect("generate_caption_database", "flag", "captions are read beside the images"),
    no_effect("generate_image_buckets", "flag", "latents are cached by themselves"),
    no_effect("use_latent_files", "text", "latents are cached by themselves"),
    no_effect("full_path", "flag", "for the captions that the GUI prepares"),
    no_effect("model_list", "text", "the GUI's own choice of models"),
    no_effect("save_as_bool", "flag", "the GUI's own"),
    no_effect("training_preset", "text", "the GUI's own"),
    no_effect("use_wandb", "flag", "wandb is not used"),
    no_effect("lowvram", "flag", "the GUI does not hand it on"),
    no_effect("conv_dims", "text", _OLD),
    no_effect("conv_alphas", "text", _OLD),
    no_effect("create_caption", "flag", _OLD),
    no_effect("create_buckets", "flag", _OLD),
    no_effect("no_token_padding", "flag", "prompts are padded as the models were trained"),
    no_effect("stop_text_encoder_training_pct", "int", _OLD),
    no_effect("use_8bit_adam", "flag", "`optimizer` says which"),
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
"""Keys that the GUI has besides kohya's, and those that mean something else there."""

_OTHER_MODELS: Mapping[str, str] = {
    "flux1_checkbox": "Flux",
    "sd3_checkbox": "Stable Diffusion 3",
    "hunyuan_image_checkbox": "HunyuanImage",
    "anima_checkbox": "Anima",
    "lumina_checkbox": "Lumina",
}
_OTHER_TYPES: Mapping[str, str] = {
    "Flux1": "Flux",
    "Flux1 OFT": "Flux",
    "Anima": "Anima",
    "Lumina": "Lumina",
    "HunyuanImage-2.1": "HunyuanImage",
}
_TRAINS = "bakehouse trains Stable Diffusion 1.x, 2.x and SDXL"


def knows(document: Document) -> bool:
    """Whether the document is the GUI's."""
    told = {"LoRA_type", "max_resolution", "model_list", "num_vectors_per_token", "image_folder"}
    return document.format == "json" and bool(told & set(document.table))


def read(documents: Sequence[Document]) -> Draft:
    """All documents as one training; what comes later wins.

    Raises:
        UsageError: settings for another kind of model, for an embedding, or of a type of LoRA that is not known.
    """
    data = {k: v for document in documents for k, v in document.table.items() if v is not None}
    window = window_of(data, _tab(data))
    _refuse_others(window)
    given = options_of(window, documents[-1].folder)
    if arguments := network_arguments(window):
        given["network_args"] = Given(arguments, "LoRA_type")
    notes = [n for key in data if (n := _note(key, window, given)) is not None]
    if extra := str(window["additional_parameters"]):
        options, stray = parse_options(extra.replace('"', "").split())
        given |= {k: Given(v, f"additional_parameters --{k}") for k, v in options.items()}
        notes += [Note(f"additional_parameters {word}", True, "unknown", "it belongs to no option") for word in stray]
    subsets = named_dataset(given, documents[-1].folder, notes)
    return draft_of(given, subsets, folder=documents[-1].folder, notes=notes)


def _tab(data: Mapping[str, Any]) -> Tab:
    """The tab that saved the file, by the keys that it alone has.

    Raises:
        UsageError: a tab that trains an embedding.
    """
    if {"num_vectors_per_token", "token_string", "init_word"} & set(data):
        raise UsageError(
            "these settings train an embedding (textual inversion)", hint="bakehouse trains LoRAs and models"
        )
    if "LoRA_type" in data:
        return "lora"
    return "finetune" if {"image_folder", "train_dir", "dataset_repeats"} & set(data) else "dreambooth"


def _refuse_others(window: Window) -> None:
    other = next((name for key, name in _OTHER_MODELS.items() if window[key]), "")
    kind = window["LoRA_type"]
    if other or kind in _OTHER_TYPES:
        raise UsageError(f"these settings train {other or _OTHER_TYPES[kind]}", hint=_TRAINS)
    if window.tab == "lora" and kind not in TYPES:
        raise UsageError(f"LoRA_type = {kind!r} is not known", hint=f"known are {', '.join(TYPES)}")


def _note(key: str, window: Window, given: Mapping[str, Given]) -> Note | None:
    """What becomes of a key that kohya does not get, or under another name; None where kohya's own table says it."""
    value, option = window.data[key], OWN.get(key)
    off = window.is_default(key) or not value
    passed = any(key == item.said for item in given.values())
    if key in window.handed_on or (passed and (option is None or option.fate != "taken")):
        return None
    if option is not None:
        why = option.how if option.fate != "taken" else ""
        return Note(key, value, option.fate, why, option.to, off=off)
    if key in window.defaults or key in window.renamed:
        return Note(key, value, "no effect", window.why_not(key), off=off)
    return Note(key, value, "unknown", "the GUI has no such key that is known", off=value in ("", False))
