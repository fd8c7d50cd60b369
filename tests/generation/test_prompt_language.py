"""A1111's prompt language: what its own doctests and grammar say, and laws that hold for any text."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bakehouse.data.weighted_prompt import Break, WeightedText, plain_schedule, prompts_at
from bakehouse.generation.prompt import compile_prompt, escape, parse_negative, parse_prompt
from bakehouse.generation.prompt.describe import describe
from bakehouse.generation.prompt.emphasis import weighted
from bakehouse.generation.prompt.highlight import highlight
from bakehouse.generation.prompt.schedule import schedule, text_at
from bakehouse.generation.prompt.syntax_tree import Alternation, Emphasized, Switch, walk

A1111 = json.loads((Path(__file__).parent / "prompts_a1111.json").read_text("utf-8"))
PIECES = (
    "[",
    "]",
    "(",
    ")",
    ":",
    "|",
    "\\",
    "a",
    " cat",
    "3",
    "0.5",
    "1.3)",
    ":2]",
    "AND",
    " BREAK ",
    "<lora:x:1>",
    "#",
    "\n",
)
PROMPTS = st.lists(st.sampled_from(PIECES), max_size=14).map("".join) | st.text(max_size=20)


def ranges(prompt: str, steps: int, earlier: int = 0) -> list[list[object]]:
    (subprompt,) = parse_negative(prompt).subprompts
    return [list(one) for one in schedule(subprompt, steps, earlier)]


def per_step(found: list[list[object]]) -> list[object]:
    """The text of each step: A1111 has some ranges with the same text next to each other."""
    last, texts = 0, []
    for end, text in found:
        texts += [text] * (end - last)
        last = end
    return texts


@pytest.mark.parametrize(("prompt", "steps", "earlier", "expected"), A1111["schedules"])
def test_published_schedules(prompt: str, steps: int, earlier: int, expected: list[list[object]]) -> None:
    assert per_step(ranges(prompt, steps, earlier)) == per_step(expected)


@pytest.mark.parametrize(("prompt", "expected"), A1111["grammar"].items())
def test_the_published_grammar_reads_it_the_same(prompt: str, expected: list[list[object]]) -> None:
    assert per_step(ranges(prompt, 8)) == per_step(expected)


@pytest.mark.parametrize(("text", "expected"), A1111["attention"])
def test_published_emphasis(text: str, expected: list[list[object]]) -> None:
    assert [[piece.text, piece.weight] for piece in weighted(text).pieces] == expected


@settings(max_examples=60, deadline=None)
@given(PROMPTS)
def test_a_tree_is_printed_as_it_was_written(prompt: str) -> None:
    tree = parse_prompt(prompt)
    assert str(tree) == prompt
    assert str(parse_negative(prompt)) == prompt
    for subprompt in tree.subprompts:
        assert "".join(map(str, subprompt.nodes)) + subprompt.ending == str(subprompt)


@settings(max_examples=60, deadline=None)
@given(PROMPTS, PROMPTS, st.integers(1, 12))
def test_any_text_can_be_read(prompt: str, negative: str, steps: int) -> None:
    meant = compile_prompt(prompt, negative, steps=steps)
    ends = [one.last_step for one in meant.schedule]
    assert ends == sorted(set(ends)) and ends[-1] == steps
    assert describe(meant.prompt, steps)
    assert all(len(one.conditions) == len(meant.prompt.subprompts) for one in meant.schedule)


@settings(max_examples=60, deadline=None)
@given(PROMPTS, st.integers(1, 8))
def test_a_schedule_is_the_prompt_of_each_step(prompt: str, steps: int) -> None:
    """What a step is guided by is what the text of that step, written as a prompt of its own, means."""
    (subprompt,) = parse_negative(prompt).subprompts
    meant = compile_prompt("", prompt, steps=steps).schedule
    for step in range(1, steps + 1):
        assert prompts_at(meant, step).negative == weighted(text_at(subprompt.nodes, step, steps))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(0.1, 3).map(lambda x: round(x, 2)), min_size=1, max_size=5))
def test_weights_multiply(weights: list[float]) -> None:
    text, product = "x", 1.0
    for weight in weights:
        text, product = f"({text}:{weight})", product * weight
    (piece,) = weighted(text).pieces
    assert isinstance(piece, WeightedText) and piece.text == "x" and piece.weight == pytest.approx(product)
    (inverse,) = weighted(f"[{text}]").pieces
    assert isinstance(inverse, WeightedText) and inverse.weight == pytest.approx(product / 1.1)


@settings(max_examples=60, deadline=None)
@given(st.text(alphabet="ab ()[]\\:.1", max_size=20))
def test_escaped_text_means_itself(text: str) -> None:
    assert "".join(p.text for p in weighted(escape(text)).pieces if isinstance(p, WeightedText)) == text
    assert all(isinstance(p, WeightedText) and p.weight == 1 for p in weighted(escape(text)).pieces)


def test_a_prompt_without_brackets_is_one_piece() -> None:
    (one,) = compile_prompt("a cat, red: and blue", "blurry", steps=20).schedule
    assert one.conditions[0].text.pieces == (WeightedText("a cat, red: and blue"),)
    assert (one.is_plain, one.negative.pieces) == (True, (WeightedText("blurry"),))
    (plain,) = plain_schedule("a (b)", "", 20)
    assert plain.conditions[0].text.pieces == (WeightedText("a (b)"),)


def test_the_tree_names_what_is_written() -> None:
    (subprompt,) = parse_prompt("a (red:1.3) [cat|[b:c:0.5]] [d]").subprompts
    kinds = [type(node) for node in walk(subprompt.nodes)]
    assert [kind for kind in kinds if kind in (Emphasized, Alternation, Switch)] == [
        Emphasized,
        Alternation,
        Switch,
        Emphasized,
    ]
    lines = "\n".join(line for one in describe(parse_prompt("[a:b:0.5] (c:1.2) [d|e]"), 10) for line in one.lines())
    assert "switch after step 5 of 10" in lines and "emphasis 1.2" in lines and "alternation of 2" in lines


def test_and_composes_with_weights() -> None:
    meant = compile_prompt("a cat :1.2 AND a [dog:fox:2] AND ANDROID : -.5 ", "x AND y:2", steps=4)
    assert [one.last_step for one in meant.schedule] == [2, 4]
    first, second = ([(c.text.pieces[0].text, c.weight) for c in one.conditions] for one in meant.schedule)
    assert first == [("a cat", 1.2), (" a dog", 1.0), (" ANDROID", -0.5)]
    assert second[1] == (" a fox", 1.0)
    assert meant.schedule[0].negative.pieces == (WeightedText("x AND y:2"),)


def test_break_ends_a_chunk_outside_of_brackets_only() -> None:
    assert weighted("a BREAK b").pieces == (WeightedText("a"), Break(), WeightedText("b"))
    assert weighted("aBREAK").pieces == (WeightedText("aBREAK"),)
    lost = weighted("(a BREAK b)").pieces
    assert lost[1] == WeightedText("BREAK", -1.1)
    assert any("BREAK" in message for message in compile_prompt("(a BREAK b)", steps=4).warnings)
    switched = compile_prompt("[a BREAK b:c:2]", steps=4)
    assert switched.schedule[0].conditions[0].text.pieces == (WeightedText("a"), Break(), WeightedText("b"))
    assert not switched.warnings


def test_emphasis_none_reads_brackets_as_characters() -> None:
    (one,) = compile_prompt("a (b:1.2) BREAK c", steps=4, emphasis="none").schedule
    assert one.conditions[0].text.pieces == (WeightedText("a (b:1.2) BREAK c"),)


def test_tags_and_comments_are_taken_out() -> None:
    meant = compile_prompt("a [cat<lora:x:0.5:0.8:16>:dog:2] # words\nb <lyco:y:te=0.3:dyn=4><lora:z>", steps=4)
    assert [(a.name, a.text, a.unet, a.rank) for a in meant.adapters] == [
        ("x", 0.5, 0.8, 16),
        ("y", 0.3, 0.3, 4),
        ("z", 1.0, 1.0, None),
    ]
    assert meant.schedule[0].conditions[0].text.pieces == (WeightedText("a cat \nb"),)
    assert not meant.warnings


@pytest.mark.parametrize(
    ("prompt", "said"),
    [
        ("a (red cat", "'(' at character 3 is never closed"),
        ("a <lora:x:1>red) cat", "')' at character 16 closes no bracket"),
        ("a red] cat", "']' at character 6 closes no bracket"),
        ("a (red:1.2.3)", "the weight '1.2.3' at character 7 is not a number"),
        ("a [red:blue] cat", "[red:blue] at character 3 does not end in a number"),
        ("a|b [c:d:2]", "'|' at character 2 is outside of [ ]"),
        ("[c:d:2] \\", "'\\\\' at character 9 escapes nothing"),
        ("[red:1.3]", "[red:1.3] at character 1 never switches: 1.3 is a share of the 10 steps"),
        ("[a:b:0]", "[a:b:0] at character 1 switches before the first step"),
        ("a picture of 16:9", "':9' at the end, character 16, is read as the weight of the whole prompt"),
        ("a <hypernet:x:1>", "<hypernet:x:1> is ignored"),
        ("a <lora:x:high>", "<lora:x:high> is ignored: the strength 'high' is not a number"),
        ("a <lora:x:1:1:0.5>", "dyn = '0.5' is not a rank"),
    ],
)
def test_a_warning_says_which_bracket(prompt: str, said: str) -> None:
    assert [message for message in compile_prompt(prompt, steps=10).warnings if said in message]


@pytest.mark.parametrize("prompt", ["", "a cat", "(a:1.2), [b], \\(c\\)", "[a:b:0.5] [c|d]", "a: b | c", "a AND b :2"])
def test_no_warning_without_reason(prompt: str) -> None:
    assert compile_prompt(prompt, steps=10).warnings == ()


def test_a_negative_prompt_warns_of_what_only_prompts_have() -> None:
    said = compile_prompt("", "a AND b <lora:x:1> (c", steps=10).warnings
    assert len(said) == 3 and all(message.startswith("negative prompt:") for message in said)


def test_deep_brackets_and_long_prompts_are_read() -> None:
    deep = "[(" * 3000 + "a" + ")]" * 3000
    assert str(parse_prompt(deep)) == deep
    (piece,) = weighted(deep).pieces
    assert isinstance(piece, WeightedText) and piece.weight == pytest.approx(1)
    long = compile_prompt("a word, " * 5000 + "[a|b]", steps=10)
    assert len(long.schedule) == 10
    assert len(compile_prompt("(" * 500, steps=10).warnings) == 6


@given(PROMPTS)
def test_the_parts_of_a_prompt_are_the_prompt(prompt):
    assert "".join(part.text for part in highlight(prompt)) == prompt
    assert "".join(part.text for part in highlight(prompt, negative=True)) == prompt


@pytest.mark.parametrize(
    ("prompt", "parts"),
    [
        ("((a)) [b]", [("a", "text", 1.21), ("b", "text", 0.91)]),
        (
            "(a:1.4) BREAK <lora:x:1> c # no",
            [("a", "text", 1.4), (" BREAK ", "break", 1), ("<lora:x:1>", "tag", 1), ("# no", "comment", 1)],
        ),
        (
            "[a:b:0.5] AND [c|d]",
            [("a", "switch", 1), ("b", "switch", 1), (" ", "text", 1), ("AND", "and", 1), ("c", "alternation", 1)],
        ),
        ("(a, b)) x", [(")", "stray", 1)]),
        ("(a:[1:1.5:3])", [("a", "text", 1)]),
    ],
)
def test_parts_of_a_prompt_are_told_apart(prompt, parts):
    found = [(part.text, part.kind, round(part.weight, 2)) for part in highlight(prompt)]
    assert [one for one in parts if one not in found] == []


def test_a_prompt_of_many_brackets_is_shown():
    assert len(highlight("(" * 5000 + "a" + ")" * 5000)) > 1000
