"""Settings: what they choose, and what they refuse."""

import subprocess
import sys

import pytest
import torch
from pydantic import TypeAdapter, ValidationError
from torch import nn

from bakehouse.adapters import AdapterSpec, FullFineTune, LoRA, inject
from bakehouse.core.errors import BakehouseError, UsageError


def test_settings_are_known_without_the_big_libraries():
    code = (
        "import sys, bakehouse.adapters, bakehouse.models\n"
        "print([m for m in ('diffusers', 'transformers', 'peft', 'accelerate') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_union_is_the_registry():
    read = TypeAdapter(AdapterSpec).validate_python
    assert isinstance(read({"kind": "lora", "rank": 4}), LoRA)
    assert isinstance(read({"kind": "full"}), FullFineTune)
    with pytest.raises(ValidationError):
        read({"kind": "lorra"})


@pytest.mark.parametrize(
    "wrong",
    [
        {"rank": 0},
        {"alpha": 0},
        {"dropout": 1.0},
        {"conv_rank": 4},
        {"conv_alpha": 1.0},
        {"targets": "all"},
        {"dim": 4},
    ],
)
def test_wrong_settings(wrong):
    with pytest.raises(UsageError, match=next(iter(wrong))):
        LoRA.parse(wrong)


def test_patterns(tiny):
    adapter = inject(
        LoRA(rank=2, text=True, include=("*attn2*", "text_encoder.*"), exclude=("*to_k",)), tiny.trainable_modules()
    )
    names = adapter.module_names()
    assert any(n.startswith("text_encoder.text_model.encoder") for n in names)
    assert all("attn2" in n or n.startswith("text_encoder") for n in names)
    assert not any(n.endswith("to_k") for n in names)


def test_nothing_matched_is_an_error_that_says_what_there_is(tiny):
    with pytest.raises(UsageError, match="leave none") as caught:
        inject(LoRA(include=("nowhere",)), tiny.trainable_modules())
    assert "unet.down_blocks" in str(caught.value)
    with pytest.raises(UsageError, match="matches no module of unet") as caught:
        inject(LoRA(), {"lora_unet": nn.Sequential(nn.Linear(2, 2))})
    assert "Linear" in str(caught.value)
    with pytest.raises(UsageError, match="the adapter has no modules"):
        inject(LoRA(unet=False), tiny.trainable_modules())


def test_conv_alpha_follows_the_share_of_the_rank(tiny):
    state = inject(LoRA(rank=8, alpha=2.0, targets="full", conv_rank=4), tiny.trainable_modules()).state_dict()
    assert state["lora_unet_down_blocks_0_resnets_0_conv1.alpha"] == 1.0
    assert state["lora_unet_down_blocks_1_resnets_0_conv_shortcut.alpha"] == 2.0


def test_a_base_whose_weights_are_divided_is_not_copied(tiny, monkeypatch):
    adapter = inject(FullFineTune(), tiny.trainable_modules())
    monkeypatch.setattr(tiny.unet.conv_in.weight, "device_mesh", "of ranks", raising=False)
    with pytest.raises(BakehouseError, match="not kept where devices share the weights") as e, adapter.scaled(0):
        pass
    assert "train.shard = false" in e.value.hint


def test_full_trains_the_base_itself(tiny, output):
    base = output(tiny)
    adapter = inject(FullFineTune(), tiny.trainable_modules())
    assert not adapter.trains_text and set(map(id, adapter.parameters())) == set(map(id, tiny.unet.parameters()))
    tiny(torch.randn(1, 4, 8, 8), torch.tensor([5]), tiny.encode_prompt(["a"])).sum().backward()
    assert all(p.grad is None for p in tiny.text_encoder.parameters())
    adapter.keep_base()
    with torch.no_grad():
        for p in adapter.parameters():
            p.add_(torch.randn(p.shape) * 0.02)
    learned = output(tiny)
    assert not torch.equal(learned, base)
    with adapter.scaled(0):
        assert torch.equal(output(tiny), base)
        with adapter.scaled(0.5):
            half = output(tiny)
        assert torch.equal(output(tiny), base)
        assert torch.equal(adapter.state_dict()["unet.conv_in.weight"], adapter._learned["unet.conv_in.weight"])
    assert torch.equal(output(tiny), learned)
    assert not torch.equal(half, learned) and not torch.equal(half, base)
    adapter.remove()
    assert torch.equal(output(tiny), base) and not any(p.requires_grad for p in tiny.parameters())


def test_full_text_and_state(tiny, make_tiny, output):
    adapter = inject(FullFineTune(text=True), tiny.trainable_modules())
    assert adapter.trains_text and [g["name"] for g in adapter.parameter_groups(1e-5, 1e-6)] == ["unet", "text"]
    with torch.no_grad():
        for p in adapter.parameters():
            p.add_(0.01)
    other = make_tiny()
    again = inject(FullFineTune(text=True), other.trainable_modules())
    again.load_state_dict(adapter.state_dict())
    assert torch.equal(output(other), output(tiny))
    assert "text_encoder.text_model.final_layer_norm.weight" in adapter.state_dict()


def test_the_untouched_base_must_be_asked_for_in_time(tiny):
    adapter = inject(FullFineTune(), tiny.trainable_modules())
    with torch.no_grad():
        next(adapter.parameters()).add_(1)
    with pytest.raises(BakehouseError, match="untouched weights were not kept"), adapter.scaled(0):
        pass
    with pytest.raises(BakehouseError, match="untouched weights were not kept"):
        adapter.remove()
    with pytest.raises(UsageError, match="nothing to train"):
        FullFineTune.parse({"unet": False})
