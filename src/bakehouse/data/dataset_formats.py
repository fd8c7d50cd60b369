"""Reading the dataset formats of other trainers: kohya folders, metadata.jsonl, concepts_list.json, kohya's TOML.

Each `ConceptFolder` becomes one concept of a recipe: `folder`, `class_tokens` (the recipe's subject), `repeats`. If
`is_reg` is true, the folder holds class images: the recipe's prior.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bakehouse.core.errors import Problems, UsageError, did_you_mean
from bakehouse.core.message_text import counted, listed
from bakehouse.core.parse_json_toml_yaml import parse_json
from bakehouse.core.settings import read_toml
from bakehouse.data.captions import captions_in, decode_text
from bakehouse.data.image_records import ImageRecord, ImageSet
from bakehouse.data.scan import nfc, scan

METADATA_FILES = ("metadata.jsonl", "metadata.csv")
MOST_REPEATS = 1000
"""`2024_summer` is a year, not 2024 repeats."""


@dataclass(frozen=True)
class ConceptFolder:
    """One concept as another trainer describes it; None if not given."""

    folder: Path
    images: ImageSet
    class_tokens: str | None = None
    """Caption of images without one: kohya's class tokens, DreamBooth's instance prompt."""
    repeats: int | None = None
    is_reg: bool = False
    """Whether these are class (regularization) images."""
    class_prompt: str | None = None
    """DreamBooth: prompt of the class images."""
    class_folder: Path | None = None
    """DreamBooth: folder of the class images; may not exist yet."""
    class_images: int | None = None
    """DreamBooth: number of class images."""
    notes: tuple[str, ...] = ()
    """Remarks for the user in addition to the notes of `images`: what was ignored."""

    @property
    def records(self) -> tuple[ImageRecord, ...]:
        """Records of the usable images."""
        return self.images.records


def read_dataset(path: Path | str) -> list[ConceptFolder]:
    """Read a dataset in any known format; `ImageRecord.concept` is the index in the returned list.

    A folder may hold kohya's `N_name` folders (or `img/` and `reg/` with such folders), `concepts_list.json`,
    `metadata.jsonl` or `metadata.csv`; otherwise it is one concept. A file may be `concepts_list.json`,
    `metadata.jsonl`, `metadata.csv` or a kohya dataset TOML.

    Raises:
        UsageError: it is missing, empty, or in no known format.
        Problems: the description names files or folders that do not exist.
    """
    path = Path(path)
    if path.is_file():
        return _number(_read_file(path))
    if (concepts_list := path / "concepts_list.json").is_file():
        return _number(_read_concepts_list(concepts_list))
    for folder in (path, path / "train"):
        if found := next((folder / name for name in METADATA_FILES if (folder / name).is_file()), None):
            return _number(_read_metadata(found))
    if concepts := _read_kohya_folders(path):
        return _number(concepts)
    return [ConceptFolder(path, scan(path))]


def _read_file(path: Path) -> list[ConceptFolder]:
    readers: dict[str, Callable[[Path], list[ConceptFolder]]] = {
        ".toml": _read_kohya_toml,
        ".json": _read_concepts_list,
        ".jsonl": _read_metadata,
        ".csv": _read_metadata,
    }
    if path.suffix.lower() not in readers:
        hint = "name a folder, a concepts_list.json, a metadata.jsonl or .csv, or a kohya dataset .toml"
        raise UsageError(f"{path} is in no known dataset format", hint=hint)
    return readers[path.suffix.lower()](path)


def _number(concepts: list[ConceptFolder]) -> list[ConceptFolder]:
    """Write each concept's index into its records."""

    def numbered(i: int, concept: ConceptFolder) -> ConceptFolder:
        records = tuple(replace(record, concept=i) for record in concept.records)
        return replace(concept, images=replace(concept.images, records=records))

    return [numbered(i, concept) for i, concept in enumerate(concepts)]


def _find(name: str, base: Path) -> Path:
    """A path in a description: relative to the description, or else to the current folder."""
    given = Path(name).expanduser()
    beside = base / given
    return beside if beside.exists() or not given.exists() else given


# --- kohya's folders --------------------------------------------------------------------------------------------------


def _read_kohya_folders(root: Path) -> list[ConceptFolder]:
    """Read `N_name` folders as concepts; empty if there are none."""
    if not root.is_dir():
        return []
    concepts: list[ConceptFolder] = []
    not_used: list[str] = []
    for parent, is_reg in ((root, False), (root / "img", False), (root / "image", False), (root / "reg", True)):
        numbered = list(_numbered_folders(parent))
        for folder, repeats, name in numbered:
            try:
                images = scan(folder, recursive=False)
            except UsageError as e:
                not_used.append(e.message)
                continue
            concepts.append(ConceptFolder(folder, images, class_tokens=name or None, repeats=repeats, is_reg=is_reg))
        if numbered:
            not_used += _beside(parent, {folder.name for folder, _, _ in numbered} | {"img", "image", "reg"})
    if not any(not concept.is_reg for concept in concepts):
        return []
    if not_used:
        concepts[0] = replace(concepts[0], notes=tuple(not_used))
    return concepts


def _numbered_folders(parent: Path) -> Iterator[tuple[Path, int, str]]:
    if not parent.is_dir():
        return
    for folder in sorted(p for p in parent.iterdir() if p.is_dir()):
        match = re.fullmatch(r"([0-9]+)_(.*)", folder.name)
        if match and 0 < int(match[1]) <= MOST_REPEATS:
            yield folder, int(match[1]), match[2].strip()


def _beside(parent: Path, names: set[str]) -> list[str]:
    """A note on files and folders beside numbered folders that are not used."""
    others = sorted(p.name for p in parent.iterdir() if p.name not in names and not p.name.startswith("."))
    if not others:
        return []
    return [f"{parent}: not in an `N_name` folder, so not used: {listed(others, 5)}"]


# --- DreamBooth -------------------------------------------------------------------------------------------------------

_DREAMBOOTH_KEYS = ("instance_prompt", "class_prompt", "instance_data_dir", "class_data_dir", "num_class_images")


def _read_concepts_list(path: Path) -> list[ConceptFolder]:
    """Read the `concepts_list.json` of DreamBooth scripts: a list of objects."""
    entries = _json(path)
    if isinstance(entries, Mapping) and "concepts" in entries:
        entries = entries["concepts"]
    if not isinstance(entries, list) or not entries or not all(isinstance(entry, Mapping) for entry in entries):
        raise UsageError(
            f"{path} must be a JSON list of concepts",
            hint=f"keys of each: {', '.join(_DREAMBOOTH_KEYS)}; settings of other trainers: `bakehouse import FILE`",
        )
    concepts, problems = [], []
    for i, entry in enumerate(entries):
        try:
            concepts.append(_dreambooth_concept(entry, path.parent))
        except UsageError as e:
            problems.append(f"concept {i + 1}: {e.message}")
    if problems:
        raise Problems(f"{path} has {counted(len(problems), 'problem')}:", problems)
    return concepts


def _dreambooth_concept(entry: Mapping[str, Any], base: Path) -> ConceptFolder:
    if not entry.get("instance_data_dir"):
        raise UsageError("instance_data_dir is missing")
    folder = _find(str(entry["instance_data_dir"]), base)
    return ConceptFolder(
        folder,
        scan(folder),
        class_tokens=entry.get("instance_prompt") or None,
        class_prompt=entry.get("class_prompt") or None,
        class_folder=_find(str(entry["class_data_dir"]), base) if entry.get("class_data_dir") else None,
        class_images=_whole(entry, "num_class_images"),
        notes=tuple(
            f"unknown key, ignored: {_with_guess(key, _DREAMBOOTH_KEYS)}"
            for key in entry
            if key not in _DREAMBOOTH_KEYS
        ),
    )


def _whole(settings: Mapping[str, Any], key: str) -> int | None:
    """A whole number of 1 or more; None if it is missing or 0."""
    value = settings.get(key)
    if not value:
        return None
    if isinstance(value, str) and value.isdecimal():
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise UsageError(f"{key} = {value!r}: must be a whole number")
    return value


def _with_guess(key: str, known: tuple[str, ...]) -> str:
    return f"{key!r}{did_you_mean(key, known)}"


def _json(path: Path) -> Any:
    text, _, _ = decode_text(path.read_bytes())
    try:
        return parse_json(text)
    except json.JSONDecodeError as e:
        raise UsageError(f"{path} is not JSON: {e}") from e


# --- Hugging Face -----------------------------------------------------------------------------------------------------


def _read_metadata(path: Path) -> list[ConceptFolder]:
    """Read `metadata.jsonl` or `metadata.csv`: `file_name` and `text`, `caption` or `prompt` for each image."""
    images = scan(path.parent)
    rows, notes = metadata_rows(path)
    records, used = [], set()
    for record in images:
        name = nfc(record.path.relative_to(path.parent).as_posix())
        used.add(name)
        records.append(replace(record, captions=rows[name], caption_path=None) if rows.get(name) else record)
    unusable = {nfc(s.path.relative_to(path.parent).as_posix()) for s in images.skipped}
    if gone := [name for name in rows if name not in used | unusable]:
        notes.append(f"{path.name}: {counted(len(gone), 'named image')} missing: {listed(gone, 5)}")
    if silent := sorted(used - rows.keys()):
        notes.append(
            f"{counted(len(silent), 'image')} not named in {path.name}, used with own captions: {listed(silent, 5)}"
        )
    return [ConceptFolder(path.parent, replace(images, records=tuple(records)), notes=tuple(notes))]


def metadata_rows(path: Path) -> tuple[dict[str, tuple[str, ...]], list[str]]:
    """Return the captions by file name (NFC), and notes."""
    text, _, notes = decode_text(path.read_bytes())
    notes = [f"{path.name}: {note}" for note in notes]
    entries: list[Any] = []
    if path.suffix.lower() == ".csv":
        entries = list(csv.DictReader(io.StringIO(text)))
    else:
        for number, line in enumerate(text.split("\n"), 1):
            if line.strip():
                try:
                    entries.append(parse_json(line))
                except json.JSONDecodeError as e:
                    raise UsageError(f"{path} line {number} is not JSON: {e}") from e
    rows: dict[str, tuple[str, ...]] = {}
    for entry in entries:
        if not isinstance(entry, Mapping) or not entry.get("file_name"):
            notes.append(f"{path.name}: row without file_name ignored: {str(entry)[:80]}")
            continue
        name = nfc(str(entry["file_name"]).replace("\\", "/").removeprefix("./"))
        rows[name] = captions_in(dict(entry))
        if not rows[name]:
            notes.append(f"{path.name}: {name} has no text, caption or prompt")
    return rows, notes


# --- kohya's dataset TOML ---------------------------------------------------------------------------------------------


def _read_kohya_toml(path: Path) -> list[ConceptFolder]:
    """Read the images of `[general]`, `[[datasets]]`, `[[datasets.subsets]]`; inner levels override outer ones.

    The training settings in it are read by `recipe.importers`.
    """
    config = read_toml(path)
    subsets = list(_subsets(config))
    if not subsets:
        hint = "it needs [[datasets]] and [[datasets.subsets]]; a bakehouse recipe is trained with `bakehouse train`"
        raise UsageError(f"{path} is not a kohya dataset TOML", hint=hint)
    concepts, problems = [], []
    for i, settings in enumerate(subsets):
        try:
            concepts.append(_kohya_subset(settings, path))
        except UsageError as e:
            problems.append(f"subset {i + 1}: {e.message}")
    if problems:
        raise Problems(f"{path} has {counted(len(problems), 'problem')}:", problems)
    return concepts


def _subsets(config: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    general = next(_tables(config.get("general")), {})
    for dataset in _tables(config.get("datasets")):
        outer = {key: value for key, value in dataset.items() if key != "subsets"}
        for subset in _tables(dataset.get("subsets")):
            yield {**general, **outer, **subset}


def _tables(value: Any) -> Iterator[Mapping[str, Any]]:
    """Yield the tables of a TOML array of tables, or a single table."""
    for table in value if isinstance(value, list) else [value]:
        if isinstance(table, Mapping):
            yield table


def _kohya_subset(settings: dict[str, Any], path: Path) -> ConceptFolder:
    if not settings.get("image_dir"):
        raise UsageError("image_dir is missing")
    folder = _find(str(settings["image_dir"]), path.parent)
    images = scan(folder, recursive=False, caption_extension=settings.get("caption_extension"))
    if settings.get("metadata_file"):
        images = _with_metadata(images, _find(str(settings["metadata_file"]), path.parent))
    return ConceptFolder(
        folder,
        images,
        class_tokens=settings.get("class_tokens") or None,
        repeats=_whole(settings, "num_repeats") or 1,
        is_reg=bool(settings.get("is_reg", False)),
    )


def _with_metadata(images: ImageSet, path: Path) -> ImageSet:
    """Apply kohya's fine-tuning JSON: objects with `caption` and `tags` by image path, or by name without extension."""
    if not path.is_file():
        raise UsageError(f"metadata_file {path} does not exist")
    content = _json(path)
    if not isinstance(content, Mapping):
        raise UsageError(f"metadata_file {path} must be a JSON object that maps image paths to caption and tags")
    captions = {nfc(Path(str(key).replace("\\", "/")).stem): captions_in(value) for key, value in content.items()}
    records = [
        replace(record, captions=found, caption_path=None) if (found := captions.get(nfc(record.path.stem))) else record
        for record in images
    ]
    return replace(images, records=tuple(records))
