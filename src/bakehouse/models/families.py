"""The families of base models. A new one is a file that declares a `Family`, and a line here."""

from __future__ import annotations

from collections.abc import Mapping

from bakehouse.core.errors import BakehouseError
from bakehouse.models import crumb, sd1, sd2, sdxl
from bakehouse.models.family import Family
from bakehouse.models.model_reference import ModelRef, resolve_model

FAMILIES: Mapping[str, Family] = {family.name: family for family in (sd1.FAMILY, sd2.FAMILY, sdxl.FAMILY)}
"""By the name that a model's files tell. The bundled model is an SD 1.x to its files, and told by its name alone."""


def family_of(base: str | ModelRef) -> Family:
    """Return the family of a base model. Reads headers at most.

    A model that is unknown, damaged or not on this machine yet counts as SD 1.x: whoever loads it gets the error.
    """
    if isinstance(base, str):
        try:
            base = resolve_model(base)
        except BakehouseError:
            return sd1.FAMILY
    return crumb.FAMILY if base.kind == "crumb" else FAMILIES.get(base.family or "", sd1.FAMILY)


def native_size(where: ModelRef) -> int:
    """Return the side in pixels of the images that a model was trained on. Reads settings, never weights."""
    own = where.configured_size()
    return family_of(where).native_size if own is None else own
