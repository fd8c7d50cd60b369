"""The shelf as its user sees it: all models with what is known of them, and how they come and go."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bakehouse.core.adapter_paths import adapter_files
from bakehouse.core.errors import BakehouseError, UsageError, did_you_mean
from bakehouse.core.events import OnEvent, ignore
from bakehouse.core.files import data_dir, key_of, sha256_file
from bakehouse.core.model_catalogue import (
    Entry,
    Kind,
    UserModel,
    catalogue,
    check_model_name,
    find_model,
    model_names,
    read_registry,
)
from bakehouse.core.model_catalogue.download import DownloadError, hash_file
from bakehouse.core.model_catalogue.entry import Hub, Packaged
from bakehouse.core.model_catalogue.hub_download import DownloadedFiles, delete_revision, with_cache_progress
from bakehouse.core.model_catalogue.install import install_model
from bakehouse.core.model_catalogue.installed_models import FetchedModel, edit_registry
from bakehouse.models.hub import cached_pipeline, download_pipeline, living
from bakehouse.models.identify import identify, read_adapter_header, read_header
from bakehouse.models.model_reference import is_hub_id, resolve_model


@dataclass(frozen=True)
class Row:
    """One model on the shelf, or one that could be."""

    name: str
    kind: Kind
    family: str
    what: str
    bytes: int | None
    licence: str
    sha256: str
    """Of the model's own file; of several, over all of theirs; empty where nobody has said it yet."""
    revision: str
    """Of a Hub repository."""
    path: str
    """Where it is; empty while it is not here."""
    source: str
    """Where it comes from."""

    def to_json(self) -> dict[str, Any]:
        """For programs."""
        return asdict(self)


def rows() -> list[Row]:
    """Everything: the catalogue, the user's own, and base models in the Hub's cache. Nothing is fetched."""
    shelf = read_registry()
    listed = [_of_catalogue(entry, shelf.fetched.get(name)) for name, entry in catalogue().items()]
    own = [_of_own(name, own) for name, own in shelf.own.items()]
    repos = {entry.source.repo for entry in catalogue().values() if isinstance(entry.source, Hub)}
    return [*own, *listed, *_of_hub(repos)]


def _of_own(name: str, own: UserModel) -> Row:
    here = own.where if not Path(own.where).is_absolute() or Path(own.where).exists() else ""
    return Row(name, own.kind, own.family, "", own.bytes, own.licence or "?", own.sha256, "", here, "your own")


def _of_catalogue(entry: Entry, fetched: FetchedModel | None) -> Row:
    if isinstance(entry.source, Packaged):
        return _of_package(entry, Path(__file__).parent.parent / entry.source.path)
    path, size, digest, revision = "", entry.bytes, "", ""
    pinned = [f.sha256 for f in entry.files[:1] if f.sha256]
    digest = pinned[0] if pinned else ""
    if fetched and all(p.is_file() for p in fetched.paths):
        path, size, revision = fetched.folder, sum(f.bytes for f in fetched.files), fetched.revision
        digest = digest or _digest(f.sha256 for f in fetched.files if not f.name.endswith((".json", ".txt", ".csv")))
    elif entry.is_pipeline and isinstance(entry.source, Hub) and (cached := cached_pipeline(entry.source.repo)):
        path, revision = str(cached), cached.name
    about = entry.what
    return Row(entry.name, entry.kind, entry.family, about, size, entry.licence, digest, revision, path, entry.origin)


def _of_package(entry: Entry, folder: Path) -> Row:
    files = [p for p in sorted(folder.rglob("*")) if p.is_file()]
    digest = _digest(sha256_file(p) for p in files if p.suffix == ".safetensors")
    size = sum(p.stat().st_size for p in files)
    return Row(
        entry.name, entry.kind, entry.family, entry.what, size, entry.licence, digest, "", str(folder), entry.origin
    )


def _digest(hashes: Iterable[str]) -> str:
    several = list(hashes)
    return several[0] if len(several) == 1 else key_of(*several) if several else ""


def _of_hub(known: set[str]) -> list[Row]:
    """Stable Diffusion pipelines in the Hub's cache that the catalogue does not name."""
    from huggingface_hub import scan_cache_dir
    from huggingface_hub.errors import CacheNotFound

    try:
        repos = sorted(scan_cache_dir().repos, key=lambda r: r.repo_id)
    except CacheNotFound:
        return []
    found = []
    for repo in (r for r in repos if r.repo_type == "model" and r.repo_id not in known):
        try:
            where = resolve_model(repo.repo_id)
        except BakehouseError:
            continue  # some other kind of model
        if where.path and where.family:
            page = f"https://huggingface.co/{repo.repo_id}"
            found.append(
                Row(repo.repo_id, "base", where.family, "in the Hub's cache", repo.size_on_disk, "see its page", "",
                    where.path.name, str(where.path), page)
            )  # fmt: skip
    return found


def fetchable(name: str) -> Entry:
    """A model of the catalogue.

    Raises:
        UsageError: no such name there, or nothing to fetch.
    """
    entry = catalogue().get(name)
    if entry is None and isinstance(find_model(name), UserModel):
        raise UsageError(f"{name!r} is your own and is where you have it: there is nothing to fetch")
    if entry is None:
        unknown = f"no model {name!r} in the catalogue{did_you_mean(name, catalogue())}"
        raise UsageError(unknown, hint="bakehouse models list")
    if isinstance(entry.source, Packaged):
        raise UsageError(f"{name!r} is part of the package: there is nothing to fetch")
    return entry


def fetch(name: str, *, given: Path | None = None, on_event: OnEvent = ignore) -> tuple[Entry, FetchedModel]:
    """Brings a model of the catalogue here: from where it is published, or from a copy at `given`.

    Raises:
        UsageError: no such name, or nothing to fetch.
        BakehouseError: it could not be had, or is not what it should be.
    """
    entry = fetchable(name)
    return entry, install_model(entry, given=given, on_event=on_event, pipeline=_bring_pipeline)


def _bring_pipeline(entry: Entry, on_event: OnEvent) -> DownloadedFiles:
    """The files of a pipeline that are read, and no others; their hashes are those that the Hub calls them by."""
    source = entry.source
    assert isinstance(source, Hub)
    before = cached_pipeline(source.repo)

    def bring() -> list[str]:
        return [str(download_pipeline(living(source.repo)))]

    try:
        folder = Path(with_cache_progress(bring, source.repo, f"fetching {entry.name}", entry.about, on_event)[0])
    except BakehouseError as e:
        raise DownloadError(e.message) from e
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    weights = [p for p in files if p.suffix in (".safetensors", ".bin")]
    ordered = [*weights, *(p for p in files if p not in weights)]
    return DownloadedFiles(
        folder, tuple(p.relative_to(folder).as_posix() for p in ordered), folder.name, before is not None
    )


def add(
    name: str, where: str, *, kind: Kind | None = None, licence: str = "", on_event: OnEvent = ignore
) -> tuple[str, UserModel]:
    """Puts a model of the user's on the shelf. It stays where it is; its sha256 is noted.

    Args:
        where: a file, a folder or a Hub id.
        kind: what it is, where its keys do not say it.

    Raises:
        UsageError: no short name, nothing there, or its kind cannot be told.
        BakehouseError: the file is damaged.
    """
    check_model_name(name)
    path = Path(where).expanduser()
    if not path.exists() and is_hub_id(where):
        own = UserModel(kind=kind or "base", where=living(where), licence=licence)
    elif not path.exists():
        raise UsageError(f"{where} does not exist", hint="a file, a folder, or a Hub id (owner/name)")
    else:
        own = _told(path.resolve(), kind, licence, on_event)
    with edit_registry() as shelf:
        shelf.own[name] = own
    return name, own


def _told(path: Path, kind: Kind | None, licence: str, on_event: OnEvent) -> UserModel:
    told, family = (kind, "") if kind not in (None, "base", "vae", "adapter") else _look(path)
    if kind is None and told is None:
        raise UsageError(f"{path}: its kind cannot be told", hint="say it: --kind tagger, upscaler, matte, ...")
    if kind is not None and told is not None and kind != told:
        raise UsageError(f"{path} is of the kind {told!r}, not {kind!r}")
    if path.is_dir():
        size = sum(p.stat().st_size for p in path.rglob("*") if p.is_file())
        return UserModel(kind=kind or told or "base", where=str(path), family=family, licence=licence, bytes=size)
    digest = hash_file(path, what=f"reading {path.name}", on_event=on_event)
    size = path.stat().st_size
    return UserModel(
        kind=kind or told or "base", where=str(path), family=family, licence=licence, sha256=digest, bytes=size
    )


def _look(path: Path) -> tuple[Kind | None, str]:
    """Kind and family as far as headers tell."""
    if path.is_dir() and adapter_files(path):
        return "adapter", identify(read_adapter_header(path).shapes).family
    if path.is_dir():
        return "base", str(resolve_model(path).family or "")
    if path.suffix.lower() not in (".safetensors", ".ckpt"):
        return None, ""
    found = identify(read_header(path).shapes)
    kinds: dict[str, Kind] = {"checkpoint": "base", "vae": "vae", "adapter": "adapter"}
    return kinds.get(found.kind), found.family


def remove(name: str, *, files: bool = False) -> tuple[str, int]:
    """Takes a name off the shelf; with `files` also what bakehouse itself has fetched, never what is the user's.

    Returns:
        What was done, in words, and the bytes that were freed.

    Raises:
        UsageError: there is nothing to take away.
    """
    shelf = read_registry()
    if name in shelf.own:
        where = shelf.own[name].where
        with edit_registry() as draft:
            del draft.own[name]
        return f"{name} is off the shelf; {where} is yours and stays", 0
    if name not in shelf.fetched:
        hint = (
            "it is part of the package" if name in catalogue() and catalogue()[name].origin.startswith("part") else ""
        )
        said = (
            f"{name!r} was not fetched"
            if name in catalogue()
            else f"no {name!r} on the shelf{did_you_mean(name, model_names())}"
        )
        raise UsageError(said, hint=hint or "bakehouse models list --here")
    known = shelf.fetched[name]
    if not files:
        with edit_registry() as draft:
            del draft.fetched[name]
        return f"{name} is off the shelf; its files stay in {known.folder}", 0
    if known.shared:
        raise UsageError(
            f"the files of {name} were in the Hub's cache before bakehouse fetched them: other programs may need them",
            hint=f"bakehouse models remove {name}   leaves them; `hf cache` deletes them",
        )
    freed = _delete(catalogue().get(name), known, name)
    with edit_registry() as draft:
        del draft.fetched[name]
    return f"{name} and its files are gone", freed


def _delete(entry: Entry | None, known: FetchedModel, name: str) -> int:
    if entry is not None and isinstance(entry.source, Hub):
        return delete_revision(entry.source.repo, known.revision) if Path(known.folder).is_dir() else 0
    home = data_dir("models", name)
    freed = sum(p.stat().st_size for p in known.paths if p.is_file())
    shutil.rmtree(home, ignore_errors=True)
    return freed
