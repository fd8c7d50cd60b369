import math

import numpy as np
import pytest

from bakehouse.evaluation import metrics as m
from bakehouse.evaluation import prior_drift as d
from bakehouse.evaluation.prior_drift import DriftInput

HERE = np.array([[1.0, 0.0]] * 4)


def test_drift_by_hand():
    own = {"hair": "pink", "hat": "none"}
    seen = [{"hair": "red", "hat": "cap"}] * 4
    before = DriftInput(np.array([0.2, 0.2, 0.2, 0.2]), HERE, np.array([1.0, 1.0, 1.0, 0.5]), seen)
    prompt = np.array([1.0, 0.5, 1.0, 0.5])
    after = DriftInput(np.array([0.2, 0.2, 0.2, 0.5]), HERE, prompt, [*seen[:3], {"hair": "pink", "hat": "cap"}])
    found = d.drift(after, before, similarity_gap=0.6, embedding_distance=0.5, attributes=own)
    assert found.likeness.value == pytest.approx(100 * 0.3 / 0.6 / 4)
    assert found.attributes.value == pytest.approx(100 * 0.5 / 4)
    assert found.each == pytest.approx({"hair": 25.0, "hat": 0.0})
    assert found.prompt.value == pytest.approx(12.5)
    assert found.points.value == pytest.approx(12.5)
    assert found.clearest in (1, 3)
    assert found.shift.value == 0
    assert repr(d.Drift.from_json(found.to_json())) == repr(found)


def test_away_from_the_subject_is_a_shift():
    before = DriftInput(np.array([0.4] * 4), HERE, np.array([0.5] * 4))
    after = DriftInput(np.array([0.1] * 4), HERE - [0.3, 0.4], np.array([1.0] * 4))
    found = d.drift(after, before, similarity_gap=0.5, embedding_distance=1.0, attributes={})
    assert found.points.value == 0.0
    assert found.likeness.value == pytest.approx(-60)
    assert math.isnan(found.attributes.value)
    assert found.shift.value == pytest.approx(50)


def test_drift_of_the_untouched_is_zero():
    seen = DriftInput(np.array([0.4] * 4), HERE, np.array([1.0, math.nan, 1.0, 1.0]), [{"a": "b"}] * 4)
    found = d.drift(seen, seen, similarity_gap=0.5, embedding_distance=1.0, attributes={"a": "b"})
    assert (found.points.value, found.points.low, found.points.high) == (0, 0, 0)
    assert (found.shift.value, found.shift.high) == (0, 0)


def test_chance_alone_shifts_nothing():
    rng = np.random.default_rng(0)
    alone = [d.mean_shift(rng.normal(size=(24, 32)), seed=i, draws=300) for i in range(40)]
    # The plain length of the mean would be sqrt(32 / 24) = 1.15 each time.
    assert np.mean([f.value for f in alone]) < 0.3
    together = d.mean_shift(rng.normal(size=(24, 32)) + 1.0)
    assert together.value == pytest.approx(math.sqrt(32), rel=0.1)
    assert together.low < together.value < together.high
    assert d.mean_shift([[3.0, 4.0]] * 2).value == pytest.approx(5)
    assert math.isnan(d.mean_shift([[1.0, 2.0]]).value)


def test_the_headline_is_above_a_limit_if_one_is_and_below_if_all_are():
    doubtful, certain = m.Interval(20.0, -5.0, 40.0, 9), m.Interval(8.0, 6.0, 12.0, 9)
    assert d.largest(doubtful, certain) == m.Interval(20.0, 6.0, 40.0, 9)
    assert d.largest(m.Interval(-3.0, -5.0, -1.0, 9), m.UNKNOWN) == m.Interval(0.0, 0.0, 0.0, 9)
    assert d.largest(m.UNKNOWN) is m.UNKNOWN


def test_single_images_that_swing_are_no_drift():
    similarity = np.zeros(24)
    swung = similarity.copy()
    swung[:2] = 1.6, -0.7
    before, after = (DriftInput(s, np.zeros((24, 2)), np.ones(24)) for s in (similarity, swung))
    found = d.drift(after, before, similarity_gap=1.0, embedding_distance=1.0, attributes={})
    assert found.likeness.value == 0
    assert found.clearest == 0, "but it is shown"
