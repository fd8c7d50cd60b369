"""Converts other trainers' settings to recipes. The trainer is detected from the content; every key is reported."""

from bakehouse.recipe.importers.import_report import LOST, STATUS_WORDS, Imported, Note, Status
from bakehouse.recipe.importers.registry import TRAINERS, import_settings

__all__ = ["LOST", "STATUS_WORDS", "TRAINERS", "Imported", "Note", "Status", "import_settings"]
