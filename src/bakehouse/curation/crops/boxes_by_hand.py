"""Crops whose boxes a person has drawn, with captions adapted as those of `dataset crop`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import PurePosixPath

from bakehouse.core.errors import Problems, did_you_mean
from bakehouse.core.files import fit_file_name
from bakehouse.curation.changeset import Proposal
from bakehouse.curation.crops.crop_captions import crop_caption
from bakehouse.curation.crops.crop_files import FREE, crop_stem, make_crop
from bakehouse.curation.crops.framing import Box, load_framing_rules
from bakehouse.data.image_records import ImageRecord, ImageSet

LEAST_SIDE = 16
"""Pixels of the shorter side of a crop."""
_BOX = re.compile(r"(.+):([a-z_]+):(-?[0-9]{1,6}),(-?[0-9]{1,6}),(-?[0-9]{1,6}),(-?[0-9]{1,6})", re.DOTALL)
_NOTATION = "write PATH:FRAMING:LEFT,TOP,RIGHT,BOTTOM in pixels: --box 'a.png:portrait:40,0,296,256'"


@dataclass(frozen=True)
class _HandBox:
    record: ImageRecord
    framing: str
    box: Box


def propose_boxes(texts: Sequence[str], images: ImageSet, *, outfit: Sequence[str] = ()) -> Iterator[Proposal]:
    """Propose a crop for each box.

    Args:
        texts: `PATH:FRAMING:LEFT,TOP,RIGHT,BOTTOM`; the framing `crop` keeps the caption as it is.
        images: the dataset.
        outfit: triggers of outfits, removed from framings that do not show enough of an outfit.

    Raises:
        Problems: texts that cannot be read, name no image or framing, or lie outside of their image; all at once.
    """
    records = {str(images.name(record.path)): record for record in images}
    problems: list[str] = []
    boxes = [one for text in texts if (one := _read(text, records, problems))]
    if problems:
        raise Problems("these boxes cannot be cropped; nothing was changed:", problems, hint=_NOTATION)
    names = {images.name(record.path) for record in images}
    taken = set(names)
    rules = load_framing_rules()
    for one in boxes:
        name = images.name(one.record.path)
        to = _free_name(name, one.framing, names, taken)
        taken.add(to)
        framing = next((framing for framing in rules.framing if framing.name == one.framing), None)
        captions = [
            line if framing is None else crop_caption(line, framing, rules, outfit=outfit)
            for line in one.record.captions
        ]
        size = f"{one.box[2] - one.box[0]} x {one.box[3] - one.box[1]} pixels"
        why = f"{framing.tag if framing else 'crop'} by hand: {size}"
        make = partial(make_crop, one.record, images, one.box, captions, to)
        yield Proposal(to, why, make, source=name, box=one.box)


def _read(text: str, records: dict[str, ImageRecord], problems: list[str]) -> _HandBox | None:
    found = _BOX.fullmatch(text)
    framings = (*(framing.name for framing in load_framing_rules().framing), FREE)
    if found is None:
        problems.append(f"{text[:120]!r} is not a box")
        return None
    path, framing, edges = found[1], found[2], [int(edge) for edge in found.groups()[2:]]
    record = records.get(path)
    if record is None:
        problems.append(f"{path[:120]!r} is no image of the dataset{did_you_mean(path, records)}")
        return None
    if framing not in framings:
        problems.append(f"{path}: {framing!r} is no framing{did_you_mean(framing, framings)}: {', '.join(framings)}")
        return None
    left, top, right, bottom = edges
    if not (left >= 0 and top >= 0 and right <= record.width and bottom <= record.height):
        problems.append(f"{path}: {left},{top},{right},{bottom} leaves the image, {record.width} x {record.height}")
    elif min(right - left, bottom - top) < LEAST_SIDE:
        problems.append(f"{path}: {left},{top},{right},{bottom} has a side of less than {LEAST_SIDE} pixels")
    elif record.frames > 1:
        problems.append(f"{path} is animated; bakehouse dataset convert makes still images of it")
    else:
        return _HandBox(record, framing, (left, top, right, bottom))
    return None


def _free_name(
    name: PurePosixPath, framing: str, names: set[PurePosixPath], taken: set[PurePosixPath]
) -> PurePosixPath:
    stem = crop_stem(name, names)
    number = 1
    while True:
        ending = f"-{framing}.png" if number == 1 else f"-{framing}-{number}.png"
        to = name.with_name(fit_file_name(stem, ending))
        if to not in taken:
            return to
        number += 1
