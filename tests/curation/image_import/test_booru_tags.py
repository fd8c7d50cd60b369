import json

import pytest

from bakehouse.curation.image_import.booru_tags import has_tag_lines, read_tag_files


def caption(tmp_path, text, name="a.jpg.txt", **options):
    path = tmp_path / name
    path.write_text(text if isinstance(text, str) else json.dumps(text), encoding="utf-8")
    found = read_tag_files([path], **options)
    return found and found.caption


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # gallery-dl, mode "tags": one a line
        ("1girl\nlong_hair\nsmile\nblue_eyes\n", "1girl, long hair, smile, blue eyes"),
        ("solo\nsmile\nhat", "solo, smile, hat"),
        ("long_hair\nwhite background\n", "long hair, white background"),
        ("score_9\nscore_8_up\nlong_hair\nsource_anime", "score_9, score_8_up, long hair, source_anime"),
        # Grabber: spaces, or `|`
        ("1girl long_hair ^_^ blue_eyes", "1girl, long hair, ^_^, blue eyes"),
        ("1girl | long hair | re:zero", "1girl, long hair, re:zero"),
        ("1girl|long_hair|:d", "1girl, long hair, :d"),
        # namespaces: characters in front, artists and ratings off
        (
            "artist:some_one general:1girl character:sylvie_(the_question) rating:safe copyright:the_question",
            "sylvie (the question), the question, 1girl",
        ),
        ("long_hair long_hair 1girl blue_eyes", "long hair, 1girl, blue eyes"),
    ],
)
def test_text_of_downloaders(tmp_path, text, expected):
    assert caption(tmp_path, text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "a photo of zwx person",
        "zwx person, smiling, red_hair, in a garden",
        "a photo of zwx_person in the new_york sun",
        "portrait of mira\nmira in the rain, at night",
        "zwx person ||| smiling",
        "smiling",
        "",
        "She wears a hat.\nShe smiles.\nShe waits.\nShe sings.\n",
    ],
)
def test_captions_of_people_and_trainers_are_left_alone(tmp_path, text):
    assert caption(tmp_path, text) is None


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (
            {"tags_general": ["red_bow"], "tags_artist": ["x"], "tags_character": ["sylvie"], "tags_meta": "y"},
            "sylvie, red bow",
        ),
        ({"tag_string_general": "1girl red_bow", "tag_string_artist": "x"}, "1girl, red bow"),
        ({"tags": {"general": ["1girl"], "artist": ["x"], "species": ["fox"], "lore": ["y"]}}, "fox, 1girl"),
        ({"category": "gelbooru", "tags": "1girl long_hair"}, "1girl, long hair"),
        ({"url": "x", "tags": ["artist:x", "1girl"]}, "1girl"),
        ({"url": "x", "tags": ["artist:x"]}, ""),
        ({"caption": "a dog", "tags": "dog, grass"}, None),
        ({"tags": "dog, grass"}, None),
        ([1, 2], None),
    ],
)  # fmt: skip
def test_json_of_downloaders(tmp_path, value, expected):
    assert caption(tmp_path, value, "a.jpg.json") == expected


def test_options(tmp_path):
    value = {"tags_general": ["long_hair"], "tags_artist": ["some_one"], "tags_character": ["sylvie"]}
    assert caption(tmp_path, value, "a.json", artists=True) == "sylvie, some one, long hair"
    assert caption(tmp_path, value, "a.json", underscores=True) == "sylvie, long_hair"


def test_ratings_are_left_out_unless_they_are_asked_for(tmp_path):
    text = "1girl\nlong_hair\nrating:general\nartist:some_one"
    assert caption(tmp_path, text) == "1girl, long hair"
    assert caption(tmp_path, text, ratings=True) == "1girl, long hair, rating:general"
    assert read_tag_files([tmp_path / "a.jpg.txt"]).left_out == (("rating", "general"), ("artist", "some_one"))


def test_short_tag_files_are_told_by_the_others_of_the_download(tmp_path):
    short, long, prose = tmp_path / "a.txt", tmp_path / "b.txt", tmp_path / "c.txt"
    short.write_text("white background\nhat")
    long.write_text("1girl\nblue eyes\nsmile\nhat")
    prose.write_text("zwx person, smile\nzwx person in the rain")
    assert read_tag_files([short]) is None
    assert has_tag_lines([short, long])
    assert not has_tag_lines([short])
    assert not has_tag_lines([short, long, prose])
    assert read_tag_files([short], tag_lines=True).caption == "white background, hat"


@pytest.mark.parametrize(
    ("text", "used"),
    [
        ("x_y z_w a_b c_d", "1girl, solo"),
        ("1girl", "1girl, solo"),  # a lone tag of the list, in whatever form
        ("1girl\nsolo", "1girl, solo"),
        ("", "1girl, solo"),
        ("zwx person, smiling", None),
        ("zwx person", None),
    ],
)
def test_json_comes_before_text_but_not_before_a_caption(tmp_path, text, used):
    (tmp_path / "a.txt").write_text(text)
    (tmp_path / "a.json").write_text('{"tags_general": ["1girl", "solo"]}')
    found = read_tag_files([tmp_path / "a.txt", tmp_path / "a.json"])
    assert (found and found.caption) == used
    assert used is None or found.path.name == "a.json"
