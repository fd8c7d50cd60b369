"""Sets of images as people have them: folders of a character, its outfits and the rest, told by their raw tags."""

from __future__ import annotations

from pathlib import Path

import pytest

from bakehouse.data.compile_captions import compile_captions
from bakehouse.data.image_records import ImageRecord

ROOT = Path("/pictures/set")


def group(folder, count, *tags):
    """`count` images of one folder; `{}` in a tag is the image's number, so that such a tag is never seen twice."""
    names = (f"{i:02d}.png" for i in range(count))
    return [
        ImageRecord(ROOT / folder / name, 64, 64, f"{folder}/{name}", (", ".join(t.format(i) for t in tags),))
        for i, name in enumerate(names)
    ]


@pytest.fixture
def build():
    """Images of several groups, and their captions by some triggers."""

    def made(triggers, *groups):
        return compile_captions([r for g in groups for r in g], triggers, [ROOT])

    return made
