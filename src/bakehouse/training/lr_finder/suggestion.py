"""What a learning-rate range test read, and the rate that follows from it: arithmetic without a model.

The rate rises by a constant factor a step while a fixed set of images is watched (Smith 2017, arXiv:1506.01186, section
3.3). The subject's loss falls faster and faster, comes to a trough, and rises: there each step breaks more than it
teaches. Soon after that the weights burst. The trough is where the rates that can be used end. How far below it a run's
rate lies follows from its length: to a first approximation steps times rate is what a run moves, and that is what a
class without the trigger can bear.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from bakehouse.core.errors import BakehouseError
from bakehouse.core.pluralize import counted

BURST = 0.5
"""Of the loss at the start: a rise of both figures above their lowest by so much is no noise, and ends the ramp."""
WINDOW = 1.35
"""Readings whose rates differ by no more than this factor are averaged: a single step's batch shows in them."""
TROUGH = 0.95
"""Share of the deepest fall that still counts as the trough; its middle is taken, on the scale of factors."""
BELOW_TROUGH = 1.2
"""The trough's rate is divided by this at least."""
TROUGH_STEPS = 120
"""A run of N steps gets the trough's rate times this / N: measured on crumb against sweeps, docs/learning-rate.md."""
LEAST_FALL = 0.005
"""Of the loss at the start: what has not fallen by so much has not learned."""


@dataclass(frozen=True)
class Reading:
    """What was watched after one step of the ramp, in units of the training loss."""

    lr: float
    """Of that step."""
    subject: float
    """Change of the subject's loss since the start, on fixed images, noise and timesteps."""
    drift: float
    """How far the model has gone from its start on the same images without the trigger: 0 there, never below."""

    @property
    def total(self) -> float:
        """Both figures: above 0 more is broken than learned."""
        return self.subject + self.drift


@dataclass(frozen=True)
class RateTest:
    """A rate and the readings it comes from."""

    lr: float | None
    """The suggested `optimizer.lr`: the peak of the recipe's schedule; None where nothing of the UNet learns."""
    text_lr: float | None
    """The suggested `optimizer.text_lr`, in the recipe's own ratio; None where no text encoder learns."""
    steps: int
    """Of the run that it is suggested for."""
    trough: float
    """The rate at which the subject's loss was lowest."""
    burst: float | None
    """The rate at which the weights burst; None where the ramp ended before."""
    base_loss: float
    """The watched loss at the start."""
    readings: tuple[Reading, ...]

    @property
    def rate(self) -> float:
        """Of what learns first: the UNet, or the text encoder alone."""
        rate = self.lr if self.lr is not None else self.text_lr
        assert rate is not None
        return rate

    @property
    def why(self) -> str:
        """One sentence with its figures."""
        fell = -min(r.subject for r in self.readings) / self.base_loss
        end = f", and the weights burst at {self.burst:.1e}" if self.burst else ""
        lowest = f"the subject's loss was lowest at {self.trough:.1e} ({100 * fell:.0f} % below its start){end}"
        times = f"{below(self.steps):.2g} times below"
        return f"{lowest}; the peak of a schedule of {counted(self.steps, 'step')} lies {times}"

    def to_json(self) -> dict[str, Any]:
        """For `--json`."""
        return {**asdict(self), "why": self.why}


def bursts(readings: Sequence[Reading], base_loss: float) -> bool:
    """Whether the last reading lies so far above the lowest that the ramp has no more to say."""
    last = readings[-1].total
    if not math.isfinite(last):
        return True
    return last > min(0.0, *(r.total for r in readings)) + BURST * base_loss


def below(steps: int) -> float:
    """By how much the rate of a run of so many steps lies below the trough's."""
    return max(BELOW_TROUGH, steps / TROUGH_STEPS)


def suggest(readings: Sequence[Reading], base_loss: float, *, steps: int, text_ratio: float | None = None) -> RateTest:
    """The rate that the readings speak for, with two digits.

    Args:
        readings: in the order of the ramp; at least one.
        base_loss: the watched loss at the start.
        steps: of the run that the rate is for.
        text_ratio: the text encoder's rate as a share of the UNet's; None where it does not learn.

    Raises:
        BakehouseError: nothing was learned, or the loss still falls where the ramp ends.
    """
    sound = [r for r in readings if math.isfinite(r.total)]
    span = f"from {readings[0].lr:.1e} to {readings[-1].lr:.1e}"
    smooth = [_around(r.lr, sound) for r in sound]
    deepest = min(smooth, default=0.0)
    if deepest > -LEAST_FALL * base_loss:
        raise BakehouseError(
            f"nothing was learned at any rate {span}",
            hint="look whether the captions name what is seen; or take another range, or more steps",
        )
    if smooth[-1] == deepest and len(sound) == len(readings):
        raise BakehouseError(f"the loss still falls at the highest rate {span}", hint="take a higher one: --high")
    bottom = [math.log(r.lr) for r, value in zip(sound, smooth, strict=True) if value <= TROUGH * deepest]
    trough = math.exp(sum(bottom) / len(bottom))
    lr = rounded(trough / below(steps))
    text_lr = None if text_ratio is None else rounded(lr * text_ratio)
    burst = readings[-1].lr if bursts(readings, base_loss) else None
    return RateTest(lr, text_lr, steps, rounded(trough), burst, base_loss, tuple(sound))


def rounded(rate: float) -> float:
    """Two digits: a range test knows no more."""
    return float(f"{rate:.1e}")


def _around(lr: float, readings: Sequence[Reading]) -> float:
    """Mean of the subject's figures whose rates are near."""
    near = [r.subject for r in readings if 1 / WINDOW <= r.lr / lr <= WINDOW]
    return sum(near) / len(near)
