"""Files beside the model for A1111, and the fields that Civitai asks for."""

from __future__ import annotations

import html
from pathlib import Path
from typing import Any

from bakehouse.core.bundled_models import BUNDLED_BASE
from bakehouse.publish.gallery import GalleryImage, infotext
from bakehouse.publish.publication_facts import PublicationFacts
from bakehouse.weights.file_hashes import hash_file

_A1111_VERSIONS = {"sd1": "SD1", "sd2": "SD2", "sdxl": "SDXL"}
_CIVITAI_BASES = {"sd1": "SD 1.5", "sd2": "SD 2.1", "sdxl": "SDXL 1.0"}
_CIVITAI_NAMED = (("pony", "Pony"), ("illustrious", "Illustrious"), ("noob", "NoobAI"))
_CIVITAI_TYPES = {"adapter": "LORA", "slider": "LORA", "embedding": "TextualInversion", "model": "Checkpoint"}


def a1111_sidecar(facts: PublicationFacts) -> dict[str, Any]:
    """Return what A1111's extra networks show of `NAME.safetensors`, as `NAME.json` beside it."""
    words = ", ".join(phrase for _, phrase in facts.triggers)
    about = facts.spec.about or f"{facts.title}, trained with bakehouse on {facts.base}."
    return {
        "description": about,
        "sd version": "Unknown" if facts.base == BUNDLED_BASE else _A1111_VERSIONS.get(facts.family, "Unknown"),
        "activation text": words,
        "preferred weight": facts.strength if facts.kind in ("adapter", "slider") else 0,
        "negative text": facts.report.settings.negative if facts.report else "",
        "notes": f"Licence: {facts.licence.title}",
    }


def civitai_fields(facts: PublicationFacts, images: tuple[GalleryImage, ...], files: list[Path]) -> dict[str, Any]:
    """Return the fields of a model and its version under Civitai's names, for its form or its API."""
    version = {
        "name": "1.0",
        "baseModel": civitai_base(facts),
        "trainedWords": [phrase for _, phrase in facts.triggers],
        "files": [_civitai_file(path) for path in files],
        "images": [_civitai_image(facts, image) for image in images],
    }
    return {
        "name": facts.title,
        "type": civitai_type(facts),
        "description": f"<p>{html.escape(facts.spec.about or facts.title)}</p>",
        "tags": ["bakehouse", facts.recipe.kind],
        "nsfw": False,
        "poi": facts.spec.person == "real",
        "creator": {"username": facts.spec.author or ""},
        "license": facts.licence.title,
        "modelVersions": [version],
    }


def civitai_base(facts: PublicationFacts) -> str:
    """Return Civitai's name of the base: `SD 1.5`, `Pony`, `Other`."""
    if facts.base == BUNDLED_BASE:
        return "Other"
    named = [title for word, title in _CIVITAI_NAMED if word in facts.base.lower()]
    return named[0] if named else _CIVITAI_BASES.get(facts.family, "Other")


def civitai_type(facts: PublicationFacts) -> str:
    """Return Civitai's type: it calls LyCORIS' algorithms and LoRA on convolutions LoCon, and DoRA by its name."""
    adapter = facts.recipe.adapter
    if facts.kind in ("adapter", "slider"):
        if getattr(adapter, "dora", False):
            return "DoRA"
        if adapter.kind != "lora" or getattr(adapter, "conv_rank", None):
            return "LoCon"
    return _CIVITAI_TYPES[facts.kind]


def _civitai_file(path: Path) -> dict[str, Any]:
    hashes = hash_file(path)
    found = {"AutoV1": hashes.autov1, "AutoV2": hashes.autov2, "SHA256": hashes.sha256, "CRC32": hashes.crc32}
    upper = {name: value.upper() for name, value in found.items()}
    return {
        "name": path.name,
        "type": "Model",
        "sizeKB": round(path.stat().st_size / 1024, 3),
        "metadata": {"format": "SafeTensor"},
        "hashes": upper | ({"AutoV3": hashes.autov3.upper()} if hashes.autov3 else {}),
    }


def _civitai_image(facts: PublicationFacts, image: GalleryImage) -> dict[str, Any]:
    spec = image.spec
    text = infotext(facts, image, (spec.width, spec.height))
    return {
        "url": image.name,
        "meta": {"prompt": text.prompt, "negativePrompt": text.negative, **dict(text.settings)},
    }
