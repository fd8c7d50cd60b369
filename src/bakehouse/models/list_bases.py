"""Base models that can be trained on and drawn with: where each is, what it takes, its licence, what it likes."""

from __future__ import annotations

import contextlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from bakehouse.core.bundled_models import BUNDLED_BASE
from bakehouse.core.model_catalogue import catalogue, read_registry
from bakehouse.core.model_catalogue.conventions import Conventions, find_conventions
from bakehouse.core.model_catalogue.installed_models import ModelRegistry
from bakehouse.models.hub import cached_pipeline, has_weights
from bakehouse.models.manage_models import NOT_KNOWN, Row, rows
from bakehouse.models.model_card import card_licence
from bakehouse.models.model_reference import is_hub_id

From = Literal["package", "catalogue", "own", "hub"]


@dataclass(frozen=True)
class ListedBase:
    """A base model that can be named in a recipe."""

    name: str
    origin: From
    """Part of the package, of the catalogue, named by the user, or in the Hub's cache."""
    is_here: bool
    """Whether it is on this machine; if not, it can be fetched."""
    family: str
    what: str
    licence: str
    """Empty if it is not known."""
    bytes: int | None
    """On the disk; of one that is not here, what would be downloaded."""
    page: str
    """Address of a page about it; empty if there is none."""
    removes: Literal["files", "name", ""]
    """What `bakehouse models remove` takes away; empty: it cannot be removed."""
    conventions: Conventions | None
    """How it is usually asked for images."""

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        liked = self.conventions
        return {**asdict(self), "conventions": None if liked is None else liked.model_dump(mode="json")}


def bases() -> list[ListedBase]:
    """Return the base models of the package, the user, the catalogue and the Hub's cache. Downloads and hashes nothing.

    Raises:
        BakehouseError: the registry of models is damaged.
    """
    registry = read_registry()
    return [_base(row, registry) for row in rows() if row.kind == "base"]


def _base(row: Row, registry: ModelRegistry) -> ListedBase:
    name, fetched = row.name, registry.fetched.get(row.name)
    origin: From = (
        "package" if name == BUNDLED_BASE else "own" if name in registry.own
        else "catalogue" if name in catalogue() else "hub"
    )  # fmt: skip
    place = _place(row)
    licence = "" if row.licence in ("?", NOT_KNOWN) else row.licence
    if not licence and place is not None and place.is_dir():
        licence = card_licence(place)
    removes: Literal["files", "name", ""] = ""
    if fetched is not None:
        removes = "name" if fetched.shared else "files"
    elif origin == "own":
        removes = "name"
    names = [name, *([place.stem] if place is not None and place.is_file() else [])]
    names += [row.source.rpartition("huggingface.co/")[2]] if "huggingface.co/" in row.source else []
    found = find_conventions(names, family="crumb" if origin == "package" else row.family or None, sha256=row.sha256)
    return ListedBase(
        name=name,
        origin=origin,
        is_here=place is not None and (origin in ("package", "own") or place.is_file() or has_weights(place)),
        family=row.family,
        what="" if origin == "hub" else row.what,
        licence=licence,
        bytes=row.bytes if place is None else _disk_bytes(place),
        page=row.source if row.source.startswith("https://") else "",
        removes=removes,
        conventions=None if found is None else found.conventions,
    )


def _place(row: Row) -> Path | None:
    """Return a model's file or folder; None if it is not on this machine."""
    if is_hub_id(row.path) and not Path(row.path).exists():  # a name that the user gave to a Hub id
        return cached_pipeline(row.path)
    return Path(row.path) if row.path else None


def _disk_bytes(place: Path) -> int:
    """Return the bytes of a file, or of all files of a folder; in the Hub's cache names are links to the files."""
    total = 0
    for path in [place] if place.is_file() else place.rglob("*"):
        with contextlib.suppress(OSError):
            total += path.stat().st_size if path.is_file() else 0
    return total
