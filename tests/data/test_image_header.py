import io

import numpy as np
import pytest
from PIL import Image, ImageCms

from bakehouse.data.image_header import distinct_frames, read_image_header
from bakehouse.data.open_image import open_image
from tests.data.make import oriented, photo, save


@pytest.mark.parametrize("quality", [10, 35, 50, 59, 75, 90, 100])
def test_a_jpegs_quality_is_read_from_its_tables(tmp_path, quality):
    assert abs(read_image_header(save(tmp_path / "a.jpg", quality=quality)).jpeg_quality - quality) <= 1
    assert read_image_header(save(tmp_path / "a.png")).jpeg_quality is None


def test_what_a_file_says_of_itself(tmp_path):
    plain = read_image_header(save(tmp_path / "plain.png"))
    assert (plain.format, plain.mode, plain.orientation, plain.profile, plain.frames) == ("PNG", "RGB", 1, "", 1)
    assert plain.srgb and not plain.deep and not plain.gps and not plain.generator
    turned = read_image_header(save(tmp_path / "turned.jpg", exif=oriented(6)))
    assert (turned.orientation, turned.width, turned.height) == (6, 48, 64)
    assert open_image(tmp_path / "turned.jpg").size == (48, 64)
    Image.fromarray(np.full((8, 8), 40000, np.uint16)).save(tmp_path / "deep.png")
    assert read_image_header(tmp_path / "deep.png").deep
    photo().convert("CMYK").save(tmp_path / "inks.jpg")
    assert read_image_header(tmp_path / "inks.jpg").mode == "CMYK"


def test_profiles_are_named(tmp_path):
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    assert read_image_header(save(tmp_path / "srgb.png", icc_profile=srgb)).srgb
    assert not read_image_header(save(tmp_path / "lab.png", icc_profile=lab)).srgb
    assert read_image_header(save(tmp_path / "broken.png", icc_profile=b"nothing")).profile == "unreadable"


def test_metadata_that_tells_too_much(tmp_path):
    exif = Image.Exif()
    exif.get_ifd(0x8825)[1] = "N"
    assert read_image_header(save(tmp_path / "gps.jpg", exif=exif)).gps
    from PIL.PngImagePlugin import PngInfo

    text = PngInfo()
    text.add_text("parameters", "a cat\nSteps: 20")
    photo().save(tmp_path / "made.png", pnginfo=text)
    assert read_image_header(tmp_path / "made.png").generator == "parameters"


def test_frames_that_differ_are_counted(tmp_path):
    frames = [photo(seed=s) for s in (1, 1, 2, 2, 3)]
    frames[0].save(tmp_path / "a.webp", save_all=True, append_images=frames[1:], lossless=True)
    assert read_image_header(tmp_path / "a.webp").frames >= 3
    assert distinct_frames(tmp_path / "a.webp")[0] == 3
    stream = io.BytesIO()
    photo().save(stream, "PNG")
    (tmp_path / "still.png").write_bytes(stream.getvalue())
    assert distinct_frames(tmp_path / "still.png") == (1, 1)
