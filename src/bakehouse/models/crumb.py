"""Where the embedded base model lies."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from bakehouse.core.errors import BakehouseError


def crumb_folder() -> Path:
    """The diffusers folder of `crumb`, the base model that is part of the package.

    Raises:
        BakehouseError: the package was installed without its assets, or lies inside a zip file.
    """
    folder = Path(str(resources.files("bakehouse"))) / "assets" / "crumb"
    if not (folder / "model_index.json").is_file():
        raise BakehouseError(
            f"the embedded base model is not in {folder}",
            hint="install bakehouse again: `pip install --force-reinstall`",
        )
    return folder
