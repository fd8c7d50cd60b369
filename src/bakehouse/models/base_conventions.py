"""The conventions of a base model, looked up by its name, its metadata and its sha256."""

from __future__ import annotations

from collections.abc import Iterator

from bakehouse.core.errors import BakehouseError
from bakehouse.core.model_catalogue.conventions import (
    KnownBase,
    all_conventions,
    find_conventions,
    named_conventions,
)
from bakehouse.models.families import FAMILIES, family_of
from bakehouse.models.identify import read_header
from bakehouse.models.model_reference import ModelRef, resolve_model
from bakehouse.models.weights_fingerprint import file_sha256

USUAL_GUIDANCE = 7.0
"""Where nothing is known of a base."""
SETTING = "model.conventions"
"""The key of a recipe that names an entry."""


def conventions_of(base: str | ModelRef, named: str | None = None) -> KnownBase | None:
    """Return the conventions of a base model; None if it has none. Reads no weights, but may hash a file once.

    Args:
        base: a model or what stands for one; one that is not there counts as unknown.
        named: an entry's name in place of the search; `none` for no entry.

    Raises:
        UsageError: there is no entry called `named`.
    """
    if named is not None:
        return named_conventions(named, SETTING)
    try:
        where = resolve_model(base) if isinstance(base, str) else base
    except (BakehouseError, OSError):  # OSError: a name that no file could have
        return None
    family = family_of(where).name if where.family in FAMILIES else where.family
    names = list(_names(where))
    found = find_conventions(names, family=family)
    if found is not None and not found.conventions.whole_family:
        return found
    # Files are gigabytes: only one whose name says nothing is hashed, and its hash is kept.
    if where.kind == "file" and where.path is not None and _has_hashes(family):
        return find_conventions(names, family=family, sha256=file_sha256(where.path))
    return found


def _names(where: ModelRef) -> Iterator[str]:
    """Yield what a model is called; the folders above it are the user's, and say nothing."""
    path = where.path
    if where.kind == "hub" or path is None:
        yield where.name
        return
    yield path.stem if path.is_file() else path.name
    if path.suffix == ".safetensors":
        yield read_header(path).metadata.get("modelspec.title", "")


def _has_hashes(family: str | None) -> bool:
    """Whether the sha256 of a model of this family could tell anything."""
    return any(entry.hashes for entry in all_conventions().values() if entry.family == family)
