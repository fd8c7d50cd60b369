"""Tensors under keys in files of many: a cache of 100,000 entries is some hundred files, not 100,000.

A file (shard) is written once, whole, under a name made of its keys, so that several processes can add to one folder.
Any entry is read alone, in any order: where an epoch is resumed, and which shard it is in, make no difference.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from bakehouse.core.files import DamagedError, atomic_path, key_of
from bakehouse.models.weights_fingerprint import tensors_sha256

SHARD_BYTES = 1 << 26
"""Tensors in one file: what a process that is killed has to make again at most."""


class TensorShards:
    """A folder of shards. New entries are kept in memory until they fill a shard, or `flush` writes them.

    Threads may read while one adds.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._places: dict[str, Path] | None = None
        self._lock = threading.Lock()
        self._waiting: dict[str, Mapping[str, Tensor]] = {}
        self._waiting_bytes = 0

    def __contains__(self, key: str) -> bool:
        return key in self._waiting or key in self._shard_of()

    def get(self, key: str) -> Mapping[str, Tensor] | None:
        """Return the tensors under a key by their names, on the CPU; None if there are none.

        Raises:
            DamagedError: their shard is damaged. It is removed, with all that is in it.
        """
        if (waiting := self._waiting.get(key)) is not None:
            return waiting
        path = self._shard_of().get(key)
        if path is None:
            return None
        try:
            with safe_open(path, "pt") as f:
                digest, *names = (f.metadata() or {})[key].split()
                tensors = {name: f.get_tensor(f"{key}.{name}") for name in names}
        except FileNotFoundError:  # by another process that found it damaged, or by the user
            self._forget(path)
            return None
        except (OSError, SafetensorError, KeyError) as e:
            raise self._removed(path, "cannot be read or is damaged") from e
        if digest != tensors_sha256(tensors):
            raise self._removed(path, "is damaged (a sha256 does not match)")
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
        self._shard_of().update(dict.fromkeys(self._waiting, path))
        self._waiting, self._waiting_bytes = {}, 0

    @contextlib.contextmanager
    def flushing(self) -> Iterator[None]:
        """Write at the end of the block what waits, also if it is interrupted."""
        try:
            yield
        finally:
            self.flush()

    def _shard_of(self) -> dict[str, Path]:
        """Return the shard of every key, from the headers of all that are there when it is first asked."""
        with self._lock:
            if self._places is None:
                self._places = {}
                for path in sorted(self.folder.glob("*.safetensors")):
                    # One that cannot be opened holds no entry; what was in it is made again.
                    with contextlib.suppress(OSError, SafetensorError), safe_open(path, "pt") as f:
                        self._places.update(dict.fromkeys(f.metadata() or {}, path))
            return self._places

    def _removed(self, path: Path, reason: str) -> DamagedError:
        self._forget(path)
        path.unlink(missing_ok=True)
        return DamagedError(path, f"{reason}; it was removed")

    def _forget(self, path: Path) -> None:
        self._places = {key: place for key, place in self._shard_of().items() if place != path}
