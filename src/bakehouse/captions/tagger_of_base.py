"""The tagger whose words a base model can use: the bundled one for `crumb`, one with Danbooru tags for all others."""

from __future__ import annotations

from bakehouse.core.bundled_models import BUNDLED_BASE, BUNDLED_TAGGER, BUNDLED_TAGGER_NAMES
from bakehouse.core.errors import UsageError
from bakehouse.core.model_catalogue import catalogue, locate_model, read_registry
from bakehouse.core.model_catalogue.installed_models import fetch_command

_SMALLEST = "wd-vit-v3"
"""The one to fetch where there is none: the smallest of the third generation."""


def installed_tagger(family: str) -> str:
    """Return the name of the tagger on this machine for base models of a family; empty if there is none.

    Those of the catalogue come first, in its order, then those that were added with `bakehouse models add`.
    """
    if family == BUNDLED_BASE:
        return BUNDLED_TAGGER
    names = [name for name, entry in catalogue().items() if entry.kind == "tagger" and name not in BUNDLED_TAGGER_NAMES]
    names += [name for name, model in read_registry().own.items() if model.kind == "tagger"]
    return next((name for name in names if _is_here(name)), "")


def tagger_of_base(base: str, family: str) -> str:
    """Return the name of the tagger for a base model.

    Args:
        base: as messages name it.
        family: its family.

    Raises:
        UsageError: none is on this machine; names the command that downloads one.
    """
    if name := installed_tagger(family):
        return name
    raise UsageError(
        f"no tagger for {base} is on this machine: the one in the package only knows the words of {BUNDLED_BASE}",
        hint=fetch_command(catalogue()[_SMALLEST]),
    )


def how_to_get_a_tagger(base: str, tag_command: str) -> str:
    """Return what to do where no tagger for a base is on this machine.

    Args:
        base: as messages name it.
        tag_command: the command that tags the images, without a tagger.
    """
    fetch = fetch_command(catalogue()[_SMALLEST])
    return f"no tagger for {base} is on this machine; {fetch}, then {tag_command} --tagger {_SMALLEST}"


def _is_here(name: str) -> bool:
    try:
        return locate_model(name, "tagger") is not None
    except UsageError:
        return False
