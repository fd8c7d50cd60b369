"""Hashes of models: the same weights have the same hash wherever their files are."""

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
    """Return the hex sha256 of a file, cached by (path, size, time of change): base models are gigabytes."""
    path = path.resolve()
    stat = path.stat()
    cached = cache_dir("hashes") / f"{key_of(str(path), stat.st_size, stat.st_mtime_ns)}.json"
    known = _cached_digest(cached)
    if known is not None:
        return known
    digest = sha256_file(path)
    # A cache that cannot be written costs time, never the result.
    with contextlib.suppress(BakehouseError):
        write_checked(cached, {"sha256": digest})
    return digest


def _cached_digest(path: Path) -> str | None:
    with contextlib.suppress(DamagedError):
        return str(read_checked(path).get("sha256"))
    return None


def files_fingerprint(files: Iterable[Path]) -> str:
    """Return one hash for several weight files; for one file its sha256. Order counts, names and folders do not."""
    digests = [file_sha256(f) for f in files]
    return digests[0] if len(digests) == 1 else key_of(*digests)


def tensors_sha256(state: Mapping[str, Tensor]) -> str:
    """Return the hex sha256 over names, types, shapes and bytes, in the order of the names."""
    digest = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        if tensor.numel():
            digest.update(tensor.view(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
