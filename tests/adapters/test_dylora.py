"""DyLoRA: every prefix of the ranks is an adapter."""

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from bakehouse.adapters import DyLoRA, DyLoRALayer, LoRA, LoRALayer, inject, load_adapter, metadata_for, save_adapter
from bakehouse.adapters.layer import linear_map
from bakehouse.core.errors import UsageError
from bakehouse.weights.dylora_slices import cut, slice_ranks

from .oracle import BASES, inputs_of

META = {"name": "me", "base_model": "crumb", "base_hash": "ab", "resolution": (128, 96), "steps": 1, "epoch": 1}


@pytest.mark.parametrize("kind", BASES)
def test_training_runs_with_prefixes(kind):
    """What a training call adds is one of the slices' output, and all of them come up; later ranks get no gradient."""
    torch.manual_seed(0)
    base = BASES[kind]()
    outs, ins, *kernel = base.weight.shape
    layer = DyLoRALayer(torch.randn(6, ins, *kernel), torch.randn(outs, 6, *[1] * len(kernel)), 3.0)
    layer.unit = 2
    x = inputs_of(base)
    slices = {}
    for rank in (2, 4, 6):
        small = cut(layer.state_dict(), rank, alpha_shrinks=True)
        slices[rank] = linear_map(base, x, LoRALayer.from_tensors(small, base).delta(base.weight))
    seen = set()
    for _ in range(40):
        layer.zero_grad()
        added = layer.added(base, x)
        added.square().sum().backward()
        rank = min(slices, key=lambda r: float((slices[r] - added).detach().abs().max()))
        torch.testing.assert_close(added, slices[rank], atol=1e-4, rtol=1e-4)
        learns = layer.down.grad.flatten(1).abs().sum(1) > 0
        assert learns.tolist() == [i < rank for i in range(6)]
        seen.add(rank)
    assert seen == {2, 4, 6}
    torch.testing.assert_close(layer.eval().added(base, x), slices[6], atol=1e-4, rtol=1e-4)


def test_draws_follow_torch_s_seed():
    base, x = nn.Linear(5, 6), torch.randn(3, 5)
    layer = DyLoRALayer(torch.randn(8, 5), torch.randn(6, 8), 3.0)
    runs = []
    for _ in range(2):
        torch.manual_seed(7)
        runs.append(torch.stack([layer.added(base, x) for _ in range(5)]))
    assert torch.equal(*runs) and not torch.equal(runs[0][0], runs[0][1])


def test_slices_of_a_file(tiny, output, randomised, make_tiny, tmp_path):
    spec = DyLoRA(rank=4, alpha=3.0, unit=2)
    adapter = randomised(spec, tiny).eval()
    path = save_adapter(adapter, tmp_path / "a.safetensors", metadata_for(spec, **META), torch.float32)
    with torch.no_grad():
        for layer in adapter.layers.values():
            layer.up[:, 2:] = 0
    first = output(tiny)
    (sliced,) = slice_ranks(path, tmp_path / "b.safetensors", [2])
    other = make_tiny()
    small = load_adapter(sliced.path, other.trainable_modules())
    assert {layer.rank for layer in small.layers.values()} == {2}
    torch.testing.assert_close(output(other), first, atol=1e-5, rtol=1e-4)
    (whole,) = slice_ranks(path, tmp_path / "c.safetensors", [4])
    again = load_file(whole.path)
    assert all(torch.equal(again[key], tensor) for key, tensor in load_file(path).items())


def test_norms_that_trained_beside_it_stay(tiny, randomised, tmp_path):
    spec = DyLoRA(rank=4, alpha=3.0, unit=2, train_norm=True)
    path = save_adapter(randomised(spec, tiny), tmp_path / "a.safetensors", metadata_for(spec, **META), torch.float32)
    (small,) = slice_ranks(path, tmp_path / "b.safetensors", [2])
    before, after = load_file(path), load_file(small.path)
    norms = [key for key in before if key.endswith("_norm")]
    assert norms
    assert all(torch.equal(after[key], before[key]) for key in norms)


def test_ranks_come_out_sorted():
    """Teaching one matrix: each prefix is nearly the best of its rank, which no part of an ordinary LoRA is."""
    torch.manual_seed(0)
    target = torch.linalg.qr(torch.randn(12, 12))[0] @ torch.diag(0.6 ** torch.arange(12.0))
    base = nn.Linear(12, 12, bias=False)
    layer = DyLoRALayer(torch.randn(6, 12) * 0.3, torch.zeros(12, 6), 6.0)
    optimizer = torch.optim.Adam(layer.parameters(), lr=0.02)
    x = torch.eye(12)
    for _ in range(300):
        optimizer.zero_grad()
        (layer.added(base, x) - target.mT).square().sum().backward()
        optimizer.step()
    singular = torch.linalg.svdvals(target)
    for rank in (1, 2, 3):
        missed = (target - layer.up[:, :rank] @ layer.down[:rank]).norm()
        assert missed < 1.15 * singular[rank:].norm()


def test_ranks_that_units_do_not_fill_are_refused():
    with pytest.raises(UsageError, match="rank = 6 is no multiple of unit = 4"):
        DyLoRA.parse({"rank": 6})


@pytest.mark.parametrize("before", [DyLoRA(rank=4, alpha=3.0, unit=4), LoRA(rank=4, alpha=3.0)])
def test_going_on_from_a_file(tiny, output, randomised, make_tiny, tmp_path, before):
    path = tmp_path / "a.safetensors"
    save_adapter(randomised(before, tiny), path, metadata_for(before, **META), torch.float32)
    other = make_tiny()
    adapter = inject(DyLoRA(start=path, unit=2), other.trainable_modules())
    assert {(type(layer), layer.rank, layer.unit) for layer in adapter.layers.values()} == {(DyLoRALayer, 4, 2)}
    torch.testing.assert_close(output(other), output(tiny))
