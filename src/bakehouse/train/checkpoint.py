"""All that the loop changes, saved so that it is either whole or not there."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from bakehouse.adapters import Adapter
from bakehouse.core.files import read_json, write_json, writing_to
from bakehouse.train.precision import Precision

_KEPT = 2


@dataclass
class TrainState:
    """Learning rates, orders and random numbers are functions of the step, so this is everything."""

    step: int
    adapter: Adapter
    optimizer: torch.optim.Optimizer
    ema: list[Tensor] = field(default_factory=list)
    """Averaged copies of the adapter's parameters, in their order; empty where off."""
    precision: Precision | None = None
    """Whose loss scale goes on where it was; None where nothing is scaled."""
    ended: str = ""
    """Why the run is over before its plan's last step; empty: it goes on."""

    def parameters(self) -> list[Tensor]:
        return list(self.adapter.parameters())


def save_state(state: TrainState, folder: Path) -> Path:
    """Writes `folder/step-00000123`; older ones but the last are removed.

    Raises:
        BakehouseError: the disk is full or read-only; what was there before is untouched.
    """
    target = folder / f"step-{state.step:08d}"
    temporary = folder / f".{target.name}.part"
    with writing_to(target):
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        try:
            tensors = {f"p{i}": p.detach().cpu().contiguous() for i, p in enumerate(state.parameters())}
            tensors |= {f"e{i}": p.cpu().contiguous() for i, p in enumerate(state.ema)}
            save_file(tensors, temporary / "parameters.safetensors")
            with (temporary / "optimizer.pt").open("wb") as f:
                torch.save(state.optimizer.state_dict(), f)
            notes: dict[str, Any] = {"step": state.step, "threads": torch.get_num_threads()}
            if state.ended:
                notes["ended"] = state.ended
            if state.precision is not None:
                notes["loss_scale"] = state.precision.state_dict()
            write_json(temporary / "state.json", notes)
            for path in temporary.iterdir():
                with path.open("rb+") as f:
                    os.fsync(f.fileno())
            if target.exists():
                shutil.rmtree(target)
            temporary.rename(target)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    for old in checkpoints(folder)[:-_KEPT]:
        shutil.rmtree(old, ignore_errors=True)
    return target


def checkpoints(folder: Path) -> list[Path]:
    """Whole checkpoints, oldest first."""
    return sorted(p for p in folder.glob("step-*") if (p / "state.json").is_file()) if folder.is_dir() else []


def ended_at(checkpoint: Path) -> str:
    """Why the run was over with a checkpoint; empty where it goes on."""
    return str(read_json(checkpoint / "state.json").get("ended", ""))


def restore_state(state: TrainState, checkpoint: Path) -> dict[str, Any]:
    """Puts a checkpoint's values into `state` and returns its notes."""
    notes: dict[str, Any] = read_json(checkpoint / "state.json")
    tensors = load_file(checkpoint / "parameters.safetensors")
    with torch.no_grad():
        for i, p in enumerate(state.parameters()):
            p.copy_(tensors[f"p{i}"])
        for i, p in enumerate(state.ema):
            p.copy_(tensors[f"e{i}"])
    stored = torch.load(checkpoint / "optimizer.pt", weights_only=True, map_location="cpu")
    state.optimizer.load_state_dict(stored)
    state.step = notes["step"]
    state.ended = notes.get("ended", "")
    if state.precision is not None:
        state.precision.load_state_dict(notes.get("loss_scale", {}))
    return notes
