"""Memory-mapped weight files: tensors are views of the file, and only the pages that are used are read."""

from __future__ import annotations

import ctypes
import mmap
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bakehouse.core.errors import BakehouseError
from bakehouse.core.not_weights import not_weights
from bakehouse.core.parse_json_toml_yaml import parse_json
from bakehouse.dtypes import SAFETENSORS_DTYPES
from bakehouse.pickles import load_pickle, tensors_of

_DAMAGED_HINT = "the file is damaged or cut off; download it again"


class Weights(dict[str, Tensor]):
    """Tensors by name, backed by mapped files.

    A tensor that is not cast stays a view: its pages are the system's cache of the file, shared between processes.
    """

    def __init__(self) -> None:
        super().__init__()
        self.metadata: dict[str, str] = {}
        """Metadata of pickles that we write, like the header of a .safetensors file."""
        self._maps: list[mmap.mmap] = []
        self._regions: list[tuple[int, int]] = []
        """Memory that PyTorch has mapped a pickle to: start address and length."""

    def add(self, path: Path) -> None:
        """Map one more file and add its tensors.

        Raises:
            BakehouseError: the file is damaged, or a pickle that holds more than tensors.
        """
        if path.suffix == ".safetensors":
            self._add_safetensors(path)
        else:
            tensors, metadata = _read_pickle(path)
            self.update(tensors)
            self.metadata.update(metadata)
            self._regions += _mapped_regions(path, tensors.values())

    def release(self) -> None:
        """Release the pages that were read so far; views that are still used read them again.

        Otherwise a cast would hold both the file and its copy: 1.5 to 3 times the weights.
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
            # A private map: training these tensors changes private pages, never the file.
            mapped = mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_COPY)
        self._maps.append(mapped)
        for name, entry in header.items():
            self[name] = _view(mapped, entry, start, path, name)


def read_weights(paths: Iterable[Path]) -> Weights:
    """Map every tensor of the files without reading them.

    Raises:
        BakehouseError: a file is damaged, or a pickle that holds more than tensors.
    """
    weights = Weights()
    for path in paths:
        weights.add(path)
    return weights


def safetensors_header(path: Path) -> tuple[dict[str, Any], int]:
    """Return the header of a safetensors file, and the offset of its data.

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
    dtype, shape = SAFETENSORS_DTYPES.get(entry["dtype"]), [int(n) for n in entry["shape"]]
    begin, end = entry["data_offsets"]
    if dtype is None:
        raise BakehouseError(
            f"{name} in {path} is of the type {entry['dtype']}: known are {', '.join(SAFETENSORS_DTYPES)}"
        )
    if begin == end:
        return torch.empty(shape, dtype=dtype)
    try:
        flat = torch.frombuffer(mapped, dtype=dtype, count=(end - begin) // dtype.itemsize, offset=start + begin)
        return flat.view(shape)
    except (RuntimeError, ValueError) as e:
        raise BakehouseError(f"{name} in {path} does not fit its shape {shape}: {e}", hint=_DAMAGED_HINT) from e


def _mapped_regions(path: Path, tensors: Iterable[Tensor]) -> list[tuple[int, int]]:
    """Return where in this process the file of these tensors is mapped; empty where the system cannot tell.

    PyTorch maps a pickle itself and gives no handle. Only regions of this very file that hold one of the tensors are
    returned: other memory would lose its content when its pages are released.
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
    """Return a pickle's tensors and metadata."""
    loaded = load_pickle(path)
    tensors, raw = tensors_of(loaded, path), loaded.get("metadata")
    metadata = {k: v for k, v in raw.items() if isinstance(v, str)} if isinstance(raw, dict) else {}
    return tensors, metadata
