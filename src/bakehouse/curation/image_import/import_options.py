"""What can be said about an import."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from bakehouse.core.settings import Spec
from bakehouse.curation.frame_selection import MAX_DIFFERENCE


class ImportOptions(Spec):
    """How sources become files of a dataset."""

    frames: Literal["first", "distinct", "all"] = "distinct"
    """Of animated images: the first, those that differ, or every one."""
    per_second: float = Field(4.0, gt=0, le=60)
    """So many frames of a film are looked at in each second."""
    per_scene: int = Field(6, ge=0)
    """At most so many frames of a scene are kept, the sharpest; 0 is all that differ."""
    alike: float = Field(MAX_DIFFERENCE, ge=0, le=255)
    """Frames of which no field differs by more (of 255) show the same."""
    captions: Literal["auto", "keep", "none"] = "auto"
    """auto turns the tag files of downloaders into captions and keeps all others; keep copies them as they are."""
    artists: bool = False
    """Keeps the artists' names that downloaders write among the tags."""
    ratings: bool = False
    """Keeps the ratings that downloaders write among the tags, for example `rating:general`."""
    underscores: bool = False
    """Keeps `long_hair` as downloaders write it, instead of `long hair`."""
