import json

import pytest

from bakehouse.curate.intake.sidecars import read_sidecars


def caption(tmp_path, text, name="a.jpg.txt", **options):
    path = tmp_path / name
    path.write_text(text if isinstance(text, str) else json.dumps(text), encoding="utf-8")
    return read_sidecars([path], **options)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # gallery-dl, mode "tags": one a line
        ("1girl\nlong_hair\nsmile\nblue_eyes\n", "1girl, long hair, smile, blue eyes"),
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


def test_json_comes_before_text(tmp_path):
    (tmp_path / "a.txt").write_text("x_y z_w a_b c_d")
    (tmp_path / "a.json").write_text('{"tags_general": ["1girl"]}')
    assert read_sidecars([tmp_path / "a.txt", tmp_path / "a.json"]) == "1girl"
