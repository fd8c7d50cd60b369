"""Diag-OFT: rotations in blocks, as LyCORIS and kohya write them."""

import pytest
import torch
from lycoris.modules.diag_oft import DiagOFTModule
from torch import nn

from bakehouse.adapters import OFT, AdapterTarget, OFTLayer, load_adapter
from bakehouse.adapters.oft import block_size, cayley
from bakehouse.adapters.target_modules import Site
from bakehouse.core.errors import UsageError

from .oracle import BASES, check_same_delta, check_ways, randomise, theirs_from

SETTINGS = [{}, {"constraint": 0.1}, {"rescaled": True}]


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
@pytest.mark.parametrize("kind", BASES)
def test_theirs_and_ours_are_the_same(kind, settings):
    torch.manual_seed(0)
    base = BASES[kind]()
    theirs = DiagOFTModule("x", base, 1.0, lora_dim=3, **settings)
    randomise(theirs)
    ours = OFTLayer.from_tensors(theirs.state_dict(), base)
    check_same_delta(ours, theirs, base)
    check_same_delta(ours, theirs_from(ours.state_dict(), base), base)
    check_ways(ours, base)


@pytest.mark.parametrize("size", [2, 4, 8])
def test_blocks_turn(size):
    torch.manual_seed(0)
    blocks = torch.randn(5, size, size)
    turn = cayley(blocks)
    torch.testing.assert_close(turn @ turn.mT, torch.eye(size).expand(5, -1, -1), atol=2e-5, rtol=0)
    torch.testing.assert_close(torch.linalg.det(turn), torch.ones(5), atol=1e-4, rtol=0)
    torch.testing.assert_close(cayley(-blocks), turn.mT, atol=2e-5, rtol=0)
    assert torch.equal(cayley(torch.zeros(5, size, size)), torch.eye(size).expand(5, -1, -1))


def test_lengths_and_angles_of_columns_stay():
    torch.manual_seed(0)
    base = nn.Linear(7, 24)
    layer = OFTLayer(torch.randn(6, 4, 4), 0.0)
    turned = base.weight + layer.delta(base.weight)
    assert (turned - base.weight).abs().max() > 0.1
    torch.testing.assert_close(turned.mT @ turned, base.weight.mT @ base.weight, atol=1e-5, rtol=1e-5)


def test_the_constraint_holds_and_is_the_state_s():
    torch.manual_seed(0)
    blocks = torch.randn(6, 4, 4)
    layer = OFTLayer(blocks, 0.01)

    def norm_of_q(turn):
        eye = torch.eye(4)
        return torch.linalg.vector_norm(torch.linalg.solve(eye + turn, eye - turn))

    assert norm_of_q(cayley(blocks)) > 1
    torch.testing.assert_close(norm_of_q(cayley(blocks, layer.limit)), torch.tensor(0.01 * 24), atol=1e-4, rtol=1e-3)
    small = blocks * 1e-3
    assert torch.equal(cayley(small, 0.24), cayley(small))
    free = OFTLayer(blocks, 0.0)
    free.load_state_dict(layer.state_dict())
    assert free.limit == layer.limit > 0


def test_gradients_flow_from_the_start_and_are_finite():
    for constraint in (0.0, 0.1):
        layer = OFTLayer(torch.zeros(6, 4, 4), constraint, rescale=torch.ones(24, 1))
        (layer.delta(torch.randn(24, 5)) * torch.randn(24, 5)).sum().backward()
        assert all(torch.isfinite(p.grad).all() and p.grad.abs().sum() > 0 for p in layer.parameters())


def test_rank_dropout_leaves_a_rotation():
    torch.manual_seed(0)
    layer = OFTLayer(torch.randn(6, 4, 4), 0.0, rank_dropout=0.5)
    change = layer.change()
    stays = (change == 0).flatten(1).all(1)
    assert 0 < stays.sum() < 6
    turn = change + torch.eye(4)
    torch.testing.assert_close(turn @ turn.mT, torch.eye(4).expand(6, -1, -1), atol=2e-5, rtol=0)
    layer.eval()
    assert torch.equal(layer.change(), layer.change()) and (layer.change() != 0).flatten(1).any(1).all()


@pytest.mark.parametrize(("outs", "most", "size"), [(320, 4, 4), (320, 7, 5), (320, 64, 64), (63, 4, 3), (13, 4, 1)])
def test_sizes_of_blocks(outs, most, size):
    assert block_size(outs, most) == size


def test_what_cannot_turn_is_refused():
    with pytest.raises(UsageError, match="rank"):
        OFT.parse({"rank": 4})
    with pytest.raises(UsageError, match="has 7 outputs, which no block of 2 to 4 divides"):
        OFT().build(Site("lora_unet", "a.b", nn.Linear(4, 7)), None)
    with pytest.raises(ValueError, match="do not fit"):
        OFTLayer.from_tensors({"oft_blocks": torch.zeros(5, 4, 4)}, nn.Linear(4, 24))


def test_kohya_s_own_prefix(tiny, output, randomised, make_tiny):
    adapter = randomised(OFT(constraint=0.1), tiny).eval()
    theirs = {key.replace("lora_unet", "oft_unet"): tensor for key, tensor in adapter.state_dict().items()}
    other = make_tiny()
    load_adapter(theirs, other.trainable_modules())
    assert torch.equal(output(other), output(tiny))


def test_blocks_can_be_counted_instead(tiny):
    adapter = OFT(block_count=2).inject(AdapterTarget(tiny.trainable_modules()), None)
    assert {layer.oft_blocks.shape[0] for layer in adapter.layers.values()} == {2}
    assert all(
        layer.oft_blocks.shape[-1] * 2 == adapter.sites[stem].module.weight.shape[0]
        for stem, layer in adapter.layers.items()
    )
    adapter.remove()
    with pytest.raises(UsageError, match="5 blocks do not fill evenly"):
        OFT(block_count=5).inject(AdapterTarget(tiny.trainable_modules()), None)


def test_the_gradient_of_a_turn_is_that_of_its_formula():
    torch.manual_seed(0)
    blocks = torch.randn(3, 4, 4, dtype=torch.float64, requires_grad=True)
    signal, eye = torch.randn_like(blocks), torch.eye(4, dtype=torch.float64)
    q = blocks - blocks.mT
    (wanted,) = torch.autograd.grad(torch.linalg.inv(eye + q) @ (eye - q), blocks, signal)
    (mine,) = torch.autograd.grad(cayley(blocks), blocks, signal)
    torch.testing.assert_close(mine, wanted)
