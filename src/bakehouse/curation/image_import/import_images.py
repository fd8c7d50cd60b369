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
from bakehouse.core.events import OnEvent, Progress, Warned, ignore
from bakehouse.core.files import key_of
from bakehouse.core.folder_lock import locked
from bakehouse.curation.changeset import HOME, Proposal
from bakehouse.curation.history import apply, history, recover
from bakehouse.curation.image_import.import_options import Intake
from bakehouse.curation.image_import.sources import Arrival, of_frames, of_image, of_layout, unique, with_sidecars
from bakehouse.curation.image_import.video import FILM_ENDINGS, UnreadableFilmError, take_frames
from bakehouse.curation.image_import.zip_archive import unpack
from bakehouse.curation.journal import Step
from bakehouse.data.open_image import EXTENSIONS, sniff
from bakehouse.data.scan import NO_FILE

VERB = "import"
_DESCRIPTIONS = frozenset({".toml", ".json", ".jsonl", ".csv"})


@dataclass(frozen=True)
class Taken:
    """What became of one source."""

    source: Path
    proposals: tuple[Proposal, ...]
    """What of it was not in the dataset yet."""
    step: Step | None
    """None if there was nothing new, or nothing was to be done yet."""


def take_in(
    sources: Sequence[Path | str],
    dataset: Path | str,
    options: Intake | None = None,
    *,
    dry_run: bool = False,
    on_event: OnEvent = ignore,
) -> list[Taken]:
    """Copies images with their captions and masks into a dataset, one step for each source; sources are only read.

    The same call again goes on where it was stopped, and takes only what is new in the sources: files that were
    imported before are left alone, whatever became of them since.

    Args:
        sources: folders, zip archives, films, images, or files that describe a dataset (kohya's dataset TOML,
            `concepts_list.json`, `metadata.jsonl`).
        dataset: the folder; made if there is none. The first source fills it, further ones get folders in it.
        options: which frames and captions.
        dry_run: finds out what would come, and writes nothing there.
        on_event: called with the progress, and with a warning for each file that is skipped.

    Raises:
        UsageError: a source is not there, or nothing that can be imported.
        Problems: an archive that is not safe.
        BakehouseError: a source is damaged, or the disk is full.
    """
    dataset, options = Path(dataset), options or Intake()
    paths = [Path(source) for source in sources]
    for path in paths:
        _check(path, dataset)
    if dataset.is_dir():
        recover(dataset)
    taken: list[Taken] = []
    with _workplace(dataset, dry_run=dry_run) as work:
        for path in paths:
            into, known = _place(path, dataset, taken)
            arrivals, notes = with_sidecars(_arrivals(path, work, options, on_event), options)
            for note in notes:
                on_event(Warned(message=note))
            found = unique(arrivals, into)
            new = (a for a in found if a.to.with_suffix("") not in known and not (dataset / a.to).exists())
            proposals = tuple(arrival.proposal(options) for arrival in new)
            step = None
            if not dry_run:
                settings = {"source": str(path.resolve()), "into": str(into), **options.settings(mode="json")}
                count = _counter(f"importing {path.name}", on_event)
                step = apply(dataset, VERB, proposals, settings=settings, progress=count)
            taken.append(Taken(path, proposals, step))
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
def _workplace(dataset: Path, *, dry_run: bool) -> Iterator[Path]:
    """Where archives and films are unpacked: in the dataset's own history, so that a stopped import finds it again."""
    if dry_run:
        with tempfile.TemporaryDirectory() as folder:
            yield Path(folder)
        return
    work = dataset / HOME / VERB
    with locked(dataset / HOME / f"{VERB}.lock", "dataset import"):
        work.mkdir(parents=True, exist_ok=True)
        yield work


def _place(path: Path, dataset: Path, taken: Sequence[Taken]) -> tuple[PurePosixPath, set[PurePosixPath]]:
    """The folder of a source in the dataset, and what of it came in before, without endings."""
    steps = [s for s in history(dataset) if s.verb == VERB and s.state == "done"]
    before = [s for s in steps if s.settings.get("source") == str(path.resolve())]
    if before:
        known = {change.path.with_suffix("") for step in before for change in step.changes}
        return PurePosixPath(str(before[0].settings["into"])), known
    full = dataset.is_dir() and any(p.name != HOME for p in dataset.iterdir())
    if not full and not any(earlier.proposals for earlier in taken):
        return PurePosixPath(), set()
    name = path.stem if path.is_file() else path.resolve().name
    used = {p.name for p in dataset.iterdir()} if dataset.is_dir() else set()
    used |= {earlier.source.stem for earlier in taken}
    return PurePosixPath(next(n for n in (name, *(f"{name}-{i}" for i in range(2, 10_000))) if n not in used)), set()


def _arrivals(path: Path, work: Path, options: Intake, on_event: OnEvent) -> list[Arrival]:
    """All that a source holds."""
    suffix = path.suffix.lower()
    if path.is_file() and suffix in FILM_ENDINGS:
        return _film(path, work, options, on_event, PurePosixPath())
    if path.is_file() and (suffix in EXTENSIONS or sniff(path)):
        return of_image(path)
    if path.is_file() and suffix not in _DESCRIPTIONS:
        if not zipfile.is_zipfile(path):
            hint = "folders, zip archives, films, images, kohya's dataset .toml, concepts_list.json, metadata.jsonl"
            raise UsageError(f"{path} is nothing that can be imported", hint=f"it could be: {hint}")
        path = _once(work / key_of(str(path.resolve()), path.stat().st_mtime_ns), lambda folder: unpack(path, folder))
    arrivals, notes, films = of_layout(path)
    for note in notes:
        on_event(Warned(message=note))
    broken = []
    for film in films:
        home = PurePosixPath(film.relative_to(path).with_suffix("").as_posix())
        try:
            arrivals += _film(film, work, options, on_event, home)
        except UnreadableFilmError as e:
            broken.append(e)
            on_event(Warned(message=f"passed over: {e.message}"))
    if broken and not arrivals:
        raise broken[0]
    return arrivals


def _film(film: Path, work: Path, options: Intake, on_event: OnEvent, home: PurePosixPath) -> list[Arrival]:
    wanted = (options.per_second, options.per_scene, options.alike)
    place = work / key_of(str(film.resolve()), film.stat().st_mtime_ns, wanted)
    count = _counter(f"looking at {film.name}", on_event)
    folder = _once(place, lambda folder: take_frames(film, folder, options, count))
    return of_frames(sorted(folder.iterdir()), film, home)


def _once(folder: Path, fill: Callable[[Path], object]) -> Path:
    """A folder that is filled whole; one that is there already was filled by an import that was stopped later on."""
    if not folder.is_dir():
        part = folder.with_name(f"{folder.name}.part")
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        fill(part)
        part.rename(folder)
    return folder


def _counter(what: str, on_event: OnEvent) -> Callable[[int, int], None]:
    return lambda done, total: on_event(Progress(what=what, done=done, total=total))
