"""What a family's adapters are called in files, and that both spellings are read."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file, save_file

from bakehouse.adapters import OFT, LoRA, inject, load_adapter, metadata_for, read_safetensors_adapter, save_adapter
from bakehouse.weights.adapter_writer import write_adapter


def trained(spec, model):
    generator = torch.Generator().manual_seed(2)
    adapter = inject(spec, model.trainable_modules(), generator=generator)
    with torch.no_grad():
        for parameter in adapter.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.2)
    return adapter


def changes(adapter):
    return {stem: layer.delta(adapter.sites[stem].module.weight) for stem, layer in adapter.layers.items()}


@pytest.mark.parametrize("family", ("sd1", "sdxl"))
def test_modules_are_called_as_every_program_calls_them(family, make_family, tmp_path):
    model = make_family(family)
    adapter = trained(LoRA(rank=2, targets="full", text=True, train_norm=True), model)
    meta = metadata_for(adapter.spec, name="me", base_model="x", family=family)
    path = save_adapter(adapter, tmp_path / "a.safetensors", meta, torch.float32)
    want = changes(adapter)
    stems = {key.partition(".")[0] for key in load_file(path)}
    assert len(stems) == len(want)
    if family == "sdxl":
        # Names from sd-scripts' own LoRA network on its SDXL UNet.
        assert {
            "lora_unet_input_blocks_4_1_transformer_blocks_0_attn1_to_q",
            "lora_unet_input_blocks_3_0_op",
            "lora_unet_input_blocks_4_0_in_layers_2",
            "lora_unet_input_blocks_4_0_skip_connection",
            "lora_unet_middle_block_1_proj_in",
            "lora_unet_output_blocks_2_2_conv",
            "lora_unet_output_blocks_5_2_conv",
            "lora_unet_output_blocks_8_0_emb_layers_1",
            "lora_te1_text_model_encoder_layers_0_mlp_fc1",
            "lora_te2_text_model_encoder_layers_0_mlp_fc1",
        } <= stems
        assert not [s for s in stems if "_down_blocks_" in s or "_up_blocks_" in s]
    else:
        assert stems == set(want)
    file = read_safetensors_adapter(path)
    write_adapter(tmp_path / "same.safetensors", file.modules, file.metadata, extras=file.extras)
    assert {key.partition(".")[0] for key in load_file(tmp_path / "same.safetensors")} == stems
    save_file(adapter.state_dict(), tmp_path / "old.safetensors")  # as modules were called before
    adapter.remove()
    for file in ("a", "same", "old"):
        again = load_adapter(tmp_path / f"{file}.safetensors", model.trainable_modules())
        found = changes(again)
        assert found.keys() == want.keys()
        assert all(torch.allclose(found[stem], want[stem], atol=1e-6) for stem in want)
        again.remove()


def test_the_ends_of_a_unet_are_read_by_their_block_names(make_family):
    """Extracted files of LyCORIS hold them."""
    model = make_family("sdxl")
    names = {
        "input_blocks_0_0": "conv_in", "time_embed_0": "time_embedding_linear_1",
        "time_embed_2": "time_embedding_linear_2", "label_emb_0_0": "add_embedding_linear_1",
        "label_emb_0_2": "add_embedding_linear_2", "out_2": "conv_out",
    }  # fmt: skip
    sites = {f"lora_unet_{p.replace('.', '_')}": m for p, m in model.trainable_modules()["lora_unet"].named_modules()}
    state = {f"lora_unet_{old}.diff": torch.ones_like(sites[f"lora_unet_{new}"].weight) for old, new in names.items()}
    adapter = load_adapter(state, model.trainable_modules())
    assert set(adapter.layers) == {f"lora_unet_{new}" for new in names.values()}


def test_a_constraint_is_in_the_blocks_and_training_goes_on_within_it(make_family, tmp_path):
    model = make_family("sd1")
    adapter = trained(OFT(constraint=0.01, targets="attention"), model)
    path = save_adapter(adapter, tmp_path / "a.safetensors", {}, torch.float32)
    want = changes(adapter)
    adapter.remove()
    assert not any(value for key, value in load_file(path).items() if key.endswith(".alpha"))
    again = inject(OFT(constraint=0.01, targets="attention", start=path), model.trainable_modules(), generator=None)
    assert all(torch.allclose(delta, want[stem], atol=1e-6) for stem, delta in changes(again).items())
    with torch.no_grad():
        for parameter in again.parameters():
            parameter.mul_(3.0)
    assert all(torch.allclose(delta, want[stem], atol=1e-5) for stem, delta in changes(again).items())
