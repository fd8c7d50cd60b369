"""The schedule's algebra in double precision, for both predictions, and what diffusers thinks of it."""

import pytest
import torch
from diffusers import DDPMScheduler

from bakehouse.core.errors import BakehouseError
from bakehouse.models.noise_schedule import make_schedule, scaled_linear, schedule_from_config

T = torch.tensor([0, 1, 250, 500, 998, 999])


def draws():
    g = torch.Generator().manual_seed(0)
    return (torch.randn(6, 4, 8, 8, dtype=torch.float64, generator=g) for _ in range(2))


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_a_perfect_prediction_gives_everything_back(prediction):
    schedule = make_schedule(prediction, scaled_linear())
    x0, eps = draws()
    x_t, target = schedule.add_noise(x0, eps, T), schedule.target(x0, eps, T)
    torch.testing.assert_close(schedule.to_x0(target, x_t, T), x0, atol=1e-9, rtol=1e-9)
    torch.testing.assert_close(schedule.to_eps(target, x_t, T), eps, atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_an_error_weighs_as_said(prediction):
    schedule = make_schedule(prediction, scaled_linear())
    x0, eps = draws()
    x_t, target = schedule.add_noise(x0, eps, T), schedule.target(x0, eps, T)
    wrong = target + torch.randn(target.shape, dtype=torch.float64)
    mse = (wrong - target).square().mean((1, 2, 3))
    x0_mse = (schedule.to_x0(wrong, x_t, T) - x0).square().mean((1, 2, 3))
    torch.testing.assert_close(x0_mse, mse * schedule.x0_weight(T))


def test_zero_terminal_v_is_minus_x0_at_the_end():
    schedule = make_schedule("v_prediction", scaled_linear()).rescaled_to_zero_terminal_snr()
    x0, eps = draws()
    assert schedule.snr(torch.tensor([999])) == 0 and schedule.snr(torch.tensor([0])) > 1000
    torch.testing.assert_close(schedule.add_noise(x0, eps, T)[-1], eps[-1])
    torch.testing.assert_close(schedule.target(x0, eps, T)[-1], -x0[-1])
    assert schedule.alphas_cumprod[0] == scaled_linear()[0]


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_same_as_diffusers(prediction):
    config = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
    theirs = DDPMScheduler(**config, prediction_type=prediction)
    ours = schedule_from_config({**config, "prediction_type": prediction})
    x0, eps = (x.float() for x in draws())
    torch.testing.assert_close(ours.add_noise(x0, eps, T), theirs.add_noise(x0, eps, T), atol=1e-5, rtol=1e-5)
    expected = eps if prediction == "epsilon" else theirs.get_velocity(x0, eps, T)
    torch.testing.assert_close(ours.target(x0, eps, T), expected, atol=1e-5, rtol=1e-5)


def test_trained_and_linear_betas():
    betas = [0.1, 0.2, 0.3]
    schedule = schedule_from_config({"trained_betas": betas})
    assert schedule.alphas_cumprod.tolist() == pytest.approx([0.9, 0.72, 0.504])
    linear = schedule_from_config(
        {"beta_schedule": "linear", "num_train_timesteps": 3, "beta_start": 0.1, "beta_end": 0.3}
    )
    assert linear.alphas_cumprod.tolist() == pytest.approx([0.9, 0.72, 0.504])


@pytest.mark.parametrize("config", [{"beta_schedule": "sigmoid"}, {"prediction_type": "sample"}])
def test_unknown_schedules_are_refused(config):
    with pytest.raises(BakehouseError, match="allowed are"):
        schedule_from_config(config)


def test_rescaling_twice_is_once():
    schedule = make_schedule("v_prediction", scaled_linear())
    assert not schedule.is_zero_terminal
    once = schedule.rescaled_to_zero_terminal_snr()
    assert once.is_zero_terminal
    assert once.rescaled_to_zero_terminal_snr() is once
