"""Backgrounds of collages: plain colours by name, or images from files and folders, each with its tag."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageOps

from bakehouse.core.errors import Problems
from bakehouse.curation.colors import parse_rgb
from bakehouse.data.captions import split_tags
from bakehouse.data.context_tags import context_of
from bakehouse.data.image_records import ImageRecord
from bakehouse.data.open_image import open_image
from bakehouse.data.scan import scan

PLAIN = ("white", "light gray", "beige", "light blue")
"""The default backgrounds."""
PLAIN_TAG = "simple background"
"""The tag of a colour without a name."""


@dataclass(frozen=True)
class Background:
    """A plain colour, or an image."""

    name: str
    color: tuple[int, int, int] | None = None
    path: Path | None = None
    tags: tuple[str, ...] = ()
    """What captions say of it."""

    def load(self, size: tuple[int, int]) -> Image.Image:
        """Return the background, RGB of `size`; an image is cut to the shape, from the middle.

        Raises:
            ImageError: the image can no longer be read.
        """
        if self.path is None:
            return Image.new("RGB", size, self.color)
        return ImageOps.fit(open_image(self.path), size, Image.Resampling.LANCZOS)


def read_backgrounds(given: Sequence[str]) -> list[Background]:
    """Return the backgrounds that a user names: colours, image files, or folders of images.

    Raises:
        Problems: neither a colour nor an image, all of them at once.
    """
    found: list[Background] = []
    problems: list[str] = []
    for text in given or PLAIN:
        path = Path(text).expanduser()
        if path.is_dir():
            found += [_of_image(record) for record in scan(path)]
            continue
        if path.is_file():
            records = [record for record in scan(path.parent, recursive=False) if record.path.name == path.name]
            found += map(_of_image, records)
            problems += [] if records else [f"{text} is not an image that can be read"]
            continue
        try:
            found.append(_of_color(text))
        except ValueError:
            problems.append(f"{text!r} is neither a colour (white, light gray, #ff8800) nor an image file or folder")
    if problems:
        raise Problems("--background:", problems)
    return found


def _of_color(text: str) -> Background:
    words = " ".join(text.split())
    named = words.replace(" ", "").isalpha()
    color = parse_rgb(words.replace(" ", "") if named else words)
    return Background(words, color, tags=(f"{words} background",) if named else (PLAIN_TAG,))


def _of_image(record: ImageRecord) -> Background:
    tags = [tag for line in record.captions[:1] for tag in split_tags(line)]
    places = tuple(tag for tag in tags if context_of(tag) == "place")
    return Background(record.path.name, path=record.path, tags=places or tuple(tags))
