import math
from dataclasses import replace
from pathlib import Path

import pytest

from bakehouse.evaluation import selection as p
from bakehouse.evaluation.checkpoint_scores import BaseScores, ScoredCheckpoint
from bakehouse.evaluation.metrics import UNKNOWN, Interval, NearCopies
from bakehouse.evaluation.prior_drift import Drift
from bakehouse.evaluation.subject_measure import Calibration, Part

RUN = Path("runs/me")


def figure(value, spread=0.05, n=24):
    return Interval(value, value - spread, value + spread, n)


KNOWN = Calibration(
    figure(0), figure(-1), figure(1), {"you": figure(-0.9)}, 0.1, 0.9, 0.5, {"likeness": Part(0.4, 0.8)}
)
BASE = BaseScores(0.3, 0.9, figure(0.9), 0.0, figure(0.4), {}, 24, KNOWN, (figure(0),), UNKNOWN)


def cell(
    epoch, strength=1.0, fidelity=0.9, kept=0.95, drift=1.0, copies=0.0, shift=5.0, images=24, spread=0.05, broken=0.0,
    effect=None,
):  # fmt: skip
    points = figure(drift, 1.0)
    return ScoredCheckpoint(
        weights=f"weights/zwx-{epoch:06d}.safetensors", strength=strength, epoch=epoch, images=images,
        fidelity=figure(fidelity, spread), gain=figure(fidelity, spread),
        effect=figure((1 + fidelity) / 2 if effect is None else effect, spread), shown=figure(fidelity), parts={},
        marks=(figure(0.5),), similarity=figure(0.8), attributes={}, prompt=figure(kept * 0.9),
        retention=figure(kept), diversity=figure(0.3), broken=figure(broken), broken_images=(3,),
        drift=Drift(points, points, points, {}, points, figure(shift, 1.0)),
        near_copies=NearCopies(figure(copies), 0.0, 0.0, ()),
    )  # fmt: skip


def test_the_best_subject_within_the_limits_is_picked():
    cells = [
        cell(2, fidelity=0.5),
        cell(4, fidelity=0.9),
        cell(6, fidelity=0.95, drift=30),
        cell(8, fidelity=0.97, kept=0.5),
    ]
    pick = p.make_pick(cells, BASE)
    assert (pick.epoch, pick.strength, pick.weights) == (4, 1.0, "weights/zwx-000004.safetensors")


def test_limits_are_soft_and_cost_what_they_say():
    assert p.utility(cell(1, fidelity=0.9)) == pytest.approx(90)
    assert p.utility(cell(1, fidelity=0.9, drift=9)) == pytest.approx(86)
    assert p.utility(cell(1, fidelity=0.9, kept=0.80)) == pytest.approx(85)
    assert p.utility(cell(1, fidelity=0.9, copies=0.35)) == pytest.approx(85)
    assert p.utility(cell(1, fidelity=0.9, shift=35)) == pytest.approx(85)
    assert p.utility(cell(1, fidelity=0.9, kept=math.nan, drift=math.nan, copies=math.nan)) == pytest.approx(90)


def test_within_one_standard_error_the_gentlest_is_taken():
    # Half-width 0.0392 is a standard error of 0.02.
    cells = [
        cell(8, fidelity=0.92, spread=0.0392),
        cell(4, fidelity=0.91),
        cell(4, 0.6, fidelity=0.905),
        cell(2, fidelity=0.85),
    ]
    assert p.choose(cells) is cells[2]


def test_a_limit_is_kept_broken_or_open_by_its_interval():
    noisy = cell(1)
    noisy = replace(noisy, drift=replace(noisy.drift, points=Interval(9.0, 0.0, 30.0, 8)))
    assert p.utility(noisy) == pytest.approx(86)
    assert p.state_of(noisy, "prior drift") == "open"
    assert not p.broken_limits(noisy)
    assert p.state_of(cell(1, drift=4.5), "prior drift") == "open", "below the limit, but perhaps not"
    assert p.state_of(cell(1, drift=3.5), "prior drift") == "kept"
    assert p.broken_limits(cell(1, shift=60))
    assert p.state_of(cell(1, kept=0.7), "prompt retention") == "broken"
    few = replace(cell(1), broken=Interval(0.0, 0.0, 0.3, 6))
    assert p.state_of(few, "broken images") == "kept", "none of six is no evidence"
    assert p.state_of(replace(cell(1), broken=UNKNOWN), "broken images") == "kept"


def test_more_images_are_worth_it_only_where_they_can_decide():
    assert not p.is_open(cell(1))
    assert p.is_open(cell(1, fidelity=0.5))
    assert p.is_open(cell(1, drift=4.5))
    assert not p.is_open(cell(1, fidelity=0.5, shift=60)), "broken already"
    assert not p.is_open(cell(1, fidelity=-1.0, effect=0.0))
    assert not p.is_open(cell(1, fidelity=0.3, drift=4.5)), "undertrained either way"
    assert p.is_open(cell(1, fidelity=-0.8, effect=0.13))


def test_nothing_is_picked_that_shows_nothing_or_is_broken():
    for cells, words in (
        ([cell(2, fidelity=-0.5), cell(4, fidelity=0.0)], "words alone"),
        ([cell(2, broken=0.4)], "40 % broken images"),
        ([replace(cell(2), fidelity=UNKNOWN)], "unknown"),
    ):
        pick = p.make_pick(cells, BASE)
        assert pick.weights == ""
        assert words in pick.why
        assert pick.why.startswith("No checkpoint is picked")
    assert p.make_pick([cell(2, fidelity=0.8), cell(4, broken=0.4)], BASE).epoch == 2


def test_few_images_do_not_win():
    lucky = cell(9, fidelity=1.0, images=8)
    assert p.choose([lucky, cell(3)]).epoch == 3
    assert p.choose([lucky]) is lucky


def test_finalists_are_the_best_and_both_ends_of_its_equals_then_the_next():
    cells = [cell(6, fidelity=0.95, spread=0.08), cell(9, fidelity=0.93), cell(2, fidelity=0.93), cell(1, fidelity=0.4)]
    assert [c.epoch for c in p.finalists(cells, 2)] == [6, 2]
    assert [c.epoch for c in p.finalists(cells, 9)] == [6, 2, 9, 1]
    assert p.finalists(cells, 0) == []


def test_the_sentence_gives_figures_and_says_why_not_more():
    cells = [cell(6, 0.8, fidelity=0.93, kept=0.96, drift=2), cell(8, fidelity=0.93, drift=7)]
    why = p.make_pick(cells, BASE).why
    assert why == (
        "Epoch 6 at strength 0.8: subject in 93 % of images (88-98), 96 % of the base's prompt accuracy, prior drift "
        "2 points. Epoch 8 at strength 1 is no better and has prior drift 7 points (6-8, limit 5)."
    )
    later = p.make_pick([cell(4, fidelity=0.9), cell(8, fidelity=0.95, kept=0.4)], BASE).why
    assert later.endswith(
        "Epoch 8 at strength 1 gains 5 points of subject fidelity, but has 40 % of the base's prompt accuracy "
        "(35-45, at least 85 %)."
    )
    assert p.make_pick([cell(4)], BASE).why.endswith("prior drift 1 point.")


@pytest.mark.parametrize(
    ("cells", "outcome", "advice"),
    [
        ([cell(4)], "learned", ""),
        ([cell(4), cell(6, drift=20)], "learned", "From epoch 6 on"),
        ([cell(2, fidelity=-1, effect=0.01), cell(4, fidelity=-1, effect=0.02)], "nothing changed", "find-rate"),
        ([cell(2, fidelity=-1, effect=0.13)], "not decided", "--set images=48"),
        (
            [cell(2, fidelity=-0.5), cell(4, fidelity=0.3)],
            "undertrained",
            "from epoch 2 to 4 subject fidelity still rose",
        ),
        ([cell(2, fidelity=0.32), cell(4, fidelity=0.3)], "undertrained", "find-rate"),
        ([cell(2, drift=40), cell(4, drift=60)], "overtrained", ""),
        (
            [cell(2, fidelity=0.4), cell(4, fidelity=0.95, drift=30)],
            "overtrained",
            "Epoch 2 at strength 1 breaks no limit",
        ),
        ([cell(2, shift=60)], "overtrained", ""),
        ([cell(2, broken=0.4)], "overtrained", ""),
        ([cell(2, fidelity=-1, effect=0.02, drift=20)], "undertrained", "find-rate"),
        ([cell(2, fidelity=0.52)], "not decided", "--set images=48"),
        ([cell(2, drift=4.5)], "not decided", "bakehouse evaluate runs/me"),
        ([replace(cell(2), fidelity=UNKNOWN)], "not decided", ""),
    ],
)
def test_the_verdict(cells, outcome, advice):
    verdict = p.make_verdict(cells, BASE, 24, RUN)
    assert verdict.outcome == outcome
    assert advice in verdict.advice
    assert bool(advice) == bool(verdict.advice)
    assert verdict.why.endswith(".")


def test_nothing_is_learned_where_others_score_like_the_subject():
    mixed = replace(BASE, calibration=replace(KNOWN, highest=0.95))
    verdict = p.make_verdict([cell(4)], mixed, 24, RUN)
    assert verdict.outcome == "not decided"
    assert "so do others" in verdict.why


def test_a_pick_survives_json():
    pick = p.make_pick([cell(4)], BASE)
    assert p.Pick.from_json(pick.to_json()) == pick
    assert ScoredCheckpoint.from_json(cell(4).to_json()) == cell(4)
    assert BaseScores.from_json(BASE.to_json()) == BASE


def test_an_embedding_has_no_rate_to_test():
    cells = [cell(2, fidelity=0.32), cell(4, fidelity=0.3)]
    assert "find-rate" in p.make_verdict(cells, BASE, 24, RUN).advice
    assert "adapter.kind=lora" in p.make_verdict(cells, BASE, 24, RUN, has_rate=False).advice
