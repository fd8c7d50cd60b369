"""Regions in infotext, written and read: `Region 1: "left: a cat"`, `Region base`, `Region edge`.

A1111 has no regions; the names are bakehouse's own. A mask is named by its file, with the hash of what is in it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from PIL import Image

from bakehouse.core.errors import UsageError
from bakehouse.generation.region_masks import mask_hash
from bakehouse.generation.regions import DEFAULT_BASE, DEFAULT_EDGE, Region, Regions

_REGION = re.compile(r"Region (\d+)")
_MASK_HASH = re.compile(r"Region \d+ mask hash")
_BASE, _EDGE = "Region base", "Region edge"


def region_settings(regions: Regions | None) -> dict[str, object]:
    """Return the settings of regions, in order."""
    settings: dict[str, object] = {}
    if regions is None:
        return settings
    for number, region in enumerate(regions.regions, 1):
        settings[f"Region {number}"] = str(region)
        settings[f"Region {number} mask hash"] = None if region.mask is None else mask_hash(region.mask)
    return {**settings, _BASE: float(regions.base), _EDGE: float(regions.edge)}


def is_region_setting(name: str) -> bool:
    """Return whether a setting's name is one of `region_settings`."""
    return name in (_BASE, _EDGE) or bool(_REGION.fullmatch(name) or _MASK_HASH.fullmatch(name))


def read_regions(settings: Mapping[str, str], folder: Path | None = None) -> tuple[Regions | None, tuple[str, ...]]:
    """Return the regions that settings describe, and a sentence for each mask that has changed since.

    Args:
        settings: those of an infotext.
        folder: where masks are looked for that are not where their path says: the folder of the image.

    Raises:
        UsageError: a value cannot be read, or a mask is not found.
    """
    texts = {int(found[1]): text for name, text in settings.items() if (found := _REGION.fullmatch(name))}
    if not texts:
        return None, ()
    regions, notes = [], []
    for number, text in sorted(texts.items()):
        region = Region.parse(text)
        if region.mask is not None:
            mask = _found(region.mask, folder)
            region = replace(region, mask=mask)
            if (made_with := settings.get(f"Region {number} mask hash")) and mask_hash(mask) != made_with:
                notes.append(f"the mask {mask} is not the one that the image was made with: the image will differ")
        regions.append(region)
    base, edge = _number(settings, _BASE, DEFAULT_BASE), _number(settings, _EDGE, DEFAULT_EDGE)
    return Regions(regions=tuple(regions), base=base, edge=edge), tuple(notes)


def _found(mask: str | Path | Image.Image, folder: Path | None) -> Path:
    path = Path(str(mask))
    near = path if folder is None else folder / path.name
    for place in (path, near):
        if place.is_file():
            return place
    raise UsageError(
        f"the image was made with the mask {path} of a region, which is not there",
        hint=f"put it there, or beside the image as {path.name}",
    )


def _number(settings: Mapping[str, str], name: str, default: float) -> float:
    text = settings.get(name, "")
    try:
        return float(text) if text else default
    except ValueError as e:
        raise UsageError(f"{name}: {text} is not a number") from e
