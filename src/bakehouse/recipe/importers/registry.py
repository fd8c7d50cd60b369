"""Detects the trainer of settings files and converts them to a recipe."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bakehouse.core.errors import UsageError, did_you_mean
from bakehouse.recipe.importers import ai_toolkit, diffusers_scripts, easy_scripts, kohya, kohya_gui, leco, onetrainer
from bakehouse.recipe.importers.build_recipe import Draft, recipe_from_draft
from bakehouse.recipe.importers.import_report import Imported
from bakehouse.recipe.importers.settings_file import Document, open_document
from bakehouse.recipe.importers.unsupported_trainers import refuse_unsupported


@dataclass(frozen=True)
class Trainer:
    """A trainer whose settings can be imported."""

    title: str
    detects: Callable[[Document], bool]
    """Whether a document is this trainer's."""
    read: Callable[[Sequence[Document]], Draft]


TRAINERS: Mapping[str, Trainer] = {
    # From the most to the least telling: kohya's table of names is the widest.
    "onetrainer": Trainer(onetrainer.TITLE, onetrainer.detects, onetrainer.read),
    "kohya-gui": Trainer(kohya_gui.TITLE, kohya_gui.detects, kohya_gui.read),
    "easy": Trainer(easy_scripts.TITLE, easy_scripts.detects, easy_scripts.read),
    "leco": Trainer(leco.TITLE, leco.detects, leco.read),
    "ai-toolkit": Trainer(ai_toolkit.TITLE, ai_toolkit.detects, ai_toolkit.read),
    "diffusers": Trainer(diffusers_scripts.TITLE, diffusers_scripts.detects, diffusers_scripts.read),
    "kohya": Trainer(kohya.TITLE, kohya.detects, kohya.read),
}


def import_settings(
    paths: Sequence[Path | str] | Path | str,
    *,
    trainer: str | None = None,
    images: Path | None = None,
    subject: str | None = None,
    kind: str | None = None,
) -> Imported:
    """Convert another trainer's settings to a recipe; the trainer is detected from their content.

    Args:
        paths: one file or several that belong together (kohya's config and dataset TOML).
        trainer: a key of `TRAINERS`, where the content does not tell.
        images: the folder of images, instead of those that the settings name.
        subject: trigger and class word: `zwx person`.
        kind: what is taught, one of the recipe's kinds.

    Raises:
        UsageError: a file is not there or cannot be read; settings of no known trainer; no images.
    """
    files = [Path(p) for p in ([paths] if isinstance(paths, (str, Path)) else paths)]
    documents = [open_document(path) for path in files]
    if trainer is not None and trainer not in TRAINERS:
        raise UsageError(f"--from {trainer!r}: supported are {', '.join(TRAINERS)}{did_you_mean(trainer, TRAINERS)}")
    name = trainer or _owner(documents)
    found = TRAINERS[name]
    draft = found.read(documents)
    sources = [str(f) for f in files]
    return recipe_from_draft(
        draft, trainer=name, title=found.title, sources=sources, images=images, subject=subject, kind=kind
    )


def _owner(documents: Sequence[Document]) -> str:
    owners = []
    for document in documents:
        refuse_unsupported(document)
        owner = next((name for name, trainer in TRAINERS.items() if trainer.detects(document)), None)
        if owner is None:
            known = ", ".join(p.title for p in TRAINERS.values())
            hint = f"supported are {known}; name the trainer with --from ({', '.join(TRAINERS)})"
            raise UsageError(f"{document.path}: unrecognised format", hint=hint)
        owners.append(owner)
    if len(set(owners)) > 1:
        said = ", ".join(f"{d.path} is {TRAINERS[o].title}" for d, o in zip(documents, owners, strict=True))
        raise UsageError(f"these files belong to different trainers: {said}", hint="import them one by one")
    return owners[0]
