"""Adapters as files, never at their start values, and a base on the disk."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from bakehouse.adapters import LoRA, inject, save_adapter
from tests.adapters.conftest import output as output
from tests.adapters.conftest import randomised as randomised

SPEC = LoRA(rank=4, alpha=7.0, text=True)


@pytest.fixture
def adapter_file(tiny: Any, tmp_path: Path) -> Callable[..., Path]:
    """Writes an adapter of random weights for the tiny model, and takes it off again."""

    def make(
        spec: Any = SPEC, name: str = "a", *, seed: int = 0, dtype: torch.dtype = torch.float32, **header: Any
    ) -> Path:
        generator = torch.Generator().manual_seed(seed)
        adapter = inject(spec, tiny.trainable_modules(), generator=generator)
        with torch.no_grad():
            for parameter in adapter.parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.2)
        metadata = {
            "ss_network_module": "networks.lora",
            "ss_base_model_version": "sd_v1",
            "modelspec.title": name,
            **header,
        }
        path = save_adapter(adapter, tmp_path / f"{name}.safetensors", metadata, dtype=dtype)
        adapter.remove()
        return path

    return make


@pytest.fixture
def deltas(tiny: Any) -> Callable[[Path], dict[str, torch.Tensor]]:
    """Every module's ΔW of an adapter file, by stem, for the tiny model."""

    def read(path: Any) -> dict[str, torch.Tensor]:
        from bakehouse.adapters import load_adapter
        from bakehouse.adapters.adapter_reader import read_adapter

        adapter = load_adapter(read_adapter(path), tiny.trainable_modules())
        found = {s: layer.delta(adapter.sites[s].module.weight).detach().clone() for s, layer in adapter.layers.items()}
        adapter.remove()
        return {stem.replace("lora_te1_", "lora_te_"): delta for stem, delta in found.items()}

    return read


@pytest.fixture
def same() -> Callable[..., bool]:
    """Whether two sets of ΔW are alike."""

    def compare(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor], tolerance: float = 1e-5) -> bool:
        return a.keys() == b.keys() and all(torch.allclose(a[k], b[k], atol=tolerance) for k in a)

    return compare
