from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bakehouse.captions import form_of, has_several_people, is_face, join_tags, key, split_caption
from bakehouse.data.shipped_tag_lists import read_list


def test_taken_apart_and_put_together():
    assert split_caption(" a, b  c ,, name (series),") == ("a", "b  c", "name (series)")
    assert split_caption("zwx ||| a, b ||| best quality") == ("zwx", "|||", "a", "b", "|||", "best quality")
    assert join_tags(("zwx", "|||", "a", "b")) == "zwx ||| a, b"
    assert split_caption("{red, dark red|blue} hat, smile") == ("{red, dark red|blue} hat", "smile")


@given(st.lists(st.sampled_from(["a", "b c", "|||", "name (x)", "^_^"]), max_size=6))
def test_together_and_apart_is_the_same(tags):
    assert split_caption(join_tags(tags)) == tuple(tags)


def test_spellings_of_one_tag():
    assert key("Blue_Hair") == key("blue  hair") == "blue hair"
    assert key(r"name \(series\)") == key("name (series)")
    assert key("^_^") == "^_^"
    assert key("XD") != key("blue hair")


@pytest.mark.parametrize("face", read_list("faces"))
def test_faces_keep_their_underscores(face):
    assert is_face(face)
    assert is_face(face.upper())


@pytest.mark.parametrize("tag", ["blue_hair", "looking_at_viewer", "1girl", "2b_(nier)", "my_trigger", "smile", "a b"])
def test_words_are_no_faces(tag):
    assert not is_face(tag)


@pytest.mark.parametrize(
    "caption",
    [
        "A girl with blue hair stands in the snow, smiling.",
        "a photo of zwx person",
        "zwx, A woman in a red dress, smiling",
        "1girl, solo, She is standing in front of the old house.",
        "The image shows a young woman who wears glasses",
    ],
)
def test_sentences(caption):
    assert form_of(caption) == "prose"


@pytest.mark.parametrize(
    "caption",
    [
        "",
        "1girl, solo, blue hair",
        "person, brown and white striped background, in the city, in hzn style",
        "zwx person",
        "mr. t, !?, ..., dr. stone",
        "the legend of zelda, link, the legend of zelda: ocarina of time",
        "looking at viewer, hair over one eye, hand on own hip",
    ],
)
def test_tags(caption):
    assert form_of(caption) == "tags"


@pytest.mark.parametrize(
    ("caption", "several"),
    [
        ("2girls, solo", True), ("1girl, 1boy", True), ("multiple girls", True), ("6+girls", True), ("couple", True),
        ("1girl, solo", False), ("1girl, girl", False), ("", False), ("multiple views, 1girl", True), ("10girls", True),
    ],
)  # fmt: skip
def test_several_people(caption, several):
    assert has_several_people(split_caption(caption)) is several
