"""Adapters in tests are never at their start values: there ΔW is 0, and any scale passes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch

from bakehouse.adapters import BOFT, IA3, OFT, Adapter, DyLoRA, FullDiff, GLoRA, LoHa, LoKr, LoRA, inject
from tests.conftest import Lent

SMALL: dict[str, Any] = {
    "block_out_channels": (8, 16),
    "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
}
"""Every kind of module that the tiny UNet has, with fewer of each."""

SPECS: dict[str, Any] = {
    "mlp+text": LoRA(rank=4, alpha=7.0, text=True),
    "locon": LoRA(rank=4, alpha=3.0, targets="full", conv_rank=2, conv_alpha=5.0, text=True),
    "rs": LoRA(rank=4, alpha=3.0, targets="full", rs_lora=True),
    "tucker": LoRA(rank=4, alpha=3.0, targets="full", tucker=True),
    "lora-fa": LoRA(rank=4, alpha=3.0, lora_fa=True),
    "dora": LoRA(rank=4, alpha=3.0, targets="full", dora=True, text=True),
    "dora-out": LoRA(rank=4, alpha=3.0, targets="full", dora=True, wd_on_output=True, text=True),
    "dora-tucker": LoRA(rank=4, alpha=3.0, targets="full", dora=True, tucker=True),
    "dora-out-tucker": LoRA(rank=4, alpha=3.0, targets="full", dora=True, wd_on_output=True, tucker=True),
    "loha": LoHa(rank=3, alpha=2.0, targets="full", conv_rank=2, text=True),
    "loha-tucker-dora": LoHa(rank=3, alpha=2.0, targets="full", tucker=True, dora=True),
    "lokr": LoKr(rank=1, alpha=2.0, targets="full", decompose_both=True, text=True),
    "lokr-full": LoKr(rank=16, alpha=2.0, targets="full", factor=2, unbalanced_factorization=True),
    "lokr-tucker-dora": LoKr(rank=1, alpha=2.0, targets="full", tucker=True, dora=True, wd_on_output=True),
    "ia3": IA3(text=True),
    "dylora": DyLoRA(rank=4, alpha=3.0, unit=2, targets="full", text=True),
    "oft": OFT(block_size=4, targets="full", text=True),
    "coft": OFT(block_size=8, constraint=0.03, rescaled=True),
    "boft": BOFT(block_size=4, targets="full", constraint=0.2, rescaled=True),
    "glora": GLoRA(rank=3, alpha=2.0, targets="full", text=True),
    "lora+norm": LoRA(rank=4, alpha=3.0, targets="full", text=True, train_norm=True),
    "diff": FullDiff(targets="full", text=True),
}


@pytest.fixture(scope="session")
def _lent_small(make_tiny: Callable[..., Any]) -> tuple[Lent, Lent]:
    return Lent(make_tiny(**SMALL)), Lent(make_tiny(**SMALL))


@pytest.fixture
def small(_lent_small: tuple[Lent, Lent]) -> Iterator[Any]:
    """A smaller model than `tiny`, for what is tried with every algorithm; put back after each test."""
    yield from _lent_small[0].lend()


@pytest.fixture
def other_small(_lent_small: tuple[Lent, Lent]) -> Iterator[Any]:
    """The same model once more, an object of its own."""
    yield from _lent_small[1].lend()


@pytest.fixture(params=SPECS.values(), ids=SPECS)
def spec(request: pytest.FixtureRequest) -> Any:
    """Every algorithm and every layout of it, with alpha unlike the rank."""
    return request.param


@pytest.fixture
def specs() -> dict[str, Any]:
    """All of them, by name."""
    return SPECS


@pytest.fixture
def randomised() -> Callable[..., Adapter]:
    """Injects a spec and fills every parameter with noise."""

    def make(spec: Any, model: Any, *, seed: int = 0, std: float = 0.2) -> Adapter:
        generator = torch.Generator().manual_seed(seed)
        adapter = inject(spec, model.trainable_modules(), generator=generator)
        with torch.no_grad():
            for parameter in adapter.parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * std)
        return adapter

    return make


@pytest.fixture
def output() -> Callable[[Any], torch.Tensor]:
    """What a model says: prediction and prompt encoding, flat."""

    @torch.no_grad()
    def say(model: Any) -> torch.Tensor:
        generator = torch.Generator().manual_seed(9)
        x_t = torch.randn(2, 4, 16, 8, generator=generator)
        cond = model.encode_prompt(["a red robot", "hat"])
        return torch.cat([model(x_t, torch.tensor([500, 20]), cond).flatten(), cond.hidden.flatten()])

    return say
