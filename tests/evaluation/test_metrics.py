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
    assert m.subject_attributes(training, base, is_reliable=lambda group: group != "place") == {"hair": "pink"}
    assert m.subject_attributes(training, base, held_out=base, is_reliable=lambda group: group != "place") == {}
    assert m.attribute_frequencies(base, {"hair": "pink"}) == {"hair": 0.2}


def test_named_attributes_that_the_scorer_cannot_see_do_not_count():
    training = [{"hair": "pink", "hat": "cap"}] * 2 + [{"hair": "pink", "hat": "none"}] * 3
    assert m.visible_attributes(training, {"hair": "pink", "hat": "cap", "shoes": "red"}) == {"hair": "pink"}


def test_what_a_prompt_asks_for_is_not_counted():
    seen = [{"hair": "pink", "glasses": "round"}, {"hair": "pink", "glasses": "round"}]
    own = {"hair": "pink", "glasses": "eyepatch"}
    assert m.attribute_share(seen, own, [set(), {"glasses"}]) == pytest.approx([0.5, 1.0])
    assert np.isnan(m.attribute_share(seen, own, [{"hair", "glasses"}] * 2)).all()


def test_retention_is_measured_above_the_floor_and_by_pairs():
    assert m.prompt_retention([0.9], [0.95]).value == pytest.approx(0.9 / 0.95)
    assert m.prompt_retention([0.25, math.nan], [0.30, 0.9], 0.15).value == pytest.approx(2 / 3)
    assert math.isnan(m.prompt_retention([0.5], [0.0]).value)
    hard_and_easy = np.random.default_rng(0).random(24)
    paired = m.prompt_retention(hard_and_easy - 0.05, hard_and_easy)
    assert paired.high - paired.low < 1e-6, "what makes prompts hard is in both"


def test_the_trimmed_mean_ignores_what_is_far_out():
    values = np.random.default_rng(0).normal(2, 1, 30)
    wild = np.concatenate([values, [500.0, -400.0]])
    found, plain = m.trimmed_mean_interval(wild), m.mean_interval(wild)
    assert found.value == pytest.approx(2, abs=0.5)
    assert found.high - found.low < 0.1 * (plain.high - plain.low)
    assert found.low < found.value < found.high
    assert m.trimmed_mean_interval([1.0, 3.0, math.nan]).value == 2.0
    assert math.isnan(m.trimmed_mean_interval([]).value)


def test_diversity_compares_images_of_one_prompt():
    found = m.diversity([E1, E2, HALF, HALF, E1], ["a", "a", "b", "b", "c"])
    assert found.value == pytest.approx(0.5)  # a: 1 - 0; b: 1 - 1; c has no pair
    assert found.n == 2
    assert math.isnan(m.diversity([E1], ["a"]).value)


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
