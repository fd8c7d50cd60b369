"""Pickles of tensors (.ckpt, .pt, .pth, .bin), read without running the code that a pickle can hold."""

from __future__ import annotations

import pickle
import warnings
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bakehouse.core.errors import BakehouseError
from bakehouse.core.not_weights import not_weights


def load_pickle(path: Path, allowed: Sequence[type] = ()) -> Any:
    """Return the contents of a pickle, on the CPU and memory-mapped where PyTorch can.

    Args:
        allowed: further classes that it may hold, besides tensors and plain values.

    Raises:
        BakehouseError: it holds anything else, or is damaged.
    """
    try:
        with warnings.catch_warnings(), torch.serialization.safe_globals(list(allowed)):
            # The user need not know of an unusual pickle protocol: what cannot be read is refused below.
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except (pickle.UnpicklingError, AttributeError) as e:
        raise not_weights(path) or BakehouseError(
            f"{path} is a pickle that holds more than tensors, and is refused because it could run code",
            hint="download a .safetensors version of it",
        ) from e
    except Exception as e:  # torch raises all kinds of errors for a file that is damaged or not a pickle
        raise damaged(path, e) from e


def damaged(path: Path, e: Exception) -> BakehouseError:
    """Return the error for a file of weights that cannot be read: it is something else, or damaged."""
    hint = "the file is damaged or incomplete; download it again"
    return not_weights(path) or BakehouseError(f"cannot read {path}: {e}", hint=hint)


def tensors_of(loaded: Any, path: Path) -> dict[str, Tensor]:
    """Return the tensors of a pickled state dict, or of the one under `state_dict`.

    Raises:
        BakehouseError: there are none.
    """
    state = loaded.get("state_dict", loaded) if isinstance(loaded, dict) else {}
    tensors = {str(k): v for k, v in state.items() if isinstance(v, Tensor)}
    if not tensors:
        raise BakehouseError(f"{path} holds no tensors")
    return tensors
