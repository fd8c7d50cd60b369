"""Put images into one PNG for a page of the documentation: `python -m tools.sheet_of_images OUT.png IMAGE...`."""

from __future__ import annotations

import argparse
from pathlib import Path

from PIL import Image

from bakehouse.data.open_image import open_image

GAP = 6


def sheet(paths: list[Path], columns: int, height: int) -> Image.Image:
    """Return rows of images of one height, on white."""
    images = [open_image(path) for path in paths]
    images = [i.resize((round(i.width * height / i.height), height), Image.Resampling.LANCZOS) for i in images]
    rows = [images[k : k + columns] for k in range(0, len(images), columns)]
    width = max(sum(i.width + GAP for i in row) - GAP for row in rows)
    found = Image.new("RGB", (width, len(rows) * (height + GAP) - GAP), "white")
    for y, row in enumerate(rows):
        x = 0
        for image in row:
            found.paste(image, (x, y * (height + GAP)))
            x += image.width + GAP
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("images", type=Path, nargs="+")
    parser.add_argument("--columns", type=int, default=3)
    parser.add_argument("--height", type=int, default=200)
    args = parser.parse_args()
    sheet(args.images, args.columns, args.height).save(args.out, optimize=True)
