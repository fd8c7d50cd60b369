"""What all network algorithms share: blocks, ranks by pattern, rates, held norms, and going on from a file."""

import pytest
import torch
from torch import nn

from bakehouse.adapters import LoHa, LoKr, LoRA, inject, metadata_for, save_adapter
from bakehouse.adapters.unet_blocks import SD, SDXL, BlockSpec, block_of, curve, layout_of
from bakehouse.core.errors import BakehouseError, UsageError

PRODUCTS = {
    "lora": LoRA(rank=3, alpha=2.0, max_norm=0.5),
    "lora-fa": LoRA(rank=3, alpha=2.0, max_norm=0.5, lora_fa=True),
    "tucker": LoRA(rank=3, alpha=2.0, max_norm=0.5, targets="full", tucker=True),
    "loha": LoHa(rank=3, alpha=2.0, max_norm=0.5),
    "lokr": LoKr(rank=1, alpha=2.0, max_norm=0.5, decompose_both=True),
}


@pytest.mark.parametrize(
    ("path", "sd", "sdxl"),
    [
        ("down_blocks.0.resnets.0.conv1", 1, 2),
        ("down_blocks.1.attentions.1.proj_in", 5, 6),
        ("down_blocks.2.downsamplers.0.conv", 9, 10),
        ("mid_block.resnets.0.conv1", 12, 10),
        ("mid_block.attentions.0.proj_in", 12, 11),
        ("mid_block.resnets.1.conv2", 12, 12),
        ("up_blocks.0.resnets.0.conv1", 13, 13),
        ("up_blocks.2.attentions.2.proj_out", 21, 21),
        ("up_blocks.1.upsamplers.0.conv", 18, 18),
    ],
)
def test_blocks_have_kohya_s_numbers(path, sd, sdxl):
    assert block_of(path, SD).index == sd and block_of(path, SDXL).index == sdxl
    assert (SD.count, SDXL.count) == (25, 23) and block_of("conv_in", SD) is None


def test_the_layout_is_the_model_s(tiny):
    assert layout_of(tiny.unet) is SD
    three = nn.Module()
    three.down_blocks = nn.ModuleList([nn.Identity()] * 3)
    assert layout_of(three) is SDXL


def test_curves():
    assert curve("linear", 5) == [0, 0.25, 0.5, 0.75, 1] and curve("reverse_linear+.5", 3) == [1.5, 1, 0.5]
    assert curve("zeros+.25", 2) == [0.25, 0.25] and curve("sine", 3)[1] == pytest.approx(0.5**0.5)
    assert curve("cosine", 4) == pytest.approx(curve("sine", 4)[::-1])
    with pytest.raises(UsageError, match="did you mean 'cosine'"):
        BlockSpec.parse({"down_lr_weight": "cosin"})


def test_ranks_block_by_block_and_by_pattern(tiny):
    dims = [0, *range(1, 25)]
    spec = LoRA(rank=4, alpha=2.0, dims={"*to_out.0": 0, "*attn2*": 7}, blocks={"dims": dims})
    state = inject(spec, tiny.trainable_modules()).state_dict()
    stem = "lora_unet_down_blocks_1_attentions_0"
    assert state[f"{stem}_proj_in.lora_down.weight"].shape[0] == 4 and state[f"{stem}_proj_in.alpha"] == 2
    assert state[f"{stem}_transformer_blocks_0_attn2_to_q.lora_down.weight"].shape[0] == 7
    assert state[f"{stem}_transformer_blocks_0_attn2_to_q.alpha"] == 3.5
    assert not any("to_out_0" in name for name in state)
    with pytest.raises(UsageError, match=r"adapter.blocks.dims has 3 numbers, this model takes 25"):
        inject(LoRA(blocks={"dims": [1, 2, 3]}), tiny.trainable_modules())
    with pytest.raises(UsageError, match="leave out all"):
        inject(LoRA(dims={"*": 0}), tiny.trainable_modules())


def test_rates_block_by_block_and_of_late_matrices(tiny):
    blocks = {"down_lr_weight": [0.0] * 6 + [0.5] * 6, "mid_lr_weight": [2.0]}
    adapter = inject(LoRA(rank=2, text=True, blocks=blocks, lora_plus_ratio=4.0), tiny.trainable_modules())
    groups = {g["name"]: g for g in adapter.parameter_groups(1.0, 0.1)}
    assert {name: g["lr"] for name, g in groups.items()} == pytest.approx(
        {"unet": 1, "unet x 0.5": 0.5, "unet x 2": 2, "unet x 4": 4, "unet x 8": 8, "text": 0.1, "text x 4": 0.4}
    )
    assert sum(len(g["params"]) for g in groups.values()) == len(list(adapter.parameters()))
    names = adapter.module_names()
    assert not any("down_blocks.0" in n or "down_blocks.1" in n for n in names) and any(
        "up_blocks.3" in n for n in names
    )


@pytest.mark.parametrize("name", PRODUCTS)
def test_no_update_is_longer_than_max_norm(tiny, randomised, name):
    adapter = randomised(PRODUCTS[name], tiny, std=0.6)
    before = {k: layer.delta(adapter.sites[k].module.weight).detach().clone() for k, layer in adapter.layers.items()}
    adapter.limit()
    for stem, old in before.items():
        layer = adapter.layers[stem]
        new = layer.delta(adapter.sites[stem].module.weight).detach()
        wanted = old * min(1.0, 0.5 / float(old.norm()))
        torch.testing.assert_close(new, wanted, atol=1e-6, rtol=1e-4)
    assert max(float(old.norm()) for old in before.values()) > 0.6


def test_going_on_from_a_file(tiny, randomised, output, make_tiny, tmp_path):
    first = randomised(LoRA(rank=3, alpha=2.0, text=True, targets="attention"), tiny).eval()
    path = save_adapter(first, tmp_path / "a.safetensors", {}, torch.float32)
    other = make_tiny()
    adapter = inject(LoRA(start=path, dropout=0.1), other.trainable_modules()).eval()
    assert torch.equal(output(other), output(tiny))
    assert sorted(adapter.module_names()) == sorted(first.module_names()) and not adapter.trains_text
    assert next(iter(adapter.layers.values())).dropout == 0.1
    made = metadata_for(adapter.spec, name="x", base_model="tiny")
    assert made["ss_network_dim"] == "3" and made["ss_network_alpha"] == "2.0"
    for wrong, says in (
        (LoRA(start=path, rank=8), "adapter.rank = 8, but"),
        (LoHa(start=path), "is a LoRA adapter"),
        (LoRA(start=path, dora=True), "dora"),
        (LoRA(start=tmp_path / "gone.safetensors"), "does not exist"),
    ):
        with pytest.raises(BakehouseError, match=says):
            inject(wrong, make_tiny().trainable_modules())


def test_what_means_nothing_is_refused():
    for spec, wrong in (
        (LoHa, {"dropout": 0.1}),
        (LoKr, {"factor": 0}),
        (LoKr, {"full_matrix": True, "rank": 4}),
        (LoRA, {"wd_on_output": True}),
    ):
        with pytest.raises(UsageError, match=list(wrong)[-1]):
            spec.parse(wrong)
    assert LoHa.parse({"dropout": 0.0}).dropout == 0


def test_headers_say_the_algorithm_as_lycoris_does():
    said = LoKr(rank=8, targets="full", factor=4, dora=True).network_metadata()
    assert said["ss_network_module"] == "lycoris.kohya"
    assert {"algo": "lokr", "preset": "full", "factor": "4", "conv_dim": "8", "dora_wd": "True"}.items() <= said[
        "ss_network_args"
    ].items()
    assert LoRA().network_metadata()["ss_network_module"] == "networks.lora"
    assert LoRA(dora=True).network_metadata()["ss_network_args"]["algo"] == "locon"


def test_a_run_of_before_goes_on_along_its_own_axis(tiny, make_tiny, randomised):
    """The default axis of DoRA has changed; a state says by its shapes which one it has."""
    old = randomised(LoRA(rank=2, dora=True, wd_on_output=True, targets="full"), tiny)
    other = make_tiny()
    again = inject(LoRA(rank=2, dora=True, targets="full"), other.trainable_modules(), generator=torch.Generator())
    again.load_state_dict(old.state_dict())
    for stem, layer in old.layers.items():
        weight = old.sites[stem].module.weight
        assert torch.equal(again.layers[stem].delta(weight), layer.delta(weight))
    broken = {k: v[:1] if k.endswith("dora_scale") else v for k, v in old.state_dict().items()}
    with pytest.raises(BakehouseError, match="does not fit"):
        inject(LoRA(rank=2, dora=True), make_tiny().trainable_modules(), generator=torch.Generator()).load_state_dict(
            broken
        )
