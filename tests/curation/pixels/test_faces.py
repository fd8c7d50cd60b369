"""Faces: whoever finds them, one measure; and a crop of a bucket that keeps them in."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from bakehouse.core.errors import UsageError
from bakehouse.data.buckets import BucketSpec, assign
from bakehouse.vision.faces import Face, crop_around_face, crop_cuts_face, head_box, load_face_detector
from bakehouse.vision.faces.anime import AnimeFaceDetector
from bakehouse.vision.faces.detectors import MixedFaceDetector
from bakehouse.vision.faces.face import rank_faces
from bakehouse.vision.faces.photo import PhotoFaceDetector, decode_boxes

SIDES = st.integers(64, 3000)


@st.composite
def placed_faces(draw):
    """An image's size, its placement, and a face inside it."""
    size = draw(SIDES), draw(SIDES)
    side = draw(st.floats(0.05, 0.9)) * min(size)
    left, top = (draw(st.floats(0, 1)) * (length - side) for length in size)
    face = Face((left, top, left + side, top + side), 0.9)
    return size, assign([size], BucketSpec(resolution=512))[0], face


@given(placed_faces())
def test_the_window_stays_in_the_image_and_holds_the_face_where_it_can(case):
    size, placement, face = case
    moved = crop_around_face(placement, size, [face])
    x0, y0, x1, y1 = moved.crop_box
    assert (x1 - x0, y1 - y0) == moved.bucket == placement.bucket
    assert x0 >= 0 and y0 >= 0 and x1 <= moved.resized[0] and y1 <= moved.resized[1]
    scale = moved.resized[0] / size[0], moved.resized[1] / size[1]
    fits = all(side * s <= b - 2 for side, s, b in zip((face.width, face.height), scale, moved.bucket, strict=True))
    room = head_box(face)
    head_fits = all((room[i + 2] - room[i]) * scale[i] <= moved.bucket[i] for i in (0, 1))
    if fits and head_fits:
        assert not crop_cuts_face(moved, size, [face])


@given(placed_faces())
def test_a_window_that_holds_the_head_already_does_not_move_and_moves_once(case):
    size, placement, face = case
    moved = crop_around_face(placement, size, [face])
    assert crop_around_face(moved, size, [face]) == moved
    scale = placement.resized[0] / size[0], placement.resized[1] / size[1]
    left, top, right, bottom = head_box(face)
    inside = (
        placement.crop_box[0] <= max(left, 0) * scale[0]
        and placement.crop_box[1] <= max(top, 0) * scale[1]
        and min(right, size[0]) * scale[0] <= placement.crop_box[2]
        and min(bottom, size[1]) * scale[1] <= placement.crop_box[3]
    )
    assert not inside or moved == placement


def test_without_faces_the_crop_stays_in_the_middle():
    placement = assign([(400, 2000)], BucketSpec())[0]
    assert crop_around_face(placement, (400, 2000), []) is placement
    assert not crop_cuts_face(placement, (400, 2000), [])


def test_a_tall_image_keeps_the_head_that_a_centre_crop_cuts():
    size = (400, 2000)
    placement, face = assign([size], BucketSpec())[0], Face((150, 60, 250, 160), 1.0)
    assert crop_cuts_face(placement, size, [face])
    assert not crop_cuts_face(crop_around_face(placement, size, [face]), size, [face])


def test_the_main_face_is_large_and_sure():
    small, large, doubtful = (
        Face((0, 0, 10, 10), 1.0),
        Face((0, 0, 40, 40), 0.9),
        Face((0, 0, 44, 44), 0.5),
    )
    assert rank_faces([small, doubtful, large]) == [large, doubtful, small]


def test_a_hot_cell_is_a_box_in_pixels():
    heat, sizes, offsets = (
        np.zeros((8, 8), np.float32),
        np.zeros((2, 8, 8), np.float32),
        np.zeros((2, 8, 8), np.float32),
    )
    heat[2, 5], sizes[:, 2, 5], offsets[:, 2, 5] = 0.9, (np.log(4), np.log(3)), (0.25, -0.25)
    boxes, scores = decode_boxes(heat, sizes, offsets)
    # The middle is at row (2 + 0.5 + 0.25) * 4 = 11 and column (5 + 0.5 - 0.25) * 4 = 21; 16 high, 12 wide.
    np.testing.assert_allclose(boxes, [[15, 3, 27, 19]], rtol=1e-6)
    assert scores == pytest.approx([0.9])


def test_a_mixed_folder_is_looked_at_image_by_image():
    sure, doubtful, drawn = Face((0, 0, 9, 9), 0.8), Face((0, 0, 9, 9), 0.6), Face((1, 1, 9, 9), 0.99)
    image = Image.new("RGB", (16, 16))
    assert MixedFaceDetector(lambda _: [sure], lambda _: [drawn])(image) == [sure]
    assert MixedFaceDetector(lambda _: [doubtful], lambda _: [drawn])(image) == [drawn]
    assert MixedFaceDetector(lambda _: [doubtful], lambda _: [])(image) == [doubtful]


@pytest.mark.usefixtures("empty_shelf")
def test_without_a_finder_the_message_says_what_to_fetch():
    with pytest.raises(UsageError, match="bakehouse models fetch animeface centerface"):
        load_face_detector("auto")
    with pytest.raises(UsageError, match="models fetch centerface"):
        load_face_detector("photo")


def test_with_one_finder_auto_says_what_it_does_not_look_for(monkeypatch):
    from bakehouse.vision.faces import detectors

    def path(name, *_):
        if name == "animeface":
            raise UsageError(
                "the face detector 'animeface' is not on this machine", hint="bakehouse models fetch animeface"
            )
        return name

    monkeypatch.setattr(detectors, "model_path", path)
    monkeypatch.setitem(detectors._DETECTORS, "photo", ("centerface", lambda _: lambda _: []))
    told = []
    assert load_face_detector("auto", told.append)(Image.new("RGB", (9, 9))) == []
    assert "photos only, not in drawings" in told[0].message and "fetch animeface" in told[0].message


def test_another_file_is_no_library_of_faces(tmp_path):
    (tmp_path / "libnvxs").write_bytes(b"\x7fELF no")
    with pytest.raises(UsageError, match="models fetch animeface"):
        AnimeFaceDetector(tmp_path / "libnvxs")


def test_every_drawn_face_is_found(fetched, art):
    finder = AnimeFaceDetector(fetched("animeface"))
    sprites = sorted(art.glob("sylvie *.png"))
    assert len(sprites) == 8
    for path in sprites:
        sprite = Image.open(path).convert("RGBA")
        white = Image.new("RGBA", sprite.size, "white")
        white.alpha_composite(sprite)
        (face,) = finder(white.convert("RGB"))
        assert face.score > 0.9 and 80 < face.height < 140 and face.box[1] < 100
    assert finder(Image.new("RGB", (300, 300), "white")) == []
    assert finder(Image.new("RGB", (30, 30), "white")) == []


def test_a_drawing_is_no_photo(fetched, art):
    pytest.importorskip("cv2", reason="needs opencv")
    fetched("centerface")
    finder = load_face_detector("photo")
    background = Image.open(art / "bg meadow.jpg").convert("RGB")
    assert finder(background) == []


def test_small_faces_are_believed_only_where_the_network_is_sure_of_them():
    """A network that sees three faces: a large one that it half believes, a small one as well, and a small sure one."""
    heat = np.zeros((1, 1, 32, 32), np.float32)
    sizes, offsets = np.zeros((1, 2, 32, 32), np.float32), np.zeros((1, 2, 32, 32), np.float32)
    for (row, column), score, pixels in (((8, 8), 0.55, 40), ((8, 24), 0.55, 16), ((24, 8), 0.7, 16)):
        heat[0, 0, row, column] = score
        sizes[0, :, row, column] = np.log(pixels / 4)

    class Net:
        def setInput(self, blob): ...

        def forward(self, names):
            return heat, sizes, offsets, None

    finder = PhotoFaceDetector.__new__(PhotoFaceDetector)
    finder._cv2, finder._net, finder._lock = pytest.importorskip("cv2"), Net(), threading.Lock()
    found = finder(Image.new("RGB", (128, 128)))
    assert sorted((round(face.height), round(face.score, 2)) for face in found) == [(16, 0.7), (40, 0.55)]
