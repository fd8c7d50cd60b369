"""The language of templates: what each sign draws, and that a prompt depends on its seed alone."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from bakehouse.core.errors import UsageError
from bakehouse.generation.templates.resolve import Resolver
from bakehouse.generation.templates.syntax import TemplateSyntaxError, is_plain, parse
from bakehouse.generation.templates.wildcards import Wildcards

SEEDS = range(300)


def resolve(text: str, seed: int = 0, folder: Path | None = None, **slots: str) -> str:
    return Resolver(seed, "prompt", slots, Wildcards([folder] if folder else [])).resolve(parse(text))


def drawn(text: str, folder: Path | None = None, **slots: str) -> Counter[str]:
    return Counter(resolve(text, seed, folder, **slots) for seed in SEEDS)


@pytest.fixture
def folder(tmp_path):
    """Wildcards in folders, as people collect them."""
    files = {
        "season.txt": "# when\nsummer\n\n{autumn|fall}\nwinter",
        "colors/warm.txt": "red\norange\n",
        "colors/cold.txt": "blue\n",
        "colors/deep/dark.txt": "black\n",
        "dress.txt": "a ${color:gray} dress in __season__",
        "more.yaml": "clothes:\n  hats: [cap, 3::beret]\n  number: 5\n",
        "old.json": '{"shoes": ["boots", "clogs"]}',
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


@pytest.mark.parametrize(
    "text",
    [
        "a cat", "a (cat:1.2), [dog|cat]", "[a:b:0.5] AND c BREAK d", "<lora:zwx:0.8>", r"chibi \(style\)",
        "50 % # off", "snake_case, a_b_c", "$5", "a | b", r"a \\ b", " spaces  stay ", "__", "a,, b",
    ],
)  # fmt: skip
def test_what_is_not_of_the_language_is_left_as_it_is(text):
    assert is_plain(parse(text))
    assert resolve(text) == text


def test_escaped_signs_are_plain_text():
    assert resolve(r"\{a\|b\} \$\{c\} \_\_d\_\_") == "{a|b} ${c} __d__"


def test_a_choice_draws_each_of_its_options():
    assert set(drawn("{red|{light|dark} blue} hat")) == {"red hat", "light blue hat", "dark blue hat"}
    assert set(drawn("{|red }hat")) == {"hat", "red hat"}
    assert set(drawn("{just this}")) == {"just this"}


def test_weights_are_relative_and_none_draws_nothing():
    counts = drawn("{3::a|1::b|0::c}")
    assert set(counts) == {"a", "b"}
    assert 0.67 < counts["a"] / len(SEEDS) < 0.83
    assert set(drawn("{0.5::{x|y}|.5::z}")) == {"x", "y", "z"}


def test_several_are_drawn_without_repeats_in_any_order():
    assert set(drawn("{2$$a|b|c}")) == {"a, b", "b, a", "a, c", "c, a", "b, c", "c, b"}
    assert set(drawn("{2$$ and $$a|b}")) == {"a and b", "b and a"}
    assert set(drawn("{9$$a|b}")) == {"a, b", "b, a"}, "as many as there are"


@pytest.mark.parametrize(
    ("text", "counts"),
    [("{1-2$$a|b|c}", {1, 2}), ("{-2$$a|b|c}", {1, 2}), ("{2-$$a|b|c}", {2, 3}), ("{0-1$$a|b|c}", {0, 1}),
     ("{1-9$$a|b|c}", {1, 2, 3})],
)  # fmt: skip
def test_ranges_of_how_many(text, counts):
    assert {len(one.split(", ")) if one else 0 for one in drawn(text)} == counts


def test_tags_that_came_out_empty_leave_no_comma():
    assert set(drawn("a, {0-1$$x}, , b")) == {"a, b", "a, x, b"}


def test_wildcards_are_lines_of_files_with_choices_of_their_own(folder):
    assert set(drawn("__season__", folder)) == {"summer", "autumn", "fall", "winter"}
    assert set(drawn("__clothes/hats__", folder)) == {"cap", "beret"}
    assert set(drawn("__shoes__", folder)) == {"boots", "clogs"}
    assert all(len(set(one.split(", "))) == 2 for one in drawn("{2$$__season__}", folder))


def test_patterns_take_the_lines_of_several_files(folder):
    assert set(drawn("__colors/*__", folder)) == {"red", "orange", "blue"}
    assert set(drawn("__colors/**__", folder)) == {"red", "orange", "blue", "black"}
    assert set(drawn("__colors/c*__", folder)) == {"blue"}


def test_variables_are_drawn_once_or_each_time(folder):
    assert {tuple(one.split(" and ")) for one in drawn("${c=!{a|b}}${c} and ${c}")} == {("a", "a"), ("b", "b")}
    assert len(drawn("${c={a|b}}${c} and ${c}")) == 4
    assert set(drawn("${c=a}${c?=b}${c}")) == {"a"}
    assert set(drawn("${c:x}")) == {"x"}
    assert all(one.startswith("a red dress in ") for one in drawn("__dress(color=red)__", folder))
    assert all(one.startswith("a gray dress in ") for one in drawn("__dress__", folder))


def test_a_slot_has_the_same_words_wherever_it_occurs():
    assert set(drawn("{hat}, {hat}", hat="{red|blue} hat")) == {"red hat, red hat", "blue hat, blue hat"}


def test_comments_are_lines_of_their_own_in_longer_texts():
    assert resolve("a cat,\n  # not this: {\n  a dog") == "a cat,\n  a dog"
    assert resolve("a {cat},\n# nor this\n  a dog", cat="hen") == "a hen, a dog"
    assert resolve("# alone") == "# alone"


def test_the_same_seed_draws_the_same_and_streams_are_apart(folder):
    text = "{a|b|c|d|e}, __season__, {2$$f|g|h}"
    assert [resolve(text, seed, folder) for seed in SEEDS] == [resolve(text, seed, folder) for seed in SEEDS]
    other = [Resolver(seed, "negative", {}, Wildcards([folder])).resolve(parse(text)) for seed in SEEDS]
    assert other != [resolve(text, seed, folder) for seed in SEEDS]


def test_a_seed_draws_what_it_drew_before():
    """The numbers are part of every image's recipe: another version of the program must draw them again."""
    assert [resolve("{a|b|c|d|e|f|g|h}{1-3$$i|j|k}", seed) for seed in (0, 1, 2, 2**40)] == PINNED


PINNED = ["ei, j", "gj, k", "hk", "gi, k, j"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a {b|c", "character 3, '{b|c': a { without its }"),
        ("a b} c", "a } without its {"),
        ("{}", "empty braces"),
        ("{0::a|0::b}", "weight 0"),
        ("{3-1$$a|b}", "from 3 to 1"),
        ("{@a|b}", "depends on its image's seed alone"),
        ("__@season__", "leave '@' out"),
        ("__dress(red)__", "'red' is not a variable"),
        ("{" * 60, "nested more than 50 deep"),
    ],
)
def test_what_cannot_be_read_is_said_with_its_place(text, said):
    with pytest.raises(TemplateSyntaxError) as e:
        parse(text)
    assert said in str(e.value)


def test_unknown_names_are_said_with_the_nearest(folder):
    with pytest.raises(UsageError, match=r"__seson__: there is no such wildcard; did you mean 'season'"):
        resolve("__seson__", folder=folder)
    with pytest.raises(UsageError, match=r"nothing is known for \{subjct\}; did you mean 'subject'"):
        resolve("{subjct}", subject="a cat")
    with pytest.raises(UsageError, match=r"\$\{light\} has no value"):
        resolve("${light}")
    with pytest.raises(UsageError, match="leads back to itself"):
        resolve("{a}", a="{b}", b="{a}")


def test_a_check_finds_what_any_seed_could_draw(folder):
    (folder / "bad.txt").write_text("fine\n{broken\n")
    (folder / "ring.txt").write_text("fine\n{rare|__ring2__}\n")
    (folder / "ring2.txt").write_text("__ring__\n")
    (folder / "slot.txt").write_text("{hat}\n")
    (folder / "self").mkdir()
    (folder / "self" / "a.txt").write_text("fine\n__self/*__\n")
    (folder / "self" / "b.txt").write_text("also fine\n")
    wildcards = Wildcards([folder])
    for text, said in (
        ("{__bad__|x}", "bad.txt, line 2: character 1"),
        ("__ring__", "lead back to themselves: ring -> ring2 -> ring"),
        ("__slot__", "slot.txt, line 1: nothing is known for {hat}"),
        ("__gone__", "there is no such wildcard"),
    ):
        with pytest.raises(UsageError) as e:
            wildcards.check(parse(text), {})
        assert said in str(e.value)
    wildcards.check(parse("__self/*__, __season__, {hat}"), {"hat": ""})
    assert set(drawn("__self/*__", folder)) == {"fine", "also fine"}, "a pattern leaves out the file that it is in"


def test_folders_that_hold_nothing_are_refused(tmp_path):
    with pytest.raises(UsageError, match="is not a folder"):
        Wildcards([tmp_path / "gone"])
    with pytest.raises(UsageError, match="has no wildcard file"):
        Wildcards([tmp_path])
    (tmp_path / "empty.txt").write_text("# nothing\n")
    with pytest.raises(UsageError, match="has no line"):
        resolve("__empty__", folder=tmp_path)
    (tmp_path / "latin.txt").write_bytes("caf\xe9".encode("latin-1"))
    with pytest.raises(UsageError, match="UTF-8"):
        resolve("__latin__", folder=tmp_path)
