"""What an adapter's files tell before their weights are read: what it is, for which family, its hash."""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from bakehouse.core.adapter_paths import adapter_files
from bakehouse.core.errors import UsageError
from bakehouse.core.files import key_of

if TYPE_CHECKING:
    from bakehouse.models.identify import FileKind


def adapter_at(path: Path) -> Path | None:
    """The adapter that a file or folder is: a file, or the folder where it has one file for each network; else None.

    Raises:
        BakehouseError: a file is damaged.
    """
    files = adapter_files(path)
    if not files or any(file.suffix.lower() != ".safetensors" or not file.is_file() for file in files.values()):
        return None
    return files.get("", path) if kind_of(path).kind == "adapter" else None


def kind_of(path: Path) -> FileKind:
    """What a file or an adapter's folder is.

    Raises:
        BakehouseError: a file is damaged.
    """
    from bakehouse.models.identify import identify, read_adapter_header

    return identify(read_adapter_header(path).shapes)


def check_family(path: Path, base: str) -> None:
    """Holds an adapter's family against its base's, as far as headers tell either.

    Raises:
        UsageError: they differ.
    """
    from bakehouse.models.identify import NAMES

    found = kind_of(path)
    if not found.family:
        return
    from bakehouse.models.model_reference import resolve_model

    family = resolve_model(base).family
    if family is not None and family != found.family:
        raise UsageError(
            f"{path} is {found}, and the base {base} is {NAMES[family]}",
            hint="name a base of its family, or leave it out",
        )


def notes_on(path: Path) -> list[str]:
    """What an adapter holds that is not applied, in words."""
    from bakehouse.adapters.adapter_reader import coverage_of

    return [f"{path.name} holds what is not applied: {note}" for note in coverage_of(path).notes]


@functools.lru_cache(maxsize=256)
def _tensor_hash(path: Path, _size: int, _changed: int) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as f:
        f.seek(8 + int.from_bytes(f.read(8), "little"))
        while piece := f.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


def tensor_hash(path: Path) -> str:
    """What A1111 and Civitai (AutoV3) know an adapter by: 12 digits of the sha256 of all behind the header.

    An adapter of several files, which neither of them reads, has the hash of all of theirs.
    """
    stats = [(file.resolve(), file.stat()) for file in adapter_files(path).values()]
    hashes = [_tensor_hash(file, stat.st_size, stat.st_mtime_ns) for file, stat in stats]
    return (hashes[0] if len(hashes) == 1 else key_of(*hashes))[:12]
