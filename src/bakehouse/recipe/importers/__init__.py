"""Other trainers' settings as recipes: whose they are is read from their content, and no key is dropped unsaid."""

from bakehouse.recipe.importers.read import PEERS, import_settings
from bakehouse.recipe.importers.result import FATES, LOST, Fate, Imported, Note

__all__ = ["FATES", "LOST", "PEERS", "Fate", "Imported", "Note", "import_settings"]
