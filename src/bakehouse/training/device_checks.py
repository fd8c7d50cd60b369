"""Checks of a training on several devices before anything is loaded: recipes, devices, and files of other machines."""

from __future__ import annotations

import os
from pathlib import Path

import torch

from bakehouse.core.errors import UsageError
from bakehouse.core.files import sha256_file
from bakehouse.core.message_text import counted, listed
from bakehouse.models.families import family_of
from bakehouse.recipe import Recipe
from bakehouse.recipe.device_and_precision import pick_device
from bakehouse.recipe.setting_conflicts import of_devices
from bakehouse.recipe.sharding_choice import choose_sharding
from bakehouse.recipe.validation import refuse
from bakehouse.training.ranks import Ranks
from bakehouse.training.run_setup import OpenRun
from bakehouse.training.training_state import SavedState

_SHARED = "several machines need the same files under the same paths: put them on storage that all of them see"


def devices_found(device: str) -> int:
    """Return how many devices of a kind (`auto`, `cpu`, `cuda`) are here for a training; a CPU counts by its cores."""
    kind = pick_device(device)
    if kind.startswith("cuda"):
        return torch.cuda.device_count()
    return len(os.sched_getaffinity(0)) if kind == "cpu" and hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def check_found(recipe: Recipe, asked: int) -> None:
    """Check that this machine has so many devices.

    Raises:
        UsageError: it has fewer.
    """
    found = devices_found(recipe.train.device)
    if asked > found:
        kind = pick_device(recipe.train.device).partition(":")[0]
        what = "core" if kind == "cpu" else f"{kind} device"
        raise UsageError(
            f"train.devices = {asked}: {asked} asked, {found} found on this machine ({counted(found, what)})",
            hint=f"use --devices {found} or fewer; for several machines see docs/scale.md",
        )


def with_devices(recipe: Recipe, ranks: Ranks) -> Recipe:
    """Return the recipe that all ranks have, with their number.

    Raises:
        UsageError: the ranks' recipes differ, or ask for another number of devices, or a machine has fewer.
    """
    ranks.check_same("a recipe", recipe.settings(mode="json"), f"give all ranks one recipe; {_SHARED}")
    asked = recipe.train.devices
    if asked not in (1, ranks.count):
        started = "one process was" if ranks.count == 1 else f"{ranks.count} processes were"
        raise UsageError(
            f"train.devices = {asked}, but {started} started",
            hint=f"start them with bakehouse train --devices {asked} on one machine, or with torchrun on several",
        )
    if ranks.count == 1:
        return recipe
    ranks.everywhere(lambda: check_found(recipe, ranks.count_here))
    return recipe.with_values({"train.devices": ranks.count})


def check_devices(recipe: Recipe, ranks: Ranks, shard: bool | None) -> bool:
    """Check that a run's recipe, every number decided, can be trained on so many devices.

    `shard` is `train.shard` as it is given now. Returns whether the devices share the weights.

    Raises:
        Problems: it cannot.
    """
    values = {"train.accumulation": recipe.train.accumulation, "train.devices": ranks.count, "train.shard": shard}
    decided = recipe.with_values(values)
    ranks.on_main(lambda: refuse(list(of_devices(decided, ranks.count))))
    return choose_sharding(decided, family_of(recipe.model.base).name, pick_device(recipe.train.device))[0]


def check_files(opened: OpenRun, saved: SavedState | None) -> None:
    """Check that all machines have the run's images, and the state to resume from.

    Raises:
        UsageError: one lacks some; names the machine and the files.
    """

    def check() -> None:
        named = {s.record.path: s.record.sha256 for s in opened.inputs.sources}
        wrong = [f"{p} ({'changed' if p.is_file() else 'missing'})" for p, sha in named.items() if not _is(p, sha)]
        if saved is not None and not saved.path.is_dir():
            wrong.append(f"{saved.path} (missing)")
        if wrong:
            raise UsageError(
                f"{counted(len(wrong), 'file')} not as on the machine of rank 0: {listed(wrong, 3)}", hint=_SHARED
            )

    opened.ranks.on_other_machines(check)


def _is(path: Path, digest: str) -> bool:
    return path.is_file() and sha256_file(path) == digest
