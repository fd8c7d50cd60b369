"""Facts from an adapter's headers, before its weights are read: its kind, its family and its hash."""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from bakehouse.core.errors import UsageError
from bakehouse.core.files import key_of
from bakehouse.core.files_of_adapter import adapter_files

if TYPE_CHECKING:
    from bakehouse.models.identify import FileKind


def adapter_at(path: Path) -> Path | None:
    """Return the adapter in a file or folder: its file, or the folder if it has one file per network; None if none.

    Raises:
        BakehouseError: a file is damaged.
    """
    files = adapter_files(path)
    if not files or any(file.suffix.lower() != ".safetensors" or not file.is_file() for file in files.values()):
        return None
    return files.get("", path) if kind_of(path).kind == "adapter" else None


def weights_at(path: Path) -> Path | None:
    """Return the trained weights that go on a base: an adapter, as `adapter_at` finds it, or an embedding's file.

    Raises:
        BakehouseError: a file is damaged.
    """
    found = adapter_at(path)
    return path if found is None and path.is_file() and is_embedding(path) else found


def is_embedding(path: Path) -> bool:
    """Whether a path is a .safetensors with the vectors of a word.

    Raises:
        BakehouseError: it is damaged.
    """
    return path.is_file() and path.suffix.lower() == ".safetensors" and kind_of(path).kind == "embedding"


def word_of(path: Path) -> str:
    """Return the word that an embedding's file is for: as its header says, else its name, as in A1111."""
    from bakehouse.adapters.embedding import word_in
    from bakehouse.models.identify import read_header

    return word_in(read_header(path).metadata, path.stem)


def kind_of(path: Path) -> FileKind:
    """Return the kind of a file or of an adapter's folder.

    Raises:
        BakehouseError: a file is damaged.
    """
    from bakehouse.models.identify import identify, read_adapter_header

    return identify(read_adapter_header(path).shapes)


def check_family(path: Path, base: str) -> None:
    """Check that an adapter is made for its base's family, as far as headers tell.

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
            hint="use a base of the adapter's family, or leave the adapter out",
        )


def unapplied_notes(path: Path) -> list[str]:
    """Return warnings about the parts of an adapter that are not applied; embeddings inside it are."""
    from bakehouse.adapters.adapter_reader import adapter_coverage
    from bakehouse.adapters.file_coverage import BUNDLED, Coverage

    if is_embedding(path):
        return []
    left = Coverage(tuple(e for e in adapter_coverage(path).entries if not e.name.startswith(BUNDLED)))
    return [f"{path.name}: not applied: {note}" for note in left.notes]


@functools.lru_cache(maxsize=256)
def _tensor_hash(path: Path, _size: int, _changed: int) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as f:
        f.seek(8 + int.from_bytes(f.read(8), "little"))
        while piece := f.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


def tensor_hash(path: Path) -> str:
    """Return the hash that A1111 and Civitai (AutoV3) use: 12 digits of the sha256 of all after the header.

    An adapter of several files, which neither of them reads, has a hash over those of its files.
    """
    stats = [(file.resolve(), file.stat()) for file in adapter_files(path).values()]
    hashes = [_tensor_hash(file, stat.st_size, stat.st_mtime_ns) for file, stat in stats]
    return (hashes[0] if len(hashes) == 1 else key_of(*hashes))[:12]
