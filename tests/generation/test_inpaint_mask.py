"""Masks for inpainting: the soft edge, the box around them, and the colors that fill them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from bakehouse.generation.inpaint_mask import binary_mask, blurred_mask, crop_box, fill_masked


def square(size: tuple[int, int], left: int, top: int, right: int, bottom: int) -> np.ndarray:
    mask = np.zeros(size[::-1], np.uint8)
    mask[top:bottom, left:right] = 255
    return mask


def test_a_mask_is_black_and_white_by_brightness_or_alpha() -> None:
    gray = Image.fromarray(np.array([[0, 128, 129, 255]], np.uint8))
    assert binary_mask(gray).tolist() == [[0, 0, 255, 255]]
    assert binary_mask(gray, invert=True).tolist() == [[255, 255, 0, 0]]
    clear = Image.new("RGBA", (2, 1), (255, 255, 255, 255))
    assert binary_mask(clear).tolist() == [[255, 255]], "opaque: brightness counts"
    clear.putpixel((0, 0), (255, 255, 255, 0))
    assert binary_mask(clear).tolist() == [[0, 255]]


@pytest.mark.parametrize("blur", [1, 4, 5.5])
def test_a_soft_edge_is_opencvs_gaussian(blur: float) -> None:
    """Up to rounding: A1111 rounds between the two axes."""
    cv2 = pytest.importorskip("cv2")
    mask = square((60, 47), 20, 0, 45, 19)
    size = 2 * int(2.5 * blur + 0.5) + 1
    expected = cv2.GaussianBlur(cv2.GaussianBlur(mask, (size, 1), blur), (1, size), blur, sigmaY=blur)
    assert np.abs(blurred_mask(mask, blur).astype(int) - expected.astype(int)).max() <= 1


def test_a_soft_edge_ends() -> None:
    mask = square((100, 100), 30, 30, 70, 70)
    soft = blurred_mask(mask, 4)
    assert soft[:, :20].max() == soft[:, 80:].max() == 0 < soft[50, 23]
    assert soft[50, 50] == 255 and blurred_mask(mask, 0) is mask


def test_a_blur_wider_than_the_image_is_no_error() -> None:
    assert blurred_mask(square((3, 1), 0, 0, 1, 1), 30).shape == (1, 3)


@given(
    st.integers(1, 90), st.integers(1, 90), st.tuples(*[st.floats(0, 1)] * 4), st.integers(0, 60),
    st.sampled_from([(64, 64), (128, 64), (64, 192)]),
)  # fmt: skip
def test_the_box_holds_the_mask_inside_the_image(width, height, at, padding, shape) -> None:
    left, right = sorted(int(a * (width - 1)) for a in at[:2])
    top, bottom = sorted(int(a * (height - 1)) for a in at[2:])
    x0, y0, x1, y1 = crop_box(square((width, height), left, top, right + 1, bottom + 1), padding, shape)
    assert 0 <= x0 <= left and right < x1 <= width
    assert 0 <= y0 <= top and bottom < y1 <= height
    assert x0 <= max(0, left - padding) and y1 >= min(height, bottom + 1 + padding)
    if x1 - x0 < width and y1 - y0 < height:
        wanted = shape[0] / shape[1]
        assert abs((x1 - x0) - wanted * (y1 - y0)) <= max(1, wanted)


def test_an_empty_mask_has_no_box() -> None:
    with pytest.raises(ValueError, match="nothing is masked"):
        crop_box(np.zeros((4, 4), np.uint8), 2, (8, 8))


def test_a_fill_takes_colors_from_around_the_mask() -> None:
    image = Image.new("RGB", (64, 64), (200, 30, 30))
    image.paste((30, 30, 200), (32, 0, 64, 64))
    image.paste((0, 255, 0), (24, 24, 40, 40))
    filled = np.asarray(fill_masked(image, square((64, 64), 24, 24, 40, 40)))
    assert filled[..., 1].max() < 60, "nothing is left of what is masked"
    assert filled[32, 25, 0] > filled[32, 38, 0] and filled[32, 38, 2] > filled[32, 25, 2]
    outside = square((64, 64), 24, 24, 40, 40) == 0
    assert (filled[outside] == np.asarray(image)[outside]).all()


def test_a_fill_of_one_color_is_that_color() -> None:
    image = Image.new("RGB", (40, 24), (10, 120, 250))
    assert fill_masked(image, square((40, 24), 3, 3, 30, 20)) == image
    assert fill_masked(image, np.full((24, 40), 255, np.uint8)).getpixel((5, 5)) == (128, 128, 128)
