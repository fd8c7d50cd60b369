"""Counts and lists in messages."""

from __future__ import annotations

import pytest

from bakehouse.core.message_text import counted, listed


@pytest.mark.parametrize(
    ("n", "word", "said"),
    [
        (1, "image", "1 image"),
        (0, "image", "0 images"),
        (12345, "image", "12,345 images"),
        (2, "copy", "2 copies"),
        (2, "day", "2 days"),
        (2, "box", "2 boxes"),
        (4, "epoch", "4 epochs"),
        (2, "batch", "2 batches"),
        (3, "other face", "3 other faces"),
    ],
)
def test_one_is_not_many(n, word, said):
    assert counted(n, word) == said


@pytest.mark.parametrize(
    ("names", "most", "text"),
    [
        ([], 3, ""),
        (["a"], 3, "a"),
        (["a", "b", "c"], 3, "a, b, c"),
        (["a", "b", "c", "d"], 3, "a, b, c and 1 more"),
        (range(2000), 2, "0, 1 and 1,998 more"),
    ],
)
def test_a_long_list_is_cut_and_counted(names, most, text):
    assert listed(names, most) == text
