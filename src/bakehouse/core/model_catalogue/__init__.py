"""Models with short names: the shipped catalogue, what was downloaded of it, and the user's own."""

from bakehouse.core.model_catalogue.entry import KINDS, Entry, File, Kind, catalogue
from bakehouse.core.model_catalogue.installed_models import (
    UserModel,
    check_model_name,
    find_model,
    locate_model,
    model_names,
    model_path,
    read_registry,
)

__all__ = [
    "KINDS",
    "Entry",
    "File",
    "Kind",
    "UserModel",
    "catalogue",
    "check_model_name",
    "find_model",
    "locate_model",
    "model_names",
    "model_path",
    "read_registry",
]
