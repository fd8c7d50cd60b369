"""Events of an evaluation: a checkpoint was scored, a trigger was scored, it is complete."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from bakehouse.core.events import Event


@dataclass(frozen=True, kw_only=True)
class Scored(Event):
    """A checkpoint was scored at a strength (`weight`); shares of 1, drift in points, None if unknown."""

    epoch: int
    unit: str = "epoch"
    """What `epoch` counts: `step` if the run saved by steps only."""
    weight: float
    images: int
    subject: float | None
    prompt_kept: float | None
    drift: float | None


@dataclass(frozen=True, kw_only=True)
class Asked(Event):
    """A trigger of outfits or of a pack was scored: `own` is the share of its images that show its own group."""

    words: str
    images: int
    own: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Evaluated(Event):
    """The evaluation is complete; `weights` and `weight` are the checkpoint and strength that were picked."""

    report: str
    """Path of report.html."""
    weights: str
    """Empty if no checkpoint was picked."""
    weight: float
    why: str
    """Why this checkpoint was picked, or none."""
    verdict: str
    reason: str
    """Why this verdict."""
    advice: str
    """`mend` in JSON."""
    seconds: float

    def to_json(self) -> dict[str, Any]:
        return {("mend" if key == "advice" else key): value for key, value in super().to_json().items()}
