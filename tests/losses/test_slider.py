"""The loss of a slider is LECO's formula: numbers computed in exact fractions, away from this code."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from bakehouse.losses import LossSpec
from bakehouse.losses.denoising import per_sample
from bakehouse.losses.slider import SliderPrompt, SliderSpec, slider_target, with_words
from bakehouse.models.noise_schedule import make_schedule, scaled_linear

GOLDEN = json.loads((Path(__file__).parent / "slider_golden.json").read_text("utf-8"))


def tensor(values):
    return torch.tensor(values).view(1, 2, 2, 2)


@pytest.mark.parametrize("case", GOLDEN, ids=lambda c: f"{c['action']}-{c['guidance']:g}-at-{c['strength']:g}")
@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_the_golden_losses(case, prediction):
    prompt = SliderPrompt(target="person", action=case["action"], guidance=case["guidance"])
    neutral, positive, negative = (tensor(case[name]) for name in ("neutral", "positive", "negative"))
    target = slider_target(neutral, positive, negative, case["strength"] * prompt.direction)
    assert target.flatten().tolist() == pytest.approx(case["target"], abs=1e-5)
    schedule = make_schedule(prediction, scaled_linear())
    error = LossSpec().elementwise(tensor(case["prediction"]), target, schedule, torch.tensor([500]))
    assert per_sample(error, None).item() == pytest.approx(case["loss"], rel=1e-5)


def test_the_formula_means_the_same_in_noise_and_in_velocity():
    # v = sqrt(abar) eps - sqrt(1 - abar) x0 at one x_t: the target in v is the v of the target in eps.
    generator = torch.Generator().manual_seed(1)
    x_t, *eps = (torch.randn(1, 4, 4, 4, generator=generator) for _ in range(4))
    schedule, t = make_schedule("v_prediction", scaled_linear()), torch.tensor([400])
    abar = schedule.alphas_cumprod[400]

    def velocity(e):
        x0 = (x_t - (1 - abar).sqrt() * e) / abar.sqrt()
        return schedule.target(x0, e, t)

    of_eps = slider_target(*eps, 2.5)
    of_v = slider_target(*(velocity(e) for e in eps), 2.5)
    assert torch.allclose(schedule.to_eps(of_v, x_t, t), of_eps, atol=1e-4)


def test_both_ends_are_as_far_from_the_middle():
    neutral, positive, negative = (torch.randn(1, 4, 2, 2) for _ in range(3))
    up, down = (slider_target(neutral, positive, negative, s) for s in (1.5, -1.5))
    assert torch.allclose((up + down) / 2, neutral, atol=1e-6)


def test_what_is_left_out_of_a_prompt():
    assert SliderPrompt(target="van gogh").ends == ("van gogh", "", "van gogh")
    assert SliderPrompt(target="van gogh", neutral="").ends == ("van gogh", "", "")
    assert SliderSpec(both_ways=False).signs == (1.0,)


def test_kept_words_are_in_every_prompt():
    spec = SliderSpec(
        prompts=[{"target": "person", "positive": "person, smile", "negative": "person, sad"}],
        keep=["red hair", "blue hair"],
        anchors=[{"prompt": "robot"}],
    )
    prompts = list(spec.all_prompts())
    assert prompts[-1] == "robot"
    assert all(p.endswith(("red hair", "blue hair")) for p in prompts[:-1])
    assert with_words("", "red hair") == "red hair"
