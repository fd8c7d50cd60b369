"""The tool that puts triggers to the proof: what it counts, and when it says that a prediction came out."""

from __future__ import annotations

import pytest

from tools.triggers.arms import ARMS
from tools.triggers.measure import interval
from tools.triggers.page import BEGIN, END, Count, _count, _verdict, write_page


def test_intervals_are_wilsons():
    # Newcombe (1998), table I: 15 of 148 and 0 of 20.
    assert interval(15, 148) == pytest.approx((0.0624, 0.1605), abs=2e-4)
    assert interval(0, 20) == pytest.approx((0.0, 0.1611), abs=2e-4)


@pytest.mark.parametrize(
    ("more", "less", "word"),
    [((24, 24), (2, 24), "yes"), ((2, 24), (24, 24), "no:"), ((13, 24), (11, 24), "not decided")],
)
def test_a_prediction_comes_out_when_its_interval_is_on_one_side(more, less, word):
    assert f"| {word}" in _verdict("", Count(*more), Count(*less))


def test_newcombes_difference():
    # Newcombe (1998), table II, method 10: 56/70 - 48/80 = 0.2 (0.0524 to 0.3339).
    assert "+20% (+5% to +33%)" in _verdict("", Count(56, 70), Count(48, 80))


def test_a_tag_is_seen_when_all_that_it_says_is():
    seen = [{"clothing": "hoodie", "clothing color": "teal"}, {"clothing": "hoodie", "clothing color": "red"}]
    assert (_count(seen, "teal hoodie"), _count(seen, "hoodie")) == (Count(1, 2), Count(2, 2))


def test_sections_without_results_are_left_out(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    text = write_page({}, {}, page).read_text()
    assert text.startswith("before") and text.endswith("after\n") and "\nold\n" not in text and "###" not in text
    assert write_page({}, {}, page).read_text() == text


def test_names_of_arms_differ():
    assert len({a.name for a in ARMS}) == len(ARMS)
