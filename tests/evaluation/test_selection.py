import math
from dataclasses import replace

import pytest

from bakehouse.evaluation import selection as p
from bakehouse.evaluation.cell_scores import Base, Cell
from bakehouse.evaluation.metrics import UNKNOWN, Drift, Interval, Memorised

BASE = Base(0.3, 0.9, Interval(0.9, 0.85, 0.95, 24), 0.0, Interval(0.4, 0.3, 0.5, 12), {}, 24)


def figure(value, spread=0.05, n=24):
    return Interval(value, value - spread, value + spread, n)


def cell(epoch, weight=1.0, fidelity=0.9, kept=0.95, drift=1.0, copies=0.0, shift=5.0, images=24, spread=0.05):
    points = figure(drift, 1.0)
    return Cell(
        weights=f"weights/zwx-{epoch:06d}.safetensors", weight=weight, epoch=epoch, images=images,
        fidelity=figure(fidelity, spread), shown=figure(fidelity), likeness=figure(fidelity), similarity=figure(0.8),
        attributes={}, prompt=figure(kept * 0.9), kept=kept, diversity=figure(0.3),
        drift=Drift(points, points, points, {}, points, figure(shift, 1.0)),
        memorised=Memorised(figure(copies), 0.0, 0.0, ()),
    )  # fmt: skip


def test_the_best_subject_within_the_limits_is_picked():
    cells = [
        cell(2, fidelity=0.5),
        cell(4, fidelity=0.9),
        cell(6, fidelity=0.95, drift=30),
        cell(8, fidelity=0.97, kept=0.5),
    ]
    pick = p.make_pick(cells, BASE)
    assert (pick.epoch, pick.weight, pick.weights) == (4, 1.0, "weights/zwx-000004.safetensors")


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


def test_no_verdict_rests_on_what_chance_explains():
    noisy = Interval(9.0, 0.0, 30.0, 8)
    doubtful = cell(1, fidelity=0.9)
    doubtful = replace(doubtful, drift=replace(doubtful.drift, points=noisy))
    assert p.utility(doubtful) == pytest.approx(86)
    assert p.keeps_limits(doubtful)
    assert not p.keeps_limits(cell(1, shift=60))


def test_few_pictures_do_not_win():
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
        "Epoch 6 at weight 0.8: shows the subject in 93 % of pictures (88-98), keeps 96 % of the base's prompt "
        "accuracy and drifts 2 points; epoch 8 at 1 is no better and drifts 7 points."
    )
    later = p.make_pick([cell(4, fidelity=0.9), cell(8, fidelity=0.95, kept=0.4)], BASE).why
    assert later.endswith("epoch 8 at 1 shows 5 points more of it but keeps only 40 % of the prompt accuracy.")
    assert p.make_pick([cell(4)], BASE).why.count(";") == 0


@pytest.mark.parametrize(
    ("cells", "word", "mend"),
    [
        ([cell(4)], "learned", ""),
        ([cell(4), cell(6, drift=20)], "learned", "From epoch 6 on"),
        ([cell(2, fidelity=0.02), cell(4, fidelity=0.05)], "nothing changed", "three times the learning rate"),
        ([cell(2, fidelity=0.2), cell(4, fidelity=0.45)], "undertrained", "twice as many epochs"),
        ([cell(2, fidelity=0.5), cell(4, fidelity=0.45)], "undertrained", "higher rank"),
        ([cell(1, fidelity=0.1), cell(3, fidelity=0.2, drift=20)], "undertrained", "twice as many epochs"),
        ([cell(1, fidelity=0.1), cell(3, fidelity=0.9, drift=99)], "undertrained", "higher rank"),
        ([cell(2, drift=40), cell(4, drift=60)], "overtrained", "prior preservation"),
        ([cell(2, shift=60)], "overtrained", "prior preservation"),
        ([cell(2, fidelity=0.1, drift=20)], "undertrained", "prior preservation"),
        ([replace(cell(2), fidelity=UNKNOWN)], "nothing changed", "captions"),
    ],
)
def test_the_verdict(cells, word, mend):
    verdict = p.judge_run(cells, BASE)
    assert verdict.word == word
    assert mend in verdict.mend
    assert verdict.why.endswith(".")


def test_a_pick_survives_json():
    pick = p.make_pick([cell(4)], BASE)
    assert p.Pick.from_json(pick.to_json()) == pick
    assert Cell.from_json(cell(4).to_json()) == cell(4)
    assert Base.from_json(BASE.to_json()) == BASE
