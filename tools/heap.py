"""Makes the heap of docs/heap.md out of the example images: `python -m tools.heap DIR`.

What is in it, and what is wrong with each file, stands in `make`; the page says what mends it.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageOps

EXAMPLES = Path(__file__).parent.parent / "src" / "bakehouse" / "assets" / "examples"
LOOK = "lavender hair with flowers", "tan skin", "eyepatch", "teal overalls"
"""What all the pictures show, and no caption of the heap says."""

MARKS = {"SAMPLE": "#1c1c2b", "heaps.example.com": "#1c1c2b", "heap.art": "#ffffff"}
"""What sites have written into the pictures, and its colour."""
SIZE = 14
"""Of the letters, in pixels."""

_FRAMES_PER_SCENE = 16
_FRAMES_PER_SECOND = 8


def make(folder: Path) -> Path:
    """Fills a new folder with what somebody saved over the years: 12 pictures of Mira, some twice, and a film."""
    folder.mkdir(parents=True)

    # Twice, to the byte; the second one without a caption. And the same picture with another mouth: another picture.
    _picture(1).save(folder / "mira.png")
    shutil.copyfile(folder / "mira.png", folder / "mira (1).png")
    _say(folder / "mira.png", _caption(1))
    _other_mouth(_picture(1)).save(folder / "mira-serious.png")
    _say(folder / "mira-serious.png", "zwx person, rolling eyes, serious, worried, teal background, portrait")

    # Upright only by what EXIF says; Notepad's mark before the caption.
    exif = Image.Exif()
    exif[0x0112] = 6
    _picture(2).transpose(Image.Transpose.ROTATE_90).save(folder / "IMG_0002.JPG", quality=95, exif=exif)
    _say(folder / "IMG_0002.JPG", _caption(2), "utf-8-sig")

    # A format that few trainers read, with a credit in the code page of western Windows.
    _picture(3).save(folder / "forest.webp", lossless=True)
    _say(folder / "forest.webp", f"{_caption(3)}, © André", "cp1252")

    # PowerShell's encoding, and commas of an East Asian keyboard.
    _picture(4).save(folder / "night.png")
    _say(folder / "night.png", _caption(4).replace(", ", "\uff0c"), "utf-16")

    # As gallery-dl leaves it: a JPEG under the number of its post, one tag a line.
    _picture(5).save(folder / "5417803.jpg", quality=92)
    _say(folder / "5417803.jpg", "\n".join(tag.replace(" ", "_") for tag in _caption(5).split(", ")[1:]))

    # A frame of a phone's screen: black above and below.
    ImageOps.expand(_picture(6), (0, 80, 0, 80), "black").save(folder / "screenshot.png")
    _say(folder / "screenshot.png", _caption(6))

    # The small, coarse copy has the better caption.
    _picture(8).save(folder / "snow.png")
    _say(folder / "snow.png", "zwx person")
    _picture(8).resize((192, 192), Image.Resampling.LANCZOS).save(folder / "snow_preview.jpg", quality=40)
    _say(folder / "snow_preview.jpg", _caption(8))

    # Marks of the sites that they came from; of one picture there is also a copy without, saved worse.
    _marked(_picture(10), "SAMPLE", (12, 16)).save(folder / "meadow.png")
    _say(folder / "meadow.png", _caption(10))
    _marked(_picture(14), "heaps.example.com", (70, 20)).save(folder / "beige.png")
    _say(folder / "beige.png", _caption(14))
    _marked(_picture(12), "heap.art", (8, 20)).save(folder / "sunset.png")
    _say(folder / "sunset.png", _caption(12))
    _picture(12).save(folder / "sunset-clean.jpg", quality=80)

    # Cut out, with a colour below what is transparent that nobody was meant to see.
    _cut_out(_picture(11)).save(folder / "cutout.png")
    _say(folder / "cutout.png", "zwx person, squinting, sad, angry, portrait")

    # Three scenes, two seconds each; and what is no picture at all.
    _film(folder / "clip.mp4", [13, 15, 16])
    (folder / "404.jpg").write_bytes(b"<!DOCTYPE html><title>404 Not Found</title>")
    (folder / "Thumbs.db").write_bytes(b"\xd0\xcf\x11\xe0")
    return folder


def _picture(number: int) -> Image.Image:
    return Image.open(EXAMPLES / "mira" / f"{number:02d}.png").convert("RGB")


def _caption(number: int) -> str:
    return (EXAMPLES / "mira" / f"{number:02d}.txt").read_text("utf-8").strip()


def _say(image: Path, words: str, encoding: str = "utf-8") -> None:
    image.with_suffix(".txt").write_bytes(words.encode(encoding))


def _other_mouth(image: Image.Image) -> Image.Image:
    """The smile of 01 closed."""
    draw = ImageDraw.Draw(image)
    draw.rectangle((116, 130, 160, 156), fill=image.getpixel((110, 142)))
    draw.rounded_rectangle((128, 141, 150, 146), 2, fill="#3b2a22")
    return image


def _marked(image: Image.Image, words: str, place: tuple[int, int]) -> Image.Image:
    ImageDraw.Draw(image).text(place, words, fill=MARKS[words], font_size=SIZE)
    return image


def _cut_out(image: Image.Image) -> Image.Image:
    """The plain ground of a picture made transparent, with magenta below."""
    pixels = np.array(image.convert("RGBA"))
    ground = (pixels[..., :3] == pixels[2, 2, :3]).all(axis=2)
    pixels[ground] = (255, 0, 255, 0)
    return Image.fromarray(pixels)


def _film(path: Path, numbers: list[int]) -> None:
    """Scenes in which the camera draws slowly nearer; the first frame of each is the sharpest."""
    import cv2

    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), _FRAMES_PER_SECOND, (256, 256))
    for number in numbers:
        image = _picture(number)
        for frame in range(_FRAMES_PER_SCENE):
            edge = frame * 0.05
            box = (edge, edge, 256 - edge, 256 - edge)
            shown = image.resize((256, 256), Image.Resampling.BILINEAR, box) if frame else image
            writer.write(np.ascontiguousarray(np.asarray(shown)[..., ::-1]))
    writer.release()


if __name__ == "__main__":
    place = Path(sys.argv[1])
    make(place / "heap")
    shutil.copytree(EXAMPLES / "mira-holdout", place / "set-holdout")
    print(f"made {place / 'heap'}, and {place / 'set-holdout'} to judge by")
