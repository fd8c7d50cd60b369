"""What a model is, as a hash: the same weights give the same word wherever their file lies."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from torch import Tensor

from bakehouse.core.errors import BakehouseError
from bakehouse.core.files import DamagedError, cache_dir, key_of, read_checked, sha256_file, write_checked


def file_sha256(path: Path) -> str:
    """Hex sha256 of a file, remembered by (path, size, time of change): base models are gigabytes."""
    path = path.resolve()
    stat = path.stat()
    memory = cache_dir("hashes") / f"{key_of(str(path), stat.st_size, stat.st_mtime_ns)}.json"
    known = _remembered(memory)
    if known is not None:
        return known
    digest = sha256_file(path)
    # A cache that cannot be written costs time, never the answer.
    with contextlib.suppress(BakehouseError):
        write_checked(memory, {"sha256": digest})
    return digest


def _remembered(memory: Path) -> str | None:
    with contextlib.suppress(DamagedError):
        return str(read_checked(memory).get("sha256"))
    return None


def files_fingerprint(files: Iterable[Path]) -> str:
    """One hash for several weight files, the file's own sha256 for one; order counts, names and places do not."""
    digests = [file_sha256(f) for f in files]
    return digests[0] if len(digests) == 1 else key_of(*digests)


def tensors_sha256(state: Mapping[str, Tensor]) -> str:
    """Hex sha256 over names, types, shapes and bytes, in the order of the names."""
    digest = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        if tensor.numel():
            digest.update(tensor.view(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
