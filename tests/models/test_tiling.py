"""Tiling: a model under it commutes with shifts around the edges, with adapters too, and is put back afterwards."""

import pytest
import torch
from torch import nn

from bakehouse.adapters import LoRA, inject
from bakehouse.models.tiling import tiled


@pytest.fixture
def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.SiLU(), nn.Conv2d(8, 3, (3, 5), padding=(1, 2)))


def difference_of_shifted(network, x):
    """How far a network is from commuting with a shift that wraps around both edges."""
    shifted = network(x.roll((3, 5), (2, 3)))
    return (shifted - network(x).roll((3, 5), (2, 3))).abs().max()


def test_edges_are_like_the_middle(network):
    x = torch.randn(1, 3, 8, 10, generator=torch.Generator().manual_seed(1))
    before = network(x)
    assert difference_of_shifted(network, x) > 0.01
    with tiled(network):
        assert difference_of_shifted(network, x) < 1e-5
        assert network(x).shape == before.shape
        torch.testing.assert_close(network(x)[..., 3:-3, 4:-4], before[..., 3:-3, 4:-4])
    assert torch.equal(network(x), before)
    with tiled(network, on=False):
        assert torch.equal(network(x), before)


def test_adapters_of_convolutions_tile_too(tiny):
    unet = tiny.trainable_modules()["lora_unet"]
    adapter = inject(LoRA(rank=2, targets="full"), tiny.trainable_modules())
    with torch.no_grad():
        for parameter in adapter.parameters():
            parameter.normal_(generator=torch.Generator().manual_seed(2)).mul_(0.05)
    conv = unet.conv_in
    x = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    with torch.no_grad(), tiled(tiny):
        assert difference_of_shifted(conv, x) < 1e-5
    with torch.no_grad():
        assert difference_of_shifted(conv, x) > 1e-3
    adapter.remove()
