"""Timestep sampling: a density over the schedule's timesteps, which is sampled exactly."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from bakehouse.core.setting_needs import Needs, one_of, other_than
from bakehouse.core.settings import Spec

MODE_LIMIT = 2 / (math.pi - 2)
"""Above this the mode density's quantile function is no longer monotone (Esser et al. 2024, section 3.1)."""


class TimestepSpec(Spec):
    """The density of u, from a clean image (0) to noise (1), which is scaled to min_timestep..max_timestep."""

    density: Annotated[
        Literal["uniform", "logit_normal", "mode", "cosmap", "power", "slope", "inverted_parabola"],
        Needs(other_than("power", 1.0), at=("power",)),
        Needs(other_than("mode_scale", 0.0), at=("mode",)),
        Needs(other_than("weight", 0.0), at=("slope", "inverted_parabola")),
    ] = "uniform"
    """`uniform`; `logit_normal`: u = sigmoid(mean + std n), most in the middle (kohya's sigmoid: std is its scale);
    `mode`, `cosmap`: of Esser et al. 2024 (arXiv:2403.03206); `power`: u = uniform^power (3: ai-toolkit's cubic);
    `slope`: the density is sigmoid(weight (u - center)) (OneTrainer's SIGMOID); `inverted_parabola`: it is
    2 - weight (u - center)^2, where that is above 0 (OneTrainer's)."""
    mean: Annotated[float, Field(ge=-5, le=5), Needs(one_of("density", "logit_normal"))] = 0.0
    """Mean of logit_normal: below 0 favours details, above 0 composition."""
    std: Annotated[float, Field(gt=0, le=10), Needs(one_of("density", "logit_normal"))] = 1.0
    """Standard deviation of logit_normal."""
    mode_scale: Annotated[float, Field(ge=-1, le=MODE_LIMIT), Needs(one_of("density", "mode"))] = 1.29
    """Scale of mode: above 0 favours the middle, below 0 the ends, 0 is uniform."""
    power: Annotated[float, Field(gt=0, le=10), Needs(one_of("density", "power"))] = 3.0
    """Exponent of power: above 1 favours details (little noise), below 1 composition (much noise)."""
    weight: Annotated[float, Field(ge=-1000, le=1000), Needs(one_of("density", "slope", "inverted_parabola"))] = 0.0
    """Strength of slope and inverted_parabola; 0 is uniform."""
    center: Annotated[float, Field(ge=-10, le=10), Needs(one_of("density", "slope", "inverted_parabola"))] = 0.5
    """Center of slope and inverted_parabola."""
    mirrored: Annotated[bool, Needs(other_than("density", "uniform"))] = False
    """Reverse the density: much noise where it would have little."""
    shift: Annotated[float, Field(gt=0, le=100)] = 1.0
    """u becomes shift u / (1 + (shift - 1) u): above 1 favours much noise."""
    bias: Annotated[
        Literal["none", "earlier", "later", "range"],
        Needs(other_than("bias_multiplier", 1.0)),
        Needs(other_than("bias_portion", 1.0), at=("earlier", "later")),
    ] = "none"
    """Timesteps that are drawn `bias_multiplier` times as often: the `bias_portion` with the least noise (earlier) or
    with the most (later), or those of `bias_range`."""
    bias_portion: Annotated[float, Field(gt=0, le=1), Needs(one_of("bias", "earlier", "later"))] = 0.25
    bias_multiplier: Annotated[float, Field(ge=0, le=1000), Needs(other_than("bias", "none"))] = 2.0
    """Factor of the biased timesteps' probability; below 1 they are drawn less often."""
    bias_range: Annotated[
        tuple[Annotated[int, Field(ge=0, le=999)], Annotated[int, Field(ge=1, le=1000)]], Needs(one_of("bias", "range"))
    ] = (0, 1000)
    """First timestep, and the one after the last."""

    def draw(self, low: int, high: int, count: int, generator: torch.Generator) -> Tensor:
        """Draw `count` timesteps in low <= t < high, int64 on the CPU."""
        if self.density == "uniform" and self.bias == "none" and self.shift == 1:
            return torch.randint(low, high, (count,), generator=generator)
        cumulative = _cumulative(self, low, high)
        u = torch.rand(count, generator=generator, dtype=torch.float64)
        return low + torch.searchsorted(cumulative, u, right=True).clamp(max=high - low - 1)

    def probabilities(self, low: int, high: int) -> Tensor:
        """Return the probability of each timestep of low..high - 1, float64 [high - low].

        Raises:
            ValueError: every probability is 0, or the bias applies to no timestep.
        """
        edges = torch.linspace(0, 1, high - low + 1, dtype=torch.float64)
        # Shifting moves the edges instead of the draws.
        edges = edges / (self.shift - (self.shift - 1) * edges)
        if self.density in ("slope", "inverted_parabola"):
            p = self._unnormalized(torch.linspace(0, 1, high - low, dtype=torch.float64))
        elif self.mirrored:
            p = (1 - self._cdf(1 - edges)).diff()
        else:
            p = self._cdf(edges).diff()
        p = p * self._bias(low, high)
        if not p.sum() > 0:
            name = "weight" if self.bias == "none" else "bias_multiplier"
            raise ValueError(f"{name} = {getattr(self, name):g} leaves no timestep of {low}..{high - 1}")
        return p / p.sum()

    def _unnormalized(self, u: Tensor) -> Tensor:
        """Return the density at u [n] in 0..1, up to a factor, where it is given by its values at the timesteps.

        With a shift, the density is that of the unshifted u times its derivative.
        """
        unshifted = u / (self.shift - (self.shift - 1) * u)
        derivative = self.shift / (self.shift - (self.shift - 1) * u).square()
        x = 1 - unshifted if self.mirrored else unshifted
        if self.density == "slope":
            return torch.sigmoid(self.weight * (x - self.center)) * derivative
        return (2 - self.weight * (x - self.center).square()).clamp(min=0) * derivative

    def _cdf(self, u: Tensor) -> Tensor:
        """Return the cumulative distribution at u, [n] in 0..1."""
        match self.density:
            case "uniform":
                return u
            case "logit_normal":
                below: Tensor = torch.special.ndtr((torch.logit(u) - self.mean) / self.std)
                return below
            case "power":
                return u ** (1 / self.power)
            case "cosmap":
                # u = 1 - 1 / (tan(pi v / 2) + 1), solved for the uniform v.
                return torch.atan2(u, 1 - u) * 2 / math.pi
            case "mode":
                return _inverse(self._mode, u)
            case _:
                raise AssertionError(self.density)

    def _mode(self, v: Tensor) -> Tensor:
        """Return the quantile function 1 - v - s (cos^2(pi v / 2) - 1 + v) at 1 - v, so that it increases with v."""
        w = 1 - v
        return 1 - w - self.mode_scale * (torch.cos(math.pi * w / 2).square() - 1 + w)

    def _bias(self, low: int, high: int) -> Tensor:
        """Return the bias factor of each timestep."""
        factor = torch.ones(high - low, dtype=torch.float64)
        portion = int(self.bias_portion * (high - low))
        match self.bias:
            case "earlier":
                factor[:portion] = self.bias_multiplier
            case "later":
                factor[len(factor) - portion :] = self.bias_multiplier
            case "range":
                first, end = (max(0, t - low) for t in self.bias_range)
                if not len(factor[first:end]):
                    raise ValueError(f"bias_range = {list(self.bias_range)} holds no timestep of {low}..{high - 1}")
                factor[first:end] = self.bias_multiplier
            case "none":
                pass
        return factor


def _inverse(increasing: Callable[[Tensor], Tensor], u: Tensor) -> Tensor:
    """Return the v in 0..1 with increasing(v) = u, by bisection."""
    low, high = torch.zeros_like(u), torch.ones_like(u)
    for _ in range(60):
        middle = (low + high) / 2
        below = increasing(middle) < u
        low, high = torch.where(below, middle, low), torch.where(below, high, middle)
    return (low + high) / 2


@lru_cache(maxsize=8)
def _cumulative(spec: TimestepSpec, low: int, high: int) -> Tensor:
    cumulative = spec.probabilities(low, high).cumsum(0)
    # Without a gap below 1 from rounding, in which a timestep of probability 0 would be drawn.
    return cumulative / cumulative[-1]
