import itertools
import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from bakehouse.core.errors import BakehouseError, Problems
from bakehouse.data import CaptionOptions, is_fixed, read_caption, split_tags, training_caption

from .make import LAW

JAPANESE = "初音ミク, 青い髪, ツインテール"


def write(tmp_path, data, name="a.txt"):
    (tmp_path / name).write_bytes(data)
    return read_caption(tmp_path / name)


@pytest.mark.parametrize(
    ("data", "lines", "encoding", "words"),
    [
        (b"zwx, dog", ("zwx, dog",), "utf-8", ""),
        (JAPANESE.encode(), (JAPANESE,), "utf-8", ""),
        ("zwx, dog".encode("utf-8-sig"), ("zwx, dog",), "utf-8-sig", "byte-order"),
        ("zwx, dog".encode("utf-16"), ("zwx, dog",), "utf-16-le", "UTF-16"),
        (b"\xfe\xff" + "zwx, dog".encode("utf-16-be"), ("zwx, dog",), "utf-16-be", "UTF-16"),
        ("zwx, dog".encode("utf-16-le"), ("zwx, dog",), "utf-16-le", "UTF-16"),
        ("zwx, dog".encode("utf-16-be"), ("zwx, dog",), "utf-16-be", "UTF-16"),
        (JAPANESE.encode("utf-16"), (JAPANESE,), "utf-16-le", "UTF-16"),
        ("zwx".encode("utf-32"), ("zwx",), "utf-32-le", "UTF-32"),
        (JAPANESE.encode("cp932"), (JAPANESE,), "cp932", "Shift-JIS"),
        ("猫, 犬".encode("cp932"), ("猫, 犬",), "cp932", "Shift-JIS"),
        ("蓝色头发，女孩, 1girl".encode("gbk"), ("蓝色头发，女孩, 1girl",), "gb18030", "GBK"),
        ("半角ｶﾅ".encode("cp932"), ("半角ｶﾅ",), "cp932", "Shift-JIS"),
        ("ÀÉÎ, GROẞ ÜBER".encode("cp1252", "replace"), ("ÀÉÎ, GRO? ÜBER",), "cp1252", "accented"),
        ("Zoé, crème brûlée".encode("latin-1"), ("Zoé, crème brûlée",), "cp1252", "accented"),
        ("ésta mañana, año".encode("latin-1"), ("ésta mañana, año",), "cp1252", "accented"),
        ("the girl’s “hat”, don’t".encode("cp1252"), ("the girl’s “hat”, don’t",), "cp1252", "accented"),
        (b"a\x81 \xe9 b", ("a\x81 é b",), "latin-1", "accented"),
        (b"one, two\r\n", ("one, two",), "utf-8", ""),
        (b"one\r\ntwo\r\n", ("one", "two"), "utf-8", "2 lines"),
        (b"\n\none\n", ("one",), "utf-8", "first line is blank"),
        (b"", (), "utf-8", "empty"),
        (b" \n\t\n", (), "utf-8", "empty"),
        (b"1girl\nsolo\nblue hair\nsmile", ("1girl, solo, blue hair, smile",), "utf-8", "one tag per line"),
        (b"1girl\nsolo\nsmile", ("1girl, solo, smile",), "utf-8", "one tag per line"),
        (b"long_hair\nblue eyes", ("long_hair, blue eyes",), "utf-8", "one tag per line"),
        (b"character:sylvie\n:d", ("character:sylvie, :d",), "utf-8", "one tag per line"),
        (b"zwx person\nzwx person smiling", ("zwx person", "zwx person smiling"), "utf-8", "if they are tags"),
        (b"a zwx\nthe zwx\nzwx at sea\nmy zwx", ("a zwx", "the zwx", "zwx at sea", "my zwx"), "utf-8", "4 lines"),
        ("1girl，solo".encode(), ("1girl，solo",), "utf-8", "full-width"),
        (b"a\0b", ("a\0b",), "utf-8", "NUL"),
        ("a\u00a0b".encode(), ("a\u00a0b",), "utf-8", "spaces"),
        ("blue\u200bberry".encode(), ("blue\u200bberry",), "utf-8", "zero-width"),
        ("cafe\u0301".encode(), ("cafe\u0301",), "utf-8", "NFD"),
        ("x\ufffdy".encode(), ("x\ufffdy",), "utf-8", "U+FFFD"),
        ("a\u2028b".encode(), ("a\u2028b",), "utf-8", ""),
        ("zwx, ".encode("utf-16") + b"more", None, "utf-16-le", "UTF-16"),
        ("zwx".encode("utf-16") + b"m", None, "utf-16-le", "U+FFFD"),
    ],
)
def test_every_encoding_is_read_right_or_reported(tmp_path, data, lines, encoding, words):
    caption = write(tmp_path, data)
    if lines is not None:
        assert caption.lines == lines
    assert caption.encoding == encoding
    assert words in " ".join(caption.notes)
    assert bool(caption.notes) == bool(words)
    assert (tmp_path / "a.txt").read_bytes() == data


@LAW
@given(st.lists(st.sampled_from("猫犬青髪女の子ーク, abc"), min_size=1).map("".join))
def test_utf8_is_never_taken_for_something_else(text):
    from bakehouse.data.captions import decode_text

    assert decode_text(text.encode())[:2] == (text, "utf-8")
    assert decode_text(text.encode("utf-16"))[0] == text


@LAW
@given(st.binary(max_size=40))
def test_any_bytes_are_text(data):
    from bakehouse.data.captions import decode_text

    text, encoding, notes = decode_text(data)
    assert isinstance(text, str)
    assert notes or encoding == "utf-8"


def test_json_captions(tmp_path):
    assert write(tmp_path, b'{"tags": {"1girl": 0.9, "solo": 0.8}}', "a.json").lines == ("1girl, solo",)
    assert write(tmp_path, b'"just text"', "a.json").lines == ("just text",)
    assert "not valid JSON" in write(tmp_path, b"{", "a.json").notes[0]
    assert "without" in write(tmp_path, b'{"width": 3}', "a.json").notes[0]
    with pytest.raises(BakehouseError, match="nothing"):
        read_caption(tmp_path / "nothing.txt")


def test_split_tags():
    assert split_tags(" a, b  c ,, name (series),") == ["a", "b  c", "name (series)"]
    assert split_tags("a;b,c", ";") == ["a", "b,c"]


# --- during training --------------------------------------------------------------------------------------------------


def text(caption, seed=0, epoch=1, step=10**6, fallback="a dog", **options):
    captions = [caption] if isinstance(caption, str) else caption
    return training_caption(
        captions, CaptionOptions(**options), rng=random.Random(seed), epoch=epoch, step=step, fallback=fallback
    )


def test_by_default_nothing_changes():
    assert text("b,a,  c") == "b,a,  c"
    assert text([], fallback="zwx dog") == "zwx dog"
    assert text([" ", ""], fallback="zwx dog") == "zwx dog"


def test_shuffle_keeps_tags_and_the_kept_head():
    results = {text("zwx, dog, a, b, c", seed=s, shuffle=True, keep_tokens=2) for s in range(60)}
    assert len(results) == 6
    assert all(r.startswith("zwx, dog, ") and sorted(r[10:].split(", ")) == ["a", "b", "c"] for r in results)


def test_keep_tokens_separator_keeps_head_and_tail():
    for seed in range(20):
        result = text("zwx, dog ||| a, b, c ||| best quality", seed, shuffle=True, keep_tokens_separator="|||")
        assert result.startswith("zwx, dog, ")
        assert result.endswith(", best quality")
        assert sorted(split_tags(result)) == sorted(["zwx", "dog", "a", "b", "c", "best quality"])
    assert text("zwx ||| a", keep_tokens_separator="|||") == "zwx, a"
    assert text("zwx, a", keep_tokens_separator="|||") == "zwx, a"
    assert text("a, b, c", shuffle=True, keep_tokens=3, keep_tokens_separator="|||") == "a, b, c"


def test_caption_dropout_has_its_rate_and_every_n_epochs():
    dropped = sum(text("a", seed=s, caption_dropout=0.3) == "" for s in range(2000))
    assert abs(dropped / 2000 - 0.3) < 0.04
    assert [text("a", epoch=e, dropout_every_n_epochs=3) for e in range(1, 7)] == ["a", "a", "", "a", "a", ""]
    assert text("a", caption_dropout=1.0, prefix="p") == ""


def test_tag_dropout_spares_the_kept():
    counts = Counter()
    for seed in range(1000):
        counts.update(split_tags(text("zwx, a, b", seed, tag_dropout=0.4, keep_tokens=1)))
    assert counts["zwx"] == 1000
    assert abs(counts["a"] / 1000 - 0.6) < 0.06
    assert text("zwx, a, b", tag_dropout=1.0, keep_tokens=1) == "zwx"


def test_token_warmup_is_kohyas_line():
    caption = "zwx, a, b, c, d, e"
    lengths = [
        len(split_tags(text(caption, step=s, keep_tokens=1, token_warmup_min=1, token_warmup_step=10)))
        for s in range(12)
    ]
    # floor(step * (5 - 1) / 10) + 1 free tags and the kept one
    assert lengths == [2, 2, 2, 3, 3, 4, 4, 4, 5, 5, 6, 6]
    assert text(caption, step=5, keep_tokens=1, token_warmup_step=10) == "zwx, a, b, c"
    assert text("a, b", step=3, token_warmup_min=9, token_warmup_step=10) == "a, b"
    assert text("a, b", step=0, token_warmup_min=0, token_warmup_step=10) == ""


def test_wildcards():
    seen = {text("a {red|blue|dark green} hat", seed=s, wildcards=True) for s in range(40)}
    assert seen == {"a red hat", "a blue hat", "a dark green hat"}
    assert text("{{a|b}} {c}", wildcards=True) == "{a|b} c"
    assert text("a {red|blue} hat") == "a {red|blue} hat"


@pytest.mark.parametrize(
    ("caption", "separator", "parts", "end"),
    [
        ("A red hat. Shoes, two. Rain.", ".", ["A red hat", "Shoes, two", "Rain"], "."),
        ("A red hat. Shoes, two. Rain.", ". ", ["A red hat", "Shoes, two", "Rain"], "."),
        ("a | b | c", "|", ["a", "b", "c"], ""),
        ("a;b; c", ";", ["a", "b", "c"], ""),
        ("a，b，c", "，", ["a", "b", "c"], ""),
        ("a,b ,c,", ",", ["a", "b", "c"], ""),  # as kohya: a comma and a space
    ],
)
def test_the_separator_stands_between_the_tags_again(caption, separator, parts, end):
    between = {",": ", ", ".": ". ", "|": " | "}.get(separator, separator)
    shuffled = {text(caption, seed, shuffle=True, separator=separator) for seed in range(40)}
    assert shuffled == {between.join(order) + end for order in itertools.permutations(parts)}
    assert text(caption, tag_dropout=1.0, separator=separator) == ""
    assert text(caption, separator=separator) == caption


def test_kept_tags_keep_the_separator_too():
    kept = {text("A cat. Day ||| Snow. Ice", seed, separator=".", keep_tokens_separator="|||") for seed in range(9)}
    assert kept == {"A cat. Day. Snow. Ice"}


def test_secondary_separator_binds_tags_together():
    for seed in range(20):
        result = text("zwx, a;;;b, c", seed, shuffle=True, secondary_separator=";;;")
        assert "a,b" in result
        assert ";;;" not in result


def test_prefix_and_suffix_come_before_keep_tokens():
    assert text("a, b", prefix="photo of", suffix="end") == "photo of a, b end"
    assert text([], fallback="zwx dog", prefix="photo of") == "photo of zwx dog"
    assert text("a, b", shuffle=True, keep_tokens=2, prefix="masterpiece,").startswith("masterpiece, a")


def test_several_captions_are_chosen_from_evenly():
    counts = Counter(text(["one", "two\nthree"], seed=s) for s in range(900))
    assert set(counts) == {"one", "two", "three"}
    assert min(counts.values()) > 240


@LAW
@given(
    st.lists(st.text("abc ,|{}", min_size=1, max_size=12), max_size=3),
    st.booleans(),
    st.integers(0, 3),
    st.floats(0, 1),
    st.integers(0, 20),
    st.integers(0, 2**16),
)
def test_it_is_pure_and_never_invents_tags(captions, shuffle, keep, dropout, step, seed):
    options = {"shuffle": shuffle, "keep_tokens": keep, "tag_dropout": dropout, "token_warmup_step": 10}
    before = list(captions)
    first = text(captions, seed, step=step, **options)
    assert first == text(captions, seed, step=step, **options)
    assert captions == before
    allowed = {tag for line in [*captions, "a dog"] for tag in split_tags(line)}
    assert set(split_tags(first)) <= allowed


OPTIONS = st.fixed_dictionaries(
    {},
    optional={
        "shuffle": st.booleans(),
        "keep_tokens": st.integers(0, 3),
        "keep_tokens_separator": st.just("|||"),
        "caption_dropout": st.sampled_from([0.0, 0.5]),
        "dropout_every_n_epochs": st.integers(0, 2),
        "tag_dropout": st.sampled_from([0.0, 0.5]),
        "token_warmup_step": st.sampled_from([0, 5]),
        "wildcards": st.booleans(),
        "prefix": st.sampled_from(["", "{x|y}", "p,"]),
    },
)


@LAW
@given(OPTIONS, st.lists(st.sampled_from(["a", "a, b", "zwx ||| a", "a {b|c}", "a, a", " "]), max_size=2))
def test_fixed_means_fixed(options, captions):
    if is_fixed(CaptionOptions(**options), captions):
        results = {text(captions, seed=s, step=s, epoch=1 + s % 4, **options) for s in range(12)}
        assert len(results) == 1


@pytest.mark.parametrize(
    ("options", "captions", "fixed"),
    [
        ({}, ["a, b"], True),
        ({}, ["a", "b"], False),
        ({}, ["a\nb"], False),
        ({}, [], True),
        ({"shuffle": True}, ["zwx dog"], True),
        ({"shuffle": True}, ["a, b"], False),
        ({"shuffle": True, "keep_tokens": 2}, ["a, b"], True),
        ({"caption_dropout": 0.1}, ["a"], False),
        ({"wildcards": True}, ["a {b|c}"], False),
        ({"wildcards": True}, ["a"], True),
        ({"tag_dropout": 0.1}, ["a"], False),
        ({"token_warmup_step": 5}, ["a, b"], False),
    ],
)
def test_is_fixed(options, captions, fixed):
    assert is_fixed(CaptionOptions(**options), captions) is fixed


def test_options_are_checked_and_frozen():
    with pytest.raises(Problems) as caught:
        CaptionOptions.parse({"shufle": True, "caption_dropout": 2, "keep_tokens": -1, "separator": ""})
    assert len(caught.value.problems) == 4
    assert "shuffle" in str(caught.value)
    with pytest.raises(ValidationError):
        CaptionOptions().shuffle = True
