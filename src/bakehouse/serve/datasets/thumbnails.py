"""Small pictures of images, kept as files under the content's size and time."""

from __future__ import annotations

import io
from pathlib import Path

from PIL import Image

from bakehouse.core.files import key_of, write_bytes
from bakehouse.data.open_image import ImageError, flattened, open_image
from bakehouse.serve.errors import ServeError, bad_request, not_found

SIZES = (64, 128, 256, 512, 1024)
_QUALITY = 80


class Thumbnails:
    """Thumbnails in one folder, which may be deleted at any time."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def key(self, file: Path, size: int) -> str:
        """Return what names a thumbnail: it changes with the image.

        Raises:
            ServeError: no such size (400), or the image was removed meanwhile (404).
        """
        if size not in SIZES:
            raise bad_request(f"size = {size}: allowed are {', '.join(map(str, SIZES))}")
        try:
            status = file.stat()
        except FileNotFoundError as e:
            raise not_found(f"{file.name} was removed") from e
        return key_of(str(file.resolve()), status.st_size, status.st_mtime_ns, size)[:32]

    def path(self, file: Path, size: int) -> Path:
        """Return a thumbnail as a WebP file of at most `size` pixels a side, made if there is none.

        Raises:
            ServeError: the image cannot be decoded (422).
        """
        key = self.key(file, size)
        place = self._folder / key[:2] / f"{key}.webp"
        if not place.is_file():
            write_bytes(place, _small(file, size))
        return place


def _small(file: Path, size: int) -> bytes:
    try:
        image = flattened(open_image(file))
    except ImageError as e:
        raise ServeError(422, "not_an_image", f"{file.name} cannot be shown: {e.reason}") from e
    image.thumbnail((size, size), Image.Resampling.LANCZOS, reducing_gap=2.0)
    buffer = io.BytesIO()
    image.convert("RGB").save(buffer, "WEBP", quality=_QUALITY, method=2)
    return buffer.getvalue()
