import numpy as np
import pytest
from PIL import Image

from bakehouse.data import BucketSpec, ImageError, assign, load_mask, scan

from .make import oriented, photo, save

SPEC = BucketSpec(resolution=64, step=16)


def only(folder):
    (record,) = scan(folder)
    return record, assign([(record.width, record.height)], SPEC)[0]


def left_half(size):
    mask = Image.new("L", size, 0)
    mask.paste(255, (0, 0, size[0] // 2, size[1]))
    return mask


@pytest.mark.parametrize("size", [(128, 128), (64, 64), (400, 400)])
def test_a_mask_file_of_any_size(tmp_path, size):
    save(tmp_path / "a.png", 128, 128)
    left_half(size).save(tmp_path / "a.mask.png")
    mask = load_mask(*only(tmp_path))
    assert mask.dtype == np.float32
    assert mask.shape == (64, 64)
    assert mask[:, :31].min() == 1
    assert mask[:, 33:].max() == 0


def test_alpha_is_a_mask(tmp_path):
    image = photo(128, 64).convert("RGBA")
    image.putalpha(left_half(image.size))
    image.save(tmp_path / "a.png")
    record, placement = only(tmp_path)
    mask = load_mask(record, placement)
    assert mask.shape == placement.bucket[::-1]
    assert mask.mean() == pytest.approx(0.5, abs=0.02)


def test_no_mask_is_everything(tmp_path):
    save(tmp_path / "a.png")
    assert (load_mask(*only(tmp_path)) == 1).all()


def test_another_shape_is_an_error(tmp_path):
    save(tmp_path / "a.png", 128, 128)
    left_half((129, 128)).save(tmp_path / "a.mask.png")
    load_mask(*only(tmp_path))
    left_half((132, 128)).save(tmp_path / "a.mask.png")
    with pytest.raises(ImageError, match=r"132x128, and a\.png is 128x128"):
        load_mask(*only(tmp_path))


def test_the_image_is_turned_before_shapes_are_compared(tmp_path):
    save(tmp_path / "a.jpg", 128, 64, exif=oriented(6))
    left_half((64, 128)).save(tmp_path / "a.mask.png")
    assert load_mask(*only(tmp_path))[:, 0].min() == 1
    left_half((128, 64)).save(tmp_path / "a.mask.png")
    with pytest.raises(ImageError):
        load_mask(*only(tmp_path))


def test_a_sixteen_bit_mask_and_a_broken_one(tmp_path):
    save(tmp_path / "a.png", 64, 64)
    Image.fromarray(np.full((64, 64), 32896, np.uint16)).save(tmp_path / "a.mask.png")
    assert load_mask(*only(tmp_path)) == pytest.approx(128 / 255)
    (tmp_path / "a.mask.png").write_bytes(b"")
    with pytest.raises(ImageError, match="empty"):
        load_mask(*only(tmp_path))
