"""Previews of images that are being generated, as a file that an image viewer shows again when it changes."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from PIL import Image

from bakehouse.core.events import Event, OnEvent, Previewed
from bakehouse.core.files import atomic_path

_PIXELS_PER_LATENT = 8


@contextlib.contextmanager
def previews_to_file(path: Path, on_event: OnEvent) -> Iterator[OnEvent]:
    """Give a function that writes each preview to one file and passes on all other events; the file goes at the end."""
    written = False

    def handle(event: Event) -> None:
        nonlocal written
        if not isinstance(event, Previewed):
            on_event(event)
            return
        from bakehouse.generation.preview_png import preview_image

        image = preview_image(event.png)
        larger = image.width * _PIXELS_PER_LATENT, image.height * _PIXELS_PER_LATENT
        with atomic_path(path) as temporary:
            image.resize(larger, Image.Resampling.BICUBIC).save(temporary, "PNG")
        written = True

    try:
        yield handle
    finally:
        if written:
            path.unlink(missing_ok=True)
