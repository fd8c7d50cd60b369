"""Files: kohya's to the byte where others look, everybody's read, wrong ones refused by name."""

import hashlib
import json
import struct

import pytest
import torch
from diffusers import UNet2DConditionModel
from safetensors.torch import load_file, save, save_file
from transformers import CLIPTextConfig, CLIPTextModel

from bakehouse.adapters import FullFineTune, LoRA, load_adapter, metadata_for, read_safetensors_adapter, save_adapter
from bakehouse.adapters.adapter_file import from_state
from bakehouse.adapters.target_modules import all_sites, select
from bakehouse.adapters.tensor_names import kohya_stem, split_key, to_diffusers
from bakehouse.core.errors import BakehouseError, UsageError
from bakehouse.models.text_encoders import with_text_model_level


@pytest.fixture(scope="module")
def sd15_parts():
    """Stable Diffusion 1.5's networks on the meta device."""
    text = CLIPTextConfig(hidden_size=768, intermediate_size=3072, num_hidden_layers=12, num_attention_heads=12)
    with torch.device("meta"):
        unet = UNet2DConditionModel(cross_attention_dim=768)
        return {"lora_unet": unet, "lora_te": with_text_model_level(CLIPTextModel(text))}


@pytest.mark.parametrize(
    ("targets", "unet", "text"), [("attention", 128, 48), ("attention+mlp", 192, 72), ("full", 278, 72)]
)
def test_sd15_has_as_many_modules_as_kohya_finds(sd15_parts, targets, unet, text):
    sites = select(sd15_parts, targets, unet=True, text=True)
    assert sum(not s.is_text for s in sites) == unet
    assert sum(s.is_text for s in sites) == text


def test_sd15_stems_as_the_world_has_them(sd15_parts):
    stems = {s.stem for s in select(sd15_parts, "full", unet=True, text=True)}
    assert {
        "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q",
        "lora_unet_down_blocks_0_attentions_0_proj_in",
        "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn2_to_out_0",
        "lora_unet_up_blocks_3_attentions_2_transformer_blocks_0_ff_net_0_proj",
        "lora_unet_up_blocks_1_attentions_0_transformer_blocks_0_ff_net_2",
        "lora_unet_down_blocks_0_downsamplers_0_conv",
        "lora_unet_up_blocks_0_upsamplers_0_conv",
        "lora_unet_down_blocks_1_resnets_0_conv_shortcut",
        "lora_unet_mid_block_resnets_1_time_emb_proj",
        "lora_te_text_model_encoder_layers_0_self_attn_q_proj",
        "lora_te_text_model_encoder_layers_11_self_attn_out_proj",
        "lora_te_text_model_encoder_layers_11_mlp_fc2",
    } <= stems


def test_saved_and_read_the_same(small, other_small, spec, output, randomised, tmp_path):
    adapter = randomised(spec, small).eval()
    path = save_adapter(adapter, tmp_path / "a.safetensors", {"ss_steps": 3}, torch.float32)
    again = load_adapter(path, other_small.trainable_modules())
    if getattr(spec, "constraint", 0):
        # Blocks are held within the constraint before they are written, which rounds them once more.
        torch.testing.assert_close(output(other_small), output(small))
        assert not any(t for name, t in load_file(path).items() if name.endswith(".alpha"))
    else:
        assert torch.equal(output(other_small), output(small))
    assert load_file(path).keys() == adapter.state_dict().keys() == again.state_dict().keys()
    assert read_safetensors_adapter(path).metadata["ss_steps"] == "3"


@pytest.mark.parametrize("rs_lora", [False, True])
def test_rank_and_alpha_of_a_file(tiny, randomised, tmp_path, rs_lora):
    spec = LoRA(rank=4, alpha=3.0, rs_lora=rs_lora)
    file = read_safetensors_adapter(save_adapter(randomised(spec, tiny), tmp_path / "a.safetensors", {}))
    assert (file.kind, file.rank, file.alpha) == ("LoRA", 4, 6.0 if rs_lora else 3.0)


def test_keys_shapes_and_types(tiny, randomised, tmp_path):
    adapter = randomised(LoRA(rank=4, alpha=3.0, targets="full", conv_rank=2, text=True), tiny)
    state = load_file(save_adapter(adapter, tmp_path / "a.safetensors"))
    q = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q"
    assert state[f"{q}.lora_down.weight"].shape == (4, 8) and state[f"{q}.lora_up.weight"].shape == (8, 4)
    conv = "lora_unet_down_blocks_0_resnets_0_conv1"
    assert state[f"{conv}.lora_down.weight"].shape == (2, 8, 3, 3)
    assert state[f"{conv}.lora_up.weight"].shape == (8, 2, 1, 1)
    proj = "lora_unet_down_blocks_0_attentions_0_proj_in"
    assert state[f"{proj}.lora_down.weight"].shape == (4, 8, 1, 1)
    assert state[f"{q}.alpha"].shape == () and state[f"{q}.alpha"] == 3 and state[f"{conv}.alpha"] == 1.5
    assert state[f"{q}.lora_down.weight"].dtype == torch.float16


def test_hashes_as_kohya_computes_them(tiny, randomised, tmp_path):
    """Written again from the description of the format, on a file above 1 MiB and one below."""
    for rank in (2, 512):
        adapter = randomised(LoRA(rank=rank, alpha=3.0, targets="full"), tiny)
        metadata = {"ss_steps": "3", "ss_output_name": "me", "modelspec.title": "not counted"}
        path = save_adapter(adapter, tmp_path / f"{rank}.safetensors", metadata, torch.float32)
        adapter.remove()
        raw = path.read_bytes()
        (length,) = struct.unpack("<Q", raw[:8])
        header = json.loads(raw[8 : 8 + length])["__metadata__"]
        assert header["sshs_model_hash"] == hashlib.sha256(raw[8 + length :]).hexdigest()
        assert header["modelspec.hash_sha256"] == "0x" + header["sshs_model_hash"]
        small = save(load_file(path), {k: v for k, v in header.items() if k.startswith("ss_")})
        legacy = hashlib.sha256(small[0x100000 : 0x100000 + 0x10000]).hexdigest()[:8]
        assert header["sshs_legacy_hash"] == legacy
        assert (legacy == "e3b0c442") is (rank == 2)


def test_same_adapter_same_file(small, spec, randomised, tmp_path):
    adapter = randomised(spec, small)
    metadata = {f"ss_{i}": "ä\n" for i in range(20)}
    files = [save_adapter(adapter, tmp_path / f"{i}.safetensors", metadata).read_bytes() for i in range(3)]
    assert files[0] == files[1] == files[2]


@pytest.mark.parametrize(
    ("family", "prediction", "architecture", "implementation", "resolution"),
    [
        ("sd1", "epsilon", "stable-diffusion-v1/lora", "diffusers", "512x512"),
        ("sd1", "v_prediction", "stable-diffusion-v1/lora", "diffusers", "512x512"),
        ("sd2", "epsilon", "stable-diffusion-v2-512/lora", "diffusers", "512x512"),
        ("sd2", "v_prediction", "stable-diffusion-v2-768-v/lora", "diffusers", "768x768"),
        (
            "sdxl",
            "epsilon",
            "stable-diffusion-xl-v1-base/lora",
            "https://github.com/Stability-AI/generative-models",
            "1024x1024",
        ),
    ],
)
def test_modelspec_is_what_sd_scripts_writes(family, prediction, architecture, implementation, resolution):
    """The values of build_metadata of its sai_model_spec (48d368fa) for a LoRA with clip_skip 2."""
    found = metadata_for(LoRA(), name="me", base_model="x", family=family, prediction=prediction, clip_skip=2)
    spec = {name.removeprefix("modelspec."): value for name, value in found.items() if name.startswith("modelspec.")}
    assert spec.pop("date") and spec.pop("implementation_version").startswith("bakehouse/")
    assert spec == {
        "sai_model_spec": "1.0.1",
        "architecture": architecture,
        "implementation": implementation,
        "title": "me",
        "resolution": resolution,
        "prediction_type": "v" if prediction == "v_prediction" else "epsilon",
        "encoder_layer": "2",
    }


def test_metadata_is_true_and_text():
    spec = LoRA(rank=8, alpha=4.0, targets="full", conv_rank=4)
    found = metadata_for(
        spec, name="me", base_model="crumb", base_hash="ab", resolution=(128, 96), steps=10, epoch=2, clip_skip=None,
        tag_frequency={"10_zwx": {"smile": 3}}, cache_latents=True, unet_lr=1e-4, recipe='[adapter]\nkind = "lora"',
        tags=["a", "b"],
    )  # fmt: skip
    assert all(isinstance(v, str) for v in found.values())
    assert found["ss_network_module"] == "networks.lora" and found["ss_network_dim"] == "8"
    assert found["ss_network_alpha"] == "4.0" and found["ss_base_model_version"] == "sd_v1"
    assert json.loads(found["ss_network_args"]) == {"conv_dim": "4", "conv_alpha": "2.0"}
    assert json.loads(found["ss_tag_frequency"]) == {"10_zwx": {"smile": 3}}
    assert (found["ss_resolution"], found["modelspec.resolution"]) == ("(128, 96)", "128x96")
    assert found["ss_cache_latents"] == "True" and found["ss_v2"] == "False" and "ss_clip_skip" not in found
    assert found["modelspec.architecture"] == "stable-diffusion-v1/lora" and found["modelspec.tags"] == "a, b"
    assert found["bakehouse.recipe"].startswith("[adapter]") and not any("None" in v for v in found.values())
    whole = metadata_for(FullFineTune(), name="me", base_model="crumb")
    assert whole["modelspec.architecture"] == "stable-diffusion-v1" and "ss_network_dim" not in whole
    with pytest.raises(TypeError, match="did you mean 'steps'"):
        metadata_for(spec, name="me", base_model="crumb", stepps=3)


@pytest.mark.parametrize(
    ("key", "stem", "suffix"),
    [
        ("lora_unet_a_to_q.lora_down.weight", "lora_unet_a_to_q", "lora_down.weight"),
        ("lora_te_text_model_encoder_layers_0_mlp_fc1.alpha", "lora_te_text_model_encoder_layers_0_mlp_fc1", "alpha"),
        ("unet.a.attn1.to_q.lora_A.weight", "lora_unet_a_attn1_to_q", "lora_down.weight"),
        ("unet.a.attn1.to_q.lora_B.default.weight", "lora_unet_a_attn1_to_q", "lora_up.weight"),
        ("unet.a.attn1.to_q.lora_A", "lora_unet_a_attn1_to_q", "lora_down.weight"),
        ("unet.a.attn1.to_q.lora.up.weight", "lora_unet_a_attn1_to_q", "lora_up.weight"),
        ("unet.a.attn1.processor.to_out_lora.down.weight", "lora_unet_a_attn1_to_out_0", "lora_down.weight"),
        ("down_blocks.0.attn2.processor.to_k_lora.up.weight", "lora_unet_down_blocks_0_attn2_to_k", "lora_up.weight"),
        (
            "text_encoder.text_model.encoder.layers.0.self_attn.q_proj.lora_linear_layer.up.weight",
            "lora_te_text_model_encoder_layers_0_self_attn_q_proj",
            "lora_up.weight",
        ),
        (
            "text_encoder.encoder.layers.0.self_attn.q_proj.lora_A.weight",
            "lora_te_text_model_encoder_layers_0_self_attn_q_proj",
            "lora_down.weight",
        ),
        ("base_model.model.down_blocks.0.x.lora_A.weight", "lora_unet_down_blocks_0_x", "lora_down.weight"),
        ("lycoris_down_blocks_0_x.lora_up.weight", "lora_unet_down_blocks_0_x", "lora_up.weight"),
        ("lycoris_text_model_x.lora_up.weight", "lora_te_text_model_x", "lora_up.weight"),
        ("lora_unet_input_blocks_4_1_proj_in.alpha", "lora_unet_down_blocks_1_attentions_0_proj_in", "alpha"),
        ("lora_unet_input_blocks_3_0_op.alpha", "lora_unet_down_blocks_0_downsamplers_0_conv", "alpha"),
        ("lora_unet_input_blocks_5_0_in_layers_2.alpha", "lora_unet_down_blocks_1_resnets_1_conv1", "alpha"),
        ("lora_unet_output_blocks_5_2_conv.alpha", "lora_unet_up_blocks_1_upsamplers_0_conv", "alpha"),
        ("lora_unet_output_blocks_4_1_proj_out.alpha", "lora_unet_up_blocks_1_attentions_1_proj_out", "alpha"),
        ("lora_unet_middle_block_2_out_layers_3.alpha", "lora_unet_mid_block_resnets_1_conv2", "alpha"),
        ("diffusion_model.middle_block.1.norm.lora_A", "lora_unet_mid_block_attentions_0_norm", "lora_down.weight"),
        ("lora_unet_x.hada_w1_a", "lora_unet_x", "hada_w1_a"),
        ("lora_unet_x.lokr_w2", "lora_unet_x", "lokr_w2"),
    ],
)  # fmt: skip
def test_everybodys_keys(key, stem, suffix):
    found = split_key(key)
    assert found is not None
    assert (kohya_stem(found[0]), found[1]) == (stem, suffix)


TEXT_1 = (
    "text_encoder.text_model.encoder.layers.0.mlp.fc1.lora_A.weight",
    "text_encoders.clip_l.transformer.text_model.encoder.layers.0.mlp.fc1.lora_A.weight",
    "lora_te_text_model_encoder_layers_0_mlp_fc1.lora_down.weight",
    "lycoris_text_model_encoder_layers_0_mlp_fc1.lora_down.weight",
)
XL = (
    ("text_encoder_2.text_model.encoder.layers.0.mlp.fc1.lora_A.weight", 1280, {}),
    ("unet.down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k.lora_A.weight", 2048, {}),
    ("unet.down_blocks.2.attentions.0.transformer_blocks.9.ff.net.2.lora_A.weight", 5120, {}),
    ("unet.mid_block.resnets.0.conv1.lora_A.weight", 4, {"ss_base_model_version": "sdxl_base_v1-0"}),
)


@pytest.mark.parametrize("key", TEXT_1)
@pytest.mark.parametrize(("beside", "ins", "metadata"), XL)
def test_the_first_of_sdxls_text_encoders_is_counted(key, beside, ins, metadata):
    state = {key: torch.zeros(2, 768), beside: torch.zeros(2, ins)}
    assert "lora_te1_text_model_encoder_layers_0_mlp_fc1" in from_state(state, metadata).modules


@pytest.mark.parametrize("key", TEXT_1)
def test_the_one_of_sd1_is_not(key):
    beside = "unet.down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k.lora_A.weight"
    state = {key: torch.zeros(2, 768), beside: torch.zeros(2, 768)}
    assert "lora_te_text_model_encoder_layers_0_mlp_fc1" in from_state(state).modules


def dotted(state, sites, form):
    """A kohya state under another tool's names, alpha folded into B."""
    peft = to_diffusers(state, sites)
    match form:
        case "peft":
            return peft
        case "default":
            return {k.replace(".weight", ".default.weight"): v for k, v in peft.items()}
        case "lora.up":
            return {k.replace("lora_A", "lora.down").replace("lora_B", "lora.up"): v for k, v in peft.items()}
        case "linear_layer":
            return {
                k.replace("lora_A", "lora_linear_layer.down").replace("lora_B", "lora_linear_layer.up"): v
                for k, v in peft.items()
            }
        case "flat text":
            return {k.replace("text_encoder.text_model.", "text_encoder."): v for k, v in peft.items()}
    raise AssertionError(form)


@pytest.mark.parametrize("form", ["peft", "default", "lora.up", "linear_layer", "flat text"])
def test_files_of_others_give_the_same_model(tiny, output, randomised, make_tiny, tmp_path, form):
    adapter = randomised(LoRA(rank=4, alpha=3.0, targets="full", text=True), tiny)
    state = dotted(adapter.state_dict(), all_sites(tiny.trainable_modules()), form)
    save_file({k: v.contiguous() for k, v in state.items()}, tmp_path / "x.safetensors")
    other = make_tiny()
    load_adapter(tmp_path / "x.safetensors", other.trainable_modules())
    torch.testing.assert_close(output(other), output(tiny), atol=1e-5, rtol=1e-5)


def test_peft_alpha_beside_the_file(tiny, tmp_path):
    site = next(s for s in all_sites(tiny.trainable_modules()) if s.path.endswith("attn1.to_q"))
    tensors = {
        f"base_model.model.{site.path}.lora_A.weight": torch.randn(4, 8),
        f"base_model.model.{site.path}.lora_B.weight": torch.randn(8, 4),
    }
    save_file(tensors, tmp_path / "adapter_model.safetensors")
    (tmp_path / "adapter_config.json").write_text('{"r": 4, "lora_alpha": 6, "use_rslora": true}')
    assert read_safetensors_adapter(tmp_path / "adapter_model.safetensors").alpha == 12.0


def test_weight_and_negative_weight(tiny, output, randomised, make_tiny):
    adapter = randomised(LoRA(rank=4, alpha=3.0), tiny)
    for weight in (0.7, -2.0, 0.0):
        other = make_tiny()
        load_adapter(adapter.state_dict(), other.trainable_modules(), weight)
        with adapter.scaled(weight):
            assert torch.equal(output(other), output(tiny))


def lora(stem, ins, outs=8, rank=2):
    return {
        f"{stem}.lora_down.weight": torch.randn(rank, ins),
        f"{stem}.lora_up.weight": torch.randn(outs, rank),
        f"{stem}.alpha": torch.tensor(1.0),
    }


@pytest.mark.parametrize(
    ("stem", "ins", "says"),
    [
        ("lora_te2_text_model_encoder_layers_0_mlp_fc1", 16, "SDXL"),
        ("lora_unet_down_blocks_9_attentions_0_transformer_blocks_0_attn2_to_k", 2048, "SDXL .*2048"),
        ("lora_unet_down_blocks_9_attentions_0_transformer_blocks_0_attn2_to_k", 1024, r"SD 2\.x"),
        ("lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k", 768, r"do not fit .*SD 1\.x"),
        ("lora_unet_double_blocks_0_img_attn_qkv", 16, "FLUX"),
    ],
)
def test_files_for_other_bases_are_refused_by_name(tiny, stem, ins, says):
    with pytest.raises(UsageError, match=says):
        load_adapter(lora(stem, ins), tiny.trainable_modules())


def test_a_file_that_fits_in_part_names_the_rest(tiny, randomised):
    state = dict(randomised(LoRA(rank=2), tiny).state_dict())
    with pytest.raises(UsageError, match=r"1 of \d+ modules") as caught:
        load_adapter({**state, **lora("lora_unet_elsewhere", 8)}, tiny.trainable_modules())
    assert "lora_unet_elsewhere" in str(caught.value)


def test_the_text_half_is_left_out_where_no_text_encoder_is_given(tiny, randomised):
    state = randomised(LoRA(rank=2, text=True), tiny).state_dict()
    adapter = load_adapter(state, {"lora_unet": tiny.unet})
    assert not adapter.trains_text and adapter.module_names()


def test_other_algorithms_are_named(tiny):
    stem = "lora_unet_down_blocks_0_attentions_0_proj_in"
    with pytest.raises(UsageError, match="T-LoRA"):
        load_adapter(
            {f"{stem}.q_layer.weight": torch.zeros(2, 2), f"{stem}.lambda_layer": torch.zeros(1)},
            tiny.trainable_modules(),
        )
    assert from_state({**lora(stem, 8), f"{stem}.dora_scale": torch.ones(8, 1)}).kind == "DoRA"


def test_what_is_no_adapter_is_refused(tmp_path):
    save_file({"conv_in.weight": torch.zeros(3)}, tmp_path / "x.safetensors")
    (tmp_path / "broken.safetensors").write_bytes(b"nonsense")
    (tmp_path / "x.pt").write_bytes(b"")
    for name, error, says in (
        ("x.safetensors", UsageError, "not an adapter"),
        ("broken.safetensors", BakehouseError, "is text, not weights"),
        ("x.pt", UsageError, r"not a \.safetensors"),
        ("gone.safetensors", UsageError, "does not exist"),
    ):
        with pytest.raises(error, match=says):
            read_safetensors_adapter(tmp_path / name)


def test_nan_and_overflow_are_never_written(tiny, randomised, tmp_path):
    path = tmp_path / "a.safetensors"
    adapter = randomised(LoRA(rank=2), tiny)
    save_adapter(adapter, path)
    before = path.read_bytes()
    first = next(iter(adapter.parameters()))
    for value, says in ((float("nan"), "NaN or infinity"), (1e6, "overflows")):
        with torch.no_grad():
            first.view(-1)[0] = value
        with pytest.raises(BakehouseError, match=says):
            save_adapter(adapter, path)
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]
    save_adapter(adapter, path, dtype=torch.bfloat16)
