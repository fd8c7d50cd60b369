"""Hashes by which programs and sites identify a weights file."""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from bakehouse.adapters.tensor_files import LegacyHash
from bakehouse.core.errors import BakehouseError, UsageError
from bakehouse.core.events import OnEvent, Progress
from bakehouse.core.parse_json_toml_yaml import parse_json

_CHUNK = 1 << 22


@dataclass(frozen=True)
class Hashes:
    """The hashes of one file; None if they do not apply."""

    sha256: str
    """Of the whole file."""
    autov1: str
    """A1111 until 2023: 8 digits of sha256 of bytes 0x100000 to 0x110000."""
    autov2: str
    """Civitai and A1111: 10 digits of sha256."""
    autov3: str | None
    """Civitai: 12 digits of `sshs_model_hash`."""
    sshs_model_hash: str | None
    """sha256 of everything behind the header, so that a changed description changes nothing: A1111's hash of a LoRA."""
    sshs_legacy_hash: str | None
    """kohya's older: 8 digits of sha256 of the same window, of the file as it would be with its `ss_*` keys alone."""
    crc32: str
    """As Civitai lists it."""

    def to_json(self) -> dict[str, str | None]:
        return asdict(self)


def hash_file(path: Path | str, *, on_event: OnEvent | None = None) -> Hashes:
    """Compute all hashes in one pass, in constant memory.

    Raises:
        UsageError: there is no such file.
    """
    path = Path(path)
    if not path.is_file():
        problem = "is a folder" if path.is_dir() else "does not exist"
        raise UsageError(f"{path} {problem}", hint="pass one of its files" if path.is_dir() else "")
    size = path.stat().st_size
    whole, behind, window, crc = hashlib.sha256(), hashlib.sha256(), LegacyHash(), 0
    start = _header_length(path, size)
    at = 0
    with path.open("rb") as f:
        while chunk := f.read(_CHUNK):
            whole.update(chunk)
            window.update(chunk)
            crc = zlib.crc32(chunk, crc)
            if start is not None:
                behind.update(chunk[max(0, start - at) :])
            at += len(chunk)
            if on_event is not None:
                on_event(Progress(what=f"hashing {path.name}", done=at, total=size))
    full = whole.hexdigest()
    model = behind.hexdigest() if start is not None else None
    legacy = _legacy_or_none(path) if start is not None else None
    return Hashes(full, window.digest(), full[:10], model[:12] if model else None, model, legacy, f"{crc:08X}")


def _header_length(path: Path, size: int) -> int | None:
    """Return the offset of a safetensors file's tensors; None for other or damaged files."""
    if path.suffix != ".safetensors" or size < 8:
        return None
    with path.open("rb") as f:
        length = int.from_bytes(f.read(8), "little")
        begins = f.read(1)
    return 8 + length if length <= size - 8 and begins == b"{" else None


def _legacy_or_none(path: Path) -> str | None:
    """Return the legacy hash; None if the header is damaged."""
    try:
        return legacy_hash(path)
    except BakehouseError:
        return None


def legacy_hash(path: Path, metadata: Mapping[str, str] | None = None) -> str:
    """Compute `sshs_legacy_hash` of a .safetensors file from its header and the hashed window.

    Args:
        metadata: in place of the file's own.
    """
    with path.open("rb") as f:
        length = int.from_bytes(f.read(8), "little")
        try:
            content = parse_json(f.read(length))
            header = content.pop("__metadata__", None) or {} if metadata is None else metadata
            content.pop("__metadata__", None)
            own = {k: v for k, v in header.items() if k.startswith("ss_")}
        except (ValueError, AttributeError) as e:
            raise BakehouseError(f"{path} is not a safetensors file: {e}") from e
    # Only the length counts: the window begins behind all but the longest headers.
    text = json.dumps({"__metadata__": own, **content} if own else content, separators=(",", ":"), ensure_ascii=False)
    virtual = 8 + -(-len(text.encode()) // 8) * 8
    window = LegacyHash()
    window.skip(virtual)
    with path.open("rb") as f:
        f.seek(8 + length + max(0, LegacyHash.START - virtual))
        window.skip(max(0, LegacyHash.START - virtual))
        window.update(f.read(LegacyHash.END - LegacyHash.START))
    return window.digest()
