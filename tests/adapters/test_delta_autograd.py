"""Gradients that make no ΔW are autograd's own through ΔW."""

import pytest
import torch
from torch import nn
from torch.nn.functional import conv2d, linear

from bakehouse.adapters import OFT, LoKr, LoRA, inject
from bakehouse.adapters.delta_autograd import kronecker, low_rank, rotated
from bakehouse.adapters.layer import AdapterLayer, Dial, Hook
from bakehouse.adapters.oft import cayley


def drawn(*shape):
    return torch.randn(shape, dtype=torch.float64, requires_grad=True)


def check(inputs, plain, fused, weight_of, base_map):
    """The same output and the same gradients, of x too."""
    x, *factors = inputs
    wanted = plain(x, *factors)
    signal = torch.randn_like(wanted)
    expected = torch.autograd.grad(wanted, inputs, signal)
    out = fused(base_map(x, weight_of(*factors).detach()), x, *factors)
    torch.testing.assert_close(out, wanted)
    for mine, autograds in zip(torch.autograd.grad(out, inputs, signal), expected, strict=True):
        torch.testing.assert_close(mine, autograds)


def test_low_rank():
    torch.manual_seed(0)
    W = torch.randn(6, 5, dtype=torch.float64)
    check(
        [drawn(2, 7, 5), drawn(6, 3), drawn(3, 5)],
        lambda x, up, down: linear(x, W + up @ down),
        low_rank,
        lambda up, down: W + up @ down,
        linear,
    )


@pytest.mark.parametrize("whole", [False, True])
def test_kronecker(whole):
    torch.manual_seed(0)
    a, b, c, d, r = 2, 3, 4, 5, 2
    W = torch.randn(a * b, c * d, dtype=torch.float64)
    factors = [drawn(a, c), drawn(b, d)] if whole else [drawn(a, c), drawn(b, r), drawn(r, d)]

    def weight(small, up, down=None):
        return W + torch.kron(small, up if down is None else up @ down)

    check(
        [drawn(2, 7, c * d), *factors],
        lambda x, *factors: linear(x, weight(*factors)),
        lambda out, x, *factors: kronecker(out, x, *factors, *([None] if whole else [])),
        weight,
        linear,
    )


@pytest.mark.parametrize("images", [False, True])
@pytest.mark.parametrize("with_bias", [False, True])
def test_rotated(images, with_bias):
    torch.manual_seed(0)
    W = torch.randn(6, 5, *([3, 3] if images else []), dtype=torch.float64)
    bias = torch.randn(6, dtype=torch.float64) if with_bias else None
    x = drawn(2, 5, 4, 4) if images else drawn(2, 7, 5)
    op = (lambda x, w: conv2d(x, w, bias, padding=1)) if images else (lambda x, w: linear(x, w, bias))

    def weight(blocks):
        return (cayley(blocks) @ W.reshape(2, 3, -1)).view(W.shape)

    check(
        [x, drawn(2, 3, 3)],
        lambda x, blocks: op(x, weight(blocks)),
        lambda out, x, blocks: rotated(out, cayley(blocks), bias, channels=1 if images else -1),
        weight,
        op,
    )


def test_rotated_in_pieces_is_rotated_whole(monkeypatch):
    torch.manual_seed(0)
    out, signal = torch.randn(70, 12), torch.randn(70, 12)
    turn, bias = cayley(torch.randn(4, 3, 3)).requires_grad_(), torch.randn(12)
    (whole,) = torch.autograd.grad(rotated(out, turn, bias), turn, signal)
    monkeypatch.setattr("bakehouse.adapters.delta_autograd._CACHED", 64)
    (pieces,) = torch.autograd.grad(rotated(out, turn, bias), turn, signal)
    torch.testing.assert_close(pieces, whole)


SPECS = {
    "lora": LoRA(rank=2, alpha=3.0),
    "lokr": LoKr(rank=1, alpha=3.0, factor=2),
    "lokr-both": LoKr(rank=1, alpha=3.0, decompose_both=True),
    "lokr-whole": LoKr(full_matrix=True, factor=2),
    "oft": OFT(block_size=4),
    "coft": OFT(block_size=4, constraint=0.05, targets="full"),
}


@pytest.mark.parametrize("multiplier", [1.0, 0.7])
@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
def test_a_step_is_the_plain_one(tiny, randomised, monkeypatch, spec, multiplier):
    """Output and gradients of a whole model, with the fused way and without it."""
    adapter = randomised(spec, tiny).train()
    cond = tiny.encode_prompt(["a red robot"])
    x_t = torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(0))
    used = []

    def step():
        for parameter in adapter.parameters():
            parameter.grad = None
        with adapter.scaled(multiplier):
            out = tiny(x_t, torch.tensor([500]), cond)
            out.square().mean().backward()
        return out.detach(), {name: p.grad.clone() for name, p in adapter.named_parameters()}

    for kind in {type(layer) for layer in adapter.layers.values()}:
        fused = kind.fused

        def noted(self, base, multiplier, fused=fused):
            used.append(fused(self, base, multiplier) is not None)
            return fused(self, base, multiplier)

        monkeypatch.setattr(kind, "fused", noted)
    out, gradients = step()
    assert any(used) == (multiplier == 1.0 or not isinstance(spec, OFT))
    for kind in {type(layer) for layer in adapter.layers.values()}:
        monkeypatch.setattr(kind, "fused", AdapterLayer.fused)
    plain, wanted = step()
    torch.testing.assert_close(out, plain, atol=1e-5, rtol=1e-4)
    for name, gradient in gradients.items():
        torch.testing.assert_close(gradient, wanted[name], atol=1e-6, rtol=2e-3)


def test_two_adapters_on_one_module_learn_both(tiny, randomised):
    first, second = (randomised(LoRA(rank=2, alpha=3.0), tiny, seed=seed).train() for seed in (1, 2))
    tiny(torch.randn(1, 4, 16, 16), torch.tensor([5]), tiny.encode_prompt(["hat"])).square().mean().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for a in (first, second) for p in a.parameters())
    second.remove()
    first.remove()


def test_frozen_a_keeps_the_input_out_of_memory():
    base = nn.Linear(4, 4).requires_grad_(False)
    layer = LoRA(rank=2, lora_fa=True).build(_site(base), torch.Generator())
    layer.lora_down.requires_grad_(False)
    assert layer.train().way(base, torch.randn(64, 4)) == "input"
    assert LoRA(rank=2).build(_site(base), torch.Generator()).way(base, torch.randn(64, 4)) == "weight"


def _site(base):
    from bakehouse.adapters.target_modules import Site

    return Site("lora_unet", "x", base)


def test_the_hook_leaves_gradients_off_where_they_are_off(tiny, randomised):
    adapter = randomised(LoRA(rank=2), tiny)
    x_t, cond = torch.randn(1, 4, 16, 16), tiny.encode_prompt(["hat"])
    with torch.no_grad():
        assert not tiny(x_t, torch.tensor([5]), cond).requires_grad
    adapter.remove()
    assert inject(LoRA(rank=2), tiny.trainable_modules()) is not None


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
def test_no_second_copy_of_a_weight_waits_for_the_way_back(spec):
    base = nn.Linear(16, 16).requires_grad_(False)
    layer = spec.build(_site(base), torch.Generator().manual_seed(0))
    hook = Hook.on(base)
    hook.add(layer.train(), Dial())
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        base(torch.randn(64, 16, requires_grad=True)).sum().backward()
    assert kept
    assert not [t for t in kept if t.shape == base.weight.shape and t.data_ptr() != base.weight.data_ptr()]
