"""Keeps pictures in a folder and says where they are."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from bakehouse.cli.render.consoles import print_json
from bakehouse.cli.render.printing import say
from bakehouse.generation import infotext

if TYPE_CHECKING:
    from bakehouse.generation import GeneratedImage


def keep(pictures: Iterable[GeneratedImage], folder: Path, *, json: bool = False) -> None:
    """Writes NUMBER-SEED.png behind what is there; prints a path a line as they come, or one JSON list at the end."""
    first = 1 + max((int(p.name[:5]) for p in folder.glob("[0-9][0-9][0-9][0-9][0-9]-*.png")), default=0)
    written = []
    for number, picture in enumerate(pictures, start=first):
        path = infotext.write(picture.image, picture.infotext, folder / f"{number:05d}-{picture.seed}.png")
        written.append({"path": str(path), "seed": picture.seed, "infotext": str(picture.infotext)})
        if not json:
            say(path, flush=True)
    if json:
        print_json(written)
