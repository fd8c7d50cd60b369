"""Presets: what each kind of subject wants, as data."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from importlib import resources
from typing import Annotated, Any, Literal

from pydantic import Field

from bakehouse.core.json_toml_yaml import parse_toml
from bakehouse.core.settings import Spec


class Preset(Spec):
    """Numbers of one kind of subject. Those of shows are at Prodigy; AdamW needs twice as many."""

    about: str
    adapter: Literal["lora", "full"] = "lora"
    per_epoch: Annotated[int, Field(ge=1)] | None = None
    """Subject images shown an epoch."""
    per_image: Annotated[int, Field(ge=1)] | None = None
    """Shows of each image over the whole run, instead of per_epoch."""
    repeats: Annotated[int, Field(ge=1)] | None = None
    """Fixed, instead of per_epoch."""
    short: bool = False
    """Too few steps to find a rate from nothing: who finds one begins at the usual, with as many shows as AdamW."""
    epochs: int
    cap: int
    """At most so many shows."""
    rank: int = 32
    alpha: float = 16
    factor: int | None = None
    """LoKr's; None: its own default."""
    block_size: int | None = None
    """Of rotations; None: their own default."""
    targets: Literal["attention", "attention+mlp", "full"] = "attention+mlp"
    text: bool
    lr: float
    text_lr: float
    min_images: int
    """Fewer are warned about."""
    good_images: int
    prior: Literal["none", "class", "captions"] = "none"
    prior_images: int = 200
    prior_per_image: float = 1.0
    prior_weight: float = 1.0
    prior_target: Literal["noise", "base"] = "base"
    weighting: Literal["none", "min_snr"] = "none"
    guidance: float | None = None
    """For pictures on the way, class images and the judgement; None: the recipe's own defaults."""
    steps: Annotated[int, Field(ge=1)] | None = None
    """Of denoising, for pictures on the way and class images; None: the recipe's own defaults."""

    def sizes(self) -> Iterator[tuple[str, int]]:
        """Adapter settings that say how much it can hold, with the value that is usual."""
        for name in ("rank", "factor", "block_size"):
            value = getattr(self, name)
            if value is not None:
                yield name, value


@cache
def load_preset(kind: str, model: str = "") -> Preset:
    """The preset of a kind, with what a model or family (`crumb`, `sdxl`) says otherwise laid over it."""
    text = resources.files(__name__).joinpath(f"{kind}.toml").read_text("utf-8")
    values: dict[str, Any] = parse_toml(text)
    tables = {k: values.pop(k) for k in list(values) if isinstance(values[k], dict)}
    laid_over = tables.get(model, {})
    if "per_epoch" in laid_over:
        values.pop("repeats", None)
    return Preset.parse({**values, **laid_over}, source=f"preset {kind}")
