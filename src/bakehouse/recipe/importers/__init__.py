"""Other trainers' settings as recipes: whose they are is read from their content, and no key is dropped unsaid."""

from bakehouse.recipe.importers.import_report import FATES, LOST, Fate, Imported, Note
from bakehouse.recipe.importers.registry import PEERS, import_settings

__all__ = ["FATES", "LOST", "PEERS", "Fate", "Imported", "Note", "import_settings"]
