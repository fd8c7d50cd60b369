"""Extract frames from videos: from each scene, the sharpest of the frames that differ."""

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
from bakehouse.curation.frame_selection import Frame, distinct_frames
from bakehouse.curation.image_import.import_options import ImportOptions
from bakehouse.curation.output_images import encode_png

VIDEO_SUFFIXES = frozenset(
    {".mp4", ".mkv", ".webm", ".avi", ".mov", ".m4v", ".mpg", ".mpeg", ".wmv", ".flv", ".ts", ".ogv"}
)


class UnreadableVideoError(BakehouseError):
    """No frame of a file can be decoded: it is damaged or not a video."""


def extract_frames(
    video: Path, into: Path, options: ImportOptions, progress: Callable[[int, int], None] | None = None
) -> list[Path]:
    """Write the selected frames into a folder as PNG, named `video-SCENE-FRAME.png`; return their paths.

    Args:
        video: in any format that OpenCV reads.
        into: the folder.
        options: how many frames to consider and to keep.
        progress: called with (done, total) frames.

    Raises:
        UsageError: OpenCV is not installed.
        UnreadableVideoError: no frame can be decoded.
        BakehouseError: the disk is full.
    """
    numbers: list[int] = []
    sampled = _sampled_frames(video, options.per_second, numbers, progress)
    written = []
    for frame in _sharpest_per_scene(distinct_frames(sampled, alike=options.alike), options.per_scene):
        path = into / fit_file_name(video.stem, f"-{frame.scene + 1:04d}-{numbers[frame.index]:07d}.png")
        with writing_to(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(encode_png(frame.image))
        written.append(path)
    if not written:
        raise UnreadableVideoError(
            f"cannot read {video}: no frame can be decoded", hint="check that it is a complete video file"
        )
    return written


def _sampled_frames(
    video: Path, per_second: float, numbers: list[int], progress: Callable[[int, int], None] | None
) -> Iterator[Image.Image]:
    """Yield frames at even intervals and append their numbers to `numbers`; frames in between are not decoded."""
    cv2 = import_optional("cv2", "extracting frames from a video")
    with _native_messages_silenced():
        source = cv2.VideoCapture(str(video))
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
    """Discard what the native code of OpenCV and FFmpeg writes to standard error.

    Their messages contain raw bytes of damaged files, including control characters, and nothing that `extract_frames`
    does not report itself.
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


def _sharpest_per_scene(frames: Iterator[Frame], most: int) -> Iterator[Frame]:
    """Yield the `most` sharpest frames of each scene in order (0: all), with no more than those in memory."""
    if not most:
        yield from frames
        return
    for _, scene in itertools.groupby(frames, key=lambda frame: frame.scene):
        best: list[tuple[float, int, Frame]] = []
        for frame in scene:
            (heapq.heappush if len(best) < most else heapq.heappushpop)(best, (frame.sharpness, frame.index, frame))
        yield from sorted((frame for _, _, frame in best), key=lambda frame: frame.index)
