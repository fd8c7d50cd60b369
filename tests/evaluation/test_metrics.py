import math

import numpy as np
import pytest
from PIL import Image

from bakehouse.evaluation import metrics as m

E1, E2 = np.array([1.0, 0.0]), np.array([0.0, 1.0])
HALF = np.array([0.6, 0.8])


def test_the_mean_and_its_interval():
    values = np.random.default_rng(0).normal(10, 2, 400)
    found = m.mean_interval(values)
    # A normal mean of 400 with spread 2: 10 ± 1.96 x 2 / 20.
    assert found.value == pytest.approx(values.mean())
    assert (found.low, found.high) == pytest.approx((values.mean() - 0.196, values.mean() + 0.196), abs=0.03)
    assert found.error == pytest.approx(0.1, abs=0.015)
    assert found == m.mean_interval(values), "seeded"


def test_the_interval_covers_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(1)
    hits = 0
    for i in range(300):
        found = m.mean_interval(rng.exponential(1.0, 40), seed=i, draws=500)
        hits += found.low <= 1.0 <= found.high
    assert 0.88 <= hits / 300 <= 0.98


def test_unknown_values_are_left_out_and_nothing_known_is_unknown():
    assert m.mean_interval([1.0, math.nan, 3.0]).value == 2.0
    assert m.mean_interval([1.0, math.nan, 3.0]).n == 2
    assert math.isnan(m.mean_interval([]).value)
    assert m.mean_interval([5.0]) == m.Interval(5.0, 5.0, 5.0, 1)


def test_wilson_by_hand():
    # p = 0.9, n = 10, z = 1.96: (0.9 + 0.19207) / 1.38415 ± 1.96 sqrt(0.009 + 0.0096036) / 1.38415
    found = m.proportion([True] * 9 + [False])
    assert (found.value, found.low, found.high) == pytest.approx((0.9, 0.5958, 0.9821), abs=1e-3)
    certain = m.proportion([True] * 10)
    assert certain.high == 1.0
    assert 0.7 < certain.low < 0.75, "ten of ten is not certainty"


def test_intervals_survive_json():
    for figure in (m.Interval(0.5, 0.25, 0.75, 8), m.UNKNOWN):
        again = m.Interval.from_json(figure.to_json())
        assert repr(again) == repr(figure)
    assert m.UNKNOWN.to_json()["value"] is None
    assert m.Interval(2, 1, 4, 3).scaled(-10) == m.Interval(-20, -40, -10, 3)


def test_similarity_by_hand():
    assert m.similarity([E1, HALF], [E1, E2]) == pytest.approx([0.5, 0.7])
    # Pairs of three references: 0, 0.6, 0.8.
    assert m.self_similarity([E1, E2, HALF]) == pytest.approx(1.4 / 3)
    assert math.isnan(m.self_similarity([E1]))
    assert np.isnan(m.similarity([E1], np.zeros((0, 2)))).all()


def test_likeness_runs_from_the_base_to_the_real():
    assert m.likeness([0.2, 0.5, 0.8, 0.9, 0.1], base=0.2, real=0.8) == pytest.approx([0, 0.5, 1, 1, -1 / 6])
    assert np.isnan(m.likeness([0.5], base=0.8, real=0.81)).all(), "no gap, no measure"
    assert np.isnan(m.likeness([0.5], base=0.2, real=math.nan)).all()


def test_the_subjects_attributes_are_common_in_it_and_rare_in_the_base():
    training = [{"hair": "pink", "skin": "tan", "place": "beach", "mouth": "smile"}] * 8 + [
        {"hair": "pink", "skin": "tan", "place": "beach", "mouth": "sad"},
        {"hair": "blue", "skin": "tan", "place": "beach", "mouth": "sad"},
    ]
    base = [{"hair": "red", "skin": "tan", "place": "snow", "mouth": "smile"}] * 8 + [
        {"hair": "pink", "skin": "dark", "place": "snow", "mouth": "sad"}
    ] * 2
    assert m.dominant_attributes(training) == {"hair": "pink", "skin": "tan", "place": "beach", "mouth": "smile"}
    # Tan skin is 100 % here and 80 % there; the mouth 80 % and 80 %; the place is context.
    assert m.subject_attributes(training, base, ignore={"place"}) == {"hair": "pink"}
    assert m.attribute_frequencies(base, {"hair": "pink"}) == {"hair": 0.2}


def test_named_attributes_that_the_scorer_cannot_see_do_not_count():
    training = [{"hair": "pink", "hat": "cap"}] * 2 + [{"hair": "pink", "hat": "none"}] * 3
    assert m.visible_attributes(training, {"hair": "pink", "hat": "cap", "shoes": "red"}) == {"hair": "pink"}


def test_what_a_prompt_asks_for_is_not_counted():
    seen = [{"hair": "pink", "glasses": "round"}, {"hair": "pink", "glasses": "round"}]
    own = {"hair": "pink", "glasses": "eyepatch"}
    assert m.attribute_share(seen, own, [set(), {"glasses"}]) == pytest.approx([0.5, 1.0])
    assert np.isnan(m.attribute_share(seen, own, [{"hair", "glasses"}] * 2)).all()
    assert m.subject_scores([0.4, math.nan, 0.5, math.nan], [0.6, 0.8, math.nan, math.nan])[:3] == pytest.approx(
        [0.5, 0.8, 0.5]
    )


def test_kept_is_measured_above_the_floor():
    assert m.prompt_retention(0.9, 0.95) == pytest.approx(0.9 / 0.95)
    assert m.prompt_retention(0.25, 0.30, 0.15) == pytest.approx(2 / 3)
    assert math.isnan(m.prompt_retention(0.5, 0.0))


def test_diversity_compares_images_of_one_prompt():
    found = m.diversity([E1, E2, HALF, HALF, E1], ["a", "a", "b", "b", "c"])
    assert found.value == pytest.approx(0.5)  # a: 1 - 0; b: 1 - 1; c has no pair
    assert found.n == 2
    assert math.isnan(m.diversity([E1], ["a"]).value)


HERE = np.array([[1.0, 0.0]] * 4)


def test_drift_by_hand():
    own = {"hair": "pink", "hat": "none"}
    seen = [{"hair": "red", "hat": "cap"}] * 4
    before = m.DriftInput(np.array([0.2, 0.2, 0.2, 0.2]), HERE, np.array([1.0, 1.0, 1.0, 0.5]), seen)
    prompt = np.array([1.0, 0.5, 1.0, 0.5])
    after = m.DriftInput(np.array([0.2, 0.2, 0.2, 0.5]), HERE, prompt, [*seen[:3], {"hair": "pink", "hat": "cap"}])
    found = m.drift(after, before, similarity_gap=0.6, embedding_distance=0.5, attributes=own)
    assert found.likeness.value == pytest.approx(100 * 0.3 / 0.6 / 4)
    assert found.attributes.value == pytest.approx(100 * 0.5 / 4)
    assert found.each == pytest.approx({"hair": 25.0, "hat": 0.0})
    assert found.prompt.value == pytest.approx(12.5)
    assert found.points.value == pytest.approx(12.5)
    assert found.shift.value == 0
    assert repr(m.Drift.from_json(found.to_json())) == repr(found)


def test_away_from_the_subject_is_a_shift():
    before = m.DriftInput(np.array([0.4] * 4), HERE, np.array([0.5] * 4))
    after = m.DriftInput(np.array([0.1] * 4), HERE - [0.3, 0.4], np.array([1.0] * 4))
    found = m.drift(after, before, similarity_gap=0.5, embedding_distance=1.0, attributes={})
    assert found.points.value == 0.0
    assert found.likeness.value == pytest.approx(-60)
    assert math.isnan(found.attributes.value)
    assert found.shift.value == pytest.approx(50)


def test_drift_of_the_untouched_is_zero():
    seen = m.DriftInput(np.array([0.4] * 4), HERE, np.array([1.0, math.nan, 1.0, 1.0]), [{"a": "b"}] * 4)
    found = m.drift(seen, seen, similarity_gap=0.5, embedding_distance=1.0, attributes={"a": "b"})
    assert (found.points.value, found.points.low, found.points.high) == (0, 0, 0)
    assert (found.shift.value, found.shift.high) == (0, 0)


def test_chance_alone_shifts_nothing():
    rng = np.random.default_rng(0)
    alone = [m.mean_shift(rng.normal(size=(24, 32)), seed=i, draws=300) for i in range(40)]
    # The plain length of the mean would be sqrt(32 / 24) = 1.15 each time.
    assert np.mean([f.value for f in alone]) < 0.3
    together = m.mean_shift(rng.normal(size=(24, 32)) + 1.0)
    assert together.value == pytest.approx(math.sqrt(32), rel=0.1)
    assert together.low < together.value < together.high
    assert m.mean_shift([[3.0, 4.0]] * 2).value == pytest.approx(5)
    assert math.isnan(m.mean_shift([[1.0, 2.0]]).value)


def test_the_headline_prefers_what_chance_does_not_explain():
    doubtful, certain = m.Interval(20.0, -5.0, 40.0, 9), m.Interval(8.0, 4.0, 12.0, 9)
    assert m._worst(doubtful, certain) == certain
    assert m._worst(doubtful, m.UNKNOWN).value == 20
    assert m._worst(m.UNKNOWN) is m.UNKNOWN


def _unit(rows):
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def test_copies_are_found_by_both_eyes():
    rng = np.random.default_rng(0)
    training, pixels = _unit(rng.normal(size=(12, 16))), rng.random((12, 48))
    fresh, fresh_pixels = _unit(rng.normal(size=(6, 16))), rng.random((6, 48))
    generated = np.concatenate([training[:2], fresh])
    shown = np.concatenate([pixels[:2] + 0.01, fresh_pixels])
    found = m.near_copies(generated, training, shown, pixels)
    assert found.share.value == pytest.approx(2 / 8)
    assert found.nearest[:2] == (0, 1)
    # The same scene in other pixels is no copy.
    assert m.near_copies(generated, training, np.concatenate([fresh_pixels[:2], fresh_pixels]), pixels).share.value == 0
    assert repr(m.NearCopies.from_json(found.to_json())) == repr(found)


def test_copies_need_training_images_to_compare_with():
    row, pixels = np.ones((1, 2)), np.ones((1, 4))
    assert math.isnan(m.near_copies(row, row, pixels, pixels).share.value)
    assert math.isnan(m.near_copies(row, np.zeros((0, 2)), pixels, np.zeros((0, 4))).share.value)


def test_small_pixels():
    rows = m.small_pixels([Image.new("RGB", (50, 30), (255, 0, 51))])
    assert rows.shape == (1, m.PIXEL_SIDE**2 * 3)
    assert rows[0, :3] == pytest.approx([1, 0, 0.2])
    assert m.small_pixels([]).shape == (0, m.PIXEL_SIDE**2 * 3)


def test_pairs_must_be_pairs():
    with pytest.raises(ValueError, match="values must come in pairs"):
        m.paired_difference([1.0], [1.0, 2.0])
