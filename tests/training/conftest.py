from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Six small pictures in two shapes, with captions."""
    folder = tmp_path / "photos"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for i, size in enumerate([(64, 64)] * 4 + [(48, 80)] * 2):
        pixels = rng.integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{i}.png")
        (folder / f"{i}.txt").write_text(f"zwx person, place {i}, smiling")
    return folder


@pytest.fixture
def recipe(photos: Path, tiny_folder: Path) -> Callable[..., Any]:
    """A quick recipe on the tiny model; keywords are dotted keys with `__` for the dot."""

    def make(**settings: Any) -> Any:
        from bakehouse.recipe import recipe_for_folder

        quick = {
            "concepts.0.repeats": 2,
            "buckets.resolution": 64,
            "buckets.step": 16,
            "train.batch": 2,
            "train.epochs": 2,
            "prior.source": "none",
            "sample.prompts": [],
            "optimizer.lr": 1e-3,
        }
        changes = {key.replace("__", "."): value for key, value in settings.items()}
        return recipe_for_folder(photos, "zwx person", base=str(tiny_folder), settings={**quick, **changes})

    return make
