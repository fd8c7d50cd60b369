"""Conversion of kohya's learning-rate schedules, and of the classes of `lr_scheduler_type`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from bakehouse.recipe.importers.common import LR_END, REX_D, key_values, our_optimizer, our_schedule, significant
from bakehouse.recipe.importers.option_table import Assignment, Outcome, Settings, converts
from bakehouse.recipe.optimizers import OPTIMIZERS

_CLASSES = {
    "CosineAnnealingLR": "cosine",
    "CosineAnnealingWarmRestarts": "cosine_with_restarts",
    "CosineAnnealingWarmupRestarts": "annealed_cosine_with_restarts",
    "Rex": "rex",
    "RexAnnealingWarmRestarts": "annealed_rex_with_restarts",
}
"""Classes of PyTorch and of LoRA_Easy_Training_Scripts, and the kinds of schedule that they correspond to."""
_EASY = "LoraEasyCustomOptimizer"
"""The package whose CosineAnnealingWarmRestarts differs from PyTorch's: its cycles are annealed."""
_MIN_LR = 1e-6
"""LoRA_Easy_Training_Scripts' default of `min_lr`."""
_USED: Mapping[str, frozenset[str]] = {
    "CosineAnnealingLR": frozenset(["T_max", "eta_min"]),
    "CosineAnnealingWarmRestarts": frozenset(["T_0", "T_mult", "eta_min"]),
    "Rex": frozenset(["min_lr", "d"]),
}
"""Arguments that are converted, by class; for the annealed classes see `_ANNEALED`."""
_ANNEALED = frozenset(["min_lr", "gamma", "first_cycle_max_steps", "cycle_multiplier", "warmup_steps", "d"])


@converts(
    *("lr_scheduler", "lr_scheduler_type", "lr_scheduler_args", "lr_warmup_steps", "lr_decay_steps"),
    *("lr_scheduler_num_cycles", "lr_scheduler_power", "lr_scheduler_timescale", "lr_scheduler_min_lr_ratio"),
)
def schedule(s: Settings) -> Iterator[Outcome]:
    """Convert the schedule by kohya's name, or by the class with the same curve."""
    optimizer = our_optimizer(s["optimizer_type"] or "")
    if optimizer and OPTIMIZERS[optimizer].schedule_free:
        yield Assignment("schedule.kind", "constant", ("optimizer_type",))
        for name in ("lr_scheduler", "lr_scheduler_type", "lr_warmup_steps"):
            if s.given(name):
                yield s.note(name, "no effect", f"{optimizer} has no schedule, neither here nor in kohya")
        return
    if s["lr_scheduler_type"]:
        yield from _of_class(s)
        return
    name = s["lr_scheduler"].partition(":")[0]
    kind = our_schedule(name)
    if kind is None:
        yield s.note("lr_scheduler", "unsupported", "this schedule is not available; the plan chooses one")
        return
    yield Assignment("schedule.kind", kind, ("lr_scheduler",))
    if s["lr_warmup_steps"] and name == "constant":
        why = "kohya stops with an error: constant has no warm-up, constant_with_warmup has"
        yield s.note("lr_warmup_steps", "no effect", why)
    elif s["lr_warmup_steps"]:
        yield s.assign("schedule.warmup", "lr_warmup_steps")
        yield Assignment("schedule.warmup_from_zero", True, ("lr_warmup_steps",))
    yield from _by_name(s, kind, name)


def _by_name(s: Settings, kind: str, name: str) -> Iterator[Outcome]:
    """Convert the options that kohya passes to the schedule of that name."""
    cycles = s["lr_scheduler_num_cycles"]
    args = key_values(s["lr_scheduler_args"])
    if kind == "cosine_with_restarts":
        yield Assignment("schedule.cycles", cycles, ("lr_scheduler_num_cycles",))
    for wanted, option, key in (
        ("polynomial", "lr_scheduler_power", "schedule.power"),
        ("inverse_sqrt", "lr_scheduler_timescale", "schedule.timescale"),
        ("warmup_stable_decay", "lr_decay_steps", "schedule.cooldown"),
    ):
        if kind == wanted and s[option]:
            yield Assignment(key, s[option], (option,))
    if kind == "polynomial":
        yield _floor(s, float(args.get("lr_end", LR_END)), "lr_scheduler")
    if kind == "warmup_stable_decay" and cycles != 1:
        yield s.note("lr_scheduler_num_cycles", "unsupported", "warmup_stable_decay always decays along half a cosine")
    if name == "cosine_with_min_lr" and cycles != 1:
        yield Assignment("schedule.half_period", 1 / cycles, ("lr_scheduler_num_cycles",))
    floors = name in ("cosine_with_min_lr", "cosine_warmup_with_min_lr", "warmup_stable_decay")
    if s["lr_scheduler_min_lr_ratio"] and floors:
        yield s.assign("schedule.floor", "lr_scheduler_min_lr_ratio")
    elif s["lr_scheduler_min_lr_ratio"]:
        yield s.note("lr_scheduler_min_lr_ratio", "no effect", f"{name} ignores it, in kohya as well")
    if floors and args.get("min_lr"):
        yield _floor(s, float(args["min_lr"]), "lr_scheduler_args")
    if kind == "piecewise" and args.get("step_rules"):
        yield Assignment("schedule.pieces", _pieces(str(args["step_rules"])), ("lr_scheduler_args",))
    yield from _unused(s, args, frozenset(["min_lr", "step_rules", "lr_end"]))


def _of_class(s: Settings) -> Iterator[Outcome]:
    """Convert a class with its arguments; kohya passes it nothing else."""
    path = str(s["lr_scheduler_type"])
    word = path.rsplit(".", 1)[-1]
    if word == "CosineAnnealingWarmRestarts" and _EASY in path:
        word = "CosineAnnealingWarmupRestarts"
    kind = _CLASSES.get(word)
    if kind is None:
        yield s.note("lr_scheduler_type", "unsupported", "this schedule is not available; the plan chooses one")
        return
    args = key_values(s["lr_scheduler_args"])
    needed = {"CosineAnnealingLR": "T_max", "CosineAnnealingWarmRestarts": "T_0"}.get(word)
    if needed and not args.get(needed):
        why = f"{word} needs {needed} in lr_scheduler_args, in kohya as well; the plan chooses a schedule"
        yield s.note("lr_scheduler_type", "unsupported", why)
        return
    yield Assignment("schedule.kind", kind, ("lr_scheduler_type",))
    of = ("lr_scheduler_args",)
    if kind == "cosine":
        yield Assignment("schedule.half_period", _more_than_a_share(args["T_max"]), of)
    if kind == "cosine_with_restarts":
        yield Assignment("schedule.cycle_steps", _more_than_a_share(args["T_0"]), of)
        if args.get("T_mult", 1) != 1:
            yield Assignment("schedule.cycle_growth", float(args["T_mult"]), of)
    if s["lr_warmup_steps"] and not kind.startswith("annealed"):
        yield s.note("lr_warmup_steps", "no effect", "kohya stops with an error: a scheduler class has no warm-up")
    if "rex" in kind:
        yield Assignment("schedule.rex_d", float(args.get("d", REX_D)), of)
    if kind.startswith("annealed"):
        yield from _annealed(s, args)
    lowest = args.get("min_lr", args.get("eta_min", _MIN_LR if kind.startswith("annealed") else 0))
    if float(lowest):
        yield _floor(s, float(lowest), "lr_scheduler_args")
    yield from _unused(s, args, _USED.get(word, _ANNEALED))


def _annealed(s: Settings, args: Mapping[str, Any]) -> Iterator[Outcome]:
    """Convert annealed cycles by length if it is given or can be computed, else by number."""
    cycles = s["lr_scheduler_num_cycles"]
    steps = None if s["max_train_epochs"] else s["max_train_steps"]
    if args.get("gamma"):
        yield Assignment("schedule.decay", float(args["gamma"]), ("lr_scheduler_args",))
    length = args.get("first_cycle_max_steps")
    if length is None and steps and steps % cycles:
        # LoRA_Easy_Training_Scripts rounds down, so that a short cycle is left at the end.
        length = steps // cycles
    warmup = args.get("warmup_steps", s["lr_warmup_steps"] or 0)
    if length is None:
        yield Assignment("schedule.cycles", cycles, ("lr_scheduler_num_cycles",))
    else:
        yield Assignment(
            "schedule.cycle_steps", _more_than_a_share(length), ("lr_scheduler_args", "lr_scheduler_num_cycles")
        )
        if "warmup_steps" not in args and warmup:
            warmup = (round(warmup * steps) if warmup < 1 and steps else int(warmup)) // cycles
    if warmup:
        yield Assignment("schedule.warmup", warmup, ("lr_warmup_steps", "lr_scheduler_args"))
        yield Assignment("schedule.warmup_from_zero", True, ("lr_warmup_steps", "lr_scheduler_args"))
    if args.get("cycle_multiplier", 1) != 1:
        yield Assignment("schedule.cycle_growth", float(args["cycle_multiplier"]), ("lr_scheduler_args",))


def _more_than_a_share(steps: Any) -> int:
    """Return steps of at least 2, since a recipe reads numbers up to 1 as a share.

    Raises:
        ValueError: it is no such number.
    """
    number = int(steps)
    if number < 2:
        raise ValueError(f"{steps} steps are too few for a cycle")
    return number


def _floor(s: Settings, lowest: float, of: str) -> Assignment:
    """Return a lowest rate as a share of the highest."""
    peak = float(s["unet_lr"] or s["learning_rate"] or 0)
    share = lowest / peak if peak else 0.0
    return Assignment("schedule.floor", significant(min(share, 0.999999)), (of,))


def _unused(s: Settings, args: Mapping[str, Any], used: frozenset[str]) -> Iterator[Outcome]:
    if rest := sorted(set(args) - used):
        yield s.note("lr_scheduler_args", "unsupported", f"not converted: {', '.join(rest)}")


def _pieces(rules: str) -> list[list[float]]:
    """Parse `1:10,0.1:20,0.01`: each factor holds until its step, the last one to the end."""
    *steps, last = rules.split(",")
    parts = [rule.split(":") for rule in steps]
    pieces = [[float(until), float(factor)] for factor, until in parts]
    return [*pieces, [pieces[-1][0] + 1 if pieces else 1.0, float(last)]]
