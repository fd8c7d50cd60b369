"""Weights in the middle of training survive being written small."""

import torch

from tools.crumb import unfinished


def test_weights_come_back_within_half_a_level(tmp_path):
    gen = torch.Generator().manual_seed(0)
    weights = {
        "conv": torch.randn(8, 4, 3, 3, generator=gen) * torch.logspace(-3, 1, 8).view(-1, 1, 1, 1),
        "linear": torch.randn(64, 64, generator=gen),
        "bias": torch.randn(64, generator=gen),
        "positions": torch.arange(77)[None],
        "zero": torch.zeros(3, 3),
    }
    unfinished.write(weights, tmp_path / "w")
    again = unfinished.read(tmp_path / "w")
    assert again.keys() == weights.keys()
    for name in ("bias", "positions", "zero"):
        assert torch.equal(again[name], weights[name])
    for name in ("conv", "linear"):
        row = weights[name].flatten(1)
        error = (again[name].flatten(1) - row).abs()
        assert (error <= row.abs().amax(1, keepdim=True) / unfinished.LEVELS / 2 * 1.001).all()
    assert (tmp_path / "w").stat().st_size < sum(w.numel() for w in weights.values()) * 1.2
