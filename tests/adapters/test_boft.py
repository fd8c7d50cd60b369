"""BOFT: butterflies of rotations, as LyCORIS writes them."""

import pytest
import torch
from lycoris.modules.boft import ButterflyOFTModule
from torch import nn

from bakehouse.adapters import BOFT, BOFTLayer
from bakehouse.adapters.boft import butterfly_size, stages
from bakehouse.adapters.target_modules import Site
from bakehouse.core.errors import UsageError

from .oracle import BASES, check_same_delta, check_ways, randomise, theirs_from


@pytest.mark.parametrize("settings", [{}, {"constraint": 0.1}, {"rescaled": True}], ids=str)
@pytest.mark.parametrize("kind", BASES)
def test_theirs_and_ours_are_the_same(kind, settings):
    torch.manual_seed(0)
    base = BASES[kind]()
    theirs = ButterflyOFTModule("x", base, 1.0, lora_dim=6, **settings)
    randomise(theirs)
    ours = BOFTLayer.from_tensors(theirs.state_dict(), base)
    check_same_delta(ours, theirs, base)
    check_same_delta(ours, theirs_from(ours.state_dict(), base), base)
    check_ways(ours, base)


def test_it_turns_and_reaches_every_pair():
    torch.manual_seed(0)
    layer = BOFTLayer(torch.randn(stages(8), 8, 4, 4), 0.0)
    turn = torch.eye(32) + layer.delta(torch.eye(32))
    torch.testing.assert_close(turn @ turn.mT, torch.eye(32), atol=3e-5, rtol=0)
    assert (turn != 0).all()
    weight = torch.randn(32, 5)
    turned = weight + layer.delta(weight)
    torch.testing.assert_close(turned.mT @ turned, weight.mT @ weight, atol=1e-4, rtol=1e-5)


def test_gradients_flow_from_the_start():
    layer = BOFTLayer(torch.zeros(3, 4, 6, 6), 0.1)
    (layer.delta(torch.randn(24, 5)) * torch.randn(24, 5)).sum().backward()
    assert torch.isfinite(layer.oft_blocks.grad).all() and (layer.oft_blocks.grad.flatten(1) != 0).any(1).all()


@pytest.mark.parametrize(("outs", "most", "size"), [(320, 4, 0), (320, 10, 10), (320, 64, 40), (64, 4, 4), (63, 63, 0)])
def test_sizes_of_blocks(outs, most, size):
    assert butterfly_size(outs, most) == size


def test_what_is_no_butterfly_is_refused():
    with pytest.raises(UsageError, match="has 320 outputs") as caught:
        BOFT().build(Site("lora_unet", "a.b", nn.Linear(4, 320)), None)
    assert "set adapter.block_size = 10" in str(caught.value)
    base = nn.Linear(4, 24)
    for blocks in (torch.zeros(3, 3, 8, 8), torch.zeros(9, 4, 6, 6), torch.zeros(2, 8, 3, 3)):
        with pytest.raises(ValueError, match="not a butterfly"):
            BOFTLayer.from_tensors({"oft_blocks": blocks}, base)
    with pytest.raises(ValueError, match="do not fit"):
        BOFTLayer.from_tensors({"oft_blocks": torch.zeros(2, 4, 4, 4)}, base)
