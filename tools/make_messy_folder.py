"""Make the folder of messy downloads of docs/walkthrough.md from the example images.

    python -m tools.make_messy_folder DIR

`make` lists the files and what is wrong with each; the page shows the commands that fix them.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageOps

EXAMPLES = Path(__file__).parent.parent / "src" / "bakehouse" / "assets" / "examples"
APPEARANCE = "lavender hair with flowers", "tan skin", "eyepatch", "teal overalls"
"""Attributes that all images show and no caption names."""

MARKS = {"SAMPLE": "#1c1c2b", "heaps.example.com": "#1c1c2b", "heap.art": "#ffffff"}
"""Watermark texts of sites, with their colours."""
SIZE = 14
"""Font size of the watermarks, in pixels."""

_FRAMES_PER_SCENE = 16
_FRAMES_PER_SECOND = 8


def make(folder: Path) -> Path:
    """Fill a new folder with messy downloads: 12 images of Mira, some twice, and a video."""
    folder.mkdir(parents=True)

    # An exact copy without a caption; and a variant with another mouth, which is no duplicate.
    _example_image(1).save(folder / "mira.png")
    shutil.copyfile(folder / "mira.png", folder / "mira (1).png")
    _write_caption(folder / "mira.png", _caption(1))
    _other_mouth(_example_image(1)).save(folder / "mira-serious.png")
    _write_caption(folder / "mira-serious.png", "zwx person, rolling eyes, serious, worried, teal background, portrait")

    # Rotated by EXIF; a UTF-8 byte order mark before the caption.
    exif = Image.Exif()
    exif[0x0112] = 6
    _example_image(2).transpose(Image.Transpose.ROTATE_90).save(folder / "IMG_0002.JPG", quality=95, exif=exif)
    _write_caption(folder / "IMG_0002.JPG", _caption(2), "utf-8-sig")

    # A format that few trainers read, with a credit in cp1252.
    _example_image(3).save(folder / "forest.webp", lossless=True)
    _write_caption(folder / "forest.webp", f"{_caption(3)}, © André", "cp1252")

    # UTF-16, as PowerShell writes it, and full-width commas.
    _example_image(4).save(folder / "night.png")
    _write_caption(folder / "night.png", _caption(4).replace(", ", "\uff0c"), "utf-16")

    # As gallery-dl saves it: a JPEG named by its post number, one tag a line.
    _example_image(5).save(folder / "5417803.jpg", quality=92)
    _write_caption(folder / "5417803.jpg", "\n".join(tag.replace(" ", "_") for tag in _caption(5).split(", ")[1:]))

    # A phone screenshot: black borders above and below.
    ImageOps.expand(_example_image(6), (0, 80, 0, 80), "black").save(folder / "screenshot.png")
    _write_caption(folder / "screenshot.png", _caption(6))

    # The small, low-quality copy has the better caption.
    _example_image(8).save(folder / "snow.png")
    _write_caption(folder / "snow.png", "zwx person")
    _example_image(8).resize((192, 192), Image.Resampling.LANCZOS).save(folder / "snow_preview.jpg", quality=40)
    _write_caption(folder / "snow_preview.jpg", _caption(8))

    # Watermarks of sites; one image also has a copy without, saved at lower quality.
    _marked(_example_image(10), "SAMPLE", (12, 16)).save(folder / "meadow.png")
    _write_caption(folder / "meadow.png", _caption(10))
    _marked(_example_image(14), "heaps.example.com", (70, 20)).save(folder / "beige.png")
    _write_caption(folder / "beige.png", _caption(14))
    _marked(_example_image(12), "heap.art", (8, 20)).save(folder / "sunset.png")
    _write_caption(folder / "sunset.png", _caption(12))
    _example_image(12).save(folder / "sunset-clean.jpg", quality=80)

    # Cut out, with a hidden colour under the transparent pixels.
    _cut_out(_example_image(11)).save(folder / "cutout.png")
    _write_caption(folder / "cutout.png", "zwx person, squinting, sad, angry, portrait")

    # A video of three scenes, two seconds each; and two files that are no images.
    _write_video(folder / "clip.mp4", [13, 15, 16])
    (folder / "404.jpg").write_bytes(b"<!DOCTYPE html><title>404 Not Found</title>")
    (folder / "Thumbs.db").write_bytes(b"\xd0\xcf\x11\xe0")
    return folder


def _example_image(number: int) -> Image.Image:
    return Image.open(EXAMPLES / "mira" / f"{number:02d}.png").convert("RGB")


def _caption(number: int) -> str:
    return (EXAMPLES / "mira" / f"{number:02d}.txt").read_text("utf-8").strip()


def _write_caption(image: Path, words: str, encoding: str = "utf-8") -> None:
    image.with_suffix(".txt").write_bytes(words.encode(encoding))


def _other_mouth(image: Image.Image) -> Image.Image:
    """Close the smile of image 01."""
    draw = ImageDraw.Draw(image)
    draw.rectangle((116, 130, 160, 156), fill=image.getpixel((110, 142)))
    draw.rounded_rectangle((128, 141, 150, 146), 2, fill="#3b2a22")
    return image


def _marked(image: Image.Image, words: str, place: tuple[int, int]) -> Image.Image:
    ImageDraw.Draw(image).text(place, words, fill=MARKS[words], font_size=SIZE)
    return image


def _cut_out(image: Image.Image) -> Image.Image:
    """Make the plain background transparent, with magenta below."""
    pixels = np.array(image.convert("RGBA"))
    ground = (pixels[..., :3] == pixels[2, 2, :3]).all(axis=2)
    pixels[ground] = (255, 0, 255, 0)
    return Image.fromarray(pixels)


def _write_video(path: Path, numbers: list[int]) -> None:
    """Write scenes with a slow zoom; the first frame of each is the sharpest."""
    import cv2

    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), _FRAMES_PER_SECOND, (256, 256))
    for number in numbers:
        image = _example_image(number)
        for frame in range(_FRAMES_PER_SCENE):
            edge = frame * 0.05
            box = (edge, edge, 256 - edge, 256 - edge)
            shown = image.resize((256, 256), Image.Resampling.BILINEAR, box) if frame else image
            writer.write(np.ascontiguousarray(np.asarray(shown)[..., ::-1]))
    writer.release()


if __name__ == "__main__":
    place = Path(sys.argv[1])
    make(place / "downloads")
    shutil.copytree(EXAMPLES / "mira-holdout", place / "set-holdout")
    print(f"made {place / 'downloads'}, and {place / 'set-holdout'} for the evaluation")
