"""Settings of `dataset import`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from bakehouse.core.settings import Spec
from bakehouse.curation.frame_selection import MAX_DIFFERENCE


class ImportOptions(Spec):
    """Which frames and captions to import."""

    frames: Literal["first", "distinct", "all"] = "distinct"
    """Frames of animated images to import: the first, those that differ, or all."""
    per_second: float = Field(4.0, gt=0, le=60)
    """Frames per second of a video to consider."""
    per_scene: int = Field(6, ge=0)
    """Most frames per scene of a video to keep, the sharpest ones; 0: all that differ."""
    alike: float = Field(MAX_DIFFERENCE, ge=0, le=255)
    """Largest difference (0..255) at which two frames count as the same; see `frame_selection`."""
    captions: Literal["auto", "keep", "none"] = "auto"
    """auto: turn downloaders' tag files into captions and copy other captions; keep: copy all unchanged."""
    artists: bool = False
    """Keep artist names from downloaders' tag files."""
    ratings: bool = False
    """Keep ratings from downloaders' tag files, such as `rating:general`."""
    underscores: bool = False
    """Keep `long_hair` as in tag files, instead of `long hair`."""
