"""The full difference and norms beside a network, as LyCORIS writes them."""

import pytest
import torch
from lycoris.modules.full import FullModule
from lycoris.modules.norms import NormModule
from torch import nn

from bakehouse.adapters import DiffLayer, FullDiff, LoRA, NormLayer, inject, load_adapter
from bakehouse.adapters.adapter import LayerAdapter
from bakehouse.adapters.layer import Hook
from bakehouse.adapters.target_modules import Site
from bakehouse.core.errors import UsageError

from .oracle import BASES, check_same_delta, inputs_of, randomise, theirs_from

NORMS = {"group": lambda: nn.GroupNorm(3, 6), "layer": lambda: nn.LayerNorm(6)}


@pytest.mark.parametrize("kind", BASES)
def test_theirs_and_ours_are_the_same(kind):
    torch.manual_seed(0)
    base = BASES[kind]()
    made = DiffLayer(torch.randn(base.weight.shape), None if base.bias is None else torch.randn(base.bias.shape))
    theirs = theirs_from(made.state_dict(), base)
    assert isinstance(theirs, FullModule)
    check_same_delta(made, theirs, base)
    tensors = {"diff": theirs.weight.detach()} | ({} if base.bias is None else {"diff_b": theirs.bias.detach()})
    ours = DiffLayer.from_tensors(tensors, base)
    x = inputs_of(base)
    want = theirs(x)
    adapter = LayerAdapter([(Site("lora_unet", "a", base), ours)])
    torch.testing.assert_close(base(x), want, atol=1e-5, rtol=1e-4)
    adapter.merge_into()
    torch.testing.assert_close(base(x), want, atol=1e-5, rtol=1e-4)
    adapter.remove()


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("kind", NORMS)
def test_norms_are_those_of_lycoris(kind, half):
    torch.manual_seed(0)
    base = NORMS[kind]()
    randomise(base, 1.0)
    theirs = NormModule("x", base, 1.0)
    randomise(theirs)
    x = torch.randn(2, 6, 4, 5) if kind == "group" else torch.randn(2, 4, 6)
    want = theirs(x)
    ours = NormLayer.from_tensors(theirs.state_dict(), base)
    assert isinstance(theirs_from(ours.state_dict(), base), NormModule)
    if half:
        base.bfloat16()
    Hook.on(base)
    adapter = LayerAdapter([(Site("lora_unet", "a", base), ours)])
    tolerance = {"atol": 0.06, "rtol": 0.03} if half else {"atol": 1e-5, "rtol": 1e-5}
    torch.testing.assert_close(base(x.bfloat16() if half else x).float(), want, **tolerance)
    adapter.merge_into()
    torch.testing.assert_close(base(x.bfloat16() if half else x).float(), want, **tolerance)
    adapter.remove()


def test_norms_of_the_chosen_blocks_learn_too(tiny):
    plain = inject(LoRA(rank=2, text=True), tiny.trainable_modules()).module_names()
    adapter = inject(LoRA(rank=2, text=True, train_norm=True), tiny.trainable_modules())
    more = set(adapter.module_names()) - set(plain)
    assert set(plain) < set(adapter.module_names())
    assert any("layer_norm1" in name for name in more) and any(name.endswith("norm2") for name in more)
    assert {s.rpartition(".")[2] for s in adapter.state_dict() if "norm" in s.rpartition(".")[0]} == {
        "w_norm",
        "b_norm",
    }


def test_a_norm_s_tensors_on_another_module_are_refused(tiny):
    q = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q"
    with pytest.raises(UsageError, match="no norm"):
        load_adapter({f"{q}.w_norm": torch.zeros(8), f"{q}.b_norm": torch.zeros(8)}, tiny.trainable_modules())
    with pytest.raises(UsageError, match=r"w_norm .* does not fit"):
        norm = q.replace("attn1_to_q", "norm1")
        load_adapter({f"{norm}.w_norm": torch.zeros(9), f"{norm}.b_norm": torch.zeros(9)}, tiny.trainable_modules())


def test_biases_that_do_not_fit_are_named():
    with pytest.raises(ValueError, match=r"diff_b .* does not fit a module of 6 outputs"):
        DiffLayer.from_tensors({"diff": torch.zeros(6, 5), "diff_b": torch.zeros(5)}, nn.Linear(5, 6))
    with pytest.raises(UsageError, match="rank = 4 means nothing to kind = 'diff'"):
        FullDiff.parse({"rank": 4})
