"""Trainings of sd-scripts that bakehouse does not support, so that they are refused by name."""

from __future__ import annotations

from collections.abc import Mapping

from bakehouse.core.errors import UsageError
from bakehouse.recipe.importers.import_report import Note
from bakehouse.recipe.importers.option_table import GivenValue
from bakehouse.recipe.importers.shipped_tables import shipped_table

_DATA = "kohya_other_trainings.toml"
_HINT = "bakehouse trains LoRAs, embeddings and whole models of Stable Diffusion 1.x, 2.x and SDXL"


def trained_by(script: str) -> str:
    """Return what an unsupported script of kohya's trains; empty for other scripts."""
    return next((what for part, what in shipped_table(_DATA)["by_script"].items() if part in script), "")


def refuse_others(given: Mapping[str, GivenValue], where: str = "these settings") -> None:
    """Refuse an unsupported training, recognized by its script, its network or the files that it needs.

    Raises:
        UsageError: with what it trains.
    """
    values = {k: v.value for k, v in given.items()}
    by_module, by_option = shipped_table(_DATA)["by_module"], shipped_table(_DATA)["by_option"]
    what = trained_by(str(values.get("script") or "")) or by_module.get(str(values.get("network_module")), "")
    key = next((k for k in by_option if values.get(k)), "")
    if what := what or (by_option[key] if key else ""):
        reason = f" ({given[key].source_key})" if key and what == by_option[key] else ""
        raise UsageError(f"{where} train {what}{reason}", hint=_HINT)


def of_other_models() -> frozenset[str]:
    """Return the options that kohya has only for other models and methods."""
    return frozenset(shipped_table(_DATA)["defaults"])


def without_others(given: Mapping[str, GivenValue]) -> tuple[dict[str, GivenValue], list[Note]]:
    """Return the options that this training's script uses, and a note on each other one."""
    script = str(given["script"].value) if "script" in given else ""
    defaults, lacks = shipped_table(_DATA)["defaults"], set(shipped_table(_DATA)["lacks"].get(script, ()))
    kept: dict[str, GivenValue] = {}
    notes = []
    for key, item in given.items():
        if key not in defaults and key not in lacks:
            kept[key] = item
        elif not item.quiet:
            why = f"{script} has no such option" if key in lacks else "only for other models"
            off = not item.value or item.value in defaults.get(key, ())
            notes.append(Note(item.source_key, item.value, "no effect", why, off=off))
    return kept, notes
