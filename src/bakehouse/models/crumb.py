"""crumb, the base model inside the package: an SD 1.x of small width, trained on 128 x 128 pixels."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from bakehouse.core.bundled_models import BUNDLED_BASE, BUNDLED_BASE_FOLDER, BUNDLED_TAGGER
from bakehouse.core.errors import BakehouseError
from bakehouse.models import sd1

FAMILY = replace(
    sd1.FAMILY,
    name=BUNDLED_BASE,
    bundled=True,
    native_size=128,
    evaluation_steps=10,
    batch_size=8,
    images_per_step=8,
    scorer="bundled tagger",
    vocabulary=BUNDLED_TAGGER,
)


def crumb_folder() -> Path:
    """Return the diffusers folder of crumb.

    Raises:
        BakehouseError: the package was installed without its assets, or lies inside a zip file.
    """
    if not (BUNDLED_BASE_FOLDER / "model_index.json").is_file():
        raise BakehouseError(
            f"the bundled base model is missing from {BUNDLED_BASE_FOLDER}",
            hint="reinstall bakehouse: `pip install --force-reinstall bakehouse`",
        )
    return BUNDLED_BASE_FOLDER


def base_path(ref: str) -> Path:
    """Return the path that a base model's name stands for: crumb's folder, else the name as a path."""
    return crumb_folder() if ref == BUNDLED_BASE else Path(ref).expanduser()
