import io
import random
import threading
import tracemalloc
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageCms, ImageFile, ImageOps

from bakehouse.data.open_image import ImageError, image_size, open_image, probe, sniff, to_pixels

from .make import LAW, oriented, photo, png, png16, save

GRADIENT = np.tile(np.linspace(0, 65535, 64).round().astype(np.uint16), (8, 1))
EXPECTED = (GRADIENT.astype(float) / 257).round()


def grey_of(path):
    array = np.asarray(open_image(path)).astype(float)
    assert array.shape == (8, 64, 3)
    return array[..., 0]


def off(array, expected):
    """The largest difference."""
    return np.abs(np.asarray(array, dtype=float) - np.asarray(expected, dtype=float)).max()


@pytest.mark.parametrize("suffix", ["png", "tiff", "pgm"])
def test_a_16_bit_grey_gradient_stays_a_gradient(tmp_path, suffix):
    path = tmp_path / f"scan.{suffix}"
    Image.fromarray(GRADIENT).save(path, format="PPM" if suffix == "pgm" else None)
    assert off(grey_of(path), EXPECTED) <= 1


@pytest.mark.parametrize(("colour", "channels"), [(2, 3), (6, 4), (4, 2)])
def test_16_bit_colour_stays_a_gradient(tmp_path, colour, channels):
    array = np.stack([GRADIENT] * channels, -1)
    if colour != 2:
        array[..., -1] = 65535
    assert off(grey_of(png16(tmp_path / "a.png", array, colour)), EXPECTED) <= 1


def test_16_bit_transparent_colours_are_found(tmp_path):
    grey = png16(tmp_path / "g.png", GRADIENT, 0, extra=[(b"tRNS", b"\xff\xff")])
    assert np.asarray(open_image(grey, mode="RGBA"))[0, :, 3].tolist() == [255] * 63 + [0]
    assert probe(grey).has_alpha
    rgb = png16(tmp_path / "c.png", np.stack([GRADIENT] * 3, -1), 2, extra=[(b"tRNS", b"\xff\xff" * 3)])
    assert np.asarray(open_image(rgb, mode="RGBA"))[0, -1, 3] == 0


@pytest.mark.parametrize(
    ("values", "white"),
    [
        (GRADIENT.astype(np.int32), 65535),
        ((GRADIENT // 257).astype(np.int32), 255),
        (GRADIENT.astype(np.float32) / 65535, 1),
        (GRADIENT.astype(np.float32) / 257, 255),
        (GRADIENT.astype(np.float32), 65535),
        (GRADIENT.astype(np.float32) / 65535 - 0.5, 1),
    ],
)
def test_wide_tiffs_stay_gradients(tmp_path, values, white):
    Image.fromarray(values).save(tmp_path / "a.tiff")
    assert off(grey_of(tmp_path / "a.tiff"), EXPECTED) <= 1


def test_float_tiff_with_holes_and_highlights(tmp_path):
    values = GRADIENT.astype(np.float32) / 65535
    values[0, 0], values[1, 1], values[2, -1] = np.nan, 1.5, np.inf
    Image.fromarray(values).save(tmp_path / "a.tiff")
    array = grey_of(tmp_path / "a.tiff")
    assert off(array[3:], EXPECTED[3:]) <= 1
    assert (array[0, 0], array[1, 1], array[2, -1]) == (0, 255, 255)
    Image.fromarray(np.full((4, 4), np.nan, np.float32)).save(tmp_path / "nan.tiff")
    with pytest.raises(ImageError, match="finite"):
        open_image(tmp_path / "nan.tiff")


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tiff", "avif"])
@pytest.mark.parametrize("value", range(1, 9))
def test_exif_rotation_in_pixels_and_in_the_header(tmp_path, suffix, value):
    path = save(tmp_path / f"a.{suffix}", 40, 24, exif=oriented(value))
    with Image.open(path) as file:
        if suffix == "tiff":
            file = photo(40, 24)
            file.getexif()[0x0112] = value
        expected = ImageOps.exif_transpose(file).convert("RGB")
    image = open_image(path)
    assert image.size == image_size(path) == (probe(path).width, probe(path).height) == expected.size
    assert off(image, expected) <= 2


def test_png_exif_behind_the_pixels_is_found_without_decoding(tmp_path):
    rows = (b"\0" + b"\x10\x20\x30" * 6) * 3
    path = png(tmp_path / "a.png", 6, 3, rows=rows, late=[(b"eXIf", oriented(6).tobytes()[6:])])
    assert image_size(path) == open_image(path).size == (3, 6)


def test_broken_exif_is_passed_over(tmp_path):
    path = save(tmp_path / "a.jpg", exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff\x01\x12")
    assert open_image(path).size == (64, 48)


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "gif", "tiff", "bmp"])
def test_a_file_with_wrong_bytes_opens_or_is_an_image_error(tmp_path, suffix):
    """Whatever a decoder trips over, nothing but an ImageError comes out."""
    whole = save(tmp_path / f"a.{suffix}", **({"exif": oriented(6)} if suffix in ("png", "jpg", "webp") else {}))
    rng = random.Random(suffix)
    refused = 0
    for n in range(40):
        data = bytearray(whole.read_bytes())
        for _ in range(rng.randint(1, 8)):
            data[rng.randrange(4, min(100, len(data)) if n % 2 else len(data))] = rng.randrange(256)
        path = tmp_path / f"{n}.{suffix}"
        path.write_bytes(data)
        try:
            open_image(path)
            probe(path)
        except ImageError:
            refused += 1
    assert refused > 0


def test_heic_and_avif_open(tmp_path):
    for suffix in ("heic", "avif"):
        path = save(tmp_path / f"a.{suffix}", quality=95)
        assert image_size(path) == (64, 48)
        assert off(np.asarray(open_image(path)).mean(), np.asarray(photo()).mean()) <= 2


@pytest.mark.parametrize("suffix", ["gif", "png", "webp", "avif"])
def test_animations_give_their_first_frame(tmp_path, suffix):
    red, blue = Image.new("RGB", (32, 32), (250, 0, 0)), Image.new("RGB", (32, 32), (0, 0, 250))
    path = tmp_path / f"a.{suffix}"
    red.save(path, save_all=True, append_images=[blue, red])
    assert off(np.asarray(open_image(path))[5, 5], (250, 0, 0)) <= 6
    assert probe(path).frames == 3


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "LAB", "I", "F", "I;16"])
def test_every_pillow_mode_opens_as_rgb_and_rgba(tmp_path, mode):
    path = tmp_path / "a.tiff"
    Image.new(mode, (8, 6)).save(path)
    assert open_image(path).mode == "RGB"
    assert open_image(path, mode="RGBA").mode == "RGBA"
    assert open_image(path).info == {}


def test_transparency_lies_on_the_background(tmp_path):
    image = Image.new("RGBA", (4, 4), (200, 0, 0, 0))
    image.putpixel((1, 1), (0, 0, 200, 255))
    image.putpixel((2, 2), (0, 0, 0, 128))
    image.save(tmp_path / "a.png")
    white = np.asarray(open_image(tmp_path / "a.png"))
    assert white[0, 0].tolist() == [255] * 3
    assert white[1, 1].tolist() == [0, 0, 200]
    assert off(white[2, 2], [127] * 3) <= 1
    assert np.asarray(open_image(tmp_path / "a.png", background=(1, 2, 3)))[0, 0].tolist() == [1, 2, 3]
    assert open_image(tmp_path / "a.png", mode="RGBA").getpixel((0, 0)) == (200, 0, 0, 0)


@pytest.mark.parametrize("transparency", [1, bytes([255, 0]), bytes([255, 0, 40])])
def test_palette_transparency(tmp_path, transparency):
    image = Image.new("P", (4, 4))
    image.putpalette([255, 0, 0, 0, 255, 0] + [9] * 750)
    image.putpixel((0, 0), 1)
    image.save(tmp_path / "a.png", transparency=transparency)
    assert open_image(tmp_path / "a.png").getpixel((0, 0)) == (255, 255, 255)
    assert open_image(tmp_path / "a.png").getpixel((1, 1)) == (255, 0, 0)
    assert probe(tmp_path / "a.png").has_alpha


def test_grey_and_colour_transparency_and_la(tmp_path):
    for mode, colour in (("L", 7), ("RGB", (1, 2, 3))):
        Image.new(mode, (4, 4), colour).save(tmp_path / f"{mode}.png", transparency=colour)
        assert open_image(tmp_path / f"{mode}.png").getpixel((0, 0)) == (255, 255, 255)
    Image.new("LA", (4, 4), (7, 0)).save(tmp_path / "LA.png")
    assert open_image(tmp_path / "LA.png", background=(9, 8, 7)).getpixel((0, 0)) == (9, 8, 7)


def test_an_opaque_alpha_channel_is_no_alpha(tmp_path):
    photo().convert("RGBA").save(tmp_path / "a.png")
    assert not probe(tmp_path / "a.png").has_alpha


def test_cmyk_jpeg(tmp_path):
    Image.new("CMYK", (16, 16), (0, 255, 255, 0)).save(tmp_path / "a.jpg")
    assert off(open_image(tmp_path / "a.jpg").getpixel((8, 8)), (255, 0, 0)) <= 3


def wide_profile():
    """A linear-light profile: sRGB's colours with gamma 1, so that mid-grey must come out lighter."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    count = int.from_bytes(profile[128:132], "big")
    for i in range(count):
        entry = profile[132 + 12 * i : 144 + 12 * i]
        at = int.from_bytes(entry[4:8], "big")
        if entry[:4] in (b"rTRC", b"gTRC", b"bTRC"):
            profile[at : at + 12] = b"curv\0\0\0\0\0\0\0\0"
    return bytes(profile).replace(b"s\0R\0G\0B\0", b"l\0i\0n\0r\0").replace(b"sRGB", b"linr")


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA"])
def test_icc_profiles_are_applied_and_dropped(tmp_path, mode):
    grey = {"RGB": (64, 64, 64), "RGBA": (64, 64, 64, 255), "L": 64, "LA": (64, 255)}[mode]
    Image.new(mode, (8, 8), grey).save(tmp_path / "a.png", icc_profile=wide_profile())
    image = open_image(tmp_path / "a.png")
    assert off(image.getpixel((2, 2)), (137, 137, 137)) <= 2
    assert "icc_profile" not in image.info


def test_srgb_profiles_change_nothing_and_broken_ones_are_passed_over(tmp_path):
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for name, profile in (("srgb", srgb), ("broken", b"nonsense" * 40), ("cut", srgb[:200])):
        photo().save(tmp_path / f"{name}.png", icc_profile=profile)
        assert np.array_equal(open_image(tmp_path / f"{name}.png"), photo())


def test_a_cmyk_profile_on_an_rgb_image_is_passed_over(tmp_path):
    photo().save(tmp_path / "a.png", icc_profile=wide_profile().replace(b"RGB ", b"CMYK"))
    assert np.array_equal(open_image(tmp_path / "a.png"), photo())


def test_a_bomb_is_refused_by_its_header(tmp_path):
    path = png(tmp_path / "bomb.png", 50_000, 50_000)
    tracemalloc.start()
    try:
        for function in (open_image, image_size, probe):
            with pytest.raises(ImageError, match="megapixels"):
                function(path)
        assert tracemalloc.get_traced_memory()[1] < 5_000_000
    finally:
        tracemalloc.stop()


def test_sizes_between_pillows_limit_and_ours_are_not_refused(tmp_path):
    assert image_size(png(tmp_path / "phone.png", 16_320, 12_240)) == (16_320, 12_240)
    with pytest.raises(ImageError, match=r"15,820 x 15,820 = 250 megapixels; the limit is 250"):
        image_size(png(tmp_path / "more.png", 15_820, 15_820))


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "gif", "tiff", "bmp", "avif", "heic", "ppm", "jp2"])
@pytest.mark.parametrize("keep", [0.1, 0.5, 0.9])
def test_cut_files_raise(tmp_path, suffix, keep):
    rng = np.random.default_rng(0)
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(rng.integers(0, 255, (64, 64, 3), dtype=np.uint8)).save(path)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * keep)])
    before = ImageFile.LOAD_TRUNCATED_IMAGES
    ImageFile.LOAD_TRUNCATED_IMAGES = True  # what other trainers switch on for the whole process
    try:
        for function in (open_image, probe):
            with pytest.raises(ImageError, match=r"a\.\w+"):
                function(path)
        assert ImageFile.LOAD_TRUNCATED_IMAGES is True
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES = before


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "empty"),
        (b"<!DOCTYPE html><html>403</html>", "web page"),
        (b"\xef\xbb\xbf<html>", "web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid", "Git LFS"),
        (b"\0\0\0\x18ftypisom\0\0\2\0", "video"),
        (b"\0" * 4096, "only zeros"),
        (b"<svg xmlns=''></svg>", "SVG"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n", "not an image"),
        (b"hello", "not an image"),
    ],
)
def test_what_is_not_an_image_is_named(tmp_path, data, words):
    path = tmp_path / "a.jpg"
    path.write_bytes(data)
    with pytest.raises(ImageError, match=words) as caught:
        open_image(path)
    assert "a.jpg" in str(caught.value)
    assert caught.value.exit_code == 1


def test_missing_file_and_folder(tmp_path):
    with pytest.raises(ImageError, match="does not exist"):
        open_image(tmp_path / "none.png")
    with pytest.raises(ImageError, match="folder"):
        image_size(tmp_path)


def test_content_counts_and_not_the_extension(tmp_path):
    save(tmp_path / "a.png").rename(tmp_path / "a.jpg")
    assert sniff(tmp_path / "a.jpg")
    assert probe(tmp_path / "a.jpg").format == "PNG"
    save(tmp_path / "b.webp").rename(tmp_path / "noext")
    assert sniff(tmp_path / "noext")
    (tmp_path / "c.png").write_text("not an image at all")
    assert not sniff(tmp_path / "c.png")


@LAW
@given(
    suffix=st.sampled_from(["jpeg", "png", "gif", "tiff", "bmp", "webp"]),
    spots=st.lists(st.tuples(st.integers(0, 2000), st.binary(min_size=1, max_size=8)), max_size=6),
)
def test_damage_gives_a_picture_or_an_image_error_and_nothing_else(tmp_path, suffix, spots):
    buffer = io.BytesIO()
    photo(24, 16).save(buffer, suffix)
    data = bytearray(buffer.getvalue())
    for at, bytes_ in spots:
        data[at % len(data) : at % len(data) + len(bytes_)] = bytes_
    path = tmp_path / f"a.{suffix}"
    path.write_bytes(data)
    for function in (image_size, probe, open_image):
        try:
            function(path)
        except ImageError as e:
            assert str(path) in e.message


def test_many_threads_leave_pillow_and_warnings_as_they_were(tmp_path):
    path = save(tmp_path / "a.png")
    before = (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES, list(warnings.filters))
    threads = [threading.Thread(target=lambda: [open_image(path) for _ in range(20)]) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES, list(warnings.filters)) == before


def test_to_pixels():
    pixels = to_pixels(Image.new("RGB", (5, 3), (0, 255, 51)))
    assert pixels.dtype == np.float32
    assert pixels.shape == (3, 3, 5)
    assert off(pixels[:, 0, 0], (-1, 1, -0.6)) <= 1e-6


def test_reopening_what_was_saved_changes_nothing(tmp_path):
    save(tmp_path / "a.jpg", exif=oriented(6), icc_profile=wide_profile())
    once = open_image(tmp_path / "a.jpg")
    once.save(tmp_path / "b.png")
    assert np.array_equal(open_image(tmp_path / "b.png"), once)
