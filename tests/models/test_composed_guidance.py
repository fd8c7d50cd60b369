"""Guidance by several prompts at once, and by prompts that change during sampling."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from bakehouse.models.denoiser import Conditioning
from bakehouse.models.guidance import ClassifierFreeGuidance, ComposedGuidance, StepwiseGuidance

X = torch.randn(2, 4, 3, 3, generator=torch.Generator().manual_seed(0))
T = torch.tensor([5, 5])


def cond(*values: float) -> Conditioning:
    return Conditioning(torch.tensor(values).view(-1, 1, 1))


def predict(x: Tensor, t: Tensor, prompts: Conditioning) -> Tensor:
    """A network that is not linear in its prompt, so that no mix-up of rows goes unseen."""
    assert len(x) == len(t) == len(prompts)
    return torch.sin(x * prompts.hidden.view(-1, 1, 1, 1)) + prompts.hidden.view(-1, 1, 1, 1) ** 2


def alone(x: Tensor, value: float) -> Tensor:
    return predict(x[None], T[:1], cond(value))[0]


@pytest.mark.parametrize("scale", [1.0, 7.0])
def test_it_is_the_sum_over_the_prompts_of_each_image(scale: float) -> None:
    guide = ComposedGuidance(cond(0.1, 0.2, 0.3), cond(0.8, 0.9), [[1.2, -0.5], [0.7]], scale)
    got = guide(predict, X, T)
    u = alone(X[0], 0.8)
    first = u + scale * (1.2 * (alone(X[0], 0.1) - u) - 0.5 * (alone(X[0], 0.2) - u))
    v = alone(X[1], 0.9)
    second = v + scale * 0.7 * (alone(X[1], 0.3) - v)
    torch.testing.assert_close(got, torch.stack([first, second]), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("rescale", [0.0, 0.7])
def test_one_prompt_of_weight_one_is_plain_guidance(rescale: float) -> None:
    composed = ComposedGuidance(cond(0.1, 0.2), cond(0.8, 0.8), [[1.0], [1.0]], 7.0, rescale)
    plain = ClassifierFreeGuidance(cond(0.1, 0.2), cond(0.8), 7.0, rescale)
    assert torch.equal(composed(predict, X, T), plain(predict, X, T))


@pytest.mark.parametrize("calls_per_step", [1, 2])
@pytest.mark.parametrize("last_steps", [(1, 4), (3, 4), (2, 3, 4), (4,), (1, 2, 3, 4)])
def test_each_step_has_its_own_prompts(last_steps: tuple[int, ...], calls_per_step: int) -> None:
    """Samplers of second order call the network twice in each step but the last one."""
    total = 4 * calls_per_step - (calls_per_step - 1)
    made: list[int] = []
    guide = StepwiseGuidance(last_steps, lambda number: made.append(number) or (lambda *_: torch.tensor(number)))  # type: ignore[func-returns-value]
    seen = []
    for call in range(total):
        seen.append(int(guide(predict, X, T)))
        guide.advance(call + 1, total)
    expected = [
        next(i for i, last in enumerate(last_steps) if call // calls_per_step + 1 <= last) for call in range(total)
    ]
    assert seen == expected
    assert made == list(range(len(last_steps))), "a guider is made when its range begins"
