"""kohya sd-scripts: `--config_file` and `--dataset_config` TOML, and command lines of its trainers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bakehouse.core.errors import UsageError
from bakehouse.recipe.importers.build_recipe import Draft
from bakehouse.recipe.importers.common import LAUNCHER
from bakehouse.recipe.importers.import_report import Note
from bakehouse.recipe.importers.kohya_dataset import OWN, SHARED, Subset, images_of, subsets_of
from bakehouse.recipe.importers.kohya_embeddings import uses_template, with_word
from bakehouse.recipe.importers.kohya_options import KOHYA
from bakehouse.recipe.importers.kohya_other_trainings import of_other_models, refuse_others, trained_by, without_others
from bakehouse.recipe.importers.option_table import GivenValue, Settings, convert
from bakehouse.recipe.importers.settings_file import Document, open_document
from bakehouse.recipe.importers.value_types import existing_path

TITLE = "kohya sd-scripts"
SCRIPTS = (
    *("train_network.py", "sdxl_train_network.py", "train_db.py", "fine_tune.py", "sdxl_train.py"),
    *("train_textual_inversion.py", "sdxl_train_textual_inversion.py"),
)
_SUBSETS = frozenset(OWN) - {"conditioning_data_dir"}
"""Keys that have a meaning only in a dataset file."""
_KNOWN_SHARE = 4
"""A file is kohya's if more than one in this many keys is; the others may be misspelt or another program's."""


def detects(document: Document) -> bool:
    """Whether the document is kohya's."""
    if (command := document.command) is not None:
        return command.script in SCRIPTS or bool(trained_by(command.script))
    if document.format != "toml":
        return False
    if is_dataset(document.table):
        return True
    names = {k for k, v in document.table.items() if not isinstance(v, Mapping)}
    names |= {k for v in document.table.values() if isinstance(v, Mapping) for k in v}
    theirs = names & set(KOHYA) - {"seed", "script"}
    return bool(theirs) and len(theirs | names & of_other_models()) > len(names) / _KNOWN_SHARE


def is_dataset(data: Mapping[str, Any]) -> bool:
    """Whether a TOML document is a `--dataset_config`."""
    return isinstance(data.get("datasets"), (list, Mapping))


def read(documents: Sequence[Document]) -> Draft:
    """Convert all documents as one training; later documents win.

    Raises:
        UsageError: a script that trains another kind of model; a file that the command line names is not there.
    """
    given: dict[str, GivenValue] = {}
    subsets: list[Subset] = []
    notes: list[Note] = []
    for document in documents:
        if is_dataset(document.table):
            subsets += subsets_of(document.table, document.folder)
            notes += _outside(document.table)
        else:
            given |= _options(document, notes)
    subsets += named_dataset(given, documents[-1].folder, notes)
    only_images = not given and bool(subsets)
    return draft_of(given, subsets, folder=documents[-1].folder, notes=notes, only_images=only_images)


def _outside(data: Mapping[str, Any]) -> list[Note]:
    return [
        Note(k, data[k], "unknown", "not a table of a dataset file") for k in data if k not in ("general", "datasets")
    ]


def _options(document: Document, notes: list[Note]) -> dict[str, GivenValue]:
    if document.command is not None:
        return _from_command(document, notes)
    return flattened(document.table)


def flattened(data: Mapping[str, Any]) -> dict[str, GivenValue]:
    """Return a config file's options without sections, which kohya ignores."""
    given: dict[str, GivenValue] = {}
    for key, value in data.items():
        if isinstance(value, Mapping) and key not in KOHYA:
            given |= {k: GivenValue(v, f"[{key}] {k}") for k, v in value.items()}
        else:
            given[key] = GivenValue(value, key)
    return given


def _from_command(document: Document, notes: list[Note]) -> dict[str, GivenValue]:
    command = document.command
    assert command is not None
    if command.script not in SCRIPTS:
        what = trained_by(command.script) or "an unsupported kind of model"
        hint = f"supported are {', '.join(SCRIPTS)}"
        raise UsageError(f"{document.path} calls {command.script}, which trains {what}", hint=hint)
    notes += [Note(f"accelerate --{k}", v, "no effect", LAUNCHER) for k, v in command.launcher.items()]
    notes += [Note(word, True, "unknown", "it does not belong to any option") for word in command.stray]
    given = {k: GivenValue(v, f"--{k}") for k, v in command.options.items()}
    if isinstance(config := command.options.get("config_file"), str):
        path = _beside(config if config.endswith(".toml") else f"{config}.toml", document.folder)
        given = {**flattened(open_document(path).table), **given}
    return {"script": GivenValue(command.script, command.script), **given}


def named_dataset(given: Mapping[str, GivenValue], folder: Path, notes: list[Note]) -> list[Subset]:
    """Return the subsets of the dataset file that the settings name, if it exists."""
    name = given["dataset_config"].value if "dataset_config" in given else None
    if not isinstance(name, str) or not name:
        return []
    path = _beside(name, folder)
    if existing_path(name, folder) is None or not path.is_file():
        why = "file not found: pass it too, `bakehouse import SETTINGS DATASET.toml`"
        notes.append(Note(given["dataset_config"].source_key, name, "unsupported", why))
        return []
    data = open_document(path).table
    notes += _outside(data)
    return subsets_of(data, path.parent)


def _beside(name: str, folder: Path) -> Path:
    return existing_path(name, folder) or Path(name)


def draft_of(
    given: Mapping[str, GivenValue],
    subsets: Sequence[Subset],
    *,
    folder: Path,
    notes: Sequence[Note] = (),
    only_images: bool = False,
) -> Draft:
    """Convert kohya's options and subsets to values of a recipe; importers of kohya's GUIs use it too.

    Args:
        only_images: there is a dataset file and nothing else, so the training itself is left to the plan.

    Raises:
        UsageError: they train something else than LoRAs, whole models and embeddings of SD 1.x, 2.x and SDXL.
    """
    refuse_others(given)
    given, theirs = without_others(given)
    named = Settings(KOHYA, given, trainer="kohya", folder=folder)
    if repeats := given.get("dataset_repeats"):  # of subsets that say none
        subsets = [Subset({"num_repeats": repeats, **x.given}, x.folder) for x in subsets]
    images = images_of(named, subsets)
    misplaced = [k for k in given if k in _SUBSETS]
    notes = [
        *notes,
        *theirs,
        *(Note(given[k].source_key, given[k].value, "unknown", "only allowed in a dataset file") for k in misplaced),
    ]
    own = {k: v for k, v in given.items() if k not in _SUBSETS}
    settings = Settings(KOHYA, {**own, **images.shared}, trainer="kohya", folder=folder)
    values, origins, said = convert(settings)
    for taken in images.taken:
        values[taken.key] = taken.value
    origins |= images.origins
    concepts = with_word(settings, images.concepts, origins)
    if uses_template(settings):
        values.pop("captions.prefix", None)
        origins.pop("captions.prefix", None)
    if only_images:
        values = {k: v for k, v in values.items() if _is_said_of_images(k, settings)}
        origins = {k: v for k, v in origins.items() if k in values or k.startswith("concepts.")}
    # What its folder or the program that saved the settings says of an option is not said again by the table.
    spoken = {n.key for n in images.notes} | {n.key for n in notes if n.status == "set"}
    merged = [*notes, *images.notes, *(n for n in said if n.key not in spoken or n.is_lost)]
    return Draft(values, concepts, origins, merged)


def _is_said_of_images(key: str, settings: Settings) -> bool:
    decided = {k for name in SHARED for k in settings.options[name].sets}
    batch = key != "train.batch" or settings.given("batch_size")
    return batch and (key in decided or key.split(".")[0] in ("prior", "evaluate"))
