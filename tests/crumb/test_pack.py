"""Packing crumb: weights rounded so that they compress."""

from __future__ import annotations

import zlib

import torch

from tools.crumb.pack import MANTISSA_BITS, round_mantissa


def test_rounded_weights_are_close_and_compress() -> None:
    weights = (0.05 * torch.randn(64, 256, generator=torch.Generator().manual_seed(0))).half()
    rounded = round_mantissa(weights, MANTISSA_BITS)
    assert rounded.dtype == torch.float16
    assert ((rounded.float() - weights.float()).abs() <= weights.float().abs() * 2.0 ** -(MANTISSA_BITS + 1)).all()
    assert torch.equal(round_mantissa(rounded, MANTISSA_BITS), rounded), "rounding twice changes nothing"
    whole, small = (len(zlib.compress(w.view(torch.uint8).numpy().tobytes())) for w in (weights, rounded))
    assert small < 0.85 * whole
    exact = torch.tensor([0.0, 1.0, -0.5, 1.5], dtype=torch.float16)
    assert torch.equal(round_mantissa(exact, MANTISSA_BITS), exact)
