"""Tensors under keys in files of many: a cache of 100,000 entries is some hundred files, not 100,000.

A file (shard) is written once, whole, under a name made of its keys, so that several processes can add to one folder.
Any entry is read alone, in any order: where an epoch is resumed, and which shard it is in, make no difference.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from bakehouse.core.errors import BakehouseError
from bakehouse.core.files import DamagedError, atomic_path, key_of
from bakehouse.dtypes import SAFETENSORS_DTYPES
from bakehouse.models.mmap_weights import safetensors_header
from bakehouse.models.weights_fingerprint import tensors_sha256

SHARD_BYTES = 1 << 26
"""Tensors in one file: what a process that is killed has to make again at most."""


@dataclass(frozen=True, slots=True)
class _Place:
    """Where an entry is."""

    path: Path
    digest: str
    tensors: tuple[tuple[str, str, tuple[int, ...], int, int], ...]
    """Name, type, shape, and the bytes of the file from and to which it is."""

    def read(self) -> dict[str, Tensor]:
        """Read its tensors; raises OSError, or ValueError if the file ends before them."""
        found = {}
        with self.path.open("rb", buffering=0) as f:
            for name, dtype, shape, begin, end in self.tensors:
                f.seek(begin)
                data = bytearray(end - begin)
                if f.readinto(data) != len(data):
                    raise ValueError(self.path)
                kind = SAFETENSORS_DTYPES[dtype]
                found[name] = (torch.frombuffer(data, dtype=kind) if data else torch.empty(0, dtype=kind)).reshape(
                    shape
                )
        return found


def _places(path: Path) -> dict[str, _Place]:
    """Return the entries of a shard; raises BakehouseError or KeyError if its header is damaged."""
    header, start = safetensors_header(path)
    found = {}
    for key, said in header.pop("__metadata__", {}).items():
        digest, *names = said.split()
        entries = ((name, header[f"{key}.{name}"]) for name in names)
        tensors = tuple(
            (name, e["dtype"], tuple(e["shape"]), *(start + at for at in e["data_offsets"])) for name, e in entries
        )
        found[key] = _Place(path, digest, tensors)
    return found


class TensorShards:
    """A folder of shards. New entries are kept in memory until they fill a shard, or `flush` writes them.

    Threads may read while one adds.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._index: dict[str, _Place] | None = None
        self._lock = threading.Lock()
        self._waiting: dict[str, Mapping[str, Tensor]] = {}
        self._waiting_bytes = 0

    def __contains__(self, key: str) -> bool:
        return key in self._waiting or key in self._all()

    def get(self, key: str) -> Mapping[str, Tensor] | None:
        """Return the tensors under a key by their names, on the CPU; None if there are none.

        Raises:
            DamagedError: their shard is damaged. It is removed, with all that is in it.
        """
        if (waiting := self._waiting.get(key)) is not None:
            return waiting
        place = self._all().get(key)
        if place is None:
            return None
        try:
            tensors = place.read()
        except FileNotFoundError:  # removed by another process that found it damaged, or by the user
            self._forget(place.path)
            return None
        except (OSError, ValueError) as e:
            raise self._removed(place.path, "cannot be read or is cut short") from e
        if place.digest != tensors_sha256(tensors):
            raise self._removed(place.path, "is damaged (a sha256 does not match)")
        return tensors

    def put(self, key: str, tensors: Mapping[str, Tensor]) -> None:
        """Add an entry; names of tensors have no spaces."""
        self._waiting[key] = {name: tensor.cpu().contiguous() for name, tensor in tensors.items()}
        self._waiting_bytes += sum(tensor.nbytes for tensor in tensors.values())
        if self._waiting_bytes >= SHARD_BYTES:
            self.flush()

    def flush(self) -> None:
        """Write what waits in memory.

        Raises:
            BakehouseError: the folder cannot be written.
        """
        if not self._waiting:
            return
        path = self.folder / f"{key_of(*sorted(self._waiting))}.safetensors"
        entries = {key: f"{tensors_sha256(of)} {' '.join(of)}" for key, of in self._waiting.items()}
        with atomic_path(path) as temporary:
            named = {f"{key}.{name}": tensor for key, of in self._waiting.items() for name, tensor in of.items()}
            save_file(named, temporary, entries)
        self._all().update(_places(path))
        self._waiting, self._waiting_bytes = {}, 0

    @contextlib.contextmanager
    def flushing(self) -> Iterator[None]:
        """Write at the end of the block what waits, also if it is interrupted."""
        try:
            yield
        finally:
            self.flush()

    def _all(self) -> dict[str, _Place]:
        """Return the place of every key, from the headers of all shards that are there when it is first asked."""
        with self._lock:
            if self._index is None:
                self._index = {}
                for path in sorted(self.folder.glob("*.safetensors")):
                    # One that cannot be opened holds no entry; what was in it is made again.
                    with contextlib.suppress(OSError, BakehouseError, KeyError, ValueError):
                        self._index.update(_places(path))
            return self._index

    def _removed(self, path: Path, reason: str) -> DamagedError:
        self._forget(path)
        path.unlink(missing_ok=True)
        return DamagedError(path, f"{reason}; it was removed")

    def _forget(self, path: Path) -> None:
        self._index = {key: place for key, place in self._all().items() if place.path != path}
