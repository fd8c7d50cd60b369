"""Words of messages."""

from __future__ import annotations

import pytest

from bakehouse.core.pluralize import counted


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
