"""LoRA_Easy_Training_Scripts: its TOML, whose sections contain kohya's options under kohya's names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from bakehouse.core.errors import UsageError
from bakehouse.recipe.importers.build_recipe import Draft
from bakehouse.recipe.importers.import_report import Note
from bakehouse.recipe.importers.kohya import draft_of
from bakehouse.recipe.importers.kohya_dataset import Subset
from bakehouse.recipe.importers.option_table import GivenValue, Option, sets, table, unset_options
from bakehouse.recipe.importers.settings_file import Document

TITLE = "LoRA_Easy_Training_Scripts"

OWN: dict[str, Option] = table(
    sets("train_mode", "text", "adapter.kind", how="`lora`"),
    sets("warmup_ratio", "float", "schedule.warmup", how="a fraction of all steps"),
    sets("fa", "flag", "adapter.lora_fa"),
    *unset_options("easy_scripts"),
)
"""Keys that kohya does not have."""


def detects(document: Document) -> bool:
    """Whether the document is from LoRA_Easy_Training_Scripts."""
    if document.format != "toml":
        return False
    sections = [k for k, v in document.table.items() if k.endswith("_args") and isinstance(v, Mapping)]
    return isinstance(document.table.get("subsets"), list) or "train_mode" in document.table or bool(sections)


def read(documents: Sequence[Document]) -> Draft:
    """Convert all documents as one training; later documents win.

    Raises:
        UsageError: it trains an embedding.
    """
    given: dict[str, GivenValue] = {}
    subsets: list[Subset] = []
    notes: list[Note] = []
    for document in documents:
        own = dict(_options(document.table))
        given |= own
        general = {k: v for k, v in own.items() if k == "batch_size"}
        for entry in document.table.get("subsets", []):
            said = {k: GivenValue(v, f"[[subsets]] {k}") for k, v in entry.items() if v}
            subsets.append(Subset({**general, **said}, document.folder))
    mode = given["train_mode"].value if "train_mode" in given else "lora"
    if mode not in ("lora", "locon"):
        raise UsageError(
            f"train_mode = {mode!r}: these settings of an embedding cannot be imported",
            hint="supported is 'lora'; `bakehouse plan FOLDER --kind embedding` plans an embedding",
        )
    if "guidance_scale" in given and given["guidance_scale"].value and "network_module" not in given:
        raise UsageError("these settings train Flux (guidance_scale)", hint="bakehouse trains SD 1.x, SD 2.x and SDXL")
    given = _without_nothing(given, notes)
    notes += [_note(name, item) for name, item in given.items() if name in OWN]
    subset_names = [x.given["name"] for x in subsets if "name" in x.given]
    notes += [_note("name", item) for item in subset_names]
    _translate(given)
    bare = [Subset({k: v for k, v in x.given.items() if k not in OWN}, x.folder) for x in subsets]
    shared = _below(given, bare)
    return draft_of({k: v for k, v in given.items() if k not in OWN}, shared, folder=documents[-1].folder, notes=notes)


def _below(given: Mapping[str, GivenValue], subsets: Sequence[Subset]) -> list[Subset]:
    """Return subsets with the options that apply to all of them, as kohya's `[general]`."""
    return [
        Subset({**{k: v for k, v in given.items() if k == "keep_tokens_separator"}, **x.given}, x.folder)
        for x in subsets
    ]


def _options(data: Mapping[str, Any]) -> Iterator[tuple[str, GivenValue]]:
    """Yield every option with its section; a section may be split into `args` and `dataset_args`."""
    for section, content in data.items():
        if section == "subsets":
            continue
        if not isinstance(content, Mapping):
            yield section, GivenValue(content, section)
            continue
        inner = [part for part in ("args", "dataset_args") if isinstance(content.get(part), Mapping)]
        for part in inner:
            yield from ((k, GivenValue(v, f"[{section}.{part}] {k}")) for k, v in content[part].items())
        yield from (
            (k, GivenValue(v, f"[{section}] {k}")) for k, v in content.items() if k not in ("args", "dataset_args")
        )


_MODULE_OF = {"algo": "lycoris.kohya", "unit": "networks.dylora"}
"""Arguments that determine the network module; the last one counts."""
_0_COUNTS = ("unet_lr", "text_encoder_lr", "max_grad_norm", "prior_loss_weight", "network_alpha", "learning_rate")


def _without_nothing(given: Mapping[str, GivenValue], notes: list[Note]) -> dict[str, GivenValue]:
    """Return the options that are not empty, off or 0; the others are not passed to kohya."""
    for name, item in given.items():
        if not item.value:
            why = "ignored by LoRA_Easy_Training_Scripts if 0: kohya's default is used"
            notes.append(Note(item.source_key, item.value, "no effect", why, off=name not in _0_COUNTS))
    return {k: v for k, v in given.items() if v.value}


def _translate(given: dict[str, GivenValue]) -> None:
    """Translate the trainer's own keys to kohya's."""
    if "warmup_ratio" in given and "lr_warmup_steps" not in given:
        given["lr_warmup_steps"] = given["warmup_ratio"]
    if "network_module" in given:
        return
    args = given["network_args"].value if "network_args" in given else {}
    named = args if isinstance(args, Mapping) else {}
    told = [_MODULE_OF[k] for k in named if k in _MODULE_OF]
    module, source = told[-1] if told else "networks.lora", "network_args"
    if "fa" in given and given["fa"].value and module == "networks.lora":
        module, source = "networks.lora_fa", "fa"
    given["network_module"] = GivenValue(module, given[source].source_key if source in given else "train_mode")


def _note(name: str, item: GivenValue) -> Note:
    option = OWN[name]
    return Note(item.source_key, item.value, option.status, option.how, option.sets, off=item.value in (False, "", 0))
