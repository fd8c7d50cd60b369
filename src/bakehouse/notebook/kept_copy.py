"""A copy of a project elsewhere, on a mounted drive or behind a URL, from which a new machine goes on.

Runs are not copied here: their training does it (`save.mirror`). Photos are one archive, since drives are slow with
many small files.
"""

from __future__ import annotations

import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from bakehouse.core.errors import BakehouseError, UsageError
from bakehouse.core.file_store import open_store
from bakehouse.core.files import atomic_path, key_of, write_json
from bakehouse.core.folder_lock import LOCK_FILE
from bakehouse.core.parse_json_toml_yaml import parse_json

MANIFEST = "project.json"
"""Lists what is copied, with a stamp of each file."""
_VERSION = 1


class KeptCopy:
    """The copy of one project.

    Args:
        url: folder or URL.
        folder: the project on this machine.

    Raises:
        UsageError: no such protocol, or a password in the URL.
    """

    def __init__(self, url: str, folder: Path) -> None:
        self.url, self._folder = url, folder
        self._store = open_store(url)

    def keep(self, files: Sequence[str], *, archived: str) -> None:
        """Copy files that have changed, and one folder as an archive.

        Raises:
            BakehouseError: the copy cannot be written.
        """
        known = dict(self._listed() or {})
        archive = f"{archived}.tar"
        stamp = _stamp_of_folder(self._folder / archived)
        changed = False
        if stamp and known.get(archive) != stamp:
            packed = self._folder / f".{archive}"
            _pack(self._folder / archived, packed)
            try:
                self._store.put(packed, archive)
            finally:
                packed.unlink(missing_ok=True)
            known[archive], changed = stamp, True
        for name in files:
            path = self._folder / name
            if path.is_file() and known.get(name) != (stamp := _stamp(path)):
                self._store.put(path, name)
                known[name], changed = stamp, True
        if changed:
            listed = self._folder / f".{MANIFEST}"
            write_json(listed, {"version": _VERSION, "files": known})
            self._store.put(listed, MANIFEST)

    def restore(self, *, last: str) -> bool:
        """Copy everything back; the file `last` at the end, so that what was interrupted begins again.

        Returns False if there is no copy.

        Raises:
            BakehouseError: the copy cannot be reached, or is damaged.
        """
        known = self._listed()
        if known is None:
            return False
        for name in sorted(known, key=lambda name: (name == last, name)):
            target = self._folder / name
            if not self._store.fetch(name, target):
                raise BakehouseError(f"{self.url} lists {name}, and does not have it", hint="is it still synchronised?")
            if target.suffix == ".tar":
                _unpack(target, target.with_suffix(""))
                target.unlink()
        return True

    def _listed(self) -> Mapping[str, str] | None:
        content = self._store.read(MANIFEST)
        if content is None:
            return None
        try:
            value = parse_json(content)
            if value["version"] == _VERSION:
                return {str(name): str(stamp) for name, stamp in value["files"].items()}
        except (ValueError, KeyError, TypeError, AttributeError) as e:
            raise BakehouseError(
                f"{self.url}/{MANIFEST} is damaged", hint="move that copy away, or give the project another name"
            ) from e
        raise UsageError(f"{self.url} was written by another version of bakehouse", hint="install that version")


def _stamp(path: Path) -> str:
    found = path.stat()
    return f"{found.st_size} {found.st_mtime_ns}"


def _files_in(folder: Path) -> list[Path]:
    """Return the files of a folder, with those of the dataset's history."""
    return sorted(p for p in folder.rglob("*") if p.is_file() and p.name != LOCK_FILE)


def _stamp_of_folder(folder: Path) -> str:
    """Return what changes with any file of a folder; empty if there is none."""
    files = _files_in(folder)
    return key_of([(p.relative_to(folder).as_posix(), _stamp(p)) for p in files]) if files else ""


def _pack(folder: Path, archive: Path) -> None:
    """Write an archive without compression, which pictures do not need; times are kept to the nanosecond."""
    with atomic_path(archive) as part, tarfile.open(part, "w", format=tarfile.PAX_FORMAT) as tar:
        for path in _files_in(folder):
            tar.add(path, path.relative_to(folder).as_posix(), recursive=False)


def _unpack(archive: Path, folder: Path) -> None:
    try:
        with tarfile.open(archive) as tar:
            tar.extractall(folder, filter="data")
    except tarfile.TarError as e:
        raise BakehouseError(f"the copy's {archive.name} is damaged: {e}", hint="add the photos again") from e
