"""Learning-rate suggestion: what a range test has measured, and the learning rate that follows from it.

The learning rate rises by a constant factor a step, while the loss of a fixed set of images is measured (Smith 2017,
arXiv:1506.01186, section 3.3). The subject's loss falls faster and faster to a minimum (the trough) and rises again:
from there each step does more harm than good, and soon after that training diverges. The trough is the upper end of the
usable learning rates. How far below it a run's learning rate should be follows from the run's length: to a first
approximation, steps times learning rate is how far the weights move, and the class without the trigger limits that.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from bakehouse.core.errors import BakehouseError
from bakehouse.core.message_text import counted

DIVERGED = 0.5
"""Share of the initial loss: the ramp ends when the measured total is this far above its minimum."""
WINDOW = 1.35
"""Measurements whose learning rates differ by no more than this factor are averaged: single batches are noisy."""
TROUGH = 0.95
"""Share of the largest decrease that still counts as the trough; its (geometric) middle is taken."""
MIN_SAFETY_FACTOR = 1.2
"""The trough's learning rate is divided by at least this."""
TROUGH_STEPS = 120
"""A run of N steps gets the trough's learning rate times this / N: measured by sweeps, see docs/learning-rate.md."""
MIN_DECREASE = 0.005
"""Share of the initial loss: a smaller decrease means that nothing was learned."""


@dataclass(frozen=True)
class LRMeasurement:
    """What was measured after one step of the ramp, in units of the training loss."""

    lr: float
    """Learning rate of that step."""
    subject: float
    """Change of the subject's loss since the start, with fixed images, noise and timesteps."""
    drift: float
    """Error against the model's own predictions at the start, with captions without the trigger; 0 at the start."""

    @property
    def total(self) -> float:
        """The sum of both: above 0, more was lost than learned."""
        return self.subject + self.drift


@dataclass(frozen=True)
class RangeTestResult:
    """The suggested learning rate and the measurements that it follows from."""

    lr: float | None
    """The suggested `optimizer.lr`: the peak of the recipe's schedule; None if the UNet is frozen."""
    text_lr: float | None
    """The suggested `optimizer.text_lr`, in the recipe's ratio; None if no text encoder trains."""
    steps: int
    """Length of the run that it is suggested for."""
    trough: float
    """The learning rate at which the subject's loss was lowest."""
    diverged_at: float | None
    """The learning rate at which training diverged; None if the ramp ended before."""
    base_loss: float
    """The validation loss at the start."""
    measurements: tuple[LRMeasurement, ...]

    @property
    def peak_lr(self) -> float:
        """The suggested learning rate of the UNet, or of the text encoder if only that trains."""
        lr = self.lr if self.lr is not None else self.text_lr
        assert lr is not None
        return lr

    @property
    def why(self) -> str:
        """The explanation of the suggestion in one sentence."""
        decrease = -min(m.subject for m in self.measurements) / self.base_loss
        end = f", and training diverged at {self.diverged_at:.1e}" if self.diverged_at else ""
        lowest = f"the subject's loss was lowest at {self.trough:.1e} ({100 * decrease:.0f} % below its start){end}"
        factor = f"{safety_factor(self.steps):.2g} times lower"
        return f"{lowest}; the suggested peak for {counted(self.steps, 'step')} is {factor}"


def diverged(measurements: Sequence[LRMeasurement], base_loss: float) -> bool:
    """Return whether the last measurement is NaN, or so far above the lowest that the ramp can end."""
    last = measurements[-1].total
    if not math.isfinite(last):
        return True
    return last > min(0.0, *(m.total for m in measurements)) + DIVERGED * base_loss


def safety_factor(steps: int) -> float:
    """Return what the trough's learning rate is divided by for a run of so many steps."""
    return max(MIN_SAFETY_FACTOR, steps / TROUGH_STEPS)


def suggest(
    measurements: Sequence[LRMeasurement], base_loss: float, *, steps: int, text_ratio: float | None = None
) -> RangeTestResult:
    """Return the learning rate that follows from the measurements, rounded to two digits.

    Args:
        measurements: in the order of the ramp; at least one.
        base_loss: the validation loss at the start.
        steps: of the run that the learning rate is for.
        text_ratio: the text encoder's learning rate as a share of the UNet's; None if it does not train.

    Raises:
        BakehouseError: nothing was learned, or the loss still falls where the ramp ends.
    """
    finite = [m for m in measurements if math.isfinite(m.total)]
    span = f"from {measurements[0].lr:.1e} to {measurements[-1].lr:.1e}"
    smooth = [_smoothed(m.lr, finite) for m in finite]
    lowest = min(smooth, default=0.0)
    if lowest > -MIN_DECREASE * base_loss:
        raise BakehouseError(
            f"nothing was learned at any learning rate {span}",
            hint="check that the captions describe the images; or use another range (--low, --high) or more steps",
        )
    if smooth[-1] == lowest and len(finite) == len(measurements):
        raise BakehouseError(
            f"the loss still falls at the highest learning rate {span}", hint="set a higher one: --high"
        )
    bottom = [math.log(m.lr) for m, value in zip(finite, smooth, strict=True) if value <= TROUGH * lowest]
    trough = math.exp(sum(bottom) / len(bottom))
    lr = rounded(trough / safety_factor(steps))
    text_lr = None if text_ratio is None else rounded(lr * text_ratio)
    diverged_at = measurements[-1].lr if diverged(measurements, base_loss) else None
    return RangeTestResult(lr, text_lr, steps, rounded(trough), diverged_at, base_loss, tuple(finite))


def rounded(lr: float) -> float:
    """Return a learning rate with two digits: a range test is no more precise."""
    return float(f"{lr:.1e}")


def _smoothed(lr: float, measurements: Sequence[LRMeasurement]) -> float:
    """Return the mean change of the subject's loss over learning rates near `lr`."""
    near = [m.subject for m in measurements if 1 / WINDOW <= m.lr / lr <= WINDOW]
    return sum(near) / len(near)
