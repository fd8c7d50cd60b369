"""Which nearer views `dataset crop` would cut out of an image, by the very rules with which it cuts."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import PurePosixPath

from bakehouse.audit.audit_options import AuditSpec
from bakehouse.audit.image_facts import ImageFacts
from bakehouse.curation.crops.crop import Crop, why_ambiguous
from bakehouse.curation.crops.framing import load_framing_rules
from bakehouse.vision.faces import Face


def stem(name: str) -> str:
    """A file's name in the dataset without its ending."""
    return PurePosixPath(name).with_suffix("").as_posix()


def views_of(name: str) -> dict[str, str]:
    """What each crop of an image is called, without its ending, and the tag that it gets."""
    return {f"{stem(name)}-{framing.name}": framing.tag for framing in load_framing_rules().framing}


def possible(image: ImageFacts, taken: Collection[str], spec: AuditSpec) -> tuple[str, ...]:
    """The framings of an image's crops that are not there yet, by their tags; none of a crop.

    Args:
        image: with its faces, the main one first.
        taken: the stems of all images.
        spec: its resolution decides which crops have enough pixels.
    """
    own = stem(image.name)
    is_crop = any(own.endswith(f"-{framing.name}") for framing in load_framing_rules().framing)
    if image.record is None or is_crop:
        return ()
    width, height = image.size
    faces = [
        Face((f.left * width, f.top * height, f.right * width, f.bottom * height), f.score) for f in image.faces or ()
    ]
    if why_ambiguous(faces):
        return ()
    crops = Crop(resolution=spec.buckets.resolution).crops(image.record, faces[0])
    return tuple(framing.tag for framing, _, _ in crops if f"{own}-{framing.name}" not in taken)
