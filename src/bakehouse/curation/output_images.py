"""Write changed images into a dataset: encoded as PNG, under a free name, with captions and mask renamed to match."""

from __future__ import annotations

import io
from pathlib import Path, PurePosixPath

from PIL import Image

from bakehouse.curation.changeset import Edit, Remove, Write
from bakehouse.curation.open_records import mask_name
from bakehouse.curation.sidecars import sidecar_files, sidecar_moves
from bakehouse.data.image_records import ImageRecord, ImageSet
from bakehouse.data.provenance import Provenance, read_provenance
from bakehouse.data.scan import name_key


def encode_png(image: Image.Image, provenance: Provenance | None = None) -> bytes:
    """Encode an image as PNG. Compression level 4 is many times faster than 9, for a tenth more bytes.

    Args:
        image: the pixels.
        provenance: where it comes from, if it is no original.
    """
    stream = io.BytesIO()
    info = provenance.png_info() if provenance is not None else None
    image.save(stream, format="PNG", compress_level=4, pnginfo=info)
    return stream.getvalue()


class OutputNames:
    """Names in use: those of a dataset's images, and those claimed for output images."""

    def __init__(self, images: ImageSet) -> None:
        self._images = images
        self._taken = {name_key(images.name(record.path)) for record in images}

    def claim(self, record: ImageRecord, ending: str = ".png") -> PurePosixPath:
        """Reserve and return an image's name with `ending`; if in use, `a-jpg.png` for `a.jpg`, else `a-2.png`."""
        name = self._images.name(record.path)
        if name.suffix.lower() == ending:
            return name
        base, was = (name.stem, name.suffix.lower().lstrip(".")) if name.suffix else (name.name, "")
        candidates = [base, *([f"{base}-{was}"] if was else []), *(f"{base}-{n}" for n in range(2, 10_000))]
        free = next(to for c in candidates if name_key(to := name.with_name(f"{c}{ending}")) not in self._taken)
        self._taken.add(name_key(free))
        return free


def replace_image(record: ImageRecord, images: ImageSet, to: PurePosixPath, image: Image.Image) -> list[Edit]:
    """Return the edits that replace an image by a PNG at `to`; captions and mask are renamed if the name differs."""
    old = images.name(record.path)
    gone: list[Edit] = [] if old == to else [Remove(old)]
    return [
        Write(to, encode_png(image, read_provenance(record.path))),
        *gone,
        *sidecar_moves(record, images, to),
        *copy_shared_caption(record, images, to),
    ]


def replace_mask(
    edits: list[Edit], record: ImageRecord, images: ImageSet, to: PurePosixPath, mask: Image.Image
) -> list[Edit]:
    """Add a new mask to the edits of an image that becomes `to`; a mask shared with other images is not replaced."""
    owned = record.mask is not None and record.mask in sidecar_files(record, images)
    old = images.name(record.mask) if owned and record.mask else None
    stays = owned and to == images.name(record.path)
    place = mask_name(record, images, None if stays else to).with_suffix(".png")
    kept = [edit for edit in edits if edit.path != old]
    gone: list[Edit] = [Remove(old)] if old is not None and old != place else []
    return [*kept, *gone, Write(place, encode_png(mask))]


def copy_shared_caption(record: ImageRecord, images: ImageSet, to: PurePosixPath) -> list[Edit]:
    """Return a copy of the caption for an image that becomes `to`, if another image shares and keeps the caption."""
    path = record.caption_path
    if path is None or name_key(to.with_suffix("")) == name_key(images.name(record.path).with_suffix("")):
        return []
    return [] if path in sidecar_files(record, images) else [copy_caption(path, to)]


def copy_caption(caption: Path, image: PurePosixPath) -> Write:
    """Return a write of the same caption for another image."""
    return Write(image.with_suffix(caption.suffix), caption.read_bytes())
