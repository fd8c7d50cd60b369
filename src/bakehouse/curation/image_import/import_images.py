"""Sources become steps of a dataset, one for each; what came in before does not come again."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from bakehouse.core.errors import UsageError
from bakehouse.core.events import Event, Progress, Warned
from bakehouse.core.files import key_of
from bakehouse.core.folder_lock import locked
from bakehouse.curation.changeset import HISTORY_FOLDER, Proposal
from bakehouse.curation.history import apply_proposals, read_history, recover
from bakehouse.curation.image_import.import_options import ImportOptions
from bakehouse.curation.image_import.sources import (
    ImportItem,
    dataset_items,
    image_items,
    video_items,
    with_tag_captions,
    with_unique_names,
)
from bakehouse.curation.image_import.video import VIDEO_SUFFIXES, UnreadableVideoError, extract_frames
from bakehouse.curation.image_import.zip_archive import unpack
from bakehouse.curation.journal import Step
from bakehouse.data.open_image import EXTENSIONS, sniff
from bakehouse.data.scan import NO_FILE

OPERATION = "import"
_DATASET_FILES = frozenset({".toml", ".json", ".jsonl", ".csv"})

OnEvent = Callable[[Event], None]


@dataclass(frozen=True)
class ImportedSource:
    """What became of one source."""

    source: Path
    proposals: tuple[Proposal, ...]
    """What of it was not in the dataset yet."""
    step: Step | None
    """None if there was nothing new, or nothing was to be done yet."""


def import_sources(
    sources: Sequence[Path | str],
    dataset: Path | str,
    options: ImportOptions | None = None,
    *,
    dry_run: bool = False,
    tell: OnEvent = lambda _: None,
) -> list[ImportedSource]:
    """Copies images with their captions and masks into a dataset, one step for each source; sources are only read.

    The same call again goes on where it was stopped, and takes only what is new in the sources: files that were
    imported before are left alone, whatever became of them since.

    Args:
        sources: folders, zip archives, films, images, or files that describe a dataset (kohya's dataset TOML,
            `concepts_list.json`, `metadata.jsonl`).
        dataset: the folder; made if there is none. The first source fills it, further ones get folders in it.
        options: which frames and captions.
        dry_run: finds out what would come, and writes nothing there.
        tell: hears how far it is, and what was passed over.

    Raises:
        UsageError: a source is not there, or nothing that can be imported.
        Problems: an archive that is not safe.
        BakehouseError: a source is damaged, or the disk is full.
    """
    dataset, options = Path(dataset), options or ImportOptions()
    paths = [Path(source) for source in sources]
    for path in paths:
        _check(path, dataset)
    if dataset.is_dir():
        recover(dataset)
    taken: list[ImportedSource] = []
    with _work_folder(dataset, dry_run=dry_run) as work:
        for path in paths:
            into, known = _target_folder(path, dataset, taken)
            arrivals, notes = with_tag_captions(_read_source(path, work, options, tell), options)
            for note in notes:
                tell(Warned(message=note))
            found = with_unique_names(arrivals, into)
            new = (a for a in found if a.to.with_suffix("") not in known and not (dataset / a.to).exists())
            proposals = tuple(arrival.proposal(options) for arrival in new)
            step = None
            if not dry_run:
                settings = {"source": str(path.resolve()), "into": str(into), **options.settings(mode="json")}
                count = _counter(f"importing {path.name}", tell)
                step = apply_proposals(dataset, OPERATION, proposals, settings=settings, progress=count)
            taken.append(ImportedSource(path, proposals, step))
        if not dry_run:
            shutil.rmtree(work)
    return taken


def _check(path: Path, dataset: Path) -> None:
    if not path.exists():
        raise UsageError(f"{path} does not exist", hint="give folders, zip archives, films or dataset files")
    if not (path.is_file() or path.is_dir()):
        raise UsageError(f"{path}: {NO_FILE}", hint="give folders, zip archives, films or dataset files")
    source, target = path.resolve(), dataset.resolve()
    if source == target or (path.is_dir() and source in target.parents) or target in source.parents:
        raise UsageError(f"{path} and -o {dataset} lie in each other", hint="choose a folder beside it")


@contextlib.contextmanager
def _work_folder(dataset: Path, *, dry_run: bool) -> Iterator[Path]:
    """Where archives and films are unpacked: in the dataset's own history, so that a stopped import finds it again."""
    if dry_run:
        with tempfile.TemporaryDirectory() as folder:
            yield Path(folder)
        return
    work = dataset / HISTORY_FOLDER / OPERATION
    with locked(dataset / HISTORY_FOLDER / f"{OPERATION}.lock", "dataset import"):
        work.mkdir(parents=True, exist_ok=True)
        yield work


def _target_folder(
    path: Path, dataset: Path, taken: Sequence[ImportedSource]
) -> tuple[PurePosixPath, set[PurePosixPath]]:
    """The folder of a source in the dataset, and what of it came in before, without endings."""
    steps = [s for s in read_history(dataset) if s.verb == OPERATION and s.state == "done"]
    before = [s for s in steps if s.settings.get("source") == str(path.resolve())]
    if before:
        known = {change.path.with_suffix("") for step in before for change in step.changes}
        return PurePosixPath(str(before[0].settings["into"])), known
    full = dataset.is_dir() and any(p.name != HISTORY_FOLDER for p in dataset.iterdir())
    if not full and not any(earlier.proposals for earlier in taken):
        return PurePosixPath(), set()
    name = path.stem if path.is_file() else path.resolve().name
    used = {p.name for p in dataset.iterdir()} if dataset.is_dir() else set()
    used |= {earlier.source.stem for earlier in taken}
    return PurePosixPath(next(n for n in (name, *(f"{name}-{i}" for i in range(2, 10_000))) if n not in used)), set()


def _read_source(path: Path, work: Path, options: ImportOptions, tell: OnEvent) -> list[ImportItem]:
    """All that a source holds."""
    suffix = path.suffix.lower()
    if path.is_file() and suffix in VIDEO_SUFFIXES:
        return _video_items(path, work, options, tell, PurePosixPath())
    if path.is_file() and (suffix in EXTENSIONS or sniff(path)):
        return image_items(path)
    if path.is_file() and suffix not in _DATASET_FILES:
        if not zipfile.is_zipfile(path):
            hint = "folders, zip archives, films, images, kohya's dataset .toml, concepts_list.json, metadata.jsonl"
            raise UsageError(f"{path} is nothing that can be imported", hint=f"it could be: {hint}")
        path = _fill_once(
            work / key_of(str(path.resolve()), path.stat().st_mtime_ns), lambda folder: unpack(path, folder)
        )
    arrivals, notes, films = dataset_items(path)
    for note in notes:
        tell(Warned(message=note))
    broken = []
    for film in films:
        home = PurePosixPath(film.relative_to(path).with_suffix("").as_posix())
        try:
            arrivals += _video_items(film, work, options, tell, home)
        except UnreadableVideoError as e:
            broken.append(e)
            tell(Warned(message=f"passed over: {e.message}"))
    if broken and not arrivals:
        raise broken[0]
    return arrivals


def _video_items(
    film: Path, work: Path, options: ImportOptions, tell: OnEvent, home: PurePosixPath
) -> list[ImportItem]:
    wanted = (options.per_second, options.per_scene, options.alike)
    place = work / key_of(str(film.resolve()), film.stat().st_mtime_ns, wanted)
    count = _counter(f"looking at {film.name}", tell)
    folder = _fill_once(place, lambda folder: extract_frames(film, folder, options, count))
    return video_items(sorted(folder.iterdir()), film, home)


def _fill_once(folder: Path, fill: Callable[[Path], object]) -> Path:
    """A folder that is filled whole; one that is there already was filled by an import that was stopped later on."""
    if not folder.is_dir():
        part = folder.with_name(f"{folder.name}.part")
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        fill(part)
        part.rename(folder)
    return folder


def _counter(what: str, tell: OnEvent) -> Callable[[int, int], None]:
    return lambda done, total: tell(Progress(what=what, done=done, total=total))
