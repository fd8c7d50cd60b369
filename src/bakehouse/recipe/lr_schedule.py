"""Learning-rate schedules: the factor of a step as a pure function, so that nothing of it needs saving."""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from bakehouse.core.setting_needs import Needs, PlanFact, above, is_off, is_on, one_of, other_than
from bakehouse.core.settings import Spec

MOST_STEPS = 10**9
"""More steps than any run has."""

SCHEDULE_ALIASES: Mapping[str, str] = MappingProxyType(
    {
        "constant_with_warmup": "constant",
        "cosine_with_min_lr": "cosine",
        "cosine_with_hard_restarts": "cosine_with_restarts",
        "cosine_warmup_with_min_lr": "cosine",
        "piecewise_constant": "piecewise",
        "cawr": "annealed_cosine_with_restarts",
        "rawr": "annealed_rex_with_restarts",
        "wsd": "warmup_stable_decay",
    }
)
"""Other trainers' names."""


def _own_name(name: Any) -> Any:
    return SCHEDULE_ALIASES.get(name.casefold(), name.casefold()) if isinstance(name, str) else name


WARMS_EACH_CYCLE = PlanFact("plan.warms_each_cycle", "a step of it for each of schedule.cycles")
RESTARTING = ("cosine_with_restarts", "annealed_cosine_with_restarts", "annealed_rex_with_restarts")
_COOLED = Needs(one_of("kind", "warmup_stable_decay"))


class ScheduleSpec(Spec):
    kind: Annotated[
        Literal[
            "constant",
            "linear",
            "cosine",
            "cosine_with_restarts",
            "annealed_cosine_with_restarts",
            "rex",
            "annealed_rex_with_restarts",
            "polynomial",
            "inverse_sqrt",
            "warmup_stable_decay",
            "piecewise",
            "adafactor",
        ],
        BeforeValidator(_own_name),
    ] = "cosine"
    """Learning rate schedule. `rex` (Chen et al. 2021) falls more slowly than linear at first, faster at the end; the
    `annealed_` schedules begin each cycle with a warm-up and a lower peak; `adafactor` uses Adafactor's own."""
    warmup: Annotated[
        float, Field(ge=0, le=MOST_STEPS), Needs(other_than("kind", "adafactor")), Needs(is_on(WARMS_EACH_CYCLE))
    ] = 0.0
    """Steps of linear warm-up; below 1: a share of all steps, rounded down."""
    warmup_from_zero: Annotated[bool, Needs(is_on("warmup"))] = False
    """Begin the warm-up at a rate of 0, as kohya, diffusers and OneTrainer do. Default: the first step already has a
    rate above 0, since a step at 0 changes nothing."""
    cycles: Annotated[
        int, Field(ge=1, le=MOST_STEPS), Needs(one_of("kind", *RESTARTING)), Needs(is_off("cycle_steps"))
    ] = 1
    """Restarting schedules: number of cycles."""
    cycle_steps: Annotated[Annotated[float, Field(gt=0, le=MOST_STEPS)] | None, Needs(one_of("kind", *RESTARTING))] = (
        None
    )
    """Restarting schedules: length of the first cycle, instead of `cycles`, in steps; up to 1: a share of all steps
    after the warm-up. Each cycle of the `annealed_` schedules then begins with the whole `warmup`."""
    cycle_growth: Annotated[float, Field(gt=0, le=1000), Needs(is_on("cycle_steps"))] = 1.0
    """Restarting schedules with `cycle_steps`: length of each cycle as a multiple of the one before."""
    half_period: Annotated[Annotated[float, Field(gt=0, le=MOST_STEPS)] | None, Needs(one_of("kind", "cosine"))] = None
    """cosine: steps from the peak down to the floor; up to 1: a share of all steps after the warm-up. Then the rate
    rises again, and so on (T_max in PyTorch's CosineAnnealingLR). Default: one fall over the whole run."""
    decay: Annotated[
        float,
        Field(gt=0, le=1),
        Needs(one_of("kind", "annealed_cosine_with_restarts", "annealed_rex_with_restarts")),
        Needs(above("cycles", 1), is_on("cycle_steps")),
    ] = 0.9
    """`annealed_` schedules: peak of each cycle as a share of the one before."""
    rex_d: Annotated[float, Field(gt=0, lt=1), Needs(one_of("kind", "rex", "annealed_rex_with_restarts"))] = 0.5
    """rex schedules: d in (1 - p) / (1 - d p). 0.5 as in the paper; 0.9, as in OneTrainer and
    LoRA_Easy_Training_Scripts, keeps the rate high for longer."""
    power: Annotated[float, Field(gt=0, le=100), Needs(one_of("kind", "polynomial"))] = 1.0
    """polynomial: exponent."""
    timescale: Annotated[Annotated[int, Field(ge=1, le=MOST_STEPS)] | None, Needs(one_of("kind", "inverse_sqrt"))] = (
        None
    )
    """inverse_sqrt: steps after which the rate has fallen to 0.7 of its peak. Default: the steps of the warm-up, or
    10000 without one."""
    cooldown: Annotated[float, Field(ge=0, le=MOST_STEPS), _COOLED] = 0.2
    """warmup_stable_decay: steps of the fall at the end; below 1: a share of all steps."""
    cooldown_shape: Annotated[Literal["cosine", "linear", "1-sqrt"], _COOLED, Needs(is_on("cooldown"))] = "cosine"
    """warmup_stable_decay: shape of the fall at the end."""
    pieces: Annotated[
        tuple[tuple[Annotated[float, Field(gt=0, le=MOST_STEPS)], Annotated[float, Field(ge=0, le=1000)]], ...],
        Needs(one_of("kind", "piecewise"), refused=True),
    ] = ()
    """piecewise: a list of [until, factor]; `until` is a step, or up to 1 a share of all steps. The last factor
    stays."""
    floor: Annotated[float, Field(ge=0, lt=1), Needs(other_than("kind", "constant", "adafactor"))] = 0.0
    """Lowest rate as a share of the peak (kohya's lr_scheduler_min_lr_ratio)."""

    @model_validator(mode="after")
    def _fits(self) -> ScheduleSpec:
        if self.kind == "piecewise" and not self.pieces:
            raise ValueError("kind = 'piecewise' needs pieces, such as pieces = [[0.5, 1.0], [0.8, 0.3], [1.0, 0.1]]")
        ends = [until for until, _ in self.pieces]
        if ends != sorted(set(ends)):
            raise ValueError(f"pieces end at {ends}: each must end after the one before; all in steps or all in shares")
        return self

    def warmup_steps(self, total: int) -> int:
        """Return the number of warm-up steps."""
        return _steps(self.warmup, total)

    def factor(self, step: int, total: int) -> float:
        """Return the factor on the learning rate at `step` (0-based) of `total`."""
        warmup = self.warmup_steps(total)
        if self.kind.startswith("annealed"):
            return self._annealed(step, total, warmup)
        if step < warmup:
            return self._warming(step, warmup)
        return self._above_floor(self._curve(step, total, warmup))

    def _warming(self, step: int, warmup: int) -> float:
        """Return the factor of a step of the warm-up."""
        if not self.warmup_from_zero:
            return (step + 1) / warmup
        # transformers begins the warm-up of this one schedule at its floor.
        return self._above_floor(step / warmup) if self.kind == "warmup_stable_decay" else step / warmup

    def _above_floor(self, value: float) -> float:
        """Scale the whole curve to floor..1, so that its end is smooth."""
        return self.floor + (1 - self.floor) * value

    def _curve(self, step: int, total: int, warmup: int) -> float:
        """Return the factor after the warm-up, 1 to 0."""
        p = min(1.0, (step - warmup) / max(1, total - warmup))
        match self.kind:
            case "linear":
                return 1 - p
            case "cosine":
                half = _length(self.half_period or 1.0, total - warmup)
                return _cosine((step - warmup) / half)
            case "cosine_with_restarts":
                return self._restarting(step - warmup, total - warmup)
            case "rex":
                return self._rex(p)
            case "polynomial":
                return float((1 - p) ** self.power)
            case "inverse_sqrt":
                timescale = self.timescale or warmup or 10_000
                return math.sqrt(timescale / (timescale + step - warmup))
            case "warmup_stable_decay":
                return self._cooled(step, total, warmup)
            case "piecewise":
                return self._piece(step, total)
            case _:
                return 1.0

    def _restarting(self, step: int, total: int) -> float:
        """Return the factor of a cosine for each cycle."""
        if self.cycle_steps is None:
            p = step / max(1, total)
            return 0.0 if p >= 1 else _cosine((self.cycles * p) % 1.0)
        _, at, length = self._cycle(step, _length(self.cycle_steps, total), warm=0)
        return _cosine(at / length)

    def _cycle(self, step: int, length: float, warm: int) -> tuple[int, float, float]:
        """Return the cycle of a step, the step's position in it, and its length; the warm-up does not grow."""
        cycle, at = 0, float(step)
        while at >= length:
            at -= length
            cycle += 1
            if self.cycle_growth != 1:
                length = max(1, round((length - warm) * self.cycle_growth)) + warm
        return cycle, at, length

    def _cooled(self, step: int, total: int, warmup: int) -> float:
        """Return the factor of a constant rate that falls over the last steps (Hägele et al., arXiv:2405.18392)."""
        fall = min(_steps(self.cooldown, total), total - warmup)
        p = (step - (total - fall)) / max(1, fall)
        if p <= 0:
            return 1.0
        match self.cooldown_shape:
            case "linear":
                return 1 - p
            case "cosine":
                return _cosine(p)
            case "1-sqrt":
                return 1 - math.sqrt(p)

    def _piece(self, step: int, total: int) -> float:
        for until, factor in self.pieces:
            if step < (round(until * total) if until <= 1 else until):
                return factor
        return self.pieces[-1][1]

    def _annealed(self, step: int, total: int, warmup: int) -> float:
        """Return the factor of cycles that each begin with the warm-up and peak lower by `decay`."""
        if self.cycle_steps is None:
            # `warmup` is the whole run's; each cycle takes its share.
            first, warm = float(max(1, math.ceil(total / self.cycles))), warmup // self.cycles
        else:
            first, warm = _length(self.cycle_steps, total), warmup
        cycle, at, length = self._cycle(step, first, warm)
        peak = self.decay**cycle
        above = max(0.0, peak - self.floor)
        if at < warm:
            return self.floor + above * at / warm if self.warmup_from_zero else peak * (at + 1) / warm
        p = (at - warm) / max(1, length - warm)
        return self.floor + above * (_cosine(p) if self.kind == "annealed_cosine_with_restarts" else self._rex(p))

    def _rex(self, p: float) -> float:
        """Return the factor of arXiv:2107.04197, equation 1, whose d is 1/2."""
        return (1 - p) / (1 - self.rex_d * p)


def _steps(value: float, total: int) -> int:
    """Return a number of steps; below 1 it is a share of `total`."""
    return int(value * total) if value < 1 else int(value)


def _length(value: float, total: int) -> float:
    """Return a number of steps, at least one; up to 1 it is a share of `total`."""
    return max(1.0, value * total if value <= 1 else value)


def _cosine(p: float) -> float:
    return 0.5 * (1 + math.cos(math.pi * p))
