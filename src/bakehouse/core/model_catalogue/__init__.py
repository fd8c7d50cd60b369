"""Models by name: what there is, whose terms bind, where it comes from, and whether it is here."""

from bakehouse.core.model_catalogue.entry import KINDS, Entry, File, Kind, shipped
from bakehouse.core.model_catalogue.installed_models import Own, check_name, find, model_path, names, read_shelf, target

__all__ = [
    "KINDS",
    "Entry",
    "File",
    "Kind",
    "Own",
    "check_name",
    "find",
    "model_path",
    "names",
    "read_shelf",
    "shipped",
    "target",
]
