"""A clean set, and each fault that the audit knows, made in it."""

from __future__ import annotations

import io
import json
import os
import shutil
from pathlib import Path

import numpy as np
from PIL import Image, ImageCms, ImageDraw, ImageFilter
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


def set_caption(folder: Path, words: str, number: int = 0) -> None:
    (folder / f"{number:02d}.txt").write_text(words, encoding="utf-8")


def add_tags(folder: Path, words: str, numbers=(0,)) -> None:
    for n in numbers:
        set_caption(folder, f"{caption(n)}, {words}\n", n)


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


def photo(folder):
    """3:2, which lies between the buckets of 512 pixels in steps of 64."""
    texture(0, (192, 128)).save(folder / "00.png")
    recipe(folder, (".", 10))


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


def grey(folder, count=6):
    for n in range(count):
        texture(n).convert("L").save(folder / f"{n:02d}.png")


def one_background(folder):
    for n in range(5):
        image = texture(99)
        image.paste(texture(n, (96, 96)), (16, 16))
        image.save(folder / f"{n:02d}.png")


def one_framing(folder):
    for n in range(10):
        set_caption(folder, f"zwx person, portrait, hat {n}\n", n)


def copied(folder):
    add(folder, "copy.png", 0, texture(0).resize((SIDE * 2, SIDE * 2), Image.Resampling.BICUBIC), "zwx person")


def varied(folder):
    other = texture(0)
    ImageDraw.Draw(other).ellipse((54, 60, 74, 72), fill=(150, 20, 40))
    add(folder, "other.png", 0, other)


def cut_out(folder):
    whole = texture(50, (2 * SIDE, 2 * SIDE))
    add(folder, "whole.png", 50, whole)
    add(folder, "part.png", 51, whole.crop((30, 20, 230, 220)))


# --- C ----------------------------------------------------------------------------------------------------------------


def silent(folder):
    (folder / "00.txt").unlink()
    (folder / "01.txt").write_text("")


def encoded(folder):
    (folder / "00.txt").write_bytes(caption(0).encode("utf-16"))
    (folder / "01.txt").write_bytes(caption(1).encode() + b"\r\n")
    (folder / "02.txt").write_bytes(b"\xef\xbb\xbf" + caption(2).encode())


def listed(folder):
    set_caption(folder, "zwx person\nportrait\nsmile\nhat\nred coat\n")


def stray(folder):
    (folder / "elsewhere.txt").write_text("zwx person, smile")


def lengthy(folder):
    add_tags(folder, ", ".join(f"thing {n}" for n in range(20)))


def far_too_long(folder):
    add_tags(folder, ", ".join(f"thing number {n} seen" for n in range(90)))


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
    set_caption(folder, "portrait, smile", 3)
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


# --- what a network sees: magenta faces and green letters -------------------------------------------------------------

FACE, INK = (255, 0, 255), (0, 255, 0)


def faced(folder, name, seed, size, *boxes, words=None):
    """An image with faces, in a fine pattern of which a blur leaves nothing."""
    image = texture(seed, size)
    draw = ImageDraw.Draw(image)
    for left, top, right, bottom in boxes:
        for y in range(top, bottom):
            draw.point([(x, y) for x in range(left + y % 2, right, 2)], fill=FACE)
    return add(folder, name, seed, image, words)


def signed(folder, numbers=(0,), at=(20, 100), rough=40):
    """Letters on a plain ground, which begins below so many pixels of another."""
    for n in numbers:
        image = Image.new("RGB", (SIDE, SIDE), (120, 130, 140))
        image.paste(texture(n, (SIDE, rough)), (0, 0))
        ImageDraw.Draw(image).rectangle((*at, at[0] + 40, at[1] + 8), fill=INK)
        image.save(folder / f"{n:02d}.png")


def all_far(folder):
    """Full bodies, large enough for nearer views."""
    for n in range(10):
        faced(folder, f"{n:02d}.png", n, (240, 352), (95, 40, 145, 90), words=f"zwx person, full body, hat {n}")


WIDTHS = (96, 120, 152, 168, 200, 224, 240, 296)


def shapes(folder, step=64):
    """More buckets than are easily filled; with a step of 32 a coarser one would do."""
    sizes = [*((96, n) for n in WIDTHS), (120, 96), (152, 96)] if step == 32 else [
        (96 + 40 * n, 96 + 40 * (9 - n)) for n in range(10)
    ]  # fmt: skip
    for n, size in enumerate(sizes):
        texture(n, size).save(folder / f"{n:02d}.png")
    recipe(folder, (".", 10), more=f"[buckets]\nstep = {step}\n")


# --- triggers and recipes ---------------------------------------------------------------------------------------------


def declare(folder, **more):
    """A `triggers.toml` in the folder."""
    values = {"word": "zwx", "class_word": "person", "strategy": "fluid", **more}
    text = "".join(f"{key} = {json.dumps(value)}\n" for key, value in values.items())
    (folder / "triggers.toml").write_text(f"[[triggers]]\n{text}", encoding="utf-8")


def recipe(folder, *concepts, epochs=10, more=""):
    """A recipe beside the folder, of (folder in the dataset, repeats)."""
    rows = "".join(
        f'[[concepts]]\nfolder = "{folder.name}/{name}"\nsubject = "{word} person"\nrepeats = {n}\n'
        for word, (name, n) in zip(("zwx", "qvx"), concepts, strict=False)
    )
    text = f'kind = "character"\n[model]\nbase = "sd15"\n{rows}[train]\nepochs = {epochs}\n{more}'
    (folder.parent / "me.toml").write_text(text, encoding="utf-8")


def link_out(folder):
    add(folder.parent / "elsewhere", "far.png", 70)
    (folder / "far.png").symlink_to(folder.parent / "elsewhere" / "far.png")
    (folder / "far.txt").write_text(caption(70))


def placed(folder):
    exif = Image.Exif()
    exif[0x8825] = {1: "N", 2: (48.0, 8.0, 0.0)}
    texture(0).save(folder / "00.png", exif=exif)


def face_at_the_edge(folder):
    """In the strip that the bucket cuts off."""
    faced(folder, "00.png", 0, (128, 150), (20, 1, 60, 61))


def one_without_a_face(folder):
    for n in range(1, 10):
        faced(folder, f"{n:02d}.png", n, (SIDE, SIDE), (20, 20, 60, 70))
    faced(folder, "10.png", 10, (256, 256), (10, 10, 90, 110), (170, 20, 230, 90))


def copied_to_the_class(folder):
    add(folder / "reg" / "1_person", "a.png", 0, words="person")


def declared_unsaid(folder):
    declare(folder)
    set_caption(folder, "portrait, smile")


def changed_by_hand(folder):
    declare(folder)
    for n in range(10):
        (folder / f"{n:02d}.tags").write_text(f"{caption(n).removeprefix('zwx person, ')}\n")
    set_caption(folder, "portrait, smile")


APRON = [
    {"word": "zwx", "strategy": "semi-static", "absorbs": ["apron"]},
    {"word": "qvr", "kind": "outfit", "folders": ["red"], "strategy": "static"},
    {"word": "qvb", "kind": "outfit", "folders": ["blue"], "strategy": "static"},
]


def one_apron(folder):
    for n in range(10):
        for seed, (group, dress) in enumerate((("red", "red dress"), ("blue", "blue dress"))):
            add(folder / group, f"{n}.png", 500 + 10 * seed + n, words=f"{dress}, apron, pose {group}{n}")
    for path in folder.glob("*.*"):
        path.unlink()


KEEPING = [{"word": "zwx", "class_word": "person", "strategy": "static", "keeps": ["@hair", "@eyes", "@accessories"]}]


def looks(folder):
    for n in range(10):
        set_caption(folder, f"zwx person, red hair, blue eyes, glasses, pose {n}", n)


def counted(folder):
    outfit_folders(folder)
    add(folder / "1_both", "both.png", 300, words="2girls, red coat")


def two_concepts(folder, first, second):
    outfit_folders(folder, ("red dress", "blue coat"), (10, 14))
    recipe(folder, ("red dress", first), ("blue coat", second))


def many_of_the_class(folder):
    for seed in range(14):
        words = "zwx person" if seed == 0 else f"person, scarf {seed}"
        add(folder / "reg" / "1_person", f"{seed:02d}.png", 400 + seed, words=words)


def class_of_a_recipe(folder):
    for seed in range(14):
        add(folder / "others", f"{seed:02d}.png", 400 + seed, words=f"person, scarf {seed}")
    recipe(folder, (".", 1), epochs=100, more=f'[prior]\nsource = "folder"\nfolder = "{folder.name}/others"\n')


def twenty(folder):
    for n in range(10, 20):
        add(folder, f"{n:02d}.png", n)
