"""The training state: what steps change. It is saved with a hash of every file, and checked before it is restored."""

from __future__ import annotations

import os
import re
import shutil
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from bakehouse.adapters import Adapter
from bakehouse.core.errors import BakehouseError
from bakehouse.core.files import DamagedError, read_checked, read_json, sha256_file, write_checked, writing_to
from bakehouse.training.precision import Precision
from bakehouse.training.ranks import ALONE, Ranks
from bakehouse.training.sharding import OwnParts, divided_like, whole_tensors

_MOST_STATES = 2
"""States that a run keeps: the newest, and one to fall back on if it is damaged."""
_NOTES = "state.json"
_PARAMETERS = "parameters.safetensors"
_OPTIMIZER = "optimizer.pt"
_CARRIED = "carried."
_NAME = re.compile(r"step-\d{8,}")


@dataclass
class TrainState:
    """All that steps change: learning rates, epoch orders and random numbers are functions of the step."""

    step: int
    adapter: Adapter
    optimizer: torch.optim.Optimizer
    ema: list[Tensor] = field(default_factory=list)
    """Moving average of the adapter's parameters, in their order; empty where it is off."""
    precision: Precision | None = None
    """Its loss scale is part of the state; None: there is none."""
    ended: str = ""
    """Why the training ended before its plan's last step; empty: it did not."""
    unfinished: bool = False
    """What follows the step is still to be done: its samples, its weights and their evaluation."""
    inputs: str = ""
    """Digest of the run's inputs (`RunInputs.digest`), so that a state is never restored into another training."""
    weights_sha256: dict[str, str] = field(default_factory=dict)
    """sha256 of the files in weights/ by their names; of model folders only those of the last one."""
    carried: dict[str, Tensor] = field(default_factory=dict)
    """What the objective carries from step to step: its own dict (`Objective.carried`)."""
    parts: OwnParts | None = None
    """This rank's parts of what trains (`sharding`); None where its tensors are whole."""
    read_tensors: Callable[[bool], list[Tensor]] = field(init=False, repr=False)
    """Returns the parameters whole, on the CPU, or with True their average; for rank 0, for which the others wait."""
    read_optimizer: Callable[[], dict[str, Any]] = field(init=False, repr=False)
    """Returns the optimizer's `state_dict` with whole tensors, likewise."""

    def __post_init__(self) -> None:
        ranks, parts = self.divided_among, self.parts
        self.read_tensors = ranks.together(
            lambda average: whole_tensors(self.ema if average else self.parameters(), keep=ranks.is_main)
        )
        self.read_optimizer = ranks.together(
            lambda: self.optimizer.state_dict() if parts is None else parts.whole_states(self.optimizer)
        )

    @property
    def divided_among(self) -> Ranks:
        """The ranks that each have a part of the tensors; alone where they are whole."""
        return ALONE if self.parts is None else self.parts.ranks

    @property
    def is_divided(self) -> bool:
        """Whether ranks have parts of its tensors."""
        return self.parts is not None

    def parameters(self) -> list[Tensor]:
        """Return what trains, in the adapter's order."""
        return list(self.adapter.parameters())


@dataclass(frozen=True)
class SavedState:
    """A complete, undamaged state on disk."""

    path: Path
    notes: Mapping[str, Any]
    """The contents of state.json."""

    @property
    def step(self) -> int:
        return int(self.notes["step"])

    @property
    def ended(self) -> str:
        """Why the training ended at this state; empty: it did not."""
        return str(self.notes.get("ended", ""))

    @property
    def unfinished(self) -> bool:
        """Whether the training was interrupted before all that follows the step was done."""
        return bool(self.notes.get("unfinished", False))

    @property
    def weights_sha256(self) -> dict[str, str]:
        """sha256 of files in weights/ by their names; empty in states of earlier versions."""
        return dict(self.notes.get("saved", {}))

    @property
    def hashed(self) -> bool:
        """Whether its files were checked against their hashes; states of earlier versions have none."""
        return "files" in self.notes


@dataclass(frozen=True)
class SavedStates:
    """The states of a run."""

    newest: SavedState | None
    """The newest undamaged state."""
    damaged: tuple[DamagedError, ...]
    """Why newer states cannot be used; all of them if every state is damaged."""


def save_state(state: TrainState, folder: Path) -> Path:
    """Write `folder/step-00000123`, and remove all older states but the last.

    Raises:
        BakehouseError: the disk is full or read-only; what was there before is untouched.
    """
    target = folder / f"step-{state.step:08d}"
    temporary = folder / f".{target.name}.part"
    with writing_to(target):
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        try:
            tensors = {f"p{i}": p for i, p in enumerate(state.read_tensors(False))}
            tensors |= {f"e{i}": p for i, p in enumerate(state.read_tensors(True))}
            tensors |= {f"{_CARRIED}{name}": t.cpu().contiguous() for name, t in state.carried.items()}
            save_file(tensors, temporary / _PARAMETERS)
            del tensors  # copies of a divided model: never all of a state at once
            with (temporary / _OPTIMIZER).open("wb") as f:
                torch.save(state.read_optimizer(), f)
            write_checked(temporary / _NOTES, _notes(state, temporary))
            for path in temporary.iterdir():
                with path.open("rb+") as f:
                    os.fsync(f.fileno())
            if target.exists():
                shutil.rmtree(target)
            temporary.rename(target)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    for old in _states(folder)[:-_MOST_STATES]:
        shutil.rmtree(old, ignore_errors=True)
    return target


def _notes(state: TrainState, folder: Path) -> dict[str, Any]:
    notes: dict[str, Any] = {
        "step": state.step,
        "threads": torch.get_num_threads(),
        "inputs": state.inputs,
        "files": {name: sha256_file(folder / name) for name in (_PARAMETERS, _OPTIMIZER)},
        "saved": state.weights_sha256,
    }
    if state.ended:
        notes["ended"] = state.ended
    if state.unfinished:
        notes["unfinished"] = True
    if state.precision is not None:
        notes["loss_scale"] = state.precision.state_dict()
    return notes


def find_states(folder: Path) -> SavedStates:
    """Return the newest state whose files are all undamaged, and what is wrong with newer ones."""
    damaged: list[DamagedError] = []
    for path in reversed(_states(folder)):
        try:
            return SavedStates(SavedState(path, _checked(path)), tuple(damaged))
        except DamagedError as e:
            damaged.append(e)
    return SavedStates(None, tuple(damaged))


def _states(folder: Path) -> list[Path]:
    """Return the folders of all states, damaged or not, oldest first."""
    if not folder.is_dir():
        return []
    return sorted((p for p in folder.iterdir() if _NAME.fullmatch(p.name) and p.is_dir()), key=lambda p: p.name)


def _checked(path: Path) -> dict[str, Any]:
    """Return the contents of state.json after all files were checked.

    Raises:
        DamagedError: a file is missing, cut short or changed.
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
    """Return the state.json of a version without hashes; raises DamagedError if it is damaged."""
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
    """Check a state without hashes as far as possible: its files can be read to their ends."""
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


def restore_state(state: TrainState, saved: SavedState) -> None:
    """Restore a saved state into `state`.

    Raises:
        BakehouseError: it was saved with other parameters or another optimizer.
    """
    into = {f"p{i}": p for i, p in enumerate(state.parameters())} | {f"e{i}": p for i, p in enumerate(state.ema)}
    # Ranks that keep a part of it map the file, so that they do not each hold all of it.
    path, parts = saved.path / _OPTIMIZER, state.parts
    with safe_open(saved.path / _PARAMETERS, "pt") as f, torch.no_grad():
        shapes = {name: tuple(f.get_slice(name).get_shape()) for name in f.keys()}  # noqa: SIM118 - it is no mapping
        carried = {name: f.get_tensor(name) for name in shapes if name.startswith(_CARRIED)}
        if shapes.keys() - carried.keys() != into.keys() or any(
            shapes[name] != tuple(p.shape) for name, p in into.items()
        ):
            raise _wrong_state(saved, "its parameters have other shapes")
        stored = torch.load(path, weights_only=True, map_location="cpu", mmap=parts is not None)
        try:
            state.optimizer.load_state_dict(stored if parts is None else parts.own_states(stored))
        except (ValueError, KeyError) as e:
            raise _wrong_state(saved, f"its optimizer is a different one ({e})") from e
        for name, parameter in into.items():
            parameter.copy_(divided_like(f.get_tensor(name), parameter))
    state.carried.clear()
    state.carried.update({name.removeprefix(_CARRIED): tensor for name, tensor in carried.items()})
    state.step = saved.step
    state.ended = saved.ended
    state.unfinished = saved.unfinished
    state.weights_sha256 = saved.weights_sha256
    if state.precision is not None:
        state.precision.load_state_dict(saved.notes.get("loss_scale", {}))


def _wrong_state(saved: SavedState, why: str) -> BakehouseError:
    return BakehouseError(
        f"{saved.path} is the state of another training: {why}",
        hint="restore the run's own checkpoints/, or start a new run with --run OTHER",
    )
