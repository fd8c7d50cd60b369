"""What all tests share: quiet surroundings and a tiny model of the SD 1.x architecture."""

from __future__ import annotations

import functools
import gc
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

# Before anything imports the Hub's client: no test asks the network unless it says so.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")

import pytest
import torch
from hypothesis import settings

# Ten thousand tests are objects that stay: a search for garbage after each 700 new ones would take minutes in all.
gc.set_threshold(50_000, 20, 20)

# The laws are tried on the same examples each time: a suite that fails now and then is not read.
settings.register_profile("bakehouse", derandomize=True)
settings.load_profile("bakehouse")

TINY_UNET: dict[str, Any] = {
    "sample_size": 8,
    "in_channels": 4,
    "out_channels": 4,
    "layers_per_block": 1,
    "block_out_channels": (8, 16, 16, 16),
    "down_block_types": ("CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
    "cross_attention_dim": 16,
    "attention_head_dim": 2,
    "norm_num_groups": 4,
}
TINY_VAE: dict[str, Any] = {
    "in_channels": 3,
    "out_channels": 3,
    "latent_channels": 4,
    "layers_per_block": 1,
    "block_out_channels": (4, 8, 8, 8),
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "norm_num_groups": 4,
    "sample_size": 64,
}
TINY_TEXT: dict[str, Any] = {
    "vocab_size": 1131,
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "projection_dim": 16,
    "bos_token_id": 1129,
    "eos_token_id": 1130,
    "pad_token_id": 1130,
}


@pytest.fixture(autouse=True)
def _surroundings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Caches of a test stay in the test's folder, also of one that takes its own patches back."""
    with pytest.MonkeyPatch.context() as ours:
        ours.setenv("BAKEHOUSE_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
        yield


@pytest.fixture(scope="session", autouse=True)
def _commands_are_put_together_once() -> Iterator[None]:
    """A process runs one command, and typer builds all of them for it; tests run thousands in one process."""
    import typer.main

    with pytest.MonkeyPatch.context() as ours:
        ours.setattr(typer.main, "get_command", functools.cache(typer.main.get_command))
        yield


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> Iterator[None]:
    """Tiny tensors are slower on several threads, and sums on one thread are the same each time."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def make_tiny() -> Callable[..., Any]:
    """Builds a tiny SD1 with seeded random weights; keywords change the UNet's settings."""

    def make(*, seed: int = 0, scheduler: dict[str, Any] | None = None, **unet: Any) -> Any:
        from diffusers import AutoencoderKL, UNet2DConditionModel
        from transformers import CLIPTextConfig, CLIPTextModel

        from bakehouse.models.crumb import crumb_folder
        from bakehouse.models.diffusers_networks import load_tokenizer
        from bakehouse.models.sd1 import SD1

        assets = crumb_folder()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            networks = {
                "unet": UNet2DConditionModel(**{**TINY_UNET, **unet}),
                "vae": AutoencoderKL(**TINY_VAE),
                "text_encoder": CLIPTextModel(CLIPTextConfig(**TINY_TEXT)),
            }
        config = json.loads((assets / "scheduler" / "scheduler_config.json").read_text("utf-8"))
        return SD1(
            **networks,
            tokenizer=load_tokenizer(assets / "tokenizer"),
            scheduler_config={**config, **(scheduler or {})},
            name="tiny",
        )

    return make


@pytest.fixture(scope="session")
def _tiny_original(make_tiny: Callable[..., Any]) -> Any:
    return make_tiny()


class Lent:
    """A model that tests take in turn: put back after each, so that it is built once."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self._modules = list(model.modules())
        self._parameters = [
            (module, name, parameter, parameter.detach().clone())
            for module in self._modules
            for name, parameter in module.named_parameters(recurse=False)
        ]

    def lend(self) -> Iterator[Any]:
        """Yield the model, then put it back: weights, types, gradients, adapters."""
        from bakehouse.adapters.layer import ForwardHook

        yield self.model
        self.model.use_gradient_checkpointing(False)
        for module, name, parameter, original in self._parameters:
            if module._parameters.get(name) is not parameter:
                module._parameters[name] = parameter
            if parameter.dtype != original.dtype or not torch.equal(parameter, original):
                parameter.data = original.clone()
            parameter.grad = None
            parameter.requires_grad = False
        for module in self._modules:
            if isinstance(module.__dict__.get("forward"), ForwardHook):
                del module.__dict__["forward"]
            module.training = False
        self.model._fingerprint = None


@pytest.fixture(scope="session")
def _lent_tiny(_tiny_original: Any) -> Lent:
    return Lent(_tiny_original)


@pytest.fixture
def tiny(_lent_tiny: Lent) -> Iterator[Any]:
    """A tiny SD1 `Denoiser`: 64x64 pixels, latents [4, 8, 8], the tokenizer of `crumb`.

    One object for all tests, put back after each: weights, types, adapters. Whoever changes its structure
    takes `make_tiny()`.
    """
    yield from _lent_tiny.lend()


@pytest.fixture
def one_level_of_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    """An evaluation asks the base once about each image, not ten times, which takes half of a short one's time.

    For tests that the whole way is gone. What the errors are worth is tested with all ten.
    """
    from bakehouse.models.denoising_error import denoising_errors

    one = functools.partial(denoising_errors, levels=(0.3,), draws=1)
    monkeypatch.setattr("bakehouse.generation.pipeline.denoising_errors", one)


@pytest.fixture(scope="session")
def tiny_folder(_tiny_original: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model as a diffusers folder in single precision, for whatever loads models by path."""
    folder = tmp_path_factory.mktemp("models") / "tiny"
    _tiny_original.save(folder, dtype=torch.float32)
    return folder


SLOW_FILES = (
    "tests/test_docs.py",
    "tests/serve/test_page_runs_browser.py",
    "tests/notebook/test_whole_way.py",
    "tests/training/test_embedding.py",
    "tests/serve/test_page_browser.py",
    "tests/serve/test_page_canvas_browser.py",
    "tests/training/test_resume.py",
    "tests/serve/test_page_publish_browser.py",
    "tests/serve/test_page_sliders_browser.py",
    "tests/training/test_slider.py",
    "tests/training/test_trainer.py",
    "tests/adapters/test_laws.py",
    "tests/serve/test_page_share_browser.py",
    "tests/serve/test_trainings.py",
    "tests/serve/test_publishing.py",
    "tests/serve/test_bases.py",
    "tests/serve/test_page_code_browser.py",
    "tests/serve/test_processes.py",
    "tests/training/test_several_devices.py",
    "tests/training/test_early_stopping.py",
    "tests/audit/test_fixes.py",
    "tests/queue/test_ray_executor.py",
    "tests/serve/test_a1111.py",
)
"""Files of fifteen seconds and more, the longest first. Each runs in one process; the last to begin must be short."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the slow files first; the order within a file stays."""
    rank = {name: place for place, name in enumerate(SLOW_FILES)}
    items.sort(key=lambda item: rank.get(item.nodeid.partition("::")[0], len(rank)))
