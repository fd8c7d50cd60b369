"""Collages: two subjects side by side, from cut-outs, with the captions of a pair."""

from __future__ import annotations

import random

import numpy as np
import pytest
from PIL import Image, ImageDraw

from bakehouse.cli.main import main
from bakehouse.core.errors import Problems, UsageError
from bakehouse.core.events import Warned
from bakehouse.curation.apply_and_undo import undo
from bakehouse.curation.collage import Collage, collage_folders
from bakehouse.curation.collage.collage_captions import collage_caption
from bakehouse.curation.collage.cut_out import clean_edge, main_pieces
from bakehouse.curation.collage.layout import LayoutRules, Shape, lay_out
from bakehouse.data import scan
from bakehouse.data.context_tags import context_of
from bakehouse.data.open_image import open_image
from bakehouse.data.provenance import originals, read_provenance

RED, BLUE = (200, 30, 30), (30, 30, 200)


def figure(color, *, top=20, bottom=110, left=34, right=66, size=(96, 128)):
    """A block of one colour; transparent around it."""
    image = Image.new("RGBA", size)
    ImageDraw.Draw(image).rectangle((left, top, right, bottom), fill=color)
    return image


@pytest.fixture
def sets(tmp_path):
    """Two folders of whole figures of different heights."""
    for name, color, trigger, top in (("a", RED, "zwx", 12), ("b", BLUE, "qvk", 40)):
        (tmp_path / name).mkdir()
        for i in range(3):
            figure(color, top=top + i).save(tmp_path / name / f"{i}.png")
            text = f"{trigger} person, 1girl, solo, {name} hat, full body, in a forest"
            (tmp_path / name / f"{i}.txt").write_text(text)
    return tmp_path


def parts(path):
    """The box of each colour in a collage."""
    values = np.asarray(open_image(path)).astype(int)
    boxes = {}
    for name, color in (("a", RED), ("b", BLUE)):
        rows, columns = np.nonzero(np.abs(values - color).sum(axis=2) < 40)
        boxes[name] = (columns.min(), rows.min(), columns.max(), rows.max())
    return boxes


def test_both_stand_on_one_line_whole_and_as_high_as_asked(sets):
    collage_folders(sets / "a", sets / "b", sets / "pair", Collage(pair="duo", count=8, vary=0, overlap=0))
    files = sorted((sets / "pair").glob("*.png"))
    assert len(files) == 8
    for path in files:
        boxes = parts(path)
        assert abs(boxes["a"][3] - boxes["b"][3]) <= 1
        heights = {name: box[3] - box[1] for name, box in boxes.items()}
        assert heights["b"] == pytest.approx(heights["a"], abs=3)
        left, right = sorted(boxes.values())
        assert 0 < left[0] < left[2] < right[0] < right[2] < open_image(path).width - 1


def test_order_ratio_and_size_are_as_asked(sets):
    spec = Collage(pair="duo", count=4, vary=0, ratio=0.5, order="b-left", size=(256, 160))
    collage_folders(sets / "a", sets / "b", sets / "pair", spec)
    for path in (sets / "pair").glob("*.png"):
        boxes = parts(path)
        assert open_image(path).size == (256, 160)
        assert boxes["b"][0] < boxes["a"][0]
        assert (boxes["b"][3] - boxes["b"][1]) / (boxes["a"][3] - boxes["a"][1]) == pytest.approx(0.5, abs=0.03)


def test_mixed_order_is_half_and_half(sets):
    collage_folders(sets / "a", sets / "b", sets / "pair", Collage(pair="duo", count=8))
    first = [parts(p)["a"][0] < parts(p)["b"][0] for p in (sets / "pair").glob("*.png")]
    assert sum(first) == 4


def test_captions_name_the_pair_and_both_and_not_the_old_surroundings(sets):
    collage_folders(sets / "a", sets / "b", sets / "pair", Collage(pair="duo", count=1, backgrounds=("white",)))
    caption = scan(sets / "pair")[0].captions[0]
    assert caption == "duo, zwx person, qvk person, 2girls, a hat, b hat, white background, full body"


def test_sentences_and_differing_framings_are_left_out():
    text = collage_caption(
        "", ("zwx", "qvk"), ("A zwx stands there.", "qvk, portrait, red tie, at night"), ("in a field",)
    )
    assert text == "zwx, qvk, red tie, in a field"


def test_the_same_command_changes_nothing_another_seed_adds_and_undo_takes_it_back(sets):
    before = {p: p.read_bytes() for p in sets.rglob("*") if p.is_file()}
    spec = Collage(pair="duo", count=3, seed=1)
    assert collage_folders(sets / "a", sets / "b", sets / "pair", spec).step
    made = {p.name: p.read_bytes() for p in (sets / "pair").glob("collage*")}
    assert collage_folders(sets / "a", sets / "b", sets / "pair", spec).step is None
    assert collage_folders(sets / "a", sets / "b", sets / "pair", spec.with_values({"seed": 2})).step
    assert len(list((sets / "pair").glob("*.png"))) == 6
    undo(sets / "pair")
    assert {p.name: p.read_bytes() for p in (sets / "pair").glob("collage*")} == made
    assert {p: p.read_bytes() for p in before} == before


def test_later_tools_know_that_it_is_composed(sets):
    collage_folders(sets / "a", sets / "b", sets / "pair", Collage(pair="duo", count=2))
    images = scan(sets / "pair")
    found = read_provenance(images[0].path)
    assert found.origin == "composed" and found.details["seed"] == 0
    assert {p.split("/")[-2] for p in found.sources} == {"a", "b"}
    assert originals(images) == () and len(originals(scan(sets / "a"))) == 3


def test_a_bust_stands_on_the_lower_edge_and_a_cut_shoulder_at_its_side():
    bust = Shape(60, 100, 0.8, cut_top=False, cut_bottom=True, cut_left=False, cut_right=False)
    cut = Shape(60, 128, 1.0, cut_top=True, cut_bottom=True, cut_left=True, cut_right=False)
    rules = LayoutRules((256, 128), overlap=0.1, vary=0.1)
    for seed in range(20):
        left, right = lay_out(cut, bust, 1, rules, random.Random(seed))
        assert (left.x, left.y, left.height) == (0, 0, 128)
        assert right.y + right.height == 128 and right.y > 0 and right.x + right.width < 256
        assert lay_out(bust, cut, 1, rules, random.Random(seed)) is None  # its cut side would be in view


def test_a_cut_out_has_no_rim_of_the_old_background():
    """A red disc on green, with the soft edge of both: nothing of it is greenish."""
    big = Image.new("RGB", (512, 512), (0, 160, 0))
    ImageDraw.Draw(big).ellipse((120, 120, 392, 392), fill=RED)
    alpha = Image.new("L", (512, 512))
    ImageDraw.Draw(alpha).ellipse((120, 120, 392, 392), fill=255)
    small = [i.resize((128, 128), Image.Resampling.BOX) for i in (big, alpha)]
    values = np.asarray(clean_edge(*small)).astype(int)
    visible = values[values[..., 3] > 8]
    assert len(visible) > 3000 and np.abs(visible[:, :3] - RED).max() <= 12


def test_small_pieces_of_a_mask_are_left_out():
    mask = Image.new("L", (64, 64))
    draw = ImageDraw.Draw(mask)
    draw.rectangle((5, 10, 30, 60), fill=255)
    draw.ellipse((50, 5, 60, 15), fill=255)
    assert main_pieces(mask).getbbox() == (5, 10, 31, 61)


def test_masks_cover_both_and_images_without_one_are_named(sets):
    Image.new("RGB", (96, 128), "white").save(sets / "a" / "9.png")
    events = []
    spec = Collage(pair="duo", count=1, write_masks=True, vary=0, overlap=0)
    collage_folders(sets / "a", sets / "b", sets / "pair", spec, on_event=events.append)
    assert any("9.png" in e.message for e in events if isinstance(e, Warned))
    record = scan(sets / "pair")[0]
    shown = np.asarray(open_image(record.mask).convert("L")) > 128
    boxes = parts(record.path)
    expected = sum((b[2] - b[0] + 1) * (b[3] - b[1] + 1) for b in boxes.values())
    assert shown.sum() == pytest.approx(expected, rel=0.1)


def test_bad_input_is_one_clear_error(sets):
    (sets / "plain").mkdir()
    Image.new("RGB", (96, 128), "white").save(sets / "plain" / "0.png")
    a, b, out = sets / "a", sets / "b", sets / "pair"
    with pytest.raises(UsageError, match="given twice"):
        collage_folders(a, a, out, Collage(pair="duo"))
    with pytest.raises(UsageError, match="whose images are cut out"):
        collage_folders(a, b, a / "pair", Collage(pair="duo"))
    with pytest.raises(UsageError, match="cannot tell the subject's trigger") as unknown:
        collage_folders(a, sets / "plain", out, Collage(pair="duo"))
    assert "--trigger-b" in unknown.value.hint
    with pytest.raises(UsageError, match="not all different"):
        collage_folders(a, b, out, Collage(pair="zwx person"))
    with pytest.raises(Problems, match="neither a colour") as error:
        collage_folders(a, b, out, Collage(pair="duo", backgrounds=("nowhere", "whitish")))
    assert len(error.value.problems) == 2
    with pytest.raises(Problems, match="overlap"):
        Collage.parse({"overlap": 2})
    assert not out.exists()


def test_the_command_previews_and_makes(sets, capsys, monkeypatch):
    monkeypatch.chdir(sets)
    line = ["dataset", "collage", "a", "b", "--pair", "duo", "-n", "2", "-o", "pair"]
    for extra in (["--dry-run"], ["--preview", "page.html"], []):
        assert not (sets / "pair").exists()
        with pytest.raises(SystemExit) as e:
            main([*line, *extra])
        assert not e.value.code
    assert "data:image/webp" in (sets / "page.html").read_text()
    assert len(list((sets / "pair").glob("*.png"))) == 2
    assert "bakehouse dataset undo pair" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("tag", "context"),
    [
        ("portrait", "framing"),
        ("in a forest", "place"),
        ("in a red dress", None),
        ("from_behind", "view"),
        ("at night", "place"),
        ("2girls", "count"),
        ("blue and white striped background", "place"),
        ("red hat", None),
        ("looking aside", None),
    ],
)
def test_tags_of_the_surroundings_are_told_from_those_of_the_subject(tag, context):
    assert context_of(tag) == context
