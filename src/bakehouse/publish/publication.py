"""A publication: all of its files in one folder, ready to be copied or uploaded."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bakehouse.core.events import Event, Progress
from bakehouse.core.files import sha256_file, write_bytes, write_json, write_text
from bakehouse.publish.card import make_card
from bakehouse.publish.concerns import Concern, check_consent, concerns
from bakehouse.publish.gallery import GalleryImage, choose_images, write_images
from bakehouse.publish.model_files import ModelFiles, write_model
from bakehouse.publish.public_recipe import public_recipe
from bakehouse.publish.publication_facts import PublicationFacts
from bakehouse.publish.webui_files import a1111_sidecar, civitai_fields

CARD = "README.md"
MANIFEST = "publish.json"
"""Lists the other files with their sha256, so that the next publication changes only what is different."""
VERSION = 1


@dataclass(frozen=True)
class PublishedFile:
    """A file of the publication."""

    name: str
    """Relative, with slashes."""
    path: Path
    sha256: str
    size: int
    """In bytes."""

    @classmethod
    def of(cls, name: str, path: Path) -> PublishedFile:
        return cls(name, path, sha256_file(path), path.stat().st_size)


@dataclass(frozen=True)
class PublicationPlan:
    """What would be published; nothing has been written."""

    facts: PublicationFacts
    images: tuple[GalleryImage, ...]
    concerns: tuple[Concern, ...]

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        facts = self.facts
        return {
            "run": str(facts.run.folder),
            "kind": facts.kind,
            "name": facts.name,
            "title": facts.title,
            "weights": facts.weights.relative_to(facts.run.folder).as_posix(),
            "strength": facts.strength,
            "base": facts.base,
            "licence": facts.licence.id,
            "triggers": [phrase for _, phrase in facts.triggers],
            "images": [{"name": i.name, "prompt": i.prompt} for i in self.images],
            "concerns": [{"name": c.name, "why": c.why} for c in self.concerns],
        }


@dataclass(frozen=True)
class Publication:
    """The written files."""

    plan: PublicationPlan
    files: tuple[PublishedFile, ...]
    model: ModelFiles

    @property
    def manifest(self) -> dict[str, Any]:
        """The content of `publish.json`."""
        return {
            "version": VERSION,
            **{k: v for k, v in self.plan.to_json().items() if k not in ("run", "concerns")},
            "files": {f.name: {"sha256": f.sha256, "bytes": f.size} for f in self.files},
        }


def plan_publication(facts: PublicationFacts) -> PublicationPlan:
    """Decide what is published.

    Raises:
        UsageError: a model of a person that does not say whether the person is real.
    """
    check_consent(facts)
    return PublicationPlan(facts, choose_images(facts), concerns(facts))


def write_publication(plan: PublicationPlan, folder: Path, repo: str) -> Generator[Event, None, Publication]:
    """Write all files of a publication into an empty folder; equal runs and settings give equal bytes.

    Args:
        repo: what a reader of the card loads: a repository's id, or words in place of a path.

    Raises:
        BakehouseError: a file of the run is damaged, or the disk is full.
    """
    facts, images = plan.facts, plan.images
    yield Progress(what="the gallery", done=0, total=1)
    write_images(facts, images, folder)
    yield Progress(what="the gallery", done=1, total=1)
    preview = folder / images[0].name if images else None
    model = yield from write_model(facts, folder, preview)
    own = folder / f"{facts.name}.safetensors"
    write_json(own.with_suffix(".json"), a1111_sidecar(facts))
    if preview is not None:
        write_bytes(own.with_suffix(".preview.png"), preview.read_bytes())
    write_json(folder / "civitai.json", civitai_fields(facts, images, [own]))
    write_text(folder / "recipe.toml", public_recipe(facts.recipe, facts.base))
    write_text(folder / CARD, make_card(facts, images, model, repo))
    yield Progress(what="hashing", done=0, total=1)
    files = tuple(_listed(folder, model))
    yield Progress(what="hashing", done=1, total=1)
    return Publication(plan, files, model)


def _listed(folder: Path, model: ModelFiles) -> Generator[PublishedFile, None, None]:
    """Yield the written files, then those of a model's folder, which are published from where they are."""
    seen = set()
    for start in (folder, *(one.path for one in model.files if one.path.is_dir())):
        for path in sorted(p for p in start.rglob("*") if p.is_file()):
            name = path.relative_to(start).as_posix()
            if name not in seen:
                yield PublishedFile.of(name, path)
            seen.add(name)
