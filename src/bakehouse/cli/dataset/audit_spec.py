"""What an audit asks by: the options, laid over a recipe or a base model; triggers of a file beside the images."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bakehouse.audit import AuditSpec
    from bakehouse.cli.dataset.audit_options import Use


def spec_of(folder: Path, use: Use) -> AuditSpec:
    """The settings of an audit: a recipe's, with the options laid over them; triggers of a file beside the images.

    Raises:
        UsageError: no such recipe or model.
        Problems: wrong values, all at once.
    """
    from bakehouse.audit import AuditSpec
    from bakehouse.cli.dataset.audit_base import of_base
    from bakehouse.cli.dataset.audit_recipe import of_recipe

    values: dict[str, Any] = of_recipe(folder, use.recipe) if use.recipe else of_base(use.base or "")
    given = {"kind": use.kind, "batch": use.batch, "vocabulary": use.vocabulary, "faces": use.faces, "text": use.text}
    values |= {name: value for name, value in given.items() if value is not None}
    if use.resolution:
        values["buckets"] = {**values["buckets"], "resolution": use.resolution}
    if use.subject:
        word, _, rest = use.subject.strip().partition(" ")
        values["triggers"] = [{"word": word, "class_word": rest.strip(), "strategy": "fluid"}]
    elif "triggers" not in values and (declared := _declared(folder)):
        values |= {"triggers": declared, "declared": True}
    return AuditSpec.parse(values, source="dataset audit")


def _declared(folder: Path) -> list[dict[str, Any]]:
    from bakehouse.captions.triggers import find_triggers
    from bakehouse.data.triggers import TRIGGER_FILE

    if not any((place / TRIGGER_FILE).is_file() for place in (folder, folder.parent)):
        return []
    return [trigger.settings() for trigger in find_triggers(folder)]
