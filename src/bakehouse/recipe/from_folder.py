"""The short way: a folder and a few words instead of a file."""

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
from bakehouse.recipe.recipe import Recipe
from bakehouse.recipe.text_match import trigger_in


def recipe_for_folder(
    folder: Path | str,
    subject: str = "",
    *,
    kind: str = "character",
    base: str = BUNDLED_BASE,
    settings: Mapping[str, Any] | None = None,
) -> Recipe:
    """A recipe for a folder in any known layout: plain, `N_name` folders, concepts_list.json, metadata.jsonl.

    `settings` are dotted keys, as with --set.

    Raises:
        UsageError: the folder is not there or holds nothing to learn from; class images cannot be used as they are.
        Problems: wrong keys or values.
    """
    settings = settings or {}
    kind = settings.get("kind", kind)
    layout = read_dataset(Path(folder))
    taught = [c for c in layout if not c.is_reg]
    if subject and len(taught) > 1:
        names = ", ".join(c.folder.name for c in taught)
        raise UsageError(
            f"--subject {subject!r} names one subject, but {folder} holds {len(taught)}: {names}",
            hint="leave it out: the folders' own names are used; or name one of the folders",
        )
    values: dict[str, Any] = {
        "kind": kind,
        "model": {"base": base},
        "concepts": [_concept(c, subject, kind) for c in taught],
    }
    if prior := _prior(layout):
        values["prior"] = prior
    for key, value in settings.items():
        set_dotted(values, key.split("."), value)
    return Recipe.parse(values, source=f"the recipe for {folder}").resolved_from(Path.cwd())


def names_images(source: Path) -> bool:
    """Whether images are named, as a folder or as a list of them: concepts_list.json, metadata.jsonl or .csv."""
    if source.is_dir():
        return not any((source / name).is_file() for name in ("recipe.toml", "inputs.json"))  # a run
    return source.is_file() and source.suffix.lower() in (".json", ".jsonl", ".csv")


def check_subjects(recipe: Recipe, source: Path) -> None:
    """Asks for a subject where neither the user nor the folders name one.

    Raises:
        UsageError: a concept has no subject.
    """
    if unnamed := [c.folder for c in recipe.concepts if not c.subject]:
        raise UsageError(
            f"{source if len(recipe.concepts) == 1 else unnamed[0]} is a folder of images: say what is in it",
            hint='--subject "zwx person": a rare word for it and what the base calls such a thing',
        )


def short_settings(
    recipe: Recipe, *, subject: str | None = None, kind: str | None = None, base: str | None = None
) -> dict[str, Any]:
    """What `--subject`, `--kind` and `--base` change in a recipe, by dotted key; None changes nothing."""
    named = _words(subject, kind or recipe.kind) if subject is not None else {}
    values = {"kind": kind, "model.base": base, **{f"concepts.0.{key}": word for key, word in named.items()}}
    return {key: value for key, value in values.items() if value is not None}


def _words(subject: str, kind: str) -> dict[str, str]:
    """A subject and what follows from the kind: `in hzn style` is one trigger, no part of it names a thing."""
    return {"subject": subject, **({"trigger": subject, "class_word": ""} if kind == "style" else {})}


def _concept(found: ConceptFolder, subject: str, kind: str) -> dict[str, Any]:
    values: dict[str, Any] = {"folder": str(found.folder), **_words(subject or found.class_tokens or "", kind)}
    if found.class_prompt and not subject and kind != "style":  # the tokens are a whole prompt then
        values["trigger"], values["class_word"] = trigger_in(found.class_tokens or "", found.class_prompt)
    if found.repeats:
        values["repeats"] = found.repeats
    return values


def _prior(layout: list[ConceptFolder]) -> dict[str, Any]:
    """Class images: the layout's own, or the prompt to make them from.

    Raises:
        UsageError: they are in several folders and cannot be used as one.
    """
    if own := _class_images(layout):
        prompt = next((c.class_prompt for c in layout if c.class_prompt), None)
        return {"source": "folder", "folder": str(_as_one(own)), **({"prompt": prompt} if prompt else {})}
    prompts = {c.class_prompt for c in layout if c.class_prompt}
    if len(prompts) != 1:
        return {}
    counts = [c.class_images for c in layout if c.class_images]
    return {"source": "class", "prompt": prompts.pop(), **({"images": max(counts)} if counts else {})}


def _class_images(layout: list[ConceptFolder]) -> dict[Path, tuple[ImageSet, str]]:
    """The folders of class images that hold some, with what those are called that have no caption."""
    found = {c.folder.resolve(): (c.images, c.class_tokens or "") for c in layout if c.is_reg}
    for c in layout:
        if c.class_folder is not None and c.class_folder.is_dir() and any(c.class_folder.iterdir()):
            found[c.class_folder.resolve()] = scan(c.class_folder), c.class_prompt or ""
    return found


def _as_one(folders: dict[Path, tuple[ImageSet, str]]) -> Path:
    """The folder that holds all class images and no other image: a recipe names one."""
    if len(folders) == 1:
        return next(iter(folders))
    names = ", ".join(map(str, folders))
    parent = Path(os.path.commonpath(folders))
    if len(scan(parent)) != sum(len(images) for images, _ in folders.values()):
        raise UsageError(
            f"class images are in {len(folders)} folders, and a recipe names one: {names}",
            hint="move them into one folder that holds no other image",
        )
    called = {name for images, name in folders.values() if any(not any(map(str.strip, r.captions)) for r in images)}
    if len(called) > 1:
        raise UsageError(
            f"class images without a caption are called by one prompt here, and these are of several kinds: {names}",
            hint="write a caption file beside each class image, such as 0001.txt: a dog",
        )
    return parent
