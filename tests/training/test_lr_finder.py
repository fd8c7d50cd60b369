"""The range test: arithmetic on made-up readings, and the probe on a tiny model."""

import functools
import itertools
import math
import xml.etree.ElementTree as ET

import pytest
import torch

from bakehouse.core.errors import BakehouseError, UsageError
from bakehouse.core.events import Event, Progress, result_of
from bakehouse.training import find_lr
from bakehouse.training.lr_finder import range_test
from bakehouse.training.lr_finder.chart import lr_chart
from bakehouse.training.lr_finder.range_test import RateFound, RateMeasured
from bakehouse.training.lr_finder.suggestion import MIN_SAFETY_FACTOR, TROUGH_STEPS, LRMeasurement, diverged, suggest
from bakehouse.training.lr_finder.validation_loss import ValidationSet


def ramp(trough=1e-2, burst=5e-2, *, low=1e-5, high=1.0, points=40, ripple=0.0):
    """A loss that falls to a trough, rises and diverges; `ripple` shakes every other measurement."""
    made = []
    for k in range(points):
        lr = low * (high / low) ** (k / (points - 1))
        x = math.log(lr / trough)
        subject = -0.1 * math.exp(-0.5 * (x / 1.2) ** 2) * (1 + ripple * (-1) ** k)
        subject += 0.2 * max(0.0, math.log(lr / burst)) if lr > burst else 0.0
        made.append(LRMeasurement(lr, subject, min(0.05, 0.3 * lr)))
        if diverged(made, 0.5):
            break
    return made


_suggest = functools.partial(suggest, steps=10)


@pytest.mark.parametrize("trough", [1e-4, 2e-3, 1e-2])
@pytest.mark.parametrize("ripple", [0.0, 0.1])
def test_the_suggestion_follows_the_trough(trough, ripple):
    found = _suggest(ramp(trough, 10 * trough, ripple=ripple), 0.5)
    assert trough / 1.4 < found.trough < trough * 1.4
    assert found.lr == pytest.approx(found.trough / MIN_SAFETY_FACTOR, rel=0.1)
    assert found.diverged_at is not None
    assert found.diverged_at > 10 * trough
    assert f"{found.trough:.1e}" in found.why


def test_the_suggestion_scales_with_the_learning_rate_and_not_with_the_loss():
    """Ten times the rates, ten times the rate; three times the loss, the same."""
    one = _suggest(ramp(), 0.5)
    ten = _suggest([LRMeasurement(10 * r.lr, r.subject, r.drift) for r in ramp()], 0.5)
    loud = _suggest([LRMeasurement(r.lr, 3 * r.subject, 3 * r.drift) for r in ramp()], 1.5)
    assert ten.lr == pytest.approx(10 * one.lr, rel=0.1)
    assert loud.lr == one.lr


def test_a_longer_run_wants_a_lower_rate():
    """Steps times rate stay the same, and no run comes nearer to the trough than the least."""
    found = [suggest(ramp(), 0.5, steps=n) for n in (10, TROUGH_STEPS, 2 * TROUGH_STEPS, 20 * TROUGH_STEPS)]
    assert found[0].lr == found[1].lr
    assert found[2].lr == pytest.approx(found[2].trough / 2, rel=0.06)
    assert found[3].lr == pytest.approx(found[2].lr / 10, rel=0.06)
    assert "the suggested peak for 2,400 steps is 20 times lower" in found[3].why


def test_the_text_encoder_keeps_its_ratio():
    found = _suggest(ramp(), 0.5, text_ratio=0.25)
    assert found.text_lr == pytest.approx(found.lr / 4, rel=0.06)
    assert _suggest(ramp(), 0.5).text_lr is None


def test_a_loss_that_is_no_number_ends_the_ramp_and_is_no_measurement():
    readings = [*ramp(burst=1.0, high=0.1), LRMeasurement(0.2, math.nan, math.nan)]
    found = _suggest(readings, 0.5)
    assert found.diverged_at == 0.2
    assert all(math.isfinite(r.total) for r in found.measurements)
    assert found.lr == _suggest(readings[:-1], 0.5).lr


def test_measurements_without_a_trough_are_an_error_with_the_next_step():
    flat = [LRMeasurement(10.0**k, -1e-4, 0.0) for k in range(-6, 0)]
    with pytest.raises(BakehouseError, match="nothing was learned at any learning rate"):
        _suggest(flat, 0.5)
    with pytest.raises(BakehouseError, match="still falls at the highest learning rate") as e:
        _suggest(ramp(trough=1.0, burst=100.0), 0.5)
    assert "--high" in e.value.hint


def test_the_chart_is_a_whole_svg():
    found = _suggest(ramp(), 0.5)
    root = ET.fromstring(lr_chart(found))
    assert root.tag.endswith("svg")
    text = " ".join(root.itertext())
    assert f"optimizer.lr = {found.lr:g}" in text
    assert "href" not in lr_chart(found)
    lines = [p.attrib["points"] for p in root.iter() if "points" in p.attrib]
    assert len(lines) == 2
    inside = [float(n) for points in lines for n in points.replace(" ", ",").split(",")]
    assert min(inside) >= 0
    assert max(inside) <= 640


@pytest.mark.parametrize("name", ["prodigy", "dadaptadam", "prodigyplus", "adamwschedulefree"])
def test_optimizers_that_need_none_are_refused_with_the_reason(recipe, name):
    with pytest.raises(UsageError, match=r"finds its learning rate itself|average over all its steps") as e:
        next(find_lr(recipe(optimizer__name=name, optimizer__lr=1.0)))
    assert "optimizer.name=adamw" in e.value.hint


def test_an_adafactor_that_steps_by_itself_is_refused_too(recipe):
    with pytest.raises(UsageError, match="finds its learning rate itself"):
        next(find_lr(recipe(optimizer__name="adafactor", optimizer__args={"relative_step": True})))


@pytest.mark.parametrize(("more", "words"), [({"low": 1.0, "high": 0.1}, "low"), ({"steps": 3}, "steps = 3")])
def test_an_empty_ramp_is_refused(recipe, more, words):
    with pytest.raises(UsageError, match=words):
        next(find_lr(recipe(), **more))


def finish(work):
    events: list[Event] = []
    found = result_of(work, events.append)
    return events, found


@pytest.fixture(autouse=True)
def _few_samples(monkeypatch):
    """A tiny model on six pictures needs no 32 samples."""
    monkeypatch.setattr(range_test, "ValidationSet", functools.partial(ValidationSet, samples=6))


def quick(recipe, **more):
    settings = {"adapter__targets": "full", "adapter__text": True, "adapter__rank": 8, "adapter__alpha": 4}
    settings |= {"optimizer__lr": 4e-3, "optimizer__text_lr": 1e-3, "noise__min_timestep": 600}
    return recipe(**{**settings, **more})


RAMP = {"steps": 16, "low": 1e-3, "high": 30.0}


def test_the_range_test_learns_diverges_and_is_repeatable(recipe):
    events, found = finish(find_lr(quick(recipe), **RAMP))
    probed = [e for e in events if isinstance(e, RateMeasured)]
    assert [(e.lr, e.subject, e.drift) for e in probed][: len(found.measurements)] == [
        (r.lr, r.subject, r.drift) for r in found.measurements
    ]
    factors = [b.lr / a.lr for a, b in itertools.pairwise(probed)]
    assert factors == pytest.approx([factors[0]] * len(factors)), "the rate rises by one factor"
    assert RAMP["low"] < found.lr < found.diverged_at
    assert found.text_lr == pytest.approx(found.lr / 4, rel=0.06), "in the recipe's own ratio"
    assert all(r.drift >= 0 for r in found.measurements)
    assert isinstance(events[-1], RateFound)
    assert events[-1].lr == found.lr
    assert any(isinstance(e, Progress) and e.what == "testing learning rates" for e in events)
    _, again = finish(find_lr(quick(recipe), **RAMP))
    assert again == found


def test_every_parameter_group_follows_the_ramp(recipe, monkeypatch):
    """Text encoder, blocks and LoRA+ keep their ratio at every step; the recipe's schedule has no say."""
    seen = []
    original = range_test.run_loop

    def spy(components, state, callbacks):
        for event in original(components, state, callbacks):
            seen.append(sorted({g["lr"] for g in state.optimizer.param_groups}))
            yield event

    monkeypatch.setattr(range_test, "run_loop", spy)
    finish(find_lr(quick(recipe, adapter__lora_plus_ratio=8.0, schedule__kind="cosine", schedule__warmup=5), **RAMP))
    ratios = [[rate / rates[0] for rate in rates] for rates in seen]
    assert all(r == pytest.approx(ratios[0]) for r in ratios)
    assert len(ratios[0]) == 4
    assert seen[1][0] > seen[0][0]


def test_the_validation_set_measures_nothing_on_an_untrained_model(recipe):
    """Two looks at one model differ by nothing: fixed captions, noise and timesteps, dropouts off."""
    from bakehouse.models.load import load_model
    from bakehouse.recipe import make_plan
    from bakehouse.training.prepare import build_components

    made = quick(recipe, adapter__dropout=0.5, captions__shuffle=True, captions__tag_dropout=0.5)
    _, (components, state) = finish(build_components(make_plan(made), load_model(made.model.base)))
    validation = ValidationSet(components, state, samples=10)
    torch.manual_seed(5)
    assert validation.evaluate() == (0.0, 0.0)
    assert {len(slots) for slots in validation.batches} <= {1, 2}
    with torch.no_grad():
        for p in state.parameters():
            p.add_(torch.randn_like(p))
    subject, drift = validation.evaluate()
    assert subject != 0.0
    assert drift > 0.0


def test_a_full_fine_tune_can_be_tested(recipe):
    _, found = finish(find_lr(recipe(adapter__kind="full", noise__min_timestep=600), steps=16, low=1e-5, high=3.0))
    assert 1e-5 < found.lr < 3.0


def test_the_range_test_needs_no_batch_size_finder(recipe):
    made = quick(recipe, train__batch="auto", train__accumulation=2)
    _, found = finish(find_lr(made, **RAMP))
    assert found.lr > RAMP["low"]
