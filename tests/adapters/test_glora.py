"""GLoRA: ΔW = s (W a1 a2 + b1 b2), as LyCORIS writes it."""

import pytest
import torch
from lycoris.modules.glora import GLoRAModule
from torch import nn

from bakehouse.adapters import GLoRALayer
from bakehouse.adapters.layer import ForwardHook

from .oracle import BASES, check_same_delta, check_ways, inputs_of, randomise, theirs_from


@pytest.mark.parametrize("kind", BASES)
def test_theirs_and_ours_are_the_same(kind):
    torch.manual_seed(0)
    base = BASES[kind]()
    theirs = GLoRAModule("x", base, 1.0, lora_dim=3, alpha=5.0)
    randomise(theirs)
    ours = GLoRALayer.from_tensors(theirs.state_dict(), base)
    assert ours.scale == 5 / 3
    check_same_delta(ours, theirs, base)
    check_same_delta(ours, theirs_from(ours.state_dict(), base), base)
    check_ways(ours, base)


def test_a_core_is_multiplied_in():
    from lycoris.modules.glora import _glora_weight

    torch.manual_seed(0)
    base = nn.Conv2d(5, 6, 3)
    shapes = {"a1": (5, 2), "a2": (2, 5), "b1": (6, 2), "b2": (2, 5)}
    own = {name: torch.randn(*shape, 1, 1) for name, shape in shapes.items()} | {"bm": torch.randn(2, 2, 3, 3)}
    want = _glora_weight(base.weight, own["a1"], own["a2"], own["b1"], own["b2"], own["bm"], 3.0 / 2)
    layer = GLoRALayer.from_tensors({f"{n}.weight": t for n, t in own.items()} | {"alpha": torch.tensor(3.0)}, base)
    torch.testing.assert_close(layer.delta(base.weight), want, atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize("drop", ["dropout", "rank_dropout"])
@pytest.mark.parametrize("kind", ["linear", "3x3"])
def test_dropouts_keep_the_mean(kind, drop):
    torch.manual_seed(0)
    base = BASES[kind]()
    outs, ins, *kernel = base.weight.shape
    ones = [1] * len(kernel)
    layer = GLoRALayer(
        {"a1": torch.randn(ins, 3, *ones), "a2": torch.randn(3, ins, *ones) * 0.3,
         "b1": torch.randn(outs, 3, *ones), "b2": torch.randn(3, ins, *kernel) * 0.3}, 2.0
    )  # fmt: skip
    setattr(layer, drop, 0.5)
    x = inputs_of(base)
    with torch.no_grad():
        still = layer.eval().delta_from_input(base, x)
        layer.train()
        assert layer.forward_path(base, x) == "input"
        draws = torch.stack([layer.delta_from_input(base, x) for _ in range(500)])
    assert draws.std(0).max() > 0.1
    torch.testing.assert_close(draws.mean(0), still, atol=0.25 * float(still.abs().max()), rtol=0)


def test_a_merged_base_is_mixed_as_it_was(tiny, output, randomised):
    """A re-mixes the base's own weight, not what another adapter merged into it."""
    from bakehouse.adapters import GLoRA, LoRA

    first = randomised(LoRA(rank=2), tiny, seed=1).eval()
    second = randomised(GLoRA(rank=2, alpha=3.0), tiny, seed=2).eval()
    both = output(tiny)
    first.merge_into()
    torch.testing.assert_close(output(tiny), both, atol=5e-5, rtol=1e-4)
    second.merge_into()
    torch.testing.assert_close(output(tiny), both, atol=5e-5, rtol=1e-4)
    assert isinstance(next(iter(second.sites.values())).module.__dict__["forward"], ForwardHook)


def test_missing_factors_are_named():
    with pytest.raises(ValueError, match="a1, a2, b1 and b2 are expected"):
        GLoRALayer.from_tensors({"a1.weight": torch.zeros(4, 2), "b1.weight": torch.zeros(6, 2)}, nn.Linear(4, 6))
