"""The model manager behind `bakehouse models`: list, download, add and remove models."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bakehouse.core.errors import BakehouseError, UsageError, did_you_mean
from bakehouse.core.events import OnEvent, ignore
from bakehouse.core.files import data_dir, key_of, sha256_file
from bakehouse.core.files_of_adapter import adapter_files
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
from bakehouse.models.hub import (
    cached_pipeline,
    check_pipeline,
    current_repo_id,
    download_pipeline,
    has_weights,
    pipeline_bytes,
)
from bakehouse.models.identify import identify, read_adapter_header, read_header
from bakehouse.models.model_card import card_licence
from bakehouse.models.model_reference import is_hub_id, resolve_model

NOT_KNOWN = "see its page"
"""The licence of a model of the Hub whose card is not here, or names none."""


@dataclass(frozen=True)
class Row:
    """One model in the list: on this machine, or in the catalogue."""

    name: str
    kind: Kind
    family: str
    what: str
    bytes: int | None
    licence: str
    sha256: str
    """Of the model's file, or over the hashes of several; empty if not known."""
    revision: str
    """The commit of a Hub repository."""
    path: str
    """Where it is; empty if it is not on this machine."""
    source: str
    """Where it was published."""

    def to_json(self) -> dict[str, Any]:
        """Return the row for --json."""
        return asdict(self)


def rows() -> list[Row]:
    """Return the user's models, the catalogue, and base models in the Hub's cache. Downloads nothing."""
    registry = read_registry()
    listed = [_of_catalogue(entry, registry.fetched.get(name)) for name, entry in catalogue().items()]
    own = [_of_own(name, own) for name, own in registry.own.items()]
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
    """Return Stable Diffusion pipelines in the Hub's cache that are not in the catalogue."""
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
            continue  # another kind of model
        if where.path and where.family:
            page, licence = f"https://huggingface.co/{repo.repo_id}", card_licence(where.path) or NOT_KNOWN
            found.append(
                Row(repo.repo_id, "base", where.family, "in the Hub's cache", repo.size_on_disk, licence, "",
                    where.path.name, str(where.path), page)
            )  # fmt: skip
    return found


def fetchable(name: str) -> Entry:
    """Return a model that can be downloaded: of the catalogue, or a base model of the Hub by its id.

    Raises:
        UsageError: no such name, or nothing to download.
    """
    entry = catalogue().get(name) or (_of_repository(name) if is_hub_id(name) else None)
    if entry is None and isinstance(find_model(name), UserModel):
        raise UsageError(f"{name!r} is a model that you added: there is nothing to download")
    if entry is None:
        unknown = f"no model {name!r} in the catalogue{did_you_mean(name, catalogue())}"
        raise UsageError(unknown, hint="see `bakehouse models list`")
    if isinstance(entry.source, Packaged):
        raise UsageError(f"{name!r} is part of the package: there is nothing to download")
    return entry


def _of_repository(name: str) -> Entry:
    """Return the entry of a base model of the Hub: the catalogue's if it has one."""
    repo = current_repo_id(name)
    known = (one for one in catalogue().values() if one.is_pipeline and one.source == Hub(repo=repo))
    return next(known, None) or Entry(
        name=repo, kind="base", what="a base model of the Hub", licence=NOT_KNOWN, source=Hub(repo=repo)
    )


def fetch(name: str, *, given: Path | None = None, on_event: OnEvent = ignore) -> tuple[Entry, FetchedModel]:
    """Download a model of the catalogue or a base model of the Hub, or take a copy of it at `given`.

    Raises:
        UsageError: no such name, nothing to download, or the repository holds no base model that is supported.
        BakehouseError: the download failed, or the files are not what they should be.
    """
    entry = fetchable(name)
    if entry.name not in catalogue() and given is None:
        check_pipeline(entry.name)
        resolve_model(entry.name)  # before gigabytes of a kind that cannot be used
    found = install_model(entry, given=given, on_event=on_event, pipeline=_download_pipeline)
    if entry.licence == NOT_KNOWN and (licence := card_licence(Path(found.folder))):
        entry = entry.with_values({"licence": licence})
    return entry, found


def _download_pipeline(entry: Entry, on_event: OnEvent) -> DownloadedFiles:
    """Download only the files of a pipeline that are read."""
    source = entry.source
    assert isinstance(source, Hub)
    cached = cached_pipeline(source.repo)
    was_here = cached is not None and has_weights(cached)

    def work() -> list[str]:
        return [str(download_pipeline(current_repo_id(source.repo)))]

    try:
        total = entry.about or pipeline_bytes(source.repo)
        folder = Path(with_cache_progress(work, source.repo, f"fetching {entry.name}", total, on_event)[0])
    except BakehouseError as e:
        raise DownloadError(e.message) from e
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    weights = [p for p in files if p.suffix in (".safetensors", ".bin")]
    ordered = [*weights, *(p for p in files if p not in weights)]
    return DownloadedFiles(folder, tuple(p.relative_to(folder).as_posix() for p in ordered), folder.name, was_here)


def add(
    name: str, where: str, *, kind: Kind | None = None, licence: str = "", on_event: OnEvent = ignore
) -> tuple[str, UserModel]:
    """Register a model of the user's under a name. It stays where it is; its sha256 is recorded.

    Args:
        where: a file, a folder or a Hub id.
        kind: its kind, if its keys do not show it.

    Raises:
        UsageError: not a valid name, not found, or its kind cannot be detected.
        BakehouseError: the file is damaged.
    """
    check_model_name(name)
    path = Path(where).expanduser()
    if not path.exists() and is_hub_id(where):
        own = UserModel(kind=kind or "base", where=current_repo_id(where), licence=licence)
    elif not path.exists():
        raise UsageError(f"{where} does not exist", hint="pass a file, a folder, or a Hub id (owner/name)")
    else:
        own = _describe(path.resolve(), kind, licence, on_event)
    with edit_registry() as registry:
        registry.own[name] = own
    return name, own


def _describe(path: Path, kind: Kind | None, licence: str, on_event: OnEvent) -> UserModel:
    detected, family = (kind, "") if kind not in (None, "base", "vae", "adapter") else _detect_kind(path)
    if kind is None and detected is None:
        raise UsageError(f"{path}: its kind cannot be detected", hint="add --kind tagger, upscaler, matte, ...")
    if kind is not None and detected is not None and kind != detected:
        raise UsageError(f"{path} is of the kind {detected!r}, not {kind!r}")
    if path.is_dir():
        size = sum(p.stat().st_size for p in path.rglob("*") if p.is_file())
        return UserModel(kind=kind or detected or "base", where=str(path), family=family, licence=licence, bytes=size)
    digest = hash_file(path, what=f"reading {path.name}", on_event=on_event)
    size = path.stat().st_size
    return UserModel(
        kind=kind or detected or "base", where=str(path), family=family, licence=licence, sha256=digest, bytes=size
    )


def _detect_kind(path: Path) -> tuple[Kind | None, str]:
    """Return kind and family as far as headers tell."""
    if path.is_dir() and adapter_files(path):
        return "adapter", identify(read_adapter_header(path).shapes).family
    if path.is_dir():
        return "base", str(resolve_model(path).family or "")
    if path.suffix.lower() not in (".safetensors", ".ckpt"):
        return None, ""
    found = identify(read_header(path).shapes)
    kinds: dict[str, Kind] = {"checkpoint": "base", "inpainting model": "base", "vae": "vae", "adapter": "adapter"}
    return kinds.get(found.kind), found.family


def remove(name: str, *, files: bool = False) -> tuple[str, int]:
    """Remove a name from the list; with `files` also the files that bakehouse downloaded, never those of the user.

    Returns:
        A message, and the bytes that were freed.

    Raises:
        UsageError: there is nothing to remove.
    """
    registry = read_registry()
    if name in registry.own:
        where = registry.own[name].where
        with edit_registry() as draft:
            del draft.own[name]
        return f"{name} was removed from the list; {where} was not deleted", 0
    if name not in registry.fetched:
        hint = (
            "it is part of the package" if name in catalogue() and catalogue()[name].origin.startswith("part") else ""
        )
        message = (
            f"{name!r} is not downloaded"
            if name in catalogue()
            else f"no model {name!r}{did_you_mean(name, model_names())}"
        )
        raise UsageError(message, hint=hint or "see `bakehouse models list --here`")
    known = registry.fetched[name]
    if not files:
        with edit_registry() as draft:
            del draft.fetched[name]
        return f"{name} was removed from the list; its files stay in {known.folder}", 0
    if known.shared:
        raise UsageError(
            f"the files of {name} were in the Hub's cache before bakehouse needed them: other programs may use them",
            hint=f"`bakehouse models remove {name}` keeps them; `hf cache` deletes them",
        )
    freed = _delete(catalogue().get(name), known, name)
    with edit_registry() as draft:
        del draft.fetched[name]
    return f"{name} and its files were deleted", freed


def _delete(entry: Entry | None, known: FetchedModel, name: str) -> int:
    source = Hub(repo=name) if entry is None and is_hub_id(name) else entry.source if entry is not None else None
    if isinstance(source, Hub):
        return delete_revision(source.repo, known.revision) if Path(known.folder).is_dir() else 0
    home = data_dir("models", name)
    freed = sum(p.stat().st_size for p in known.paths if p.is_file())
    shutil.rmtree(home, ignore_errors=True)
    return freed
