"""The close-ups that `dataset crop` would cut from an image, by the same rules."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import PurePosixPath

from bakehouse.audit.audit_options import AuditSpec
from bakehouse.audit.facts import ImageFacts
from bakehouse.curation.crops.crop import Crop, why_ambiguous
from bakehouse.curation.crops.framing import load_framing_rules
from bakehouse.vision.faces import Face


def stem(name: str) -> str:
    """Return a file's name in the dataset without its extension."""
    return PurePosixPath(name).with_suffix("").as_posix()


def crop_names(name: str) -> dict[str, str]:
    """Return the stems of all crops of an image, with the framing tag of each."""
    return {f"{stem(name)}-{framing.name}": framing.tag for framing in load_framing_rules().framing}


def possible_crops(image: ImageFacts, existing: Collection[str], spec: AuditSpec) -> tuple[str, ...]:
    """Return the framing tags of the crops that could still be cut from an image; none of an image that is a crop.

    Args:
        image: with its faces, the main one first.
        existing: the stems of all images.
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
    return tuple(framing.tag for framing, _, _ in crops if f"{own}-{framing.name}" not in existing)
