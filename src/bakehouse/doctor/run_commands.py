"""Placeholders of commands about a run. Other settings need a new run: a resumed one keeps its own."""

from __future__ import annotations

import itertools
import math
import shlex
from pathlib import Path

from bakehouse.doctor.facts import RunFacts


def run_values(run: RunFacts) -> dict[str, str]:
    """Return the placeholders of commands about a run, quoted for a shell."""
    folder = run.folder.rstrip("/") or run.folder
    concept = run.recipe.concepts[0] if run.recipe.concepts else None
    return {
        "run": shlex.quote(folder),
        "recipe": shlex.quote(f"{folder}/recipe.toml"),
        "next": shlex.quote(_free_name(folder)),
        "folder": shlex.quote(str(concept.folder)) if concept else "",
        "base": shlex.quote(run.recipe.model.base),
        "prompt": shlex.quote(concept.subject) if concept else "",
        "slower": slower(run, 2),
    }


def slower(run: RunFacts, factor: float) -> str:
    """Return the options that divide the run's learning rates."""
    spec = run.recipe.optimizer
    rates = {"optimizer.lr": spec.lr, "optimizer.text_lr": spec.text_lr}
    given = [f"--set {name}={rate / factor:.3g}" for name, rate in rates.items() if rate]
    return " ".join(given) or "--set train.max_grad_norm=0.5"


def length(run: RunFacts, factor: float) -> str:
    """Return the options that train `factor` times as long."""
    train = run.recipe.train
    options = []
    if train.epochs is not None:
        options.append(f"--set train.epochs={_times(train.epochs, factor)}")
    if train.steps is not None:
        options.append(f"--set train.steps={_times(train.steps, factor)}")
    return " ".join(options) or f"--set train.steps={_times(max(1, len(run.steps)), factor)}"


def _times(number: int, factor: float) -> int:
    """Return a number of epochs or steps: rounded up where it grows, down where it shrinks."""
    return max(1, math.ceil(number * factor) if factor > 1 else math.floor(number * factor))


def _free_name(folder: str) -> str:
    return next(name for n in itertools.count(2) if not Path(name := f"{folder}-{n}").exists())
