"""kohya_ss GUI: its JSON, translated into kohya's options as its tabs do before they call kohya."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bakehouse.core.errors import UsageError
from bakehouse.recipe.importers.build_recipe import Draft
from bakehouse.recipe.importers.command_line import parse_options
from bakehouse.recipe.importers.import_report import Note
from bakehouse.recipe.importers.kohya import draft_of, named_dataset
from bakehouse.recipe.importers.kohya_gui_defaults import GuiSettings, Tab, load_gui_settings
from bakehouse.recipe.importers.kohya_gui_options import TYPES, network_arguments, options_of
from bakehouse.recipe.importers.option_table import GivenValue, Option, sets, table, unset_options
from bakehouse.recipe.importers.settings_file import Document
from bakehouse.recipe.importers.shipped_tables import shipped_table

TITLE = "kohya_ss GUI"

OWN: dict[str, Option] = table(
    sets("LoRA_type", "text", "adapter.kind"),
    sets("LyCORIS_preset", "text", "adapter.targets"),
    sets(
        "epoch",
        "int",
        "train.steps",
        "train.epochs",
        how="converted to steps as in the GUI; epochs if the images are not found",
    ),
    sets("max_resolution", "text", "buckets.resolution"),
    sets("optimizer", "text", "optimizer.name"),
    sets("lr_warmup", "float", "schedule.warmup", how="percent, converted to a fraction"),
    sets("additional_parameters", "text", how="parsed as a command line"),
    sets("image_folder", "text", "concepts", how="in the finetuning tab"),
    sets("dataset_repeats", "int", "concepts.repeats", how="in the finetuning tab"),
    sets("constrain", "float", "adapter.constraint", how="for Diag-OFT"),
    sets("template", "text", how="in the tab for textual inversion: `caption`, or captions that kohya makes"),
    sets("noise_offset_type", "text", "noise", how="in the LoRA tab: selects noise offset or pyramid noise"),
    *unset_options("kohya_gui"),
)
"""Keys of the GUI that kohya does not have, or that have another meaning in kohya."""

_TRAINS = "bakehouse trains Stable Diffusion 1.x, 2.x and SDXL"


def detects(document: Document) -> bool:
    """Whether the document is the GUI's."""
    told = {"LoRA_type", "max_resolution", "model_list", "num_vectors_per_token", "image_folder"}
    return document.format == "json" and bool(told & set(document.table))


def read(documents: Sequence[Document]) -> Draft:
    """Convert all documents as one training; later documents win.

    Raises:
        UsageError: settings for another kind of model, or of a type of LoRA that is not known.
    """
    data = {k: v for document in documents for k, v in document.table.items() if v is not None}
    gui = load_gui_settings(data, _tab(data))
    _refuse_others(gui)
    given = options_of(gui, documents[-1].folder)
    if arguments := network_arguments(gui):
        given["network_args"] = GivenValue(arguments, "LoRA_type")
    given |= _embedding(gui)
    notes = [n for key in data if (n := _note(key, gui, given)) is not None]
    if extra := str(gui["additional_parameters"]):
        options, stray = parse_options(extra.replace('"', "").split())
        given |= {k: GivenValue(v, f"additional_parameters --{k}") for k, v in options.items()}
        notes += [
            Note(f"additional_parameters {word}", True, "unknown", "it does not belong to any option") for word in stray
        ]
    subsets = named_dataset(given, documents[-1].folder, notes)
    return draft_of(given, subsets, folder=documents[-1].folder, notes=notes)


def _tab(data: Mapping[str, Any]) -> Tab:
    """Return the tab that saved the file, by the keys that only it has; textual inversion's is like dreambooth's."""
    if "LoRA_type" in data:
        return "lora"
    return "finetune" if {"image_folder", "train_dir", "dataset_repeats"} & set(data) else "dreambooth"


_WORD = ("token_string", "init_word", "num_vectors_per_token", "weights")
"""What only the tab for textual inversion has, under kohya's own names; and `template`, its choice of captions."""
_TEMPLATES = {"object template": "use_object_template", "style template": "use_style_template"}


def _embedding(gui: GuiSettings) -> dict[str, GivenValue]:
    """Return the options of the tab for textual inversion; empty for the others."""
    if not {"num_vectors_per_token", "token_string", "init_word"} & set(gui.data):
        return {}
    script = "sdxl_train_textual_inversion.py" if gui["sdxl"] else "train_textual_inversion.py"
    given = {name: GivenValue(gui.data[name], name) for name in _WORD if gui.data.get(name)}
    if (option := _TEMPLATES.get(str(gui.data.get("template")))) is not None:
        given[option] = GivenValue(True, "template")
    return {"script": GivenValue(script, "num_vectors_per_token", quiet=True), **given}


def _refuse_others(gui: GuiSettings) -> None:
    other = next((name for key, name in shipped_table("other_models.toml")["kohya_gui"].items() if gui[key]), "")
    kind = gui["LoRA_type"]
    if other := other or shipped_table("other_models.toml")["kohya_gui_types"].get(kind, ""):
        raise UsageError(f"these settings train {other}", hint=_TRAINS)
    if gui.tab == "lora" and kind not in TYPES:
        raise UsageError(f"LoRA_type = {kind!r} is not supported", hint=f"supported are {', '.join(TYPES)}")


def _note(key: str, gui: GuiSettings, given: Mapping[str, GivenValue]) -> Note | None:
    """Return a note on a key that kohya does not get or gets renamed; None if kohya's own table has one."""
    value, option = gui.data[key], OWN.get(key)
    off = gui.is_default(key) or not value
    passed = any(key == item.source_key for item in given.values())
    if key in gui.handed_on or (passed and (option is None or option.status != "set")):
        return None
    if option is not None:
        why = option.how if option.status != "set" else ""
        return Note(key, value, option.status, why, option.sets, off=off)
    if key in gui.defaults or key in gui.renamed:
        return Note(key, value, "no effect", gui.why_not(key), off=off)
    return Note(key, value, "unknown", "the GUI has no such key", off=value in ("", False))
