"""Number for number what other trainers' own functions give for the same input; the data names the versions."""

import json
from pathlib import Path

import pytest
import torch

from bakehouse.losses import LossSpec, NoiseSpec, TimestepSpec, WeightingSpec
from bakehouse.losses.denoising import per_sample
from bakehouse.models.noise_schedule import EpsilonSchedule, VSchedule, scaled_linear

OTHERS = json.loads(Path(__file__).with_name("formulas_of_others.json").read_text("utf-8"))
T = torch.tensor(OTHERS["timesteps"])
SCHEDULES = {"epsilon": EpsilonSchedule(scaled_linear()), "v": VSchedule(scaled_linear())}


def gen(seed=0):
    return torch.Generator().manual_seed(seed)


def weighting(name):
    """Our settings for a row of the data: `kohya debiased v`."""
    peer, kind, *rest = name.removesuffix(" zero-terminal").split()
    form = {"form": peer} if peer in ("kohya", "onetrainer") else {}
    match kind:
        case "min_snr":
            return WeightingSpec(kind="min_snr", gamma=float(rest[0]), **form)
        case "p2":
            return WeightingSpec(kind="p2", p2_gamma=float(rest[0]), **form)
        case "scale_v":
            return WeightingSpec(kind="epsilon", **form)
        case "v_like":
            return WeightingSpec(v_pred_like=float(rest[0]), **form)
        case "snr_gamma":
            return WeightingSpec(kind="x0")
        case "debiased":
            return WeightingSpec(kind="debiased", **form)


@pytest.mark.parametrize("name", OTHERS["weights"])
def test_weightings(name):
    schedule = SCHEDULES[name.removesuffix(" zero-terminal").split()[-1]]
    if name.endswith("zero-terminal"):
        schedule = schedule.rescaled_to_zero_terminal_snr()
    ours = weighting(name)(schedule, T)
    if "snr_gamma" in name:
        ours = 5 * ours  # the same up to a factor that is the same for all timesteps
    assert torch.allclose(ours, torch.tensor(OTHERS["weights"][name], dtype=torch.float64), rtol=3e-5)


DIFFERENT = [n for n in OTHERS["weights"] if n.split()[1] in ("debiased", "scale_v") or n == "onetrainer p2 0.5 v"]


@pytest.mark.parametrize("name", DIFFERENT)
def test_the_published_form_is_another_where_a_trainers_form_is_named(name):
    """What `form` is there for: each of them differs from the published one somewhere."""
    schedule = SCHEDULES[name.removesuffix(" zero-terminal").split()[-1]]
    spec = weighting(name)
    published = spec.model_copy(update={"form": "published"})
    assert not torch.allclose(spec(schedule, T), published(schedule, T), rtol=1e-4)


@pytest.mark.parametrize("name", [n for n in OTHERS["huber"] if n not in ("pred", "target")])
def test_losses(name):
    kind, huber_schedule, c, scale = name.split()
    # kohya's snr schedule passes over huber_scale, so that its importer leaves it out there.
    scale = 1.0 if huber_schedule == "snr" else float(scale)
    spec = LossSpec(kind=kind, huber_schedule=huber_schedule, huber_c=float(c), huber_scale=scale)
    pred, target = (torch.tensor(OTHERS["huber"][k]).view(len(T), 1, 1, 2) for k in ("pred", "target"))
    ours = spec.elementwise(pred, target, SCHEDULES["epsilon"], T).flatten()
    assert torch.allclose(ours, torch.tensor(OTHERS["huber"][name]), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", OTHERS["pyramid"])
def test_pyramid_noise_is_kohyas_with_the_same_draws(name):
    h, w, iterations, discount, seed = name.split()
    spec = NoiseSpec(pyramid_iterations=int(iterations), pyramid_discount=float(discount))
    noise = spec.draw(torch.zeros(1, 4, int(h), int(w)), gen(int(seed)))
    want = OTHERS["pyramid"][name]
    assert noise.flatten()[:8].tolist() == pytest.approx(want["first"], rel=1e-4, abs=1e-5)
    assert noise.mean().item() == pytest.approx(want["mean"], abs=1e-5)
    assert torch.nn.functional.avg_pool2d(noise, 4).std().item() == pytest.approx(want["coarse"], rel=1e-4)


@pytest.mark.parametrize("name", [n for n in OTHERS["offset"] if n != "latents"])
def test_the_strength_of_an_offset(name, monkeypatch):
    offset, adaptive = name.split()
    spec = NoiseSpec(offset=float(offset), offset_adaptive=0.0 if adaptive == "None" else float(adaptive))
    latents = torch.tensor(OTHERS["offset"]["latents"]).view(2, 4, 3, 3)
    monkeypatch.setattr(torch, "randn", lambda *shape, **_: torch.ones(shape))
    strength = spec._offset(latents, gen()).expand(2, 4, 1, 1).flatten()
    assert torch.allclose(strength, torch.tensor(OTHERS["offset"][name]), atol=1e-6)


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("kohya", {"mask_average": "image"}),
        ("onetrainer", {"mask_average": "image"}),
        ("onetrainer normalized", {}),
        ("onetrainer unmasked 0.25", {"unmasked_weight": 0.25}),
    ],
)
def test_masked_losses(name, settings):
    error = torch.tensor(OTHERS["masks"]["loss"]).view(2, 4, 4, 4)
    mask = torch.tensor(OTHERS["masks"]["mask"]).view(2, 1, 4, 4)
    mask = (mask > 0.5).float() if "unmasked" in name else mask
    spec = LossSpec(**settings)
    ours = per_sample(error, spec.effective_mask(mask, gen()), spec.mask_average)
    assert ours.tolist() == pytest.approx(OTHERS["masks"][name], rel=1e-5)


@pytest.mark.parametrize("name", OTHERS["densities"])
def test_how_often_timesteps_are_drawn(name):
    """OneTrainer's own weights where it has them, else shares of 400,000 of its draws."""
    one = OTHERS["densities"][name]
    want = torch.tensor(one["p"], dtype=torch.float64)
    drawn = "in twentieths" in name
    ours = TimestepSpec(**one["settings"]).probabilities(*((0, 1000) if drawn else (100, 140)))
    if drawn:
        assert torch.allclose(ours.view(20, 50).sum(1), want, atol=3e-3)
    else:
        assert torch.allclose(ours, want, rtol=1e-4, atol=1e-7)


def test_weightings_multiply_as_kohyas():
    """Its loss goes through min-SNR, then the v scale, then the debiased weight."""
    schedule = SCHEDULES["v"]
    both = WeightingSpec(kind="min_snr", also=("epsilon", "debiased"), gamma=5, form="kohya")
    want = torch.ones(len(T), dtype=torch.float64)
    for name in ("kohya min_snr 5 v", "kohya scale_v v", "kohya debiased v"):
        want = want * torch.tensor(OTHERS["weights"][name], dtype=torch.float64)
    assert torch.allclose(both(schedule, T), want, rtol=1e-4)
