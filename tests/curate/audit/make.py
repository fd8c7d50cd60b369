"""A clean set, and each fault that the audit knows, made in it."""

from __future__ import annotations

import io
import os
import shutil
from pathlib import Path

import numpy as np
from PIL import Image, ImageCms, ImageFilter
from PIL.PngImagePlugin import PngInfo

VIEWS = ("portrait", "upper body", "cowboy shot", "full body")
SIDE = 128


def texture(seed: int, size: tuple[int, int] = (SIDE, SIDE)) -> Image.Image:
    """Something with edges, colours and no border, that is like no other seed's."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (6, 6, 3), dtype=np.uint8)).resize(size, Image.Resampling.BICUBIC)
    fine = rng.normal(0, 14, (size[1], size[0], 3))
    return Image.fromarray(np.clip(np.asarray(coarse) * 0.8 + 25 + fine, 0, 255).astype(np.uint8))


def caption(seed: int) -> str:
    return f"zwx person, {VIEWS[seed % 4]}, hat {seed}, pose {seed}"


def add(folder: Path, name: str, seed: int, image: Image.Image | None = None, words: str | None = None, **save) -> Path:
    """An image with its caption."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    (image or texture(seed)).save(path, **save)
    path.with_suffix(".txt").write_text((words if words is not None else caption(seed)) + "\n", encoding="utf-8")
    return path


def clean_set(folder: Path, count: int = 10) -> Path:
    for seed in range(count):
        add(folder, f"{seed:02d}.png", seed)
    return folder


def say(folder: Path, words: str, number: int = 0) -> None:
    (folder / f"{number:02d}.txt").write_text(words, encoding="utf-8")


def say_more(folder: Path, words: str, numbers=(0,)) -> None:
    for n in numbers:
        say(folder, f"{caption(n)}, {words}\n", n)


# --- A ----------------------------------------------------------------------------------------------------------------


def unreadable(folder):
    (folder / "cut.png").write_bytes((folder / "00.png").read_bytes()[:4000])
    (folder / "page.jpg").write_bytes(b"<!DOCTYPE html><p>403")


def too_large(folder):
    add(folder, "long.png", 50, Image.new("RGB", (16500, 8), "red"))


def misnamed(folder):
    (folder / "00.png").rename(folder / "00.jpg")


def same_stem(folder):
    add(folder, "00.bmp", 51)


def junk(folder):
    (folder / "._00.png").write_bytes(b"\0\5\x16\7")
    (folder / "Thumbs.db").write_bytes(b"\xd0\xcf")


def stale(folder):
    cache = folder / "00_0128x0128_sd.npz"
    cache.write_bytes(b"PK")
    os.utime(cache, (1, 1))


def links(folder):
    (folder / "again").symlink_to(folder)
    (folder / "gone.png").symlink_to(folder / "nothing.png")


def turned(folder):
    exif = Image.Exif()
    exif[0x0112] = 6
    texture(0).save(folder / "00.png", exif=exif)


def profile(folder):
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    texture(0).save(folder / "00.png", icc_profile=lab)


def deep(folder):
    grey = np.asarray(texture(0).convert("L"), dtype=np.uint16) * 257
    Image.fromarray(grey).save(folder / "00.png")


def inks(folder):
    (folder / "00.png").unlink()
    texture(0).convert("CMYK").save(folder / "00.jpg", quality=95)


def clear(folder):
    image = texture(0).convert("RGBA")
    image.putalpha(Image.linear_gradient("L").resize(image.size))
    image.save(folder / "00.png")


def animated(folder):
    first, *more = [texture(s) for s in (0, 60, 61)]
    first.save(folder / "00.png", save_all=True, append_images=more)


def telling(folder):
    text = PngInfo()
    text.add_text("parameters", "a cat\nSteps: 20, Sampler: Euler a")
    texture(0).save(folder / "00.png", pnginfo=text)


# --- B ----------------------------------------------------------------------------------------------------------------


def small(folder):
    texture(0, (64, 64)).save(folder / "00.png")


def long(folder):
    texture(0, (100, 900)).save(folder / "00.png")


def one_of_a_shape(folder):
    texture(0, (128, 256)).save(folder / "00.png")


def framed(folder):
    image = Image.new("RGB", (SIDE + 400, SIDE + 300), "black")
    image.paste(texture(0, (SIDE + 300, SIDE + 300)), (50, 0))
    image.save(folder / "00.png")


def blurred(folder):
    texture(0).filter(ImageFilter.GaussianBlur(4)).save(folder / "00.png")


def compressed(folder):
    (folder / "00.png").unlink()
    texture(0).save(folder / "00.jpg", quality=20)


def blocky(folder):
    stream = io.BytesIO()
    smooth = texture(0).filter(ImageFilter.GaussianBlur(1.2))
    smooth.save(stream, "JPEG", quality=4)
    Image.open(stream).save(folder / "00.png")


def grey(folder):
    for n in range(6):
        texture(n).convert("L").save(folder / f"{n:02d}.png")


def one_background(folder):
    for n in range(5):
        image = texture(99)
        image.paste(texture(n, (96, 96)), (16, 16))
        image.save(folder / f"{n:02d}.png")


def one_framing(folder):
    for n in range(10):
        say(folder, f"zwx person, portrait, hat {n}\n", n)


def copied(folder):
    add(folder, "copy.png", 0, texture(0).resize((SIDE * 2, SIDE * 2), Image.Resampling.BICUBIC), "zwx person")


def tagged_old(folder):
    say_more(folder, "1980s (style), screencap")


# --- C ----------------------------------------------------------------------------------------------------------------


def silent(folder):
    (folder / "00.txt").unlink()
    (folder / "01.txt").write_text("")


def encoded(folder):
    (folder / "00.txt").write_bytes(caption(0).encode("utf-16"))
    (folder / "01.txt").write_bytes(caption(1).encode() + b"\r\n")
    (folder / "02.txt").write_bytes(b"\xef\xbb\xbf" + caption(2).encode())


def listed(folder):
    say(folder, "zwx person\nportrait\nsmile\nhat\nred coat\n")


def stray(folder):
    (folder / "elsewhere.txt").write_text("zwx person, smile")


def lengthy(folder):
    say_more(folder, ", ".join(f"thing {n}" for n in range(20)))


def far_too_long(folder):
    say_more(folder, ", ".join(f"thing number {n} seen" for n in range(90)))


def outfit_folders(folder, names=("3_red dress", "2_blue coat"), counts=(10, 10)):
    for path in [*folder.glob("*.png"), *folder.glob("*.txt")]:
        path.unlink()
    seed = 200
    for name, count in zip(names, counts, strict=True):
        for n in range(count):
            add(folder / name, f"{n:02d}.png", seed)
            seed += 1


def with_class_images(folder):
    """Some of the subject lack the trigger; the class images must go on without it."""
    say(folder, "portrait, smile", 3)
    for n in range(4):
        add(folder / "reg" / "1_person", f"class {n}.png", 300 + n, words=f"person, {VIEWS[n]}, scarf {n}")


# --- F ----------------------------------------------------------------------------------------------------------------


def disc(side: int = SIDE) -> Image.Image:
    y, x = np.mgrid[0:side, 0:side] / side - 0.5
    return Image.fromarray(np.where(x * x + y * y < 0.1, 255, 0).astype(np.uint8))


def masks(folder, numbers=range(10)):
    (folder / "masks").mkdir()
    for n in numbers:
        disc().save(folder / "masks" / f"{n:02d}.png")


def copy_of(clean: Path, to: Path) -> Path:
    shutil.copytree(clean, to)
    return to
