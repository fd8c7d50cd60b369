"""Other trainers' settings as recipes: whose they are is read from their content, and no key is dropped unsaid."""

from bakehouse.recipe.importers.import_report import LOST, STATUS_WORDS, Imported, Note, Status
from bakehouse.recipe.importers.registry import TRAINERS, import_settings

__all__ = ["LOST", "STATUS_WORDS", "TRAINERS", "Imported", "Note", "Status", "import_settings"]
