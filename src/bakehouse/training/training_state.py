"""All that the loop changes, saved with the hash of every file, so that it is known to be whole before it is used."""

from __future__ import annotations

import os
import re
import shutil
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from bakehouse.adapters import Adapter
from bakehouse.core.errors import BakehouseError
from bakehouse.core.files import DamagedError, read_checked, read_json, sha256_file, write_checked, writing_to
from bakehouse.training.precision import Precision

_KEPT = 2
_NOTES = "state.json"
_PARAMETERS = "parameters.safetensors"
_OPTIMIZER = "optimizer.pt"
_NAME = re.compile(r"step-\d{8,}")


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
    inputs: str = ""
    """Names all that decides the training, so that a state is never taken for another run's."""
    saved: dict[str, str] = field(default_factory=dict)
    """sha256 of the files in weights/ by their names; of whole models, of the last alone."""

    def parameters(self) -> list[Tensor]:
        return list(self.adapter.parameters())


@dataclass(frozen=True)
class Checkpoint:
    """A state on the disk that was found to be whole."""

    path: Path
    notes: Mapping[str, Any]

    @property
    def step(self) -> int:
        return int(self.notes["step"])

    @property
    def ended(self) -> str:
        """Why the run was over with it; empty where it goes on."""
        return str(self.notes.get("ended", ""))

    @property
    def saved(self) -> dict[str, str]:
        """sha256 of files in weights/ by their names; empty in states of earlier versions."""
        return dict(self.notes.get("saved", {}))

    @property
    def hashed(self) -> bool:
        """Whether its files were compared with their hashes; states of earlier versions have none."""
        return "files" in self.notes


@dataclass(frozen=True)
class Checkpoints:
    """What a run has to go on from."""

    newest: Checkpoint | None
    """The newest whole state."""
    damaged: tuple[DamagedError, ...]
    """Why newer ones are not taken; where none is whole, all of them."""


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
            save_file(tensors, temporary / _PARAMETERS)
            with (temporary / _OPTIMIZER).open("wb") as f:
                torch.save(state.optimizer.state_dict(), f)
            write_checked(temporary / _NOTES, _notes(state, temporary))
            for path in temporary.iterdir():
                with path.open("rb+") as f:
                    os.fsync(f.fileno())
            if target.exists():
                shutil.rmtree(target)
            temporary.rename(target)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    for old in _states(folder)[:-_KEPT]:
        shutil.rmtree(old, ignore_errors=True)
    return target


def _notes(state: TrainState, folder: Path) -> dict[str, Any]:
    notes: dict[str, Any] = {
        "step": state.step,
        "threads": torch.get_num_threads(),
        "inputs": state.inputs,
        "files": {name: sha256_file(folder / name) for name in (_PARAMETERS, _OPTIMIZER)},
        "saved": state.saved,
    }
    if state.ended:
        notes["ended"] = state.ended
    if state.precision is not None:
        notes["loss_scale"] = state.precision.state_dict()
    return notes


def find_state(folder: Path) -> Checkpoints:
    """The newest state of which every file is what was saved."""
    damaged: list[DamagedError] = []
    for path in reversed(_states(folder)):
        try:
            return Checkpoints(Checkpoint(path, _checked(path)), tuple(damaged))
        except DamagedError as e:
            damaged.append(e)
    return Checkpoints(None, tuple(damaged))


def _states(folder: Path) -> list[Path]:
    """Whole or not, oldest first."""
    if not folder.is_dir():
        return []
    return sorted((p for p in folder.iterdir() if _NAME.fullmatch(p.name) and p.is_dir()), key=lambda p: p.name)


def _checked(path: Path) -> dict[str, Any]:
    """The notes of a state, once all its files are known to be whole.

    Raises:
        DamagedError: one is missing, cut short or changed.
    """
    try:
        notes = read_checked(path / _NOTES)
    except DamagedError:
        notes = _earlier_notes(path / _NOTES)
    if "files" not in notes:
        _check_earlier(path)
        return notes
    for name, digest in notes["files"].items():
        file = path / name
        if not file.is_file():
            raise DamagedError(file, "is missing")
        if sha256_file(file) != digest:
            raise DamagedError(file, "was cut short or changed after it was saved (its sha256 does not match)")
    return notes


def _earlier_notes(path: Path) -> dict[str, Any]:
    """Notes of a version that kept no hashes; raises DamagedError where they are damaged."""
    try:
        notes = read_json(path)
    except BakehouseError:
        return read_checked(path)
    plain = isinstance(notes, dict) and {"step", "threads"} <= notes.keys() <= _EARLIER_NOTES
    if plain and path.parent.name == f"step-{notes['step']:08d}":
        return dict(notes)
    return read_checked(path)


_EARLIER_NOTES = {"step", "threads", "ended", "loss_scale"}


def _check_earlier(path: Path) -> None:
    """What can be known of a state without hashes: that its files can be read to their ends."""
    try:
        with safe_open(path / _PARAMETERS, "pt") as f:
            f.keys()
    except (OSError, SafetensorError) as e:
        raise DamagedError(path / _PARAMETERS, "is missing, cut short or damaged") from e
    try:
        with zipfile.ZipFile(path / _OPTIMIZER) as z:
            wrong = z.testzip()
    except (OSError, ValueError, zipfile.BadZipFile, NotImplementedError) as e:
        raise DamagedError(path / _OPTIMIZER, "is missing, cut short or damaged") from e
    if wrong is not None:
        raise DamagedError(path / _OPTIMIZER, f"is damaged: {wrong} in it was changed")


def restore_state(state: TrainState, checkpoint: Checkpoint) -> None:
    """Puts a checkpoint's values into `state`.

    Raises:
        BakehouseError: it is the state of a training with other parameters or optimizer.
    """
    tensors = load_file(checkpoint.path / _PARAMETERS)
    into = {f"p{i}": p for i, p in enumerate(state.parameters())} | {f"e{i}": p for i, p in enumerate(state.ema)}
    if {k: v.shape for k, v in tensors.items()} != {k: v.shape for k, v in into.items()}:
        raise _misfit(checkpoint, "its parameters have other shapes")
    stored = torch.load(checkpoint.path / _OPTIMIZER, weights_only=True, map_location="cpu")
    try:
        state.optimizer.load_state_dict(stored)
    except (ValueError, KeyError) as e:
        raise _misfit(checkpoint, f"its optimizer is another one ({e})") from e
    with torch.no_grad():
        for name, parameter in into.items():
            parameter.copy_(tensors[name])
    state.step = checkpoint.step
    state.ended = checkpoint.ended
    state.saved = checkpoint.saved
    if state.precision is not None:
        state.precision.load_state_dict(checkpoint.notes.get("loss_scale", {}))


def _misfit(checkpoint: Checkpoint, why: str) -> BakehouseError:
    return BakehouseError(
        f"{checkpoint.path} is the state of another training: {why}",
        hint="put the run's own checkpoints/ back, or start a new run with --run OTHER",
    )
