"""Masks: what a network says, what a colour says, and when neither is to be believed."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageDraw

from bakehouse.core.errors import UsageError
from bakehouse.core.events import Noted, Warned
from bakehouse.curation.apply_and_undo import undo
from bakehouse.curation.masks import Mask, Segmenter, color_mask, iou, measure_mask
from bakehouse.curation.masks.color_mask import border_color
from bakehouse.curation.operation import apply_operation, collect_proposals
from bakehouse.data import load_mask, scan
from bakehouse.data.buckets import unchanged_placement
from bakehouse.vision.segmentation.input_formats import InputFormat, find_input_format, input_formats

PLAIN = InputFormat(mean=(0, 0, 0), std=(1, 1, 1))


@pytest.fixture
def folder(tmp_path, draw_figure):
    path = tmp_path / "set"
    path.mkdir()
    draw_figure().save(path / "a.png")
    draw_figure(160, 128).convert("RGB").save(path / "b.jpg", quality=95)
    return path


# --- networks


def test_a_mask_has_the_image_s_shape_and_the_network_s_opinion(bright_matte, draw_figure):
    image = draw_figure(96, 128)
    mask = Segmenter(bright_matte(), PLAIN)(image)
    assert mask.shape == (128, 96) and mask.dtype == np.float32
    assert mask.min() >= 0 and mask.max() <= 1
    truth = (np.asarray(image.convert("L")) > 127).astype(np.float32)
    assert iou(mask, truth) > 0.9


def test_the_file_says_the_size_else_the_form_else_1024(bright_matte):
    assert Segmenter(bright_matte(size=48), InputFormat(size=64)).size == (48, 48)
    assert Segmenter(bright_matte("any.onnx", size="side"), InputFormat(size=64)).size == (64, 64)
    assert Segmenter(bright_matte("any.onnx", size="side"), InputFormat()).size == (1024, 1024)


def test_colours_reach_the_network_as_its_form_says(bright_matte):
    """A grey of 0.4 is over a level of 0.3 as it is, and far below zero once the mean of 0.9 is taken off."""
    grey = Image.new("RGB", (16, 16), (102, 102, 102))
    path = bright_matte(level=0.3)
    assert Segmenter(path, PLAIN)(grey).min() > 0.9
    assert Segmenter(path, InputFormat(mean=(0.9,) * 3, std=(1, 1, 1)))(grey).max() < 0.1
    # By its peak, any even grey is white.
    dark = Image.new("RGB", (16, 16), (60, 60, 60))
    assert Segmenter(path, PLAIN)(dark).max() < 0.1
    assert Segmenter(path, InputFormat(mean=(0, 0, 0), std=(1, 1, 1), peak=True))(dark).min() > 0.9


def test_logits_and_faint_masks_are_brought_to_0_and_1(bright_matte, draw_figure):
    image = draw_figure()
    matte = Segmenter(bright_matte(), PLAIN)
    raw = matte(image)

    class Fake:
        def __init__(self, output):
            self.output = output

        def __call__(self, *_):
            return [self.output]

    values = np.linspace(-6, 6, 32 * 32, dtype=np.float32).reshape(1, 1, 32, 32)
    matte._net = Fake(values)
    assert matte(image).min() < 0.01 and matte(image).max() > 0.99
    matte._net = Fake(values[0] / 60 + 0.5)  # 0.4 .. 0.6
    matte._format = InputFormat(stretch=True)
    assert matte(image).min() == pytest.approx(0, abs=0.02) and matte(image).max() == pytest.approx(1, abs=0.02)
    matte._net = Fake(np.zeros((1, 4, 32, 32), np.float32))
    with pytest.raises(UsageError, match="its output is 4 x 32 x 32"):
        matte(image)
    assert raw.shape == (128, 96)


def test_forms_are_known_by_the_longest_beginning_of_a_name():
    assert find_input_format("u2netp").size == 320 and find_input_format("u2netp").peak
    assert find_input_format("isnet-medium").mean == (0.5, 0.5, 0.5)
    assert find_input_format("isnet-anime").mean == (0.485, 0.456, 0.406)
    assert find_input_format("BiRefNet-general-epoch_244").sigmoid
    assert find_input_format("rmbg_1.4").size == input_formats()["rmbg-1.4"].size
    assert find_input_format("something") == InputFormat()
    assert find_input_format("u2net", size=512, normalize="half").size == 512
    assert find_input_format("u2net", normalize="half").mean == (0.5, 0.5, 0.5)


@pytest.mark.usefixtures("empty_shelf")
@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("u2netp", "bakehouse models fetch u2netp"),
        ("birefnet-general", "models fetch birefnet-general   (973 MB, MIT)"),
        ("bria-rmbg", "no commercial use"),
        ("rmbg-1.4", "briaai/RMBG-1.4 on the Hugging Face Hub"),
        ("base", "transparent-background's `base` is InSPyReNet"),
        ("fast", "384 pixels"),
        ("u2nettp", "did you mean 'u2netp'"),
    ],
)
def test_names_of_other_programs_are_answered_with_where_to_get_them(name, words):
    with pytest.raises(UsageError) as e:
        Segmenter.open(name)
    assert words in str(e.value)


def test_a_path_is_known_by_its_file_s_name(bright_matte):
    matte = Segmenter.open(str(bright_matte("u2net-mine.onnx")))
    assert matte._format.peak and matte.name == "u2net-mine.onnx"


def test_a_file_that_is_no_network_is_refused_in_words(tmp_path):
    pytest.importorskip("onnxruntime", reason="needs onnxruntime")
    (tmp_path / "a.onnx").write_bytes(b"\xffno")
    with pytest.raises(UsageError, match=r"cannot load ONNX network .*a\.onnx"):
        Segmenter.open(str(tmp_path / "a.onnx"))


# --- colours


def test_what_has_the_colour_and_reaches_the_edge_is_background(draw_figure):
    image = draw_figure(96, 128, ground="#00ff00")
    truth = np.asarray(image) != (0, 255, 0)
    mask = color_mask(image, (0, 255, 0), 0.08)
    assert iou(mask, truth.any(axis=2).astype(np.float32)) > 0.97
    assert border_color(image) == (0, 255, 0)


def test_a_white_key_spares_the_eyes_and_a_green_one_sees_through_arms():
    for color, inside in (("white", 1.0), ("lime", 0.0)):
        image = Image.new("RGB", (80, 80), color)
        draw = ImageDraw.Draw(image)
        draw.ellipse((10, 10, 70, 70), fill="navy")
        draw.ellipse((35, 35, 45, 45), fill=color)
        mask = color_mask(image, image.getpixel((0, 0)), 0.05)
        assert mask[40, 40] == inside and mask[20, 40] == 1 and mask[0, 0] == 0


# --- quality


def blob(*boxes, size=(200, 160), value=1.0):
    mask = np.zeros((size[1], size[0]), np.float32)
    for left, top, right, bottom in boxes:
        mask[top:bottom, left:right] = value
    return mask


@pytest.mark.parametrize(
    ("mask", "word"),
    [
        (blob((0, 0, 10, 10)), "covers 0%"),
        (blob((0, 0, 200, 160)), "covers 100%"),
        (blob((20, 20, 120, 140)) - blob((40, 40, 100, 120), value=0.4), "of its inside is grey"),
        (blob((10, 10, 90, 150), (110, 10, 190, 150)), "its largest piece is 50%"),
    ],
)
def test_each_figure_refuses_what_it_is_for(mask, word):
    (problem,) = measure_mask(mask).problems
    assert word in problem


def test_a_good_mask_passes_and_a_second_opinion_can_spoil_it():
    good = blob((40, 20, 160, 150))
    assert measure_mask(good).problems == []
    assert measure_mask(good, good).agreement == 1
    half = blob((40, 20, 160, 85))
    assert measure_mask(good, half).agreement == pytest.approx(0.5)
    assert "two networks agree on 50%" in measure_mask(good, half).problems[0]
    assert measure_mask(blob((40, 20, 160, 150)) - blob((80, 60, 120, 100))).holes == pytest.approx(
        1600 / 14000, rel=0.01
    )
    assert iou(blob(), blob()) == 1


# --- the verb


def test_masks_are_found_again_and_taken_back(folder, bright_matte):
    told = []
    step = apply_operation(
        folder, Mask(model=str(bright_matte()), second="none", normalize="unit"), on_event=told.append
    )
    assert step is not None and [str(c.path) for c in step.changes] == ["masks/a.png", "masks/b.png"]
    for record in scan(folder):
        assert record.mask is not None
        loaded = load_mask(record, unchanged_placement((record.width, record.height)))
        bright = np.asarray(Image.open(record.path).convert("L")) > 127
        assert iou(loaded, bright.astype(np.float32)) > 0.88
    assert apply_operation(folder, Mask(model=str(bright_matte()), second="none", normalize="unit")) is None
    assert (
        len(
            collect_proposals(
                Mask(model=str(bright_matte()), second="none", normalize="unit", replace=True), scan(folder)
            )
        )
        == 2
    )
    undo(folder)
    assert all(record.mask is None for record in scan(folder))


def test_a_mask_that_two_networks_see_otherwise_is_named_and_not_written(folder, bright_matte):
    Image.new("RGB", (64, 64), "white").save(folder / "blank.png")
    told = []
    first, other = bright_matte(), bright_matte("other.onnx", level=9)
    found = collect_proposals(Mask(model=str(first), second=str(other), normalize="unit"), scan(folder), told.append)
    assert found == []
    warned = [e.message for e in told if isinstance(e, Warned)]
    assert any(w.startswith("a.png: no mask written") and "two networks agree on" in w for w in warned)
    assert any(w.startswith("blank.png: no mask written") and "covers 100%" in w for w in warned)
    assert warned[-1] == "3 of 3 masks not reliable; these images are trained whole"


def test_a_second_network_that_is_unsure_has_no_say(folder, bright_matte):
    (folder / "b.jpg").unlink()
    image = Image.open(folder / "a.png").convert("RGB")
    body = (np.asarray(image, np.float32)[90, 48] / 255 - InputFormat().mean) / InputFormat().std
    first, unsure = bright_matte(), bright_matte("unsure.onnx", level=float(body.mean()))  # the body comes out grey
    options = {"model": str(first), "second": str(unsure), "normalize": "unit"}
    assert measure_mask(Segmenter.open(str(unsure))(image)).unsure
    (found,) = collect_proposals(Mask(**options), scan(folder))
    assert found.why.endswith("the second network was unsure and was ignored")
    apply_operation(folder, Mask(**options))
    alone = Segmenter.open(str(first), normalize="unit")(image)
    assert (np.asarray(Image.open(folder / "masks" / "a.png")) == np.round(alone * 255)).all()


@pytest.mark.usefixtures("empty_shelf")
def test_alone_it_says_so_and_a_colour_needs_no_second(folder, bright_matte):
    told = []
    found = collect_proposals(Mask(model=str(bright_matte()), normalize="unit"), scan(folder), told.append)
    assert len(found) == 2 and "no second segmentation model" in next(e.message for e in told if isinstance(e, Noted))
    told.clear()
    found = collect_proposals(Mask(color="border"), scan(folder), told.append)
    assert len(found) == 2 and not [e for e in told if isinstance(e, (Noted, Warned))]
    assert "mask by the border colour" in found[0].why


def test_alpha_is_a_mask_already(folder, bright_matte):
    Image.new("RGBA", (64, 64), (255, 255, 255, 100)).save(folder / "c.png")
    told = []
    found = collect_proposals(
        Mask(model=str(bright_matte()), second="none", normalize="unit"), scan(folder), told.append
    )
    assert [str(p.path) for p in found] == ["a.png", "b.jpg"]
    assert any(
        "1 of 3 images already have a mask or an alpha channel" in e.message for e in told if isinstance(e, Noted)
    )


def test_u2netp_masks_sprites_as_their_own_alpha_does(fetched, art):
    matte = Segmenter(fetched("u2netp"), find_input_format("u2netp"))
    sprite = Image.open(art / "sylvie blue normal.png").convert("RGBA")
    for ground in ("white", art / "bg meadow.jpg"):
        back = Image.open(ground).convert("RGBA") if ground != "white" else Image.new("RGBA", (1280, 720), ground)
        scene = back.resize((1280, 700)).crop((300, 0, 300 + sprite.width, 700))
        scene.alpha_composite(sprite)
        mask = matte(scene.convert("RGB"))
        assert iou(mask, np.asarray(sprite.getchannel("A"), np.float32) / 255) >= 0.95
        assert measure_mask(mask).problems == []


def test_two_networks_keep_an_outfit_and_refuse_what_one_of_them_lost(fetched, art, tmp_path):
    """isnet-small is unsure of the green outfit on white; in the lecture hall it loses the skirt and is sure of it."""
    fetched("u2netp"), fetched("isnet-small")
    sprite = Image.open(art / "sylvie green normal.png").convert("RGBA")
    hall = Image.open(art / "bg lecturehall.jpg").convert("RGBA")
    hall = hall.resize((int(sprite.height * 16 / 9), sprite.height)).crop((300, 0, 300 + sprite.width, sprite.height))
    for name, ground in {"white": Image.new("RGBA", sprite.size, "white"), "hall": hall}.items():
        ground.alpha_composite(sprite)
        ground.convert("RGB").save(tmp_path / f"{name}.png")
    told = []
    assert apply_operation(tmp_path, Mask(second="isnet-small"), on_event=told.append) is not None
    masks = {r.path.stem: r.mask for r in scan(tmp_path)}
    assert masks["hall"] is None and masks["white"] is not None
    made = np.asarray(Image.open(masks["white"]), np.float32) / 255
    assert iou(made, np.asarray(sprite.getchannel("A"), np.float32) / 255) >= 0.95
    assert any("hall.png: no mask written" in e.message for e in told if isinstance(e, Warned))
