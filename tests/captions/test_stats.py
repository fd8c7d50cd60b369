from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bakehouse.captions import load_vocabulary
from bakehouse.captions.caption_files import read_captions
from bakehouse.captions.similar_tags import edit_distance, find_typos
from bakehouse.captions.stats import caption_stats
from bakehouse.captions.token_count import token_counter
from bakehouse.cli.main import main
from bakehouse.core.errors import UsageError
from bakehouse.data.tag_vocabulary import ListedVocabulary, VocabularyTag
from bakehouse.models.crumb import crumb_folder
from bakehouse.models.diffusers_networks import load_tokenizer
from bakehouse.models.text_encoders import prompt_token_ids


def words(texts):
    """A tokenizer that has one token for each word."""
    return [len(t.split()) for t in texts]


def test_it_says_of_what_files_the_numbers_are(folder, capsys):
    root = folder(a="zwx person, hat", b="zwx person, coat")
    assert caption_stats(read_captions(root)).files == {".txt": 2}
    with pytest.raises(SystemExit):
        main(["captions", "stats", str(root)])
    assert ".txt" not in capsys.readouterr().out
    (root / "a.tags").write_text("hat, smile")
    with pytest.raises(SystemExit):
        main(["captions", "stats", str(root)])
    assert "read from 1 .tags file and 1 .txt file: raw tags" in " ".join(capsys.readouterr().out.split())


def test_numbers(folder):
    root = folder(
        a="1girl, Blue_Hair, hat", b="1girl, blue hair, hat", c="1girl, blue hair", d="", e=None,
        f="A girl is sitting on the grass in the sun.",
    )  # fmt: skip
    stats = caption_stats(read_captions(root), count_tokens=words)
    assert (stats.images, stats.without, stats.captions, stats.sentences) == (6, 2, 4, 1)
    assert dict(stats.frequency) == {"1girl": 3, "blue hair": 3, "hat": 2}
    assert list(stats.frequency) == ["1girl", "blue hair", "hat"]
    assert stats.lengths == {2: 1, 3: 2}
    assert stats.spellings == {"blue hair": ("Blue_Hair",)}
    assert stats.tokens == {"75": 4, "150": 0, "225": 0, "more": 0}
    assert not stats.unknown
    assert json.loads(json.dumps(stats.to_json()))["frequency"]["hat"] == 2


def test_what_is_past_75_tokens_is_named(folder):
    many = ", ".join(f"tag {i}" for i in range(40))
    long = "word " * 80
    root = folder(a=many, b=f"{long}end", c="short", d=", ".join(f"t{i}" for i in range(151)), e="x " * 300)
    stats = caption_stats(read_captions(root), count_tokens=words)
    assert stats.tokens == {"75": 1, "150": 2, "225": 1, "more": 1}
    by_path = {one.path: one for one in stats.longest}
    assert [one.tokens for one in stats.longest] == [300, 151, 81, 80]
    assert by_path["a.txt"].past == "tag 37, tag 38, tag 39"
    assert by_path["b.txt"].past == "word word word word word end"


def test_tokens_are_counted_as_the_base_model_does():
    texts = ["person, pink long hair, in the city", "", "a photo of zwx person", "日本, ^_^"]
    expected = [len(ids) for ids in prompt_token_ids(load_tokenizer(crumb_folder() / "tokenizer"), texts)]
    assert list(token_counter(crumb_folder())(texts)) == expected
    with pytest.raises(UsageError, match="no tokenizer"):
        token_counter(crumb_folder() / "unet")


@settings(max_examples=40, deadline=None)
@given(st.lists(st.sampled_from([*"ab1,_'.s-é", ", ", " ", "\n", "'s", "zwx", "日本", "e\u0301"]), max_size=300))
def test_long_captions_have_as_many_tokens_as_the_base_model_sees(parts):
    long = "".join(parts) + ", photo of zwx" * 500
    expected = [len(ids) for ids in prompt_token_ids(load_tokenizer(crumb_folder() / "tokenizer"), ["a", long, "b"])]
    assert list(token_counter(crumb_folder())(["a", long, "b"])) == expected


def test_unknown_weak_and_vague(folder, tmp_path):
    (tmp_path / "selected_tags.csv").write_text(
        "tag_id,name,category,count\n1,general,9,9\n2,1girl,0,5000\n3,blue_hair,0,800\n4,hatsune_miku,4,70000\n"
    )
    root = folder(a="1girl, blue hair, zwx, armor, hatsune miku")
    known = load_vocabulary(tmp_path / "selected_tags.csv")
    stats = caption_stats(read_captions(root), vocabulary=known)
    assert set(stats.unknown) == {"zwx", "armor"}
    assert stats.weak == {"blue hair": 800}
    assert stats.vague == ("armor",)
    assert stats.tokens == {}


def test_vocabularies(tmp_path):
    assert load_vocabulary("crumb").knows("pink long hair")
    assert not load_vocabulary("crumb").knows("gibberish")
    files = {
        "a.csv": '1girl,0,6000000,"1girls,sole_female"\nfate_(series),3,5,\n',
        "b.json": '{"idx_to_tag": {"0": "1girl", "1": "fate_(series)"}, "tag_to_category": {"1girl": "General"}}',
        "c.json": '{"0": {"tag": "1girl", "category": "General"}, "1": {"tag": "fate_(series)"}}',
        "d.txt": "1girl\nfate_(series)\n",
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text)
        known = load_vocabulary(tmp_path / name)
        assert known.knows("1GIRL"), name
        assert known.knows(r"fate \(series\)"), name
        assert not known.knows("sole female"), name
    assert load_vocabulary(tmp_path / "a.csv").count("1girl") == 6_000_000
    (tmp_path / "e.csv").write_text("")
    for wrong in (tmp_path / "e.csv", tmp_path / "f.pdf", "no-such-vocabulary"):
        if str(wrong).endswith("pdf"):
            wrong.write_text("x")
        with pytest.raises(UsageError):
            load_vocabulary(wrong)


def test_typos_are_found():
    counts = {
        "looking at viewer": 20, "lookign at viewer": 1, "school uniform": 10, "schoolgirl": 9, "school girl": 1,
        "red hair": 20, "bed hair": 1, "1girl": 20, "2girls": 1, "shirt": 20, "shirts": 2, "striped": 10, "stripped": 1,
        "white background": 12, "white backgound": 2, "smile": 20,
    }  # fmt: skip
    found = {m.tag: m.correction for m in find_typos(counts)}
    assert found == {
        "lookign at viewer": "looking at viewer", "school girl": "schoolgirl", "stripped": "striped",
        "white backgound": "white background",
    }  # fmt: skip
    vocabulary = ListedVocabulary([VocabularyTag("stripped"), VocabularyTag("striped"), VocabularyTag("sleeveless")])
    found = {m.tag: (m.correction, m.correction_count) for m in find_typos({**counts, "sleevless": 1}, vocabulary)}
    assert "stripped" not in found
    assert found["sleevless"] == ("sleeveless", 0)


@given(st.text("abc", max_size=6), st.text("abc", max_size=6))
def test_edit_distance_is_a_distance(a, b):
    assert edit_distance(a, b) == edit_distance(b, a)
    assert (edit_distance(a, b) == 0) == (a == b)
    assert abs(len(a) - len(b)) <= edit_distance(a, b) <= max(len(a), len(b))


def test_edit_distance_knows_neighbours():
    assert edit_distance("lookign", "looking") == 1
    assert edit_distance("kitten", "sitting") == 3


def test_pairs(folder):
    root = folder(**{f"i{i}": "1girl, a, b" if i < 4 else "1girl, a" if i < 6 else "1girl, c" for i in range(8)})
    (pair,) = caption_stats(read_captions(root)).pairs
    assert (pair.first, pair.second, pair.both) == ("a", "b", 4)
    assert pair.jaccard == pytest.approx(4 / 6)


def test_the_command(folder, capsys):
    root = folder(a="person, pink long hair, zwx, armor", b="person, zwx", c=None)
    with pytest.raises(SystemExit) as e:
        main(["captions", "stats", str(root), "--vocabulary", "crumb", "--top", "1"])
    out = capsys.readouterr().out
    assert e.value.code == 0
    assert "3 images, 1 of them without a caption" in out
    assert "not in the vocabulary (1 of 2)" in out
    with pytest.raises(SystemExit) as e:
        main(["captions", "stats", str(root), "--json"])
    assert json.loads(capsys.readouterr().out)["frequency"] == {"person": 2, "zwx": 2, "armor": 1, "pink long hair": 1}
