"""Import sources into a dataset, one step per source; files imported earlier are not imported again."""

from __future__ import annotations

import contextlib
import shutil
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from bakehouse.core.errors import UsageError
from bakehouse.core.events import OnEvent, Warned, progress_callback
from bakehouse.core.file_store import protocol_of
from bakehouse.core.files import key_of
from bakehouse.core.folder_lock import locked
from bakehouse.curation.apply_and_undo import apply_proposals, read_history, recover
from bakehouse.curation.changeset import HISTORY_FOLDER, Proposal
from bakehouse.curation.image_import.import_items import (
    ImportItem,
    dataset_items,
    image_items,
    video_items,
    with_tag_captions,
    with_unique_names,
)
from bakehouse.curation.image_import.import_options import ImportOptions
from bakehouse.curation.image_import.source_locations import SourceLocation, fill_once, local_sources
from bakehouse.curation.image_import.tar_archive import unpack_tar
from bakehouse.curation.image_import.video import VIDEO_SUFFIXES, UnreadableVideoError, extract_frames
from bakehouse.curation.image_import.zip_archive import unpack_zip
from bakehouse.curation.journal import Step
from bakehouse.data.open_image import EXTENSIONS, sniff
from bakehouse.data.scan import NO_FILE

OPERATION = "import"
_SUPPORTED = "folders, zip and tar archives, videos, images, kohya's dataset .toml, concepts_list.json, metadata.jsonl"
_DATASET_FILES = frozenset({".toml", ".json", ".jsonl", ".csv"})


@dataclass(frozen=True)
class ImportedSource:
    """The result for one source."""

    source: str
    """Its path or URL."""
    proposals: tuple[Proposal, ...]
    """Its images that were not in the dataset yet."""
    step: Step | None
    """None if there was nothing new, or in a dry run."""


def import_sources(
    sources: Sequence[Path | str],
    dataset: Path | str,
    options: ImportOptions | None = None,
    *,
    dry_run: bool = False,
    on_event: OnEvent = lambda _: None,
) -> list[ImportedSource]:
    """Copy images with their captions and masks into a dataset, one step per source; sources are only read.

    A repeated call resumes an interrupted import and adds only new files: those imported before are skipped, even if
    they were changed or removed since.

    Args:
        sources: folders, zip and tar archives, videos, images, or dataset files (kohya's dataset TOML,
            `concepts_list.json`, `metadata.jsonl`); their paths, or URLs of whatever fsspec reads.
        dataset: the folder, created if missing. The first source fills it; further sources get folders of their own.
        options: which frames and captions to import.
        dry_run: only report what would be imported.
        on_event: called with progress and warnings.

    Raises:
        UsageError: a source does not exist or cannot be imported.
        Problems: an archive is not safe to unpack.
        BakehouseError: a source is damaged, or the disk is full.
    """
    dataset, options = Path(dataset), options or ImportOptions()
    for given in sources:
        if not protocol_of(str(given)):
            _check(Path(given), dataset)
    if dataset.is_dir():
        recover(dataset)
    imported: list[ImportedSource] = []
    with _work_folder(dataset, dry_run=dry_run) as work:
        for source in (one for given in sources for one in local_sources(given, work, on_event)):
            into, known = _target_folder(source, dataset, imported)
            items, notes = with_tag_captions(_read_source(source.path, work, options, on_event), options)
            for note in notes:
                on_event(Warned(message=note))
            found = with_unique_names(items, into)
            new = (a for a in found if a.to.with_suffix("") not in known and not (dataset / a.to).exists())
            proposals = tuple(item.proposal(options) for item in new)
            step = None
            if not dry_run:
                settings = {"source": source.key, "into": str(into), **options.settings(mode="json")}
                count = progress_callback(on_event, f"importing {source.path.name}")
                step = apply_proposals(dataset, OPERATION, proposals, settings=settings, progress=count)
            imported.append(ImportedSource(source.name, proposals, step))
        if not dry_run:
            shutil.rmtree(work)
    return imported


def _check(path: Path, dataset: Path) -> None:
    if not path.exists():
        raise UsageError(f"{path} does not exist", hint=f"pass {_SUPPORTED}")
    if not (path.is_file() or path.is_dir()):
        raise UsageError(f"{path}: {NO_FILE}", hint=f"pass {_SUPPORTED}")
    source, target = path.resolve(), dataset.resolve()
    if source == target or (path.is_dir() and source in target.parents) or target in source.parents:
        raise UsageError(
            f"{path} and -o {dataset}: one contains the other", hint="choose a dataset folder outside the source"
        )


@contextlib.contextmanager
def _work_folder(dataset: Path, *, dry_run: bool) -> Iterator[Path]:
    """Yield the folder to unpack archives and videos into: in the dataset's history, so that an import can resume."""
    if dry_run:
        with tempfile.TemporaryDirectory() as folder:
            yield Path(folder)
        return
    work = dataset / HISTORY_FOLDER / OPERATION
    with locked(dataset / HISTORY_FOLDER / f"{OPERATION}.lock", "dataset import"):
        work.mkdir(parents=True, exist_ok=True)
        yield work


def _target_folder(
    source: SourceLocation, dataset: Path, imported: Sequence[ImportedSource]
) -> tuple[PurePosixPath, set[PurePosixPath]]:
    """Return a source's folder in the dataset, and the paths imported from it before, without extensions."""
    steps = [s for s in read_history(dataset) if s.operation == OPERATION and s.state == "done"]
    before = [s for s in steps if s.settings.get("source") == source.key]
    if before:
        known = {change.path.with_suffix("") for step in before for change in step.changes}
        return PurePosixPath(str(before[0].settings["into"])), known
    full = dataset.is_dir() and any(p.name != HISTORY_FOLDER for p in dataset.iterdir())
    if not full and not any(earlier.proposals for earlier in imported):
        return PurePosixPath(), set()
    path = source.path.resolve()
    name = path.stem if path.is_file() else path.name
    used = {p.name for p in dataset.iterdir()} if dataset.is_dir() else set()
    used |= {Path(earlier.source).stem for earlier in imported}
    return PurePosixPath(next(n for n in (name, *(f"{name}-{i}" for i in range(2, 10_000))) if n not in used)), set()


def _read_source(path: Path, work: Path, options: ImportOptions, on_event: OnEvent) -> list[ImportItem]:
    """Return all images of a source."""
    suffix = path.suffix.lower()
    if path.is_file() and suffix in VIDEO_SUFFIXES:
        return _video_items(path, work, options, on_event, PurePosixPath())
    if path.is_file() and (suffix in EXTENSIONS or sniff(path)):
        return image_items(path)
    if path.is_file() and suffix not in _DATASET_FILES:
        archive, unpack = path, _unpacker(path)
        place = work / key_of(str(archive.resolve()), archive.stat().st_mtime_ns)
        path = fill_once(place, lambda folder: unpack(archive, folder))
    items, notes, videos = dataset_items(path)
    for note in notes:
        on_event(Warned(message=note))
    broken = []
    for video in videos:
        home = PurePosixPath(video.relative_to(path).with_suffix("").as_posix())
        try:
            items += _video_items(video, work, options, on_event, home)
        except UnreadableVideoError as e:
            broken.append(e)
            on_event(Warned(message=f"skipped: {e.message}"))
    if broken and not items:
        raise broken[0]
    return items


def _unpacker(path: Path) -> Callable[[Path, Path], object]:
    """Return what unpacks an archive into a folder.

    Raises:
        UsageError: it is no archive.
    """
    if zipfile.is_zipfile(path):
        return unpack_zip
    if tarfile.is_tarfile(path):
        return unpack_tar
    raise UsageError(f"cannot import {path}: unknown format", hint=f"supported: {_SUPPORTED}")


def _video_items(
    video: Path, work: Path, options: ImportOptions, on_event: OnEvent, home: PurePosixPath
) -> list[ImportItem]:
    wanted = (options.per_second, options.per_scene, options.alike)
    place = work / key_of(str(video.resolve()), video.stat().st_mtime_ns, wanted)
    count = progress_callback(on_event, f"reading {video.name}")
    folder = fill_once(place, lambda folder: extract_frames(video, folder, options, count))
    return video_items(sorted(folder.iterdir()), video, home)
