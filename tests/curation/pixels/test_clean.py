"""Text and strangers' faces: told apart, painted over where it cannot be seen, else left out of the loss."""

from __future__ import annotations

import io
import json
import sys

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw, ImageFont

from bakehouse.cli.main import main
from bakehouse.core.errors import UsageError
from bakehouse.core.events import Noted, Warned
from bakehouse.curation.clean import Clean, TextRegion, blur_faces, classify_text, mark_watermarks
from bakehouse.curation.clean.fill_text import (
    VISIBLE_ERROR,
    fill_background,
    fill_error,
    letter_mask,
    membrane,
    text_mask,
)
from bakehouse.curation.operation import apply_operation, collect_proposals
from bakehouse.data import load_mask, scan
from bakehouse.data.buckets import unchanged_placement
from bakehouse.vision.faces import Face
from bakehouse.vision.inpainting import Inpainter
from bakehouse.vision.text_detection import is_long_enough

SIZE = (240, 200)


def line(words, left, top, wide=60, high=12, kind="text"):
    corners = ((left, top), (left + wide, top), (left + wide, top + high), (left, top + high))
    return TextRegion(corners, words, 0.99, kind)


def gradient(size=SIZE):
    """A sky: far from even, smooth everywhere."""
    values = np.linspace(40, 220, size[1])[:, None, None] + np.linspace(0, 30, size[0])[None, :, None]
    return Image.fromarray(np.broadcast_to(values, (size[1], size[0], 3)).clip(0, 255).astype(np.uint8))


def noise(size=SIZE):
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8))


def written(image, text):
    """The image with a black bar where the text is."""
    image = image.copy()
    ImageDraw.Draw(image).rectangle(text.box, fill="black")
    return image


@pytest.fixture
def reads(monkeypatch):
    """Stands in for the reader of text: gives the lines that a test says, by the image's size."""

    def use(lines):
        monkeypatch.setattr(
            "bakehouse.curation.clean.clean.RapidOcrDetector", lambda: lambda image: lines.get(image.size, [])
        )

    return use


# --- telling text apart


@pytest.mark.parametrize(
    ("words", "box", "ground", "kind"),
    [
        ("www.example.com", (90, 90), "grey", "url"),
        ("@some_artist", (90, 90), "grey", "url"),
        ("(c) 2024 somebody", (90, 90), "grey", "url"),
        ("somebody 24", (170, 180), "grey", "signature"),
        ("WHAT?!", (90, 90), "white", "bubble"),
        ("BAKERY", (90, 90), "grey", "text"),
        ("come in", (90, 90), "grey", "text"),
    ],
)
def test_what_text_is_there_for(words, box, ground, kind):
    image = Image.new("RGB", SIZE, ground)
    (found,) = classify_text([line(words, *box)], image)
    assert found.kind == kind


@pytest.mark.parametrize("words", ["mmmm", "AAA", "lililil", "0000", "mnmnm"])
def test_patterns_are_no_writing_but_a_cry_in_a_bubble_is(words):
    assert not classify_text([line(words, 90, 90)], Image.new("RGB", SIZE, "grey"))
    assert [t.kind for t in classify_text([line(words, 90, 90)], Image.new("RGB", SIZE, "white"))] == ["bubble"]
    assert classify_text([line("hahaha", 90, 90)], Image.new("RGB", SIZE, "grey"))


def test_a_sign_at_an_edge_is_no_signature():
    image = noise()
    ImageDraw.Draw(image).rectangle((20, 4, 130, 34), fill=(20, 60, 140), outline="white", width=2)
    image, text = lettered(image, "MAIN ST", (35, 10), 14)
    assert [t.kind for t in classify_text([text], image)] == ["text"]
    image, text = lettered(gradient(), "mira 24", (170, 180), 12)
    assert [t.kind for t in classify_text([text], image)] == ["signature"]


def test_large_letters_at_an_edge_are_no_signature():
    (found,) = classify_text([line("POSTER", 20, 5, 180, 60)], Image.new("RGB", SIZE, "grey"))
    assert found.kind == "text"


def test_what_returns_at_one_place_is_a_watermark():
    sizes = [(200, 200)] * 4 + [(400, 400)]
    found = {i: [line("Studio X", 60, 90), line(f"other {i}", 10 + 40 * i, 40)] for i in range(4)}
    found[4] = [line("Studio  X", 120, 180, 120, 24)]  # the same place, in a larger copy
    told = mark_watermarks(found, sizes)
    assert all(told[i][0].kind == "watermark" for i in range(5))
    assert all(told[i][1].kind == "text" for i in range(4))
    assert all(
        text.kind == "text"
        for texts in mark_watermarks({i: found[i] for i in (0, 1)}, sizes[:2]).values()
        for text in texts
    )


# --- painting over


def test_a_mask_holds_the_letters_and_their_halo():
    text = line("x", 100, 100, 60, 20)
    mask = text_mask([text], SIZE)
    assert mask.shape == (200, 240) and mask[110, 130] == 255
    assert mask[97, 130] == 255 and mask[94, 130] == 0, "a fifth of the letters' height around them"


def water(size=SIZE):
    """Waves: smooth from pixel to pixel, and nothing that goes on evenly."""
    y, x = np.mgrid[: size[1], : size[0]]
    waves = np.sin(y / 3 + np.sin(x / 25)) + np.sin(y / 5 - x / 40)
    return Image.fromarray(np.clip(110 + 35 * waves[..., None] + [-40, 0, 30], 0, 255).astype(np.uint8))


def lettered(image, words="Sample 24", at=(80, 90), height=18, fill="white"):
    """The image with real letters, and where they are."""
    image = image.copy()
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(height)
    left, top, right, bottom = draw.textbbox(at, words, font=font)
    draw.text(at, words, font=font, fill=fill)
    return image, line(words, left, top, right - left, bottom - top)


@pytest.mark.parametrize(("ground", "seen"), [(gradient(), False), (noise(), True), (water(), True)])
def test_what_painting_would_show_is_measured(ground, seen):
    image, text = lettered(ground)
    miss = fill_error(image, text)
    assert miss > 1.5 * VISIBLE_ERROR if seen else miss < VISIBLE_ERROR / 2


def test_a_bubble_of_two_lines_hides_what_is_painted():
    image = Image.new("RGB", SIZE, (90, 60, 120))
    ImageDraw.Draw(image).ellipse((20, 50, 220, 160), fill="white", outline="black", width=2)
    image, first = lettered(image, "Where are", (85, 80), fill="black")
    image, second = lettered(image, "you going?", (80, 100), fill="black")
    assert [t.kind for t in classify_text([first, second], image)] == ["bubble", "bubble"]
    assert max(fill_error(image, t, [first, second]) for t in (first, second)) < 2
    made = np.asarray(fill_background(image, letter_mask(image, [first, second])))
    assert (made[80:125, 80:160] > 250).all()


def test_on_smooth_ground_nothing_is_seen_of_the_text():
    ground = gradient()
    image, text = lettered(ground)
    mask = letter_mask(image, [text])
    assert 0.2 < (mask > 0).sum() / (text_mask([text], SIZE) > 0).sum() < 0.7, "the letters, not the box"
    made = np.asarray(fill_background(image, mask), dtype=float)
    assert np.abs(made - np.asarray(ground)).max() < 4
    assert (made == np.asarray(image))[mask == 0].all()


def test_a_box_that_is_all_letters_is_painted_whole():
    text = line("x", 100, 90)
    image = written(gradient(), text)
    mask = letter_mask(image, [text])
    assert (mask == text_mask([text], SIZE)).all()
    assert np.abs(np.asarray(fill_background(image, mask), dtype=float) - np.asarray(gradient()))[mask > 0].mean() < 4


def test_a_membrane_goes_on_as_its_edge_does():
    plane = np.add.outer(np.arange(40.0), 2 * np.arange(60.0))[..., None].repeat(3, axis=2).astype(np.float32)
    hole = np.zeros((40, 60), bool)
    hole[8:30, 10:50] = True
    spoiled = np.where(hole[..., None], np.float32(999), plane)
    assert np.abs(membrane(spoiled, hole) - plane).max() < 1
    assert (membrane(spoiled, hole)[~hole] == plane[~hole]).all()


class Fill(torch.nn.Module):
    """An inpainter that paints holes half grey, and spoils everything else, as real ones do a little."""

    def forward(self, image, mask):
        return image * (1 - mask) * 0.9 + 0.5 * mask


@pytest.mark.parametrize("size", [(240, 200), (37, 61)])
def test_an_inpainter_changes_masked_pixels_alone(tmp_path, size):
    path = tmp_path / "fill.pt"
    with pytest.warns(DeprecationWarning):
        torch.jit.trace(Fill(), (torch.zeros(1, 3, 16, 16), torch.zeros(1, 1, 16, 16))).save(str(path))
    image, mask = noise(size), np.zeros((size[1], size[0]), np.uint8)
    mask[20:30, 10:20] = 255
    made = np.asarray(Inpainter(path)(image, mask))
    assert (made == np.asarray(image))[mask == 0].all()
    assert np.abs(made[mask > 0].astype(int) - 128).max() <= 2


def test_an_inpainter_as_onnx_of_one_size_that_counts_to_255(tmp_path):
    onnx = pytest.importorskip("onnx", reason="needs onnx, of the extra dev")
    from onnx import TensorProto, helper, numpy_helper

    nodes = [
        helper.make_node("Mul", ["mask", "level"], ["holes"]),
        helper.make_node("Add", ["image", "holes"], ["out"]),
    ]
    shapes = {"image": [1, 3, 64, 64], "mask": [1, 1, 64, 64]}
    graph = helper.make_graph(
        nodes, "fill",
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in shapes.items()],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, [1, 3, 64, 64])],
        [numpy_helper.from_array(np.float32(200), "level")],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)])
    model.ir_version = 8
    onnx.save(model, str(tmp_path / "fill.onnx"))
    mask = np.zeros((200, 240), np.uint8)
    mask[80:120, 80:160] = 255
    made = np.asarray(Inpainter(tmp_path / "fill.onnx")(Image.new("RGB", SIZE, "black"), mask))
    assert made[100, 120].tolist() == [200, 200, 200] and made[20, 20].tolist() == [0, 0, 0]


def test_what_is_no_inpainter_is_refused(tmp_path):
    (tmp_path / "a.pt").write_bytes(b"no")
    with pytest.raises(UsageError, match="neither ONNX nor TorchScript"):
        Inpainter(tmp_path / "a.pt")


# --- faces


def test_other_faces_are_blurred_and_the_rest_stays():
    image = noise((300, 200)).convert("RGBA")
    image.putalpha(Image.fromarray(np.random.default_rng(1).integers(0, 256, (200, 300), dtype=np.uint8)))
    made = np.asarray(blur_faces(image, [Face((200, 60, 260, 120), 1.0)]))
    before = np.asarray(image)
    assert (made[..., 3] == before[..., 3]).all()
    assert (made[:, :150] == before[:, :150]).all()
    assert made[80:100, 220:240, :3].std() < before[80:100, 220:240, :3].std() / 5


# --- the verb


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "set"
    path.mkdir()
    written(gradient(), line("", 90, 90)).save(path / "sky.jpg", quality=100)
    (path / "sky.txt").write_text("a sky")
    noise((200, 240)).save(path / "noise.png")
    gradient((100, 100)).save(path / "plain.png")
    return path


TEXTS = {SIZE: [line("www.site.com", 90, 90)], (200, 240): [line("www.other.com", 60, 90), line("OPEN", 60, 140)]}


def test_smooth_ground_is_painted_rough_ground_is_told(folder, reads):
    reads(TEXTS)
    told = []
    step = apply_operation(folder, Clean(inpainter="none"), on_event=told.append)
    assert step is not None
    assert sorted(str(c.path) for c in step.changes) == ["sky.jpg", "sky.png"]
    assert (folder / "sky.txt").read_text() == "a sky"
    made = np.asarray(Image.open(folder / "sky.png"), dtype=float)
    assert np.abs(made - np.asarray(gradient())).mean() < 2
    (warning,) = [e.message for e in told if isinstance(e, Warned)]
    assert warning.startswith("noise.png: url 'www.other.com' kept, because") and "--mask-out" in warning
    assert any("1 line of other text kept" in e.message for e in told if isinstance(e, Noted))


def test_json_of_the_command_has_its_warnings(folder, reads, capsys):
    reads(TEXTS)
    with pytest.raises(SystemExit):
        main(["dataset", "clean", str(folder), "--inpainter", "none", "--dry-run", "--json"])
    document = json.loads(capsys.readouterr().out)
    assert [w.partition(":")[0] for w in document["warnings"]] == ["noise.png"]
    assert document["notes"] == ["1 line of other text kept (signs, prints on clothes): --kind text removes it"]


def test_masked_out_text_is_black_in_the_mask_and_the_picture_stays(folder, reads):
    reads(TEXTS)
    (folder / "masks").mkdir()
    mask = Image.new("L", (200, 240))
    mask.paste(255, (0, 60, 200, 240))
    mask.save(folder / "masks" / "noise.png")
    before = (folder / "noise.png").read_bytes(), (folder / "sky.jpg").read_bytes()
    assert apply_operation(folder, Clean(mask_out=True)) is not None
    assert before == ((folder / "noise.png").read_bytes(), (folder / "sky.jpg").read_bytes())
    masks = {r.path.name: load_mask(r, unchanged_placement((r.width, r.height))) for r in scan(folder)}
    assert masks["sky.jpg"][96, 120] == 0 and masks["sky.jpg"][20, 20] == 1
    assert masks["noise.png"][96, 90] == 0, "the text"
    assert masks["noise.png"][200, 90] == 1 and masks["noise.png"][20, 90] == 0, "the mask that was there"
    assert masks["plain.png"].min() == 1


def test_kinds_choose(folder, reads):
    reads(TEXTS)
    named = collect_proposals(Clean(kinds=("text",), mask_out=True), scan(folder))
    assert [p.why for p in named] == ["text 'OPEN' masked out of the loss"]


def test_faceless_leaves_text_and_the_main_face_alone(folder, monkeypatch):
    faces = [Face((10, 10, 60, 60), 1), Face((130, 100, 160, 130), 1)]
    monkeypatch.setattr(
        "bakehouse.curation.clean.clean.load_face_detector",
        lambda *_: lambda image: faces if image.size == (200, 240) else faces[:1],
    )
    (found,) = collect_proposals(Clean(text=False, faceless=True), scan(folder))
    assert (str(found.path), found.why) == ("noise.png", "1 other face blurred")
    (edit,) = found.make_edits()
    made, before = np.asarray(Image.open(io.BytesIO(edit.content))), np.asarray(noise((200, 240)))
    assert (made[:70, :80] == before[:70, :80]).all() and made[110:120, 140:150].std() < 20
    with pytest.raises(UsageError, match="nothing to clean"):
        collect_proposals(Clean(text=False), scan(folder))


def test_without_the_reader_it_says_what_to_install(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "rapidocr", None)
    with pytest.raises(UsageError, match=r"detecting text needs rapidocr") as e:
        collect_proposals(Clean(), scan(folder))
    assert "pip install 'bakehouse[curate]'" in str(e.value)


@pytest.mark.slow
def test_the_real_reader_finds_an_address():
    pytest.importorskip("rapidocr", reason="needs rapidocr, of the extra curate")
    from PIL import ImageFont

    from bakehouse.curation.clean import RapidOcrDetector

    image = gradient((420, 160))
    ImageDraw.Draw(image).text((60, 60), "www.example.com", font=ImageFont.load_default(28), fill="black")
    (found,) = classify_text(RapidOcrDetector()(image), image)
    assert found.kind == "url" and "example" in found.text
    left, top, right, bottom = found.box
    assert left < 70 and right > 200 and top < 80 < bottom


@pytest.mark.parametrize(
    ("words", "is_one"), [("+", False), ("XX", False), ("- -", False), ("mia", True), ("作者", True)]
)
def test_a_sign_or_two_is_no_writing(words, is_one):
    assert is_long_enough(words) is is_one
