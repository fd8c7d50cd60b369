"""What a learning-rate range test read, and the rate that follows from it: arithmetic without a model.

The rate rises by a constant factor a step while a fixed set of images is watched (Smith 2017, arXiv:1506.01186, section
3.3). Two figures are read off, both in the units of the training loss: by how much the subject's loss has fallen, and how
far the model has moved where nobody asked it to, on the same images without the trigger. Their sum falls while learning
pays and rises when it breaks more than it teaches.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bakehouse.core.errors import BakehouseError

BURST = 0.5
"""Of the untouched base's loss: a rise of the sum above its lowest by so much is no noise; the weights burst."""
WINDOW = 1.35
"""Readings whose rates differ by no more than this factor, up or down, are averaged: the batches of single steps show."""
BELOW_LOWEST = 1.5
"""The rate of the lowest sum is divided by this. Measured against sweeps on crumb: see docs/training-rate.md."""
LEAST_FALL = 0.005
"""Of the untouched base's loss: what has not fallen by so much has not learned."""


@dataclass(frozen=True)
class Reading:
    """What was watched after one step of the ramp."""

    lr: float
    """Of that step."""
    subject: float
    """Change of the subject's loss since the untouched base, on fixed images, noise and timesteps."""
    drift: float
    """Distance from the base's predictions for the same images without the trigger; 0 at the start, never below."""

    @property
    def total(self) -> float:
        """What learning has come to: below 0 it has paid."""
        return self.subject + self.drift


@dataclass(frozen=True)
class RateTest:
    """A rate and the readings it comes from."""

    lr: float
    """The suggested `optimizer.lr`: the peak of the recipe's schedule."""
    text_lr: float | None
    """The suggested `optimizer.text_lr`, in the recipe's own ratio; None where no text encoder learns."""
    lowest: float
    """The rate at which the sum of both figures was lowest."""
    burst: float | None
    """The rate at which the weights burst; None where the ramp ended before."""
    base_loss: float
    """The watched loss of the untouched base."""
    readings: tuple[Reading, ...]

    @property
    def why(self) -> str:
        """One sentence with its figures."""
        fell = min(r.subject for r in self.readings) / self.base_loss
        end = (
            f"the weights burst at {self.burst:.1e}"
            if self.burst
            else f"nothing burst up to {self.readings[-1].lr:.1e}"
        )
        return (
            f"learning paid most at {self.lowest:.1e} ({-fell:.0%} of the loss was gone at best) and {end}; "
            f"the peak of a schedule is a little below"
        ).replace("%", " %")

    def to_json(self) -> dict[str, Any]:
        """For `--json`."""
        return {
            "lr": self.lr,
            "text_lr": self.text_lr,
            "lowest": self.lowest,
            "burst": self.burst,
            "why": self.why,
            "base_loss": self.base_loss,
            "readings": [vars(r) for r in self.readings],
        }


def bursts(readings: Sequence[Reading], base_loss: float) -> bool:
    """Whether the last reading lies so far above the lowest that no more is to be learned from the ramp."""
    last = readings[-1].total
    lowest = min(r.total for r in readings if math.isfinite(r.total)) if math.isfinite(last) else 0.0
    return not math.isfinite(last) or last > min(0.0, lowest) + BURST * base_loss


def suggest(readings: Sequence[Reading], base_loss: float, *, text_ratio: float | None = None) -> RateTest:
    """The rate that the readings speak for, with two digits.

    Args:
        readings: in the order of the ramp, at least one.
        base_loss: the watched loss at the start.
        text_ratio: the text encoder's rate as a share of the UNet's; None where it does not learn.

    Raises:
        BakehouseError: nothing was learned at any rate.
    """
    sound = [r for r in readings if math.isfinite(r.total)]
    burst = readings[-1].lr if bursts(readings, base_loss) else None
    smooth = [(_around(r.lr, sound), r) for r in sound]
    depth, lowest = min(smooth, key=lambda s: s[0], default=(0.0, None))
    if lowest is None or depth > -LEAST_FALL * base_loss:
        raise BakehouseError(
            f"nothing was learned at any rate from {readings[0].lr:.1e} to {readings[-1].lr:.1e}",
            hint="look whether the captions name what is seen; or try more steps, or another range: --low, --high",
        )
    lr = rounded(lowest.lr / BELOW_LOWEST)
    text_lr = None if text_ratio is None else rounded(lr * text_ratio)
    return RateTest(lr, text_lr, lowest.lr, burst, base_loss, tuple(sound))


def rounded(rate: float) -> float:
    """Two digits: a range test knows no more."""
    return float(f"{rate:.1e}")


def _around(lr: float, readings: Sequence[Reading]) -> float:
    """Mean of the sums whose rates are near."""
    near = [r.total for r in readings if 1 / WINDOW <= r.lr / lr <= WINDOW]
    return sum(near) / len(near)
