"""Saving of generated images."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from PIL.Image import Image

from bakehouse.cli.render.consoles import print_json
from bakehouse.cli.render.safe_printing import echo
from bakehouse.core.files import fit_file_name, writing_to
from bakehouse.generation import infotext

if TYPE_CHECKING:
    from bakehouse.generation import GeneratedImage


def save_images(images: Iterable[GeneratedImage], folder: Path, *, json: bool = False) -> None:
    """Write NUMBER-SEED.png files after existing ones; print each path, or one JSON list at the end.

    An image that is made from another file has that file's name at its end: NUMBER-SEED-NAME.png.
    """
    with writing_to(folder):  # before anything is generated
        folder.mkdir(parents=True, exist_ok=True)
    first = 1 + max((int(p.name[:5]) for p in folder.glob("[0-9][0-9][0-9][0-9][0-9]-*.png")), default=0)
    written = []
    for number, image in enumerate(images, start=first):
        source = _source_of(image)
        name = f"{number:05d}-{image.seed}" + (f"-{source.stem}" if source else "")
        path = infotext.write(image.image, image.infotext, folder / fit_file_name(name, ".png"))
        described = {"path": str(path), "seed": image.seed, "infotext": str(image.infotext)}
        written.append({**described, "source": str(source)} if source else described)
        if not json:
            echo(path, flush=True)
    if json:
        print_json(written)


def _source_of(image: GeneratedImage) -> Path | None:
    made_from = image.request.image
    return None if made_from is None or isinstance(made_from.image, Image) else Path(made_from.image)
