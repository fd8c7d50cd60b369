"""Weight files mapped into memory: tensors are views of the file, and only what is used is ever read."""

from __future__ import annotations

import ctypes
import mmap
import pickle
import warnings
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bakehouse.core.errors import BakehouseError
from bakehouse.core.failed_downloads import not_weights
from bakehouse.core.json_toml_yaml import parse_json

_DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
"""Of the safetensors format."""

_REFUSED_HINT = "fetch the .safetensors version of this model"
_DAMAGED_HINT = "the file is damaged or cut off; fetch it again"


class Weights(dict[str, Tensor]):
    """Tensors by name, and the mapped files behind them.

    A tensor that nobody casts stays a view: its pages are the system's cache of the file, shared between processes.
    """

    def __init__(self) -> None:
        super().__init__()
        self.metadata: dict[str, str] = {}
        """What pickles that we write say of themselves, as the header of a .safetensors does."""
        self._maps: list[mmap.mmap] = []
        self._regions: list[tuple[int, int]] = []
        """Where PyTorch has mapped a pickle's file: begin and length."""

    def add(self, path: Path) -> None:
        """Maps one more file; its tensors join the others.

        Raises:
            BakehouseError: the file is broken, or a pickle that holds more than tensors.
        """
        if path.suffix == ".safetensors":
            self._add_safetensors(path)
        else:
            tensors, metadata = _read_pickle(path)
            self.update(tensors)
            self.metadata.update(metadata)
            self._regions += _mapped_regions(path, tensors.values())

    def release(self) -> None:
        """Lets go of the pages that were read so far. Whatever still looks at them reads them again.

        Without this a cast would hold both the file and its copy: 1.5 to 3 times the weights.
        """
        if hasattr(mmap, "MADV_DONTNEED"):
            for mapped in self._maps:
                mapped.madvise(mmap.MADV_DONTNEED)
        for begin, length in self._regions:
            ctypes.CDLL(None).madvise(ctypes.c_void_p(begin), ctypes.c_size_t(length), mmap.MADV_DONTNEED)

    def _add_safetensors(self, path: Path) -> None:
        header, start = safetensors_header(path)
        header.pop("__metadata__", None)
        if not header:
            return
        with path.open("rb") as f:
            # A private map: whoever trains these very tensors changes pages of their own, never the file.
            mapped = mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_COPY)
        self._maps.append(mapped)
        for name, entry in header.items():
            self[name] = _view(mapped, entry, start, path, name)


def read_weights(paths: Iterable[Path]) -> Weights:
    """Every tensor of the files, mapped from the disk and not yet read.

    Raises:
        BakehouseError: a file is broken, or a pickle that holds more than tensors.
    """
    weights = Weights()
    for path in paths:
        weights.add(path)
    return weights


def safetensors_header(path: Path) -> tuple[dict[str, Any], int]:
    """A safetensors file's header as it stands in it, and where the numbers begin.

    Raises:
        BakehouseError: not such a file, or cut off.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as f:
            length = int.from_bytes(f.read(8), "little")
            if not 0 < length <= size - 8:
                raise ValueError("no header")
            header = parse_json(f.read(length))
        ends = [int(entry["data_offsets"][1]) for name, entry in header.items() if name != "__metadata__"]
        shapes = [tuple(entry["shape"]) for name, entry in header.items() if name != "__metadata__"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError) as e:
        why = f"{path} is not a safetensors file, or it is cut off: {e!r}"
        raise not_weights(path) or BakehouseError(why, hint=_DAMAGED_HINT) from e
    if len(shapes) != len(ends) or max(ends, default=0) > size - 8 - length:
        raise BakehouseError(f"{path} is cut off: it has {size} bytes", hint=_DAMAGED_HINT)
    return header, 8 + length


def _view(mapped: mmap.mmap, entry: dict[str, Any], start: int, path: Path, name: str) -> Tensor:
    dtype, shape = _DTYPES.get(entry["dtype"]), [int(n) for n in entry["shape"]]
    begin, end = entry["data_offsets"]
    if dtype is None:
        raise BakehouseError(f"{name} in {path} is of the type {entry['dtype']}: known are {', '.join(_DTYPES)}")
    if begin == end:
        return torch.empty(shape, dtype=dtype)
    try:
        flat = torch.frombuffer(mapped, dtype=dtype, count=(end - begin) // dtype.itemsize, offset=start + begin)
        return flat.view(shape)
    except (RuntimeError, ValueError) as e:
        raise BakehouseError(f"{name} in {path} does not fit its shape {shape}: {e}", hint=_DAMAGED_HINT) from e


def _mapped_regions(path: Path, tensors: Iterable[Tensor]) -> list[tuple[int, int]]:
    """Where in this process the file stands behind these tensors; empty where the system does not say (not Linux).

    PyTorch maps a pickle itself and gives no handle. Only a region of this very file that holds one of the tensors is
    taken: other memory loses what is in it when its pages are let go.
    """
    maps = Path("/proc/self/maps")
    if not (maps.exists() and hasattr(mmap, "MADV_DONTNEED")):
        return []
    inode = str(path.stat().st_ino)
    regions = []
    for line in maps.read_text("utf-8", "replace").splitlines():
        addresses, access, _, _, number, *_ = line.split(maxsplit=5)
        if number == inode and access.endswith("p"):
            begin, end = (int(address, 16) for address in addresses.split("-"))
            regions.append((begin, end - begin))
    held = [tensor.data_ptr() for tensor in tensors if tensor.numel()]
    return [(begin, length) for begin, length in regions if any(begin <= p < begin + length for p in held)]


def _read_pickle(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Loads with `weights_only=True`: a pickle that wants to run code is refused, never obeyed."""
    try:
        with warnings.catch_warnings():
            # An unusual pickle protocol is no news for the user: what cannot be read is refused below.
            warnings.filterwarnings("ignore", message="Detected pickle protocol", category=UserWarning)
            loaded = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except (pickle.UnpicklingError, AttributeError) as e:
        raise not_weights(path) or BakehouseError(
            f"{path} is a pickle that holds more than tensors, and is refused because it could run any code",
            hint=_REFUSED_HINT,
        ) from e
    except Exception as e:  # of a file that is no pickle, or a cut one, torch raises anything
        raise not_weights(path) or BakehouseError(f"cannot read {path}: {e}", hint=_DAMAGED_HINT) from e
    state = loaded.get("state_dict", loaded) if isinstance(loaded, dict) else {}
    tensors = {str(k): v for k, v in state.items() if isinstance(v, Tensor)}
    if not tensors:
        raise BakehouseError(f"{path} holds no tensors")
    said = loaded.get("metadata")
    metadata = {k: v for k, v in said.items() if isinstance(v, str)} if isinstance(said, dict) else {}
    return tensors, metadata
