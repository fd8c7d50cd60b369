"""The files of a crop: its name, its pixels, its caption and its mask."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import PurePosixPath

from bakehouse.curation.changeset import Edit, Write
from bakehouse.curation.crops.framing import Box, load_framing_rules
from bakehouse.curation.crops.headless import load_headless_rules
from bakehouse.curation.open_records import mask_name, open_record
from bakehouse.curation.output_images import encode_png
from bakehouse.data.image_records import ImageRecord, ImageSet
from bakehouse.data.open_image import open_image
from bakehouse.data.provenance import read_provenance

FREE = "crop"
"""Ending of a crop's name that has no framing."""


def make_crop(
    record: ImageRecord, images: ImageSet, box: Box, captions: Sequence[str], to: PurePosixPath
) -> list[Edit]:
    """Return the writes of a crop with its caption and mask."""
    edits: list[Edit] = [Write(to, encode_png(open_record(record).crop(box), read_provenance(record.path)))]
    if captions:
        edits.append(Write(to.with_suffix(".txt"), ("\n".join(captions) + "\n").encode("utf-8")))
    if record.mask is not None:
        whole = open_image(record.mask, background=(0, 0, 0)).convert("L").resize((record.width, record.height))
        edits.append(Write(mask_name(record, images, to), encode_png(whole.crop(box))))
    return edits


def crop_stem(name: PurePosixPath, names: set[PurePosixPath]) -> str:
    """Return the stem for the names of an image's crops: its own, or `a-jpg` if `a.jpg` shares it with `a.png`."""
    shared = any(other.with_suffix("") == name.with_suffix("") for other in names - {name})
    return f"{name.stem}-{name.suffix[1:]}" if shared else name.stem


def is_crop(name: PurePosixPath, names: set[PurePosixPath]) -> bool:
    """Return whether an image is an earlier crop of another image in the same folder."""
    endings = (*(framing.name for framing in load_framing_rules().framing), load_headless_rules().name, FREE)
    found = re.fullmatch(rf"(.+)-(?:{'|'.join(map(re.escape, endings))})(?:-[0-9]+)?", name.stem)
    return found is not None and any(n.parent == name.parent and found[1] == crop_stem(n, names) for n in names)
