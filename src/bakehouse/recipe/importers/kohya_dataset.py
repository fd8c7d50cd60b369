"""Conversion of kohya's `[[datasets.subsets]]` or `N_name` folders to concepts and class images."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bakehouse.recipe.importers.common import folder_path
from bakehouse.recipe.importers.import_report import Note
from bakehouse.recipe.importers.kohya_options import GROUPS, KOHYA
from bakehouse.recipe.importers.option_table import Assignment, GivenValue, Settings
from bakehouse.recipe.importers.value_types import is_folder

OWN = (
    "image_dir",
    "num_repeats",
    "class_tokens",
    "is_reg",
    "metadata_file",
    "conditioning_data_dir",
    "custom_attributes",
)
"""Options that each subset may set for itself; all others are the same for all images."""

SHARED = frozenset(GROUPS["Images and captions"]) | {"batch_size"}
"""Options that a dataset file may set for all its images."""


@dataclass(frozen=True)
class Images:
    """The images of a training: concepts, class images, and options that their files set for all."""

    concepts: tuple[Mapping[str, Any], ...] = ()
    taken: tuple[Assignment, ...] = ()
    """Values for class images and held-out images."""
    origins: Mapping[str, str] = field(default_factory=dict)
    """Origins of concepts, class images and held-out images."""
    shared: Mapping[str, GivenValue] = field(default_factory=dict)
    """Options of the first subset that is not class images."""
    notes: tuple[Note, ...] = ()


@dataclass(frozen=True)
class Subset:
    """One folder of images."""

    given: Mapping[str, GivenValue]
    """Its settings, including those of the levels above."""
    folder: Path
    """The folder that its relative paths may start from."""


def subsets_of(config: Mapping[str, Any], folder: Path) -> list[Subset]:
    """Return all subsets of a dataset file; inner levels win over `[[datasets]]` and `[general]`."""
    general = _named(_first_table(config.get("general")), "[general]")
    found = []
    for dataset in _tables(config.get("datasets")):
        outer = _named({k: v for k, v in dataset.items() if k != "subsets"}, "[[datasets]]")
        for subset in _tables(dataset.get("subsets")):
            found.append(Subset({**general, **outer, **_named(subset, "[[datasets.subsets]]")}, folder))
    return found


def _named(values: Mapping[str, Any], where: str) -> dict[str, GivenValue]:
    return {k: GivenValue(v, f"{where} {k}") for k, v in values.items()}


def _first_table(value: Any) -> Mapping[str, Any]:
    return next(_tables(value), {})


def _tables(value: Any) -> Iterator[Mapping[str, Any]]:
    """Yield the tables of an array of tables; a single table counts as one."""
    for entry in value if isinstance(value, list) else [value]:
        if isinstance(entry, Mapping):
            yield entry


def numbered(root: Path) -> list[tuple[Path, int, str]]:
    """Return the `N_name` folders in `root` with their repeats and names, as kohya reads them."""
    folders = sorted(p for p in root.iterdir() if p.is_dir()) if is_folder(root) else []
    matches = [(p, re.fullmatch(r"([0-9]+)_(.*)", p.name)) for p in folders]
    return [(p, int(m[1]), m[2].strip()) for p, m in matches if m and int(m[1]) > 0]


def images_of(s: Settings, subsets: Sequence[Subset]) -> Images:
    """Return the images that the settings name: subsets if there are any, else the folders of `train_data_dir`."""
    if subsets:
        return _from_subsets(subsets)
    made: list[tuple[dict[str, Any], str]] = []
    notes: list[Note] = []
    if s["train_data_dir"]:
        made, notes = _from_folder(s)
    origins = {f"concepts.{i}.{key}": source for i, (concept, source) in enumerate(made) for key in concept}
    taken, more = _reg_folder(s)
    for t in taken:
        origins[t.key] = s.origin(t.sources)
    return Images(tuple(c for c, _ in made), tuple(taken), origins, {}, (*notes, *more))


def _from_folder(s: Settings) -> tuple[list[tuple[dict[str, Any], str]], list[Note]]:
    root = folder_path(str(s["train_data_dir"]), s.folder)
    said = s.source_key("train_data_dir")
    if s["in_json"]:
        return [({"folder": str(root), "subject": "", "repeats": s["dataset_repeats"]}, said)], []
    if found := numbered(root):
        return [
            ({"folder": str(path), "subject": name, "repeats": repeats}, f"{said}: {path.name}")
            for path, repeats, name in found
        ], []
    why = "it has no `N_name` folders: used as one concept with 1 repeat"
    if not is_folder(root):
        why = "not found on this machine, so its `N_name` folders are unknown: add a concept for each"
    concept: dict[str, Any] = {"folder": str(root), "subject": "", "repeats": 1}
    return [(concept, said)], [s.note("train_data_dir", "set", why, sets=("concepts",))]


def _reg_folder(s: Settings) -> tuple[list[Assignment], list[Note]]:
    if not s["reg_data_dir"]:
        return [Assignment("prior.source", "none", ("reg_data_dir",))], []
    root = folder_path(str(s["reg_data_dir"]), s.folder)
    names = [name for _, _, name in numbered(root) if name]
    of = ("reg_data_dir",)
    taken = [Assignment("prior.source", "folder", of), Assignment("prior.folder", str(root), of), _as_added_noise(of)]
    if names:
        taken.append(Assignment("prior.prompt", names[0], of))
    notes = (
        [] if is_folder(root) else [s.note("reg_data_dir", "set", "not found on this machine", sets=("prior.folder",))]
    )
    return taken, notes


def _as_added_noise(of: tuple[str, ...]) -> Assignment:
    return Assignment("prior.target", "noise", of)


def _from_subsets(subsets: Sequence[Subset]) -> Images:
    own = [Settings(KOHYA, x.given, trainer="kohya", folder=x.folder) for x in subsets]
    held = [s for s in own if not s["is_reg"] and (s["validation_split"] or 0) >= 1]
    of_concepts = [s for s in own if not s["is_reg"] and s not in held]
    reg = [s for s in own if s["is_reg"]]
    notes: list[Note] = []
    concepts: list[dict[str, Any]] = []
    origins: dict[str, str] = {}
    for i, s in enumerate(of_concepts):
        concept, where, more = _concept(s)
        concepts.append(concept)
        origins |= {f"concepts.{i}.{key}": source for key, source in where.items()}
        notes += more
    taken = list(_reg_subsets(reg, notes))
    for t in taken:
        origins[t.key] = (reg[0] if reg else own[0]).origin(t.sources) if reg else "no subset is_reg"
    for t in _held_out(held, notes):
        taken.append(t)
        origins[t.key] = held[0].origin(t.sources)
    shared = {k: v for k, v in subsets[own.index(of_concepts[0])].given.items() if k not in OWN} if of_concepts else {}
    notes += _differences(of_concepts)
    return Images(tuple(concepts), tuple(taken), origins, shared, tuple(dict.fromkeys(_hashable(notes))))


def _hashable(notes: Sequence[Note]) -> list[Note]:
    """Return the notes with hashable values, so that duplicates can be removed."""
    return [
        Note(n.key, str(n.value) if isinstance(n.value, (list, dict)) else n.value, n.status, n.why, n.sets, n.off)
        for n in notes
    ]


def _concept(s: Settings) -> tuple[dict[str, Any], dict[str, str], list[Note]]:
    """Return a subset as a concept, its origins, and notes on its own options."""
    root = folder_path(str(s["image_dir"] or ""), s.folder)
    concept = {"folder": str(root), "subject": s["class_tokens"] or "", "repeats": s["num_repeats"]}
    origins = {"folder": s.origin(["image_dir"]), "repeats": s.origin(["num_repeats"])}
    origins["subject"] = s.origin(["class_tokens"])
    match = re.fullmatch(r"[0-9]+_(.*)", root.name)
    if not concept["subject"] and match:
        concept["subject"] = match[1].strip()
        origins["subject"] = f"{s.source_key('image_dir')}: the folder's name"
    notes = []
    if not is_folder(root):
        notes.append(s.note("image_dir", "set", "not found on this machine: correct the path", sets=("concepts",)))
    for name in OWN:
        if s.given(name) and name != "image_dir":
            option = s.options[name]
            notes.append(s.note(name, option.status, option.how, sets=option.sets, off=s.is_off(name)))
    return concept, origins, notes


def _reg_subsets(reg: Sequence[Settings], notes: list[Note]) -> Iterator[Assignment]:
    if not reg:
        yield Assignment("prior.source", "none", ("is_reg",))
        return
    folders = [folder_path(str(s["image_dir"] or ""), s.folder) for s in reg]
    of = ("is_reg", "image_dir")
    yield Assignment("prior.source", "folder", of)
    root = folders[0] if len(folders) == 1 else Path(os.path.commonpath([str(f) for f in folders]))
    yield Assignment("prior.folder", str(root), of)
    yield _as_added_noise(of)
    prompts = list(dict.fromkeys(s["class_tokens"] for s in reg if s["class_tokens"]))
    if prompts:
        yield Assignment("prior.prompt", prompts[0], ("class_tokens",))
    if len(folders) > 1:
        why = f"class images come from one folder: all of {root}"
        notes.append(reg[0].note("image_dir", "set", why, sets=("prior.folder",)))
    if len(prompts) > 1:
        notes.append(reg[0].note("class_tokens", "unsupported", f"class images have only one prompt: {prompts[0]!r}"))


def _held_out(held: Sequence[Settings], notes: list[Note]) -> Iterator[Assignment]:
    """Convert subsets that kohya uses only for validation (validation_split = 1): the first is `evaluate.holdout`."""
    for s in held:
        folder = folder_path(str(s["image_dir"] or ""), s.folder)
        notes.append(
            s.note("validation_split", "set", f"{folder} is not used for training", sets=("evaluate.holdout",))
        )
        if s is held[0]:
            yield Assignment("evaluate.holdout", str(folder), ("image_dir", "validation_split"))


def _differences(concepts: Sequence[Settings]) -> Iterator[Note]:
    """Yield a note for each option that differs between concepts, since here all images share one value."""
    for name in sorted({n for s in concepts for n in s.values} - set(OWN)):
        values = [s[name] for s in concepts]
        if any(v != values[0] for v in values):
            shown = ", ".join(map(str, values))
            yield concepts[0].note(name, "unsupported", f"all images share one value: the first of {shown}")
