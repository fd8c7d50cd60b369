"""What sampling computes once for all steps is what every step would compute; the network is put back afterwards."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from bakehouse.adapters import LoRA, held_weights, inject
from bakehouse.models import packed_convolutions as packing
from bakehouse.models.kept_projections import kept_projections
from bakehouse.models.packed_convolutions import packed_convolutions
from bakehouse.models.tiling import tiled

pytestmark = pytest.mark.usefixtures("without_gradients")


@pytest.fixture
def without_gradients():
    with torch.no_grad():
        yield


@pytest.fixture
def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(4, 8, 3, padding=1), nn.SiLU(), nn.Conv2d(8, 6, 3, stride=2), nn.Conv2d(6, 4, 1))


def noise(*shape: int, seed: int = 1) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def predict(unet: nn.Module, prompt: torch.Tensor, seed: int = 1) -> torch.Tensor:
    x = noise(len(prompt), 4, 8, 8, seed=seed)
    return unet(x, torch.full((len(prompt),), 500), encoder_hidden_states=prompt, return_dict=False)[0]


def test_packed_convolutions_are_the_same_at_every_size(network):
    inputs = [noise(2, 4, 8, 10), noise(3, 4, 16, 6), noise(2, 4, 8, 10, seed=2)]
    plain = [network(x) for x in inputs]
    with packed_convolutions(network):
        assert all("_conv_forward" in network[i].__dict__ for i in (0, 2, 3))
        for x, expected in zip(inputs, plain, strict=True):
            torch.testing.assert_close(network(x), expected)
    assert not any("_conv_forward" in m.__dict__ for m in network)
    assert torch.equal(network(inputs[0]), plain[0])


def test_packed_convolutions_tile(network):
    x = noise(1, 4, 8, 10)
    with tiled(network):
        expected = network(x)
        with packed_convolutions(network):
            torch.testing.assert_close(network(x), expected)


def test_free_memory_decides_no_bit(tiny, monkeypatch):
    """Without memory for packed copies the same is computed, at sizes other than the first too, and none is kept."""
    unet = tiny.trainable_modules()["lora_unet"]
    prompt = tiny.encode_prompt(["a person", ""]).hidden
    results = []
    for free in (1 << 40, 1000, None):
        monkeypatch.setattr(packing, "available_memory", lambda free=free: free)
        with packed_convolutions(unet):
            made = [predict(unet, prompt, seed) for seed in (1, 2)]
            x = noise(1, 4, 16, 24)
            made.append(unet(x, torch.tensor([7]), encoder_hidden_states=prompt[:1], return_dict=False)[0])
            results.append(made)
            hooks = [m.__dict__["_conv_forward"] for m in unet.modules() if "_conv_forward" in m.__dict__]
            assert hooks and all((hook._packed is not None) == (free != 1000) for hook in hooks)
    assert all(torch.equal(a, b) for other in results[1:] for a, b in zip(results[0], other, strict=True))


@pytest.mark.parametrize("why", ["off", "half precision", "circular"])
def test_convolutions_that_cannot_be_packed_are_left_alone(network, why):
    if why == "half precision":
        network.to(torch.bfloat16)
    elif why == "circular":
        network = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1, padding_mode="circular"))
    with packed_convolutions(network, on=why != "off"):
        assert not any("_conv_forward" in m.__dict__ for m in network)


def test_keys_and_values_are_computed_once_for_each_prompt(tiny):
    unet = tiny.trainable_modules()["lora_unet"]
    first, second = (tiny.encode_prompt([text, ""]).hidden for text in ("a person", "a house"))
    plain = [predict(unet, prompt, seed) for prompt, seed in ((first, 1), (first, 2), (second, 2))]
    projections = [m for name, m in unet.named_modules() if name.endswith(("attn2.to_k", "attn2.to_v"))]
    calls: list[nn.Module] = []
    handles = [m.register_forward_hook(lambda module, *_: calls.append(module)) for m in projections]
    names = list(unet.state_dict())
    with kept_projections(unet):
        kept = [predict(unet, prompt, seed) for prompt, seed in ((first, 1), (first, 2), (second, 2))]
    assert all(torch.equal(a, b) for a, b in zip(kept, plain, strict=True))
    assert len(calls) == 2 * len(projections) > 0
    assert list(unet.state_dict()) == names
    with kept_projections(unet, on=False):
        predict(unet, first)
        predict(unet, first)
    assert len(calls) == 4 * len(projections)
    for handle in handles:
        handle.remove()


@pytest.mark.parametrize("strengths", [(0.7, 1.3), (0.7, 0.0), (0.0, 0.0)])
def test_held_weights_are_those_of_all_adapters(tiny, strengths):
    unet = tiny.trainable_modules()["lora_unet"]
    prompt = tiny.encode_prompt(["a person"]).hidden
    base = predict(unet, prompt)
    adapters = [inject(LoRA(rank=2, targets="full"), tiny.trainable_modules()) for _ in strengths]
    for number, adapter in enumerate(adapters):
        for parameter in adapter.parameters():
            parameter.copy_(noise(*parameter.shape, seed=number) * 0.1)
        adapter.set_multiplier(strengths[number])
    expected = predict(unet, prompt)
    with held_weights(unet), packed_convolutions(unet), kept_projections(unet):
        torch.testing.assert_close(predict(unet, prompt), expected, rtol=1e-4, atol=1e-4)
    with held_weights(unet):
        held = predict(unet, prompt)
        adapters[0].set_multiplier(5.0)
        assert torch.equal(predict(unet, prompt), held) == any(strengths)
    assert torch.equal(expected, base) == (not any(strengths))
    unheld = predict(unet, prompt)
    with held_weights(unet, most=1000):
        adapters[0].set_multiplier(9.0)
        assert not torch.equal(predict(unet, prompt), unheld), "more bytes than that are not held"
    for adapter in adapters:
        adapter.remove()
    assert torch.equal(predict(unet, prompt), base)
