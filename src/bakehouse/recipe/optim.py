"""Optimizers and learning-rate schedules by name: rows of a table, never an import path from outside."""

from __future__ import annotations

import importlib
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Annotated, Any, Literal

import torch
from pydantic import Field, model_validator

from bakehouse.core.errors import UsageError, did_you_mean
from bakehouse.core.spec import Spec


@dataclass(frozen=True)
class OptimizerRow:
    """Where an optimizer lives and what it is given unless the recipe says otherwise."""

    module: str
    cls: str
    lr: float
    """The rate to begin with, for adapters."""
    install: str = ""
    defaults: Mapping[str, Any] = field(default_factory=dict)
    finds_rate: bool = False
    """The rate is a multiplier of what the optimizer estimates itself: 1.0."""


OPTIMIZERS: Mapping[str, OptimizerRow] = MappingProxyType(
    {
        "adamw": OptimizerRow("torch.optim", "AdamW", 1e-4, defaults={"weight_decay": 0.01}),
        "prodigy": OptimizerRow(
            "prodigyopt",
            "Prodigy",
            1.0,
            install="prodigyopt",
            finds_rate=True,
            defaults={
                "weight_decay": 0.01,
                "decouple": True,
                "use_bias_correction": True,
                "safeguard_warmup": True,
                "d_coef": 2.0,
            },
        ),
    }
)


class OptimizerSpec(Spec):
    name: str = "adamw"
    """One of the table: adamw, prodigy."""
    lr: Annotated[float, Field(gt=0)] | None = None
    """Learning rate of the UNet. Left out: the plan's (1e-4 for AdamW, 1.0 for Prodigy)."""
    text_lr: Annotated[float, Field(ge=0)] | None = None
    """Learning rate of the text encoder. Left out: the plan's."""
    args: dict[str, Any] = Field(default_factory=dict)
    """Passed to the optimizer as they are: betas, weight_decay, d_coef ..."""

    @model_validator(mode="after")
    def _known(self) -> OptimizerSpec:
        if self.name not in OPTIMIZERS:
            allowed = ", ".join(OPTIMIZERS)
            raise ValueError(
                f"{self.name!r} is not an optimizer: allowed are {allowed}{did_you_mean(self.name, OPTIMIZERS)}"
            )
        return self

    @property
    def row(self) -> OptimizerRow:
        return OPTIMIZERS[self.name]

    def build(self, groups: Iterable[dict[str, Any]]) -> torch.optim.Optimizer:
        """The optimizer over parameter groups `{"params": ..., "lr": ...}`.

        Raises:
            UsageError: its library is not installed, or it does not take one of `args`.
        """
        row = self.row
        try:
            cls = getattr(importlib.import_module(row.module), row.cls)
        except ImportError as e:
            raise UsageError(f"optimizer {self.name!r} needs a library: {e}", hint=f"pip install {row.install}") from e
        try:
            optimizer = cls(list(groups), **{**row.defaults, **self.args})
        except (TypeError, ValueError) as e:
            raise UsageError(f"optimizer.args = {self.args!r}: {row.cls} says: {e}") from e
        assert isinstance(optimizer, torch.optim.Optimizer)
        return optimizer


ScheduleKind = Literal[
    "constant", "linear", "cosine", "cosine_with_restarts", "annealed_cosine_with_restarts", "rex", "polynomial"
]


class ScheduleSpec(Spec):
    """The learning rate's factor as a pure function of the step, so that nothing of it needs saving."""

    kind: ScheduleKind = "cosine"
    warmup: Annotated[float, Field(ge=0)] = 0.0
    """Steps of linear warm-up; below 1 a share of all steps."""
    cycles: Annotated[int, Field(ge=1)] = 1
    """Of the restarting schedules."""
    decay: Annotated[float, Field(gt=0, le=1)] = 0.9
    """Of annealed_cosine_with_restarts: each cycle's peak as a share of the one before."""
    power: Annotated[float, Field(gt=0)] = 1.0
    """Of polynomial."""
    floor: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """The factor never falls below this."""

    def warmup_steps(self, total: int) -> int:
        """Warm-up in steps."""
        return round(self.warmup * total) if self.warmup < 1 else int(self.warmup)

    def factor(self, step: int, total: int) -> float:
        """What the learning rate is multiplied by at `step` (0-based) of `total`."""
        warmup = self.warmup_steps(total)
        if self.kind == "annealed_cosine_with_restarts":
            value = self._annealed(step, total, warmup)
        elif step < warmup:
            return (step + 1) / warmup
        else:
            progress = (step - warmup) / max(1, total - warmup)
            value = self._curve(min(1.0, progress))
        return max(self.floor, value)

    def _curve(self, p: float) -> float:
        """The shape over progress p in 0..1."""
        match self.kind:
            case "linear":
                return 1 - p
            case "cosine":
                return 0.5 * (1 + math.cos(math.pi * p))
            case "cosine_with_restarts":
                return 0.0 if p >= 1 else 0.5 * (1 + math.cos(math.pi * ((self.cycles * p) % 1.0)))
            case "rex":
                # Chen et al. 2021 (arXiv:2107.04197): slower than linear at first, faster at the end.
                return (1 - p) / (0.5 + 0.5 * (1 - p))
            case "polynomial":
                return float((1 - p) ** self.power)
            case _:
                return 1.0

    def _annealed(self, step: int, total: int, warmup: int) -> float:
        """Cosine cycles that each begin with the warm-up and peak lower by `decay`."""
        length = max(1, math.ceil(total / self.cycles))
        cycle, at = divmod(step, length)
        # `warmup` is the whole run's; each cycle takes its share.
        warm = warmup // self.cycles
        peak = self.decay**cycle
        if at < warm:
            return float(peak * (at + 1) / warm)
        return float(peak * 0.5 * (1 + math.cos(math.pi * (at - warm) / max(1, length - warm))))
