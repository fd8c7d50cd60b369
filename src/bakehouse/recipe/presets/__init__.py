"""Presets: default numbers for each kind of subject, as data files."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from importlib import resources
from typing import Annotated, Any, Literal

from pydantic import Field

from bakehouse.core.parse_json_toml_yaml import parse_toml
from bakehouse.core.settings import Spec


class Preset(Spec):
    """Numbers of one kind of subject. Numbers of shows are for Prodigy; AdamW needs twice as many."""

    about: str
    adapter: Literal["lora", "full", "none"] = "lora"
    """What trains by default; none: only the vectors of an embedding."""
    per_epoch: Annotated[int, Field(ge=1)] | None = None
    """Subject images shown an epoch."""
    per_group: Annotated[int, Field(ge=1)] | None = None
    """Least images shown an epoch of a group, such as an outfit; `per_epoch` is then shared by a character's groups."""
    per_image: Annotated[int, Field(ge=1)] | None = None
    """Shows of each image over the whole run, instead of per_epoch."""
    repeats: Annotated[int, Field(ge=1)] | None = None
    """Fixed repeats, instead of per_epoch."""
    short: bool = False
    """Too few steps to estimate a rate from zero: optimizers that do start at the usual rate, with AdamW's shows."""
    epochs: int
    cap: int = 0
    """Largest number of shows."""
    train_steps: Annotated[int, Field(ge=1)] | None = None
    """Steps of a training without images, which its epochs share."""
    rank: int = 32
    alpha: float = 16
    factor: int | None = None
    """LoKr's factor; None: its own default."""
    block_size: int | None = None
    """Block size of rotations; None: their own default."""
    targets: Literal["attention", "attention+mlp", "full"] = "attention+mlp"
    text: bool
    lr: float
    text_lr: float
    vectors: int = 2
    """Vectors of an embedding."""
    embedding_lr: float | None = None
    """Learning rate of an embedding's vectors; None: ten times `lr`."""
    min_images: int = 1
    """Below this there is a warning."""
    good_images: int = 1
    complex_images: int = 1
    """Below this there is a warning for an outfit of many parts."""
    character_images: int | None = None
    """Below this there is a warning for a character, over all groups of it alone, and for a group of several."""
    prior: Literal["none", "class", "captions"] = "none"
    prior_images: int = 200
    prior_per_image: float = 1.0
    prior_weight: float = 1.0
    prior_target: Literal["noise", "base"] = "base"
    weighting: Literal["none", "min_snr"] = "none"
    steps: Annotated[int, Field(ge=1)] | None = None
    """Denoising steps of samples and class images; None: the recipe's own defaults."""

    def sizes(self) -> Iterator[tuple[str, int]]:
        """Yield the adapter settings that determine its capacity, with their usual values."""
        for name in ("rank", "factor", "block_size"):
            value = getattr(self, name)
            if value is not None:
                yield name, value


@cache
def load_preset(kind: str, model: str = "") -> Preset:
    """Return the preset of a kind, with the changes for a model or family (`crumb`, `sdxl`)."""
    text = resources.files(__name__).joinpath(f"{kind}.toml").read_text("utf-8")
    values: dict[str, Any] = parse_toml(text)
    tables = {k: values.pop(k) for k in list(values) if isinstance(values[k], dict)}
    laid_over = tables.get(model, {})
    if "per_epoch" in laid_over:
        values.pop("repeats", None)
    return Preset.parse({**values, **laid_over}, source=f"preset {kind}")
