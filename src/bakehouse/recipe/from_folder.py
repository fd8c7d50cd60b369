"""A recipe from a folder of images and a few options, without a recipe file."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bakehouse.core.bundled_models import BUNDLED_BASE
from bakehouse.core.errors import UsageError
from bakehouse.core.settings import set_dotted
from bakehouse.data.dataset_formats import ConceptFolder, read_dataset
from bakehouse.data.image_records import ImageSet
from bakehouse.data.scan import scan
from bakehouse.recipe.from_group_folders import group_concepts
from bakehouse.recipe.recipe import OF_GROUPS, Recipe
from bakehouse.recipe.words_in_captions import split_prompt


def recipe_for_folder(
    folder: Path | str,
    subject: str = "",
    *,
    kind: str = "character",
    base: str = BUNDLED_BASE,
    settings: Mapping[str, Any] | None = None,
) -> Recipe:
    """Return a recipe for a folder in any dataset format: plain, `N_name` folders, concepts_list.json, metadata.jsonl.

    For the kinds `outfits` and `pack` the folders in it are groups of images (`from_group_folders`).

    `settings` are dotted keys, as with --set.

    Raises:
        UsageError: the folder does not exist or has no images; class images cannot be used as they are.
        Problems: wrong keys or values.
    """
    settings = settings or {}
    kind = settings.get("kind", kind)
    if kind in OF_GROUPS:
        groups = {"kind": kind, "model": {"base": base}, "concepts": group_concepts(Path(folder), kind, subject)}
        return _parsed(groups, settings, folder)
    found = read_dataset(Path(folder))
    subjects = [c for c in found if not c.is_reg]
    if subject and len(subjects) > 1:
        names = ", ".join(c.folder.name for c in subjects)
        raise UsageError(
            f"--subject {subject!r} is one subject, but {folder} contains {len(subjects)}: {names}",
            hint="leave it out to use the folders' names, or pass one of the folders",
        )
    values: dict[str, Any] = {
        "kind": kind,
        "model": {"base": base},
        "concepts": [_concept(c, subject, kind) for c in subjects],
    }
    if prior := _prior(found):
        values["prior"] = prior
    return _parsed(values, settings, folder)


def _parsed(values: dict[str, Any], settings: Mapping[str, Any], folder: Path | str) -> Recipe:
    for key, value in settings.items():
        set_dotted(values, key.split("."), value)
    return Recipe.parse(values, source=f"the recipe for {folder}").resolved_from(Path.cwd())


def names_images(source: Path) -> bool:
    """Whether a path is a folder of images or a list of images: concepts_list.json, metadata.jsonl or .csv."""
    if source.is_dir():
        return not any((source / name).is_file() for name in ("recipe.toml", "inputs.json"))  # a run
    return source.is_file() and source.suffix.lower() in (".json", ".jsonl", ".csv")


def check_subjects(recipe: Recipe, source: Path) -> None:
    """Check that every concept has a subject, from the user or from its folder.

    Raises:
        UsageError: a concept has no subject.
    """
    if unnamed := [c.folder for c in recipe.concepts if not c.subject and not c.characters]:
        raise UsageError(
            f"{source if len(recipe.concepts) == 1 else unnamed[0]} has no subject",
            hint='pass a rare trigger word and the class word: --subject "zwx person"',
        )


def short_settings(
    recipe: Recipe, *, subject: str | None = None, kind: str | None = None, base: str | None = None
) -> dict[str, Any]:
    """Return the recipe values that `--subject`, `--kind` and `--base` set, by dotted key; None sets nothing."""
    named = _subject_values(subject, kind or recipe.kind) if subject is not None else {}
    values = {"kind": kind, "model.base": base, **{f"concepts.0.{key}": word for key, word in named.items()}}
    return {key: value for key, value in values.items() if value is not None}


def _subject_values(subject: str, kind: str) -> dict[str, str]:
    """Return the subject; for a style, all of it is the trigger and there is no class word: `in hzn style`."""
    return {"subject": subject, **({"trigger": subject, "class_word": ""} if kind == "style" else {})}


def _concept(found: ConceptFolder, subject: str, kind: str) -> dict[str, Any]:
    values: dict[str, Any] = {"folder": str(found.folder), **_subject_values(subject or found.class_tokens or "", kind)}
    if found.class_prompt and not subject and kind != "style":  # the tokens are a whole prompt then
        values["trigger"], values["class_word"] = split_prompt(found.class_tokens or "", found.class_prompt)
    if found.repeats:
        values["repeats"] = found.repeats
    return values


def _prior(found: list[ConceptFolder]) -> dict[str, Any]:
    """Return class images: those of the dataset, or the prompt to generate them from.

    Raises:
        UsageError: they are in several folders that cannot be used as one.
    """
    if own := _class_images(found):
        prompt = next((c.class_prompt for c in found if c.class_prompt), None)
        return {"source": "folder", "folder": str(_as_one(own)), **({"prompt": prompt} if prompt else {})}
    prompts = {c.class_prompt for c in found if c.class_prompt}
    if len(prompts) != 1:
        return {}
    counts = [c.class_images for c in found if c.class_images]
    return {"source": "class", "prompt": prompts.pop(), **({"images": max(counts)} if counts else {})}


def _class_images(folders: list[ConceptFolder]) -> dict[Path, tuple[ImageSet, str]]:
    """Return the non-empty folders of class images, each with the prompt of its images without a caption."""
    found = {c.folder.resolve(): (c.images, c.class_tokens or "") for c in folders if c.is_reg}
    for c in folders:
        if c.class_folder is not None and c.class_folder.is_dir() and any(c.class_folder.iterdir()):
            found[c.class_folder.resolve()] = scan(c.class_folder), c.class_prompt or ""
    return found


def _as_one(folders: dict[Path, tuple[ImageSet, str]]) -> Path:
    """Return the one folder that contains all class images and no other image."""
    if len(folders) == 1:
        return next(iter(folders))
    names = ", ".join(map(str, folders))
    parent = Path(os.path.commonpath(folders))
    if len(scan(parent)) != sum(len(images) for images, _ in folders.values()):
        raise UsageError(
            f"class images are in {len(folders)} folders, but a recipe has one: {names}",
            hint="move them into one folder without other images",
        )
    called = {name for images, name in folders.values() if any(not any(map(str.strip, r.captions)) for r in images)}
    if len(called) > 1:
        raise UsageError(
            f"class images without a caption share one prompt, but these are of several classes: {names}",
            hint="write a caption file beside each class image, such as 0001.txt: a dog",
        )
    return parent
