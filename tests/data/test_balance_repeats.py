import pytest
from hypothesis import given
from hypothesis import strategies as st

from bakehouse.core.errors import UsageError
from bakehouse.data import balance_repeats, unbalanced

from .make import LAW


def test_the_guides_example():
    counts = {"main": 100, "outfit a": 50, "outfit b": 10}
    repeats = balance_repeats(counts, 300)
    assert repeats == {"main": 3, "outfit a": 6, "outfit b": 30}
    assert unbalanced(counts, repeats, 300) == {}


def test_rounded_down_unless_that_alone_misses():
    assert balance_repeats({"a": 70}, 300) == {"a": 4}
    assert balance_repeats({"a": 160}, 300) == {"a": 2}
    assert balance_repeats({"a": 500}, 300) == {"a": 1}
    assert balance_repeats({"a": 200}, 300) == {"a": 1}


def test_what_cannot_be_balanced_is_told():
    counts = {"many": 500, "odd": 200, "good": 30}
    assert unbalanced(counts, balance_repeats(counts, 300), 300) == pytest.approx({"many": 2 / 3, "odd": -1 / 3})


def test_errors():
    with pytest.raises(UsageError, match="no images in b"):
        balance_repeats({"a": 1, "b": 0}, 10)
    with pytest.raises(UsageError, match="target"):
        balance_repeats({"a": 1}, 0)


@LAW
@given(st.dictionaries(st.text(max_size=3), st.integers(1, 2000), max_size=5), st.integers(1, 1000))
def test_laws(counts, target):
    repeats = balance_repeats(counts, target)
    assert repeats == balance_repeats(dict(reversed(counts.items())), target)
    assert all(r >= 1 for r in repeats.values())
    for name in unbalanced(counts, repeats, target):
        # no other whole number would do
        best = min(abs(counts[name] * r - target) for r in range(1, target + 2))
        assert best > 0.15 * target - 1e-6
    for name, count in counts.items():
        if count * 7 <= target:  # rounding down loses less than one part in seven
            assert name not in unbalanced(counts, repeats, target)
