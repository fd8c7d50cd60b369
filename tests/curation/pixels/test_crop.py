"""Crops at several distances: where they lie, and captions that are true of them."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from bakehouse.core.errors import Problems, UsageError
from bakehouse.core.events import Noted
from bakehouse.curation.apply_and_undo import undo
from bakehouse.curation.crops import Crop, crop, crop_box, crop_caption, load_framing_rules
from bakehouse.curation.crops.headless import headless_caption, load_headless_rules
from bakehouse.curation.operation import apply_operation, collect_proposals
from bakehouse.data import scan
from bakehouse.data.captions import split_tags
from bakehouse.vision.faces import Face

RULES = load_framing_rules()
FRAMINGS = {framing.name: framing for framing in RULES.framing}
FACE = Face((400, 200, 600, 400), 1.0)
TAGS = sorted({*RULES.tags, *(w for z in RULES.gone.values() for w in (*z.heads, *z.tags)), "1girl", "smile", "zwx"})


@pytest.fixture
def one_face(monkeypatch):
    """Finds one face of 200 pixels in every image."""
    monkeypatch.setattr(crop, "load_face_detector", lambda *_: lambda _: [FACE])


@pytest.fixture
def person(tmp_path):
    """A dataset of one image of 1000 x 1400 with a caption and a mask."""
    folder = tmp_path / "set"
    (folder / "masks").mkdir(parents=True)
    image = Image.new("RGB", (1000, 1400), "white")
    ImageDraw.Draw(image).rectangle((400, 200, 600, 400), fill="red")
    image.save(folder / "a.png")
    mask = Image.new("L", (500, 700))  # a mask may be smaller than its image
    ImageDraw.Draw(mask).rectangle((200, 100, 299, 199), fill=255)
    mask.save(folder / "masks" / "a.png")
    (folder / "a.txt").write_text("zwx, bluedress, 1girl, standing, black thigh boots, pleated skirt, smile")
    return folder


def test_crops_are_measured_in_faces():
    heights = {name: crop_box(FACE, (2000, 3000), framing, RULES) for name, framing in FRAMINGS.items()}
    assert heights["portrait"] == (320, 50, 680, 450)
    assert heights["upper_body"][3] - heights["upper_body"][1] == 680
    assert heights["cowboy_shot"][3] - heights["cowboy_shot"][1] == 1040
    # Where the image ends before the crop does, there is no such crop.
    assert crop_box(FACE, (2000, 800), FRAMINGS["cowboy_shot"], RULES) is None
    # At an edge the box moves, and keeps its size.
    left, _, right, _ = crop_box(Face((0, 200, 200, 400), 1), (2000, 3000), FRAMINGS["portrait"], RULES)
    assert (left, right) == (0, 360)


@given(
    st.floats(0, 900), st.floats(0, 900), st.floats(20, 600), st.sampled_from(list(FRAMINGS.values())),
    st.tuples(st.integers(600, 2000), st.integers(600, 2000)),
)  # fmt: skip
def test_a_crop_lies_in_its_image_and_holds_the_face(x, y, side, framing, size):
    face = Face(
        (min(x, size[0] - side), min(y, size[1] - side), min(x, size[0] - side) + side, min(y, size[1] - side) + side),
        1,
    )
    box = crop_box(face, size, framing, RULES)
    if box is None:
        return
    assert 0 <= box[0] < box[2] <= size[0] and 0 <= box[1] < box[3] <= size[1]
    assert box[1] <= face.box[1] + 1 and face.box[3] <= box[3] + 1
    assert box[0] <= face.center[0] <= box[2]


@pytest.mark.parametrize(
    ("framing", "caption", "expected"),
    [
        ("portrait", "zwx, bluedress, 1girl, smile, boots, large breasts", "zwx, 1girl, smile, portrait"),
        ("upper_body", "zwx, bluedress, 1girl, black thigh boots, skirt, large breasts",
         "zwx, bluedress, 1girl, large breasts, upper body"),
        ("cowboy_shot", "1girl, brown_boots, long_skirt, full_body, smile", "1girl, long_skirt, cowboy_shot, smile"),
        ("cowboy_shot", "1girl, full body, portrait", "1girl, cowboy shot"),
        ("portrait", "zwx person, in a meadow, from afar", "zwx person, in a meadow, portrait"),
        ("portrait", "holding sword, hand on own hip, crossed arms, hat, earrings, red scarf",
         "hat, earrings, red scarf, portrait"),
        ("upper_body", "a woman in a long coat and black leather riding boots, smile",
         "a woman in a long coat and black leather riding boots, smile, upper body"),
        ("portrait", r"zwx \(series\), shoes", r"zwx \(series\), portrait"),
        ("upper_body", "bow, rainbow, landscape, ear, bear, glasses, earrings",
         "bow, rainbow, landscape, ear, bear, glasses, earrings, upper body"),
    ],
)  # fmt: skip
def test_the_caption_says_what_is_seen(framing, caption, expected):
    assert crop_caption(caption, FRAMINGS[framing], RULES, outfit=["bluedress"]) == expected


@given(st.lists(st.sampled_from(TAGS), max_size=12), st.sampled_from(list(FRAMINGS.values())), st.booleans())
def test_following_twice_is_following_once_and_adds_nothing_but_the_framing(tags, framing, joined):
    caption = ", ".join(tag.replace(" ", "_") if joined else tag for tag in tags)
    once = crop_caption(caption, framing, RULES)
    assert crop_caption(once, framing, RULES) == once
    said = [tag.replace("_", " ") for tag in split_tags(once)]
    assert said.count(framing.tag) == 1
    assert {*said} - {*(t.replace("_", " ") for t in tags)} <= {framing.tag}
    assert not ({*said} & ({*RULES.tags} - {framing.tag}))


def test_what_a_wider_crop_loses_a_closer_one_loses_too():
    zones = [set(FRAMINGS[name].gone) for name in ("cowboy_shot", "upper_body", "portrait")]
    assert zones[0] < zones[1] < zones[2]
    assert {zone for framing in RULES.framing for zone in framing.gone} == {*RULES.gone}
    words = [w for z in RULES.gone.values() for w in (*z.heads, *z.tags, *z.begins)]
    assert all(word == word.lower() and "_" not in word for word in (*words, *RULES.tags))
    assert {framing.tag for framing in RULES.framing} <= {*RULES.tags}


@pytest.mark.usefixtures("one_face")
def test_crops_come_with_captions_and_masks_and_go_again(person):
    before = {p: p.read_bytes() for p in person.rglob("*") if p.is_file()}
    step = apply_operation(person, Crop(outfit=("bluedress",), resolution=256))
    assert step is not None
    images = {r.path.name: r for r in scan(person)}
    assert {*images} == {"a.png", "a-cowboy_shot.png", "a-upper_body.png", "a-portrait.png"}
    portrait = images["a-portrait.png"]
    assert (portrait.width, portrait.height) == (360, 400)
    assert portrait.captions == ("zwx, 1girl, smile, portrait",)
    assert images["a-cowboy_shot.png"].captions == (
        "zwx, bluedress, 1girl, standing, pleated skirt, smile, cowboy shot",
    )
    # The red face is white in the mask, in the crop as in the whole.
    assert portrait.mask is not None
    mask, face = Image.open(portrait.mask), Image.open(portrait.path)
    assert mask.size == face.size
    assert face.getpixel((180, 250)) == (255, 0, 0) and mask.getpixel((180, 250)) == 255
    assert face.getpixel((5, 250)) == (255, 255, 255) and mask.getpixel((5, 250)) == 0
    assert apply_operation(person, Crop(resolution=256)) is None, "what is cropped is not cropped again"
    undo(person)
    assert {p: p.read_bytes() for p in person.rglob("*") if p.is_file() and ".bakehouse" not in p.parts} == before


@pytest.mark.usefixtures("one_face")
def test_crops_that_would_be_enlarged_much_are_not_made(person):
    wide = {p.path.name for p in collect_proposals(Crop(resolution=512), scan(person))}
    assert wide == {"a-cowboy_shot.png", "a-upper_body.png"}, "a portrait of 360 x 400 would be enlarged x1.4"
    told = []
    assert not collect_proposals(Crop(resolution=2048), scan(person), told.append)
    (note,) = (e.message for e in told if isinstance(e, Noted))
    assert note.startswith("not cropped, face too small: at 2048 pixels") and note.endswith(": a.png")
    assert len(collect_proposals(Crop(resolution=512, upscale=2), scan(person))) == 3
    assert [p.path.name for p in collect_proposals(Crop(resolution=256, framings=("portrait",)), scan(person))] == [
        "a-portrait.png"
    ]


@pytest.mark.usefixtures("one_face")
def test_images_of_one_stem_have_crops_of_their_own(person):
    Image.new("RGB", (1000, 1400), "blue").save(person / "a.jpg")
    assert apply_operation(person, Crop(resolution=256, framings=("portrait",))) is not None
    assert {"a-png-portrait.png", "a-jpg-portrait.png"} < {r.path.name for r in scan(person)}
    assert apply_operation(person, Crop(resolution=256, framings=("portrait",))) is None


@pytest.mark.parametrize(
    ("faces", "reason"),
    [([], "no face found"), ([FACE, Face((700, 200, 860, 360), 1)], "several faces of similar size")],
)
def test_an_image_whose_subject_is_unclear_is_named_and_left(person, monkeypatch, faces, reason):
    monkeypatch.setattr(crop, "load_face_detector", lambda *_: lambda _: faces)
    told = []
    assert collect_proposals(Crop(), scan(person), told.append) == []
    assert [e.message for e in told if isinstance(e, Noted)] == [f"not cropped, {reason}: a.png"]


@pytest.mark.parametrize(
    ("caption", "expected"),
    [
        ("zwx person, bluedress, short red hair, blue eyes, smile, full body, white gloves",
         "person, bluedress, white gloves, head out of frame"),
        ("zwx, red_dress, very_long_hair, pink_hair, hair_ribbon, looking_at_viewer, standing",
         "red_dress, very_long_hair, pink_hair, standing, head_out_of_frame"),
        ("she has red hair and a blue dress", "she has red hair and a blue dress, head out of frame"),
    ],
)  # fmt: skip
def test_the_caption_of_an_outfit_names_no_head(caption, expected):
    made = headless_caption(caption, load_headless_rules(), RULES, characters=["zwx"])
    assert made == expected
    assert headless_caption(made, load_headless_rules(), RULES, characters=["zwx"]) == made


@pytest.mark.usefixtures("one_face")
def test_headless_crops_show_the_outfit_alone(person):
    (person / "a.txt").write_text("zwx person, bluedress, smile, pleated skirt")
    settings = Crop(framings=(), headless=True, character=("zwx",))
    assert apply_operation(person, settings) is not None
    sizes = {(r.width, r.height) for r in scan(person) if r.path.name == "a-headless.png"}
    assert sizes == {(1000, 1400 - 424)}  # the face ends at 400, and is 200 high
    assert (person / "a-headless.txt").read_text() == "person, bluedress, pleated skirt, head out of frame\n"
    with Image.open(person / "masks" / "a-headless.png") as mask:
        assert {mask.size} == sizes
    assert apply_operation(person, settings) is None, "neither the image nor its crop is cropped again"
    undo(person)
    assert not (person / "a-headless.png").exists()


def test_boxes_drawn_by_hand_are_cropped_without_a_detector(person):
    boxes = ("a.png:portrait:300,100,700,500", "a.png:crop:0,0,1000,900", "a.png:crop:0,0,400,400")
    step = apply_operation(person, Crop(boxes=boxes))
    assert step is not None and step.operation == "crop"
    sizes = {r.path.name: (r.width, r.height) for r in scan(person)}
    assert sizes["a-portrait.png"] == (400, 400) and sizes["a-crop.png"] == (1000, 900)
    assert sizes["a-crop-2.png"] == (400, 400)
    assert (
        "portrait" in (person / "a-portrait.txt").read_text() and "thigh" not in (person / "a-portrait.txt").read_text()
    )
    assert (person / "a-crop.txt").read_text() == (person / "a.txt").read_text() + "\n"
    with Image.open(person / "masks/a-portrait.png") as mask:
        assert mask.size == (400, 400) and mask.getpixel((200, 200)) == 255 and mask.getpixel((10, 10)) == 0
    undo(person)
    assert [r.path.name for r in scan(person)] == ["a.png"]


@pytest.mark.usefixtures("one_face")
def test_proposals_say_where_they_are_cropped(person):
    found = {p.path.name: p.to_json() for p in collect_proposals(Crop(resolution=256), scan(person))}
    assert found["a-portrait.png"]["source"] == "a.png" and found["a-portrait.png"]["box"] == [320, 50, 680, 450]
    apply_operation(person, Crop(boxes=("a.png:crop:0,0,900,900", "a.png:crop:0,0,800,800")))
    assert not [p for p in collect_proposals(Crop(resolution=256), scan(person)) if str(p.source) != "a.png"]


@pytest.mark.usefixtures("one_face")
def test_one_image_alone_is_cropped(person):
    Image.new("RGB", (1000, 1400), "blue").save(person / "b.png")
    found = collect_proposals(Crop(resolution=256, only=("b.png",)), scan(person))
    assert {str(p.source) for p in found} == {"b.png"} and len(found) == 3
    with pytest.raises(UsageError, match=r"no image 'c.png'; did you mean"):
        collect_proposals(Crop(only=("c.png",)), scan(person))


@pytest.mark.parametrize(
    ("box", "says"),
    [
        ("a.png:portrait:0,0,5", "is not a box"),
        ("b.png:portrait:0,0,50,50", "is no image of the dataset"),
        ("../a.png:portrait:0,0,50,50", "is no image of the dataset"),
        ("a.png:potrait:0,0,50,50", "did you mean"),
        ("a.png:portrait:0,0,1001,50", "leaves the image, 1000 x 1400"),
        ("a.png:portrait:-1,0,50,50", "leaves the image"),
        ("a.png:portrait:50,50,50,90", "less than 16 pixels"),
        ("a.png:portrait:90,0,50,50", "less than 16 pixels"),
    ],
)
def test_boxes_that_cannot_be_are_refused_by_name(person, box, says):
    with pytest.raises(Problems, match=r"(?s)nothing was changed.*" + re.escape(says)):
        apply_operation(person, Crop(boxes=("a.png:crop:0,0,900,900", box)))
    assert len(scan(person)) == 1
