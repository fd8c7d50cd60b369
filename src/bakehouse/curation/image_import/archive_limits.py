"""What an archive may hold: checked before anything of it is unpacked."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from bakehouse.core.errors import Problems, UsageError

MAX_FILES = 100_000
MAX_BYTES = 64 << 30
MAX_RATIO = 100
"""Largest ratio of unpacked to packed bytes. Images are compressed (1 to 1); even drawings as BMP stay below."""
_UNCHECKED_BYTES = 256 << 20
"""Unpacked bytes up to which the ratio is not checked."""


def check_size(archive: Path, *, files: int, unpacked: int, packed: int) -> None:
    """Refuse an archive of too many files, or of implausibly many bytes.

    Raises:
        UsageError: it is over a limit.
    """
    if files > MAX_FILES:
        raise UsageError(f"{archive} holds {files:,} files, and the limit is {MAX_FILES:,}")
    if unpacked > MAX_BYTES or (unpacked > _UNCHECKED_BYTES and unpacked > MAX_RATIO * max(packed, 1)):
        raise UsageError(
            f"{archive} would unpack to {unpacked / 1e9:.1f} GB from {packed / 1e6:.1f} MB: implausible for images",
            hint="if you trust it, unpack it by hand and import the folder",
        )


def check_names(archive: Path, names: Sequence[str], *, links: Sequence[str], devices: Sequence[str] = ()) -> None:
    """Refuse an archive with entries outside of its folder, or that are no files.

    Raises:
        Problems: there are such entries; names the first twenty.
    """
    wrong = [f"{name}: leads out of the folder" for name in names if _leads_out(PurePosixPath(name))]
    wrong += [f"{name}: is a link" for name in links]
    wrong += [f"{name}: is a device or a pipe" for name in devices]
    if wrong:
        raise Problems(f"{archive} is not safe to unpack:", wrong[:20], hint="nothing of it was unpacked")


def _leads_out(name: PurePosixPath) -> bool:
    return not name.parts or name.is_absolute() or ".." in name.parts or ":" in name.parts[0]
