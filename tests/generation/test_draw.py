"""Images from images: sizes, masks, extensions and second passes through the pipeline, and what infotext says."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image

from bakehouse.core.errors import Problems, UsageError
from bakehouse.core.events import Event, Previewed, Progress, Warned
from bakehouse.data import ImageError
from bakehouse.generation import Extend, FromImage, GeneratedImage, Hires, ImageRequest, Inpaint, Pipeline
from bakehouse.generation.preview_png import preview_image
from bakehouse.generation.source_image import resize_image


def one(made: Iterable[GeneratedImage]) -> GeneratedImage:
    (image,) = made
    return image


def difference(a: Image.Image, b: Image.Image) -> np.ndarray:
    """The largest difference of each pixel over its channels."""
    return np.abs(np.asarray(a, np.int16) - np.asarray(b, np.int16)).max(axis=2)


def noise_image(width: int, height: int, seed: int = 0) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8))


def box_mask(size: tuple[int, int], box: tuple[int, int, int, int]) -> Image.Image:
    mask = Image.new("L", size, 0)
    mask.paste(255, box)
    return mask


@pytest.fixture
def source(tmp_path: Path) -> Path:
    noise_image(64, 64).save(tmp_path / "cat.png")
    return tmp_path / "cat.png"


# --- sizes


@pytest.mark.parametrize("size", [(64, 64), (61, 45), (90, 33)])
def test_an_image_keeps_its_size(pipeline: Pipeline, asked: ImageRequest, size: tuple[int, int]) -> None:
    request = replace(asked, width=None, height=None, image=FromImage(image=noise_image(*size)))
    made = one(pipeline.txt2img(request))
    assert made.image.size == size
    assert made.infotext.get("Size") == f"{size[0]}x{size[1]}"
    assert (made.request.width, made.request.height) == size
    assert not difference(made.image, one(pipeline.generate([made.request])).image).any(), "its own request makes it"


def test_one_side_keeps_the_proportions_and_two_do_not(pipeline: Pipeline, asked: ImageRequest) -> None:
    image = FromImage(image=noise_image(80, 40))
    sizes = ((40, None, (40, 20)), (None, 80, (160, 80)), (48, 48, (48, 48)))
    for width, height, expected in sizes:
        request = replace(asked, width=width, height=height, image=image)
        assert one(pipeline.txt2img(request)).image.size == expected


def test_ways_to_fit_an_image_to_a_size() -> None:
    image = Image.new("RGB", (40, 20), "red")
    image.paste("blue", (20, 0, 40, 20))
    assert {resize_image(image, (30, 30), how).size for how in ("stretch", "crop", "pad")} == {(30, 30)}
    cropped = np.asarray(resize_image(image, (20, 20), "crop"))
    assert (cropped[:, 5] == (255, 0, 0)).all() and (cropped[:, 15] == (0, 0, 255)).all()
    padded = np.asarray(resize_image(image, (40, 40), "pad"))
    assert (padded[10:30] == np.asarray(image)).all()
    assert (padded[0] == padded[10]).all() and (padded[39] == padded[29]).all()


def test_rotation_in_exif_and_transparency_are_heeded(pipeline: Pipeline, asked: ImageRequest, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    noise_image(64, 40).save(tmp_path / "turned.jpg", exif=exif)
    clear = Image.new("RGBA", (64, 64), (255, 0, 0, 0))
    clear.save(tmp_path / "clear.png")
    keep = replace(asked, width=None, height=None)
    turned, on_white = (
        one(pipeline.txt2img(replace(keep, image=FromImage(image=tmp_path / name, strength=0))))
        for name in ("turned.jpg", "clear.png")
    )
    assert turned.image.size == (40, 64)
    white = FromImage(image=Image.new("RGB", (64, 64), "white"), strength=0)
    assert not difference(on_white.image, one(pipeline.txt2img(replace(keep, image=white))).image).any()
    in_memory = FromImage(image=clear, strength=0)
    assert not difference(on_white.image, one(pipeline.txt2img(replace(keep, image=in_memory))).image).any()


def test_a_size_far_above_the_models_own_is_a_warning(pipeline: Pipeline, asked: ImageRequest) -> None:
    heard: list[Event] = []
    for side in (120, 128):
        request = replace(asked, width=None, height=None, steps=1, image=FromImage(image=noise_image(side, side)))
        list(pipeline.generate([request], on_event=heard.append))
    (warned,) = [event for event in heard if isinstance(event, Warned)]
    assert "128x128" in warned.message and "--width" in warned.message


# --- strength


def test_more_strength_is_more_change(drawing: Pipeline, asked: ImageRequest) -> None:
    image = one(drawing.txt2img(replace(asked, prompt="a robot at night", width=None, height=None, steps=6))).image
    changes = []
    for strength in (0, 0.2, 0.6, 1):
        request = replace(asked, width=None, height=None, steps=6, image=FromImage(image=image, strength=strength))
        changes.append(difference(one(drawing.txt2img(request)).image, image).mean())
    assert changes == sorted(changes) and changes[0] < 12 < 30 < changes[-1]


def test_each_seed_is_another_image(pipeline: Pipeline, asked: ImageRequest) -> None:
    request = replace(asked, image=FromImage(image=noise_image(64, 64)), count=2)
    first, second = pipeline.txt2img(request)
    assert difference(first.image, second.image).max() > 5
    alone = one(pipeline.txt2img(replace(request, seed=request.seed + 1, count=1)))
    assert difference(second.image, alone.image).max() <= 1


def test_images_of_a_folder_are_as_alone(pipeline: Pipeline, asked: ImageRequest) -> None:
    mask = box_mask((64, 64), (8, 8, 40, 40))
    requests = [
        replace(asked, image=FromImage(image=noise_image(64, 64, seed=i)), inpaint=Inpaint(mask=mask) if i else None)
        for i in range(3)
    ]
    for request, together in zip(requests, pipeline.generate(requests), strict=True):
        assert difference(together.image, one(pipeline.txt2img(request)).image).max() <= 1


# --- masks


@pytest.mark.parametrize("content", ["fill", "original", "latent noise", "latent nothing"])
@pytest.mark.parametrize("area", ["whole picture", "only masked"])
def test_pixels_outside_the_soft_mask_are_the_sources(
    pipeline: Pipeline, asked: ImageRequest, content: str, area: str
) -> None:
    image, box = noise_image(90, 70), (10, 12, 34, 40)
    inpaint = Inpaint(mask=box_mask(image.size, box), blur=2, content=content, area=area, padding=8)
    request = replace(asked, width=None, height=None, image=FromImage(image=image, strength=1), inpaint=inpaint)
    made = one(pipeline.txt2img(request)).image
    changed = difference(made, image)
    assert made.size == image.size
    inside = np.zeros(changed.shape, bool)
    inside[12 - 5 : 40 + 5, 10 - 5 : 34 + 5] = True
    assert not changed[~inside].any()
    assert changed[16:36, 14:30].mean() > 20


def test_an_inverted_mask_changes_the_rest(pipeline: Pipeline, asked: ImageRequest) -> None:
    image, mask = noise_image(64, 64), box_mask((64, 64), (0, 0, 32, 64))
    request = replace(asked, image=FromImage(image=image, strength=1), inpaint=Inpaint(mask=mask, invert=True, blur=0))
    changed = difference(one(pipeline.txt2img(request)).image, image)
    assert not changed[:, :32].any() and changed[:, 32:].mean() > 20
    other = Inpaint(mask=Image.eval(mask, lambda v: 255 - v), blur=0)
    same = one(pipeline.txt2img(replace(request, inpaint=other))).image
    assert not difference(one(pipeline.txt2img(request)).image, same).any()


def test_a_mask_of_another_size_fits_if_its_shape_does(pipeline: Pipeline, asked: ImageRequest) -> None:
    image = noise_image(64, 48)
    keep = replace(asked, width=None, height=None, image=FromImage(image=image, strength=1))
    full, half = (
        one(pipeline.txt2img(replace(keep, inpaint=Inpaint(mask=box_mask(size, box), blur=0)))).image
        for size, box in (((64, 48), (16, 16, 32, 32)), ((32, 24), (8, 8, 16, 16)))
    )
    assert not difference(full, half).any()
    with pytest.raises(UsageError, match=r"is 48x64, the image in memory is 64x48: the shape differs"):
        pipeline.txt2img(replace(keep, inpaint=Inpaint(mask=box_mask((48, 64), (8, 8, 16, 16)))))


def test_a_mask_that_marks_nothing_is_refused(pipeline: Pipeline, asked: ImageRequest, tmp_path: Path) -> None:
    black = tmp_path / "black.png"
    Image.new("L", (64, 64)).save(black)
    request = replace(asked, image=FromImage(image=noise_image(64, 64)), inpaint=Inpaint(mask=black))
    with pytest.raises(UsageError, match=r"black\.png marks nothing: all of it is black"):
        list(pipeline.txt2img(request))


def test_only_masked_draws_in_the_size_that_is_asked_for(pipeline: Pipeline, asked: ImageRequest) -> None:
    image, mask = noise_image(200, 200), box_mask((200, 200), (100, 100, 120, 120))
    only = Inpaint(mask=mask, area="only masked", padding=4)
    request = replace(asked, width=72, height=64, image=FromImage(image=image), inpaint=only)
    heard: list[Event] = []
    made = one(pipeline.generate([request], on_event=heard.append))
    assert made.image.size == (200, 200) and made.infotext.get("Size") == "72x64"
    assert made.infotext.get("Inpaint area") == "Only masked"
    assert not [event for event in heard if isinstance(event, Warned)], "only a small part is drawn"


# --- extensions


@pytest.mark.parametrize("sides", [{"down": 32}, {"left": 5, "up": 11}, {"left": 8, "right": 8, "up": 8, "down": 8}])
def test_an_extended_image_holds_the_source(pipeline: Pipeline, asked: ImageRequest, sides: dict[str, int]) -> None:
    image, extend = noise_image(64, 48), Extend(**sides)
    request = replace(asked, width=None, height=None, image=FromImage(image=image, strength=1, extend=extend))
    made = one(pipeline.txt2img(request))
    assert made.image.size == (64 + extend.left + extend.right, 48 + extend.up + extend.down)
    part = made.image.crop((extend.left, extend.up, extend.left + 64, extend.up + 48))
    changed = difference(part, image)
    seam = 10
    top, left = (seam if extend.up else 0), (seam if extend.left else 0)
    bottom, right = 48 - (seam if extend.down else 0), 64 - (seam if extend.right else 0)
    assert not changed[top:bottom, left:right].any()
    assert made.infotext.get("Extend") == str(extend)
    assert not difference(made.image, one(pipeline.generate([made.request])).image).any()


def test_extensions_are_read_in_two_forms() -> None:
    assert Extend.parse("down=64, left=32") == Extend.parse("32,0,0,64") == Extend(left=32, down=64)
    assert Extend.parse(str(Extend(up=3, right=4)).replace(" ", ",")) == Extend(up=3, right=4)
    for text, message in (
        ("below=64", "below=64: allowed are left"), ("64", "allowed are left"), ("down=-4", "down=-4"),
        ("down=1,down=2", "a side is given twice"), ("0,0,0,0", "no side is extended"), ("down=99999", "0 to 8,192"),
    ):  # fmt: skip
        with pytest.raises(Problems, match=message):
            Extend.parse(text)


# --- second passes and previews


@pytest.mark.parametrize("upscaler", ["latent", "LATENT (bicubic antialiased)", "lanczos", "nearest"])
def test_a_second_pass_is_larger(pipeline: Pipeline, asked: ImageRequest, upscaler: str) -> None:
    request = replace(asked, hires=Hires(scale=1.6, upscaler=upscaler, steps=2, strength=0.5))
    heard: list[Event] = []
    made = one(pipeline.generate([request], preview_every=1, on_event=heard.append))
    assert made.image.size == (96, 96), "102 pixels, rounded down to whole latents"
    keys = ("Size", "Denoising strength", "Hires upscale", "Hires steps")
    assert [made.infotext.get(key) for key in keys] == ["64x64", "0.5", "1.6", "2"]
    assert made.infotext.get("Hires upscaler").lower() == upscaler.lower()
    counts = [(event.done, event.total) for event in heard if isinstance(event, Progress)]
    assert counts == [(1, 4), (2, 4), (3, 4), (4, 4)]
    shown = [event for event in heard if isinstance(event, Previewed)]
    assert [(event.step, event.steps) for event in shown] == [(1, 4), (2, 4), (3, 4)]
    assert [preview_image(event.png).size for event in shown] == [(8, 8), (8, 8), (12, 12)]


def test_an_unknown_upscaler_names_the_known(pipeline: Pipeline, asked: ImageRequest) -> None:
    with pytest.raises(UsageError, match="upscaler = 'latnet'") as e:
        pipeline.txt2img(replace(asked, hires=Hires(upscaler="latnet")))
    assert "did you mean 'latent'" in e.value.message and "lanczos" in e.value.hint


def test_a_network_enlarges_the_image(pipeline: Pipeline, asked: ImageRequest, monkeypatch, tmp_path: Path) -> None:
    from bakehouse.vision.upscalers import upscaler as networks

    class Doubler:
        scale = 2

        def __init__(self, path: Path, *, device: str) -> None:
            assert (path.name, device) == ("4x-mine.pth", "cpu")

        def __call__(self, image: np.ndarray) -> np.ndarray:
            return image.repeat(2, 0).repeat(2, 1)

    monkeypatch.setattr(networks, "Upscaler", Doubler)
    (tmp_path / "4x-mine.pth").write_bytes(b"weights")
    named = Hires(upscaler=str(tmp_path / "4x-mine.pth"), strength=0)
    by_network, nearest = (
        one(pipeline.txt2img(replace(asked, hires=hires))) for hires in (named, Hires(upscaler="nearest", strength=0))
    )
    assert not difference(by_network.image, nearest.image).any()
    assert by_network.infotext.get("Hires upscaler") == "4x-mine"


def test_previews_are_numbered_over_all_batches(pipeline: Pipeline, asked: ImageRequest) -> None:
    heard: list[Event] = []
    list(pipeline.generate([replace(asked, count=3)], batch=2, preview_every=1, on_event=heard.append))
    assert [event.image for event in heard if isinstance(event, Previewed)] == [0, 1, 2]
    with pytest.raises(UsageError, match="preview_every = -1"):
        pipeline.generate([asked], preview_every=-1)


# --- infotext, requests, files


def test_infotext_has_a1111s_names(pipeline: Pipeline, asked: ImageRequest, source: Path) -> None:
    mask = box_mask((64, 64), (8, 8, 40, 40))
    inpaint = Inpaint(mask=mask, invert=True, content="latent noise", area="only masked", padding=6)
    request = replace(asked, image=FromImage(image=source, strength=0.6), inpaint=inpaint)
    text = str(one(pipeline.txt2img(request)).infotext)
    for pair in (
        "Denoising strength: 0.6", "Mask blur: 4", "Mask mode: Inpaint not masked", "Inpaint area: Only masked",
        "Masked area padding: 6", "Masked content: latent noise", "Init image hash: ", "Mask hash: ",
    ):  # fmt: skip
        assert pair in text
    plain = str(one(pipeline.txt2img(asked)).infotext)
    assert "Denoising" not in plain and "hash: " not in plain.replace("Model hash", "")


def test_what_decides_the_image_is_in_infotext(pipeline: Pipeline, asked: ImageRequest) -> None:
    """Two requests that differ in one setting of an image have different infotexts."""
    image, mask = noise_image(64, 64), box_mask((64, 64), (8, 8, 40, 40))
    base = {"mask": mask, "blur": 3, "content": "fill", "area": "only masked", "padding": 4}
    inpaints = [base, *({**base, key: value} for key, value in (
        ("mask", box_mask((64, 64), (9, 8, 40, 40))), ("invert", True), ("blur", 2), ("content", "original"),
        ("area", "whole picture"), ("padding", 5),
    ))]  # fmt: skip
    begins = [
        FromImage(image=image), FromImage(image=image, strength=0.5), FromImage(image=noise_image(64, 64, 1)),
        FromImage(image=image, extend=Extend(up=8)), FromImage(image=image, resize="crop"),
    ]  # fmt: skip
    requests = [replace(asked, steps=1, image=begins[0], inpaint=Inpaint(**fields)) for fields in inpaints]
    requests += [replace(asked, steps=1, image=begin) for begin in begins]
    texts = [str(made.infotext) for made in pipeline.generate(requests)]
    assert len(set(texts)) == len(texts)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"inpaint": Inpaint(mask="m.png")}, "inpaint needs an image"),
        ({"image": FromImage(image="a.png"), "inpaint": Inpaint()}, "inpaint needs a mask"),
        ({"image": FromImage(image="a.png"), "hires": Hires()}, "give it with a larger width"),
    ],
)
def test_requests_that_do_not_fit_together(fields, message: str) -> None:
    with pytest.raises(Problems, match=message):
        ImageRequest(prompt="a", **fields)


def test_values_out_of_range_are_all_named() -> None:
    with pytest.raises(Problems) as e:
        Inpaint(blur=-1, padding=-2, content="paint", area="all")  # type: ignore[arg-type]
    assert [p.split(" ")[0] for p in e.value.problems] == ["blur", "padding", "content", "area"]
    for wrong in (-0.1, 1.1, float("nan")):
        with pytest.raises(Problems, match="strength"):
            FromImage(image="a.png", strength=wrong)
        with pytest.raises(Problems, match="strength"):
            Hires(strength=wrong)
    with pytest.raises(Problems, match="scale = 9"):
        Hires(scale=9)


def test_sources_are_only_read(pipeline: Pipeline, asked: ImageRequest, source: Path, tmp_path: Path) -> None:
    mask = tmp_path / "mask.png"
    box_mask((64, 64), (8, 8, 40, 40)).save(mask)
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in tmp_path.iterdir()}
    in_memory = noise_image(64, 64)
    kept = in_memory.copy()
    for image in (source, in_memory):
        list(pipeline.txt2img(replace(asked, image=FromImage(image=image), inpaint=Inpaint(mask=mask))))
    assert {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in tmp_path.iterdir()} == before
    assert in_memory == kept


def test_a_file_that_is_no_image_is_named_before_anything_is_drawn(pipeline: Pipeline, asked, tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("hello")
    with pytest.raises(ImageError, match=r"text\.png"):
        pipeline.generate([asked, replace(asked, image=FromImage(image=tmp_path / "text.png"))])
