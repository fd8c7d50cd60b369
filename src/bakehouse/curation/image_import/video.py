"""Films: scene by scene, the sharpest of the frames that differ."""

from __future__ import annotations

import contextlib
import heapq
import itertools
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from PIL import Image

from bakehouse.core.errors import BakehouseError
from bakehouse.core.files import fit_file_name, writing_to
from bakehouse.core.optional_imports import import_optional
from bakehouse.curation.frame_selection import Frame, distinct
from bakehouse.curation.image_import.import_options import Intake
from bakehouse.curation.output_images import png

FILM_ENDINGS = frozenset(
    {".mp4", ".mkv", ".webm", ".avi", ".mov", ".m4v", ".mpg", ".mpeg", ".wmv", ".flv", ".ts", ".ogv"}
)


class UnreadableFilmError(BakehouseError):
    """No frame comes out of a film: it is damaged, or no video."""


def take_frames(
    film: Path, into: Path, options: Intake, progress: Callable[[int, int], None] | None = None
) -> list[Path]:
    """Writes the frames worth keeping into a folder as PNG, named `film-SCENE-FRAME.png`, and gives their paths.

    Args:
        film: of any sort that OpenCV reads.
        into: the folder.
        options: how many are looked at and kept.
        progress: called with (done, total) frames.

    Raises:
        UsageError: OpenCV is not installed.
        UnreadableFilmError: not one frame can be read.
        BakehouseError: the disk is full.
    """
    numbers: list[int] = []
    looked = _look(film, options.per_second, numbers, progress)
    written = []
    for frame in _chosen(distinct(looked, alike=options.alike), options.per_scene):
        path = into / fit_file_name(film.stem, f"-{frame.scene + 1:04d}-{numbers[frame.index]:07d}.png")
        with writing_to(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(png(frame.image))
        written.append(path)
    if not written:
        raise UnreadableFilmError(
            f"cannot read {film}: not one frame comes out of it", hint="is it whole, and a video?"
        )
    return written


def _look(
    film: Path, per_second: float, numbers: list[int], progress: Callable[[int, int], None] | None
) -> Iterator[Image.Image]:
    """Frames in even steps; `numbers` gets the number of each. What is between is skipped without decoding it."""
    cv2 = import_optional("cv2", "taking frames out of a film")
    with _native_messages_silenced():
        source = cv2.VideoCapture(str(film))
    try:
        total = max(0, int(source.get(cv2.CAP_PROP_FRAME_COUNT)))
        step = max(1.0, (source.get(cv2.CAP_PROP_FPS) or 25.0) / per_second)
        due = 0.0
        for number in itertools.count():
            with _native_messages_silenced():
                if not source.grab():
                    return
                if number < due:
                    continue
                due += step
                whole, array = source.retrieve()
            if whole:
                numbers.append(number)
                yield Image.fromarray(array[..., ::-1].copy())
            if progress is not None:
                progress(min(number + 1, total or number + 1), max(total, number + 1))
    finally:
        source.release()


@contextlib.contextmanager
def _native_messages_silenced() -> Iterator[None]:
    """Keeps what OpenCV's and FFmpeg's own code writes to standard error off the terminal.

    Their lines hold bytes of a damaged file as they are, control characters too, and say nothing that `take_frames`
    does not say.
    """
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def _chosen(frames: Iterator[Frame], most: int) -> Iterator[Frame]:
    """Of each scene the sharpest `most` in their order; all for 0. No more than those are held in memory."""
    if not most:
        yield from frames
        return
    for _, scene in itertools.groupby(frames, key=lambda frame: frame.scene):
        best: list[tuple[float, int, Frame]] = []
        for frame in scene:
            (heapq.heappush if len(best) < most else heapq.heappushpop)(best, (frame.sharpness, frame.index, frame))
        yield from sorted((frame for _, _, frame in best), key=lambda frame: frame.index)
