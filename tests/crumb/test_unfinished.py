"""Weights in the middle of training survive being written small."""

import torch
from safetensors.torch import save_file
from torch import nn

from tools.crumb import unet, unfinished


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


def test_a_run_is_gone_on_from_on_another_machine(tmp_path):
    """Both networks of a saved run are in one file, each under its own name."""
    saved = {"unet": nn.Conv2d(3, 8, 3), "text_encoder": nn.Linear(5, 4)}
    for name, model in saved.items():
        (tmp_path / name).mkdir()
        save_file(model.state_dict(), tmp_path / name / unet.UNFINISHED_PARTS[name])
    unet.save_unfinished(tmp_path, tmp_path / "unet.xz")
    again = nn.Conv2d(3, 8, 3), nn.Linear(5, 4)
    unet.load_unfinished(tmp_path / "unet.xz", *again)
    for model, before in zip(again, saved.values(), strict=True):
        torch.testing.assert_close(model.bias, before.bias)
        assert (model.weight - before.weight).abs().max() <= before.weight.abs().max() / unfinished.LEVELS
