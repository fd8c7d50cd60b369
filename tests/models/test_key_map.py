"""Single files of every family: the keys that the world uses, both ways, bit by bit, from shapes alone."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from bakehouse.core.errors import BakehouseError
from bakehouse.models import load_model
from bakehouse.models.detect_prediction_type import find_evidence
from bakehouse.models.diffusers_networks import build_text_encoder, build_unet, config_json
from bakehouse.models.identify import Header, identify, read_header
from bakehouse.models.infer_config import read_text_config, read_unet_config, read_vae_config
from bakehouse.models.load import native_size, resolve_model
from bakehouse.models.single_file import (
    METADATA_KEY,
    Configs,
    SingleFile,
    join,
    read_single_file,
    save_single_file,
    single_file_of,
    split,
    write_single_file,
)

FAMILIES = ("sd1", "sd2", "sdxl")
V = {"prediction_type": "v_prediction"}

REAL_UNETS = {
    "sd2": {
        "sample_size": 96,
        "block_out_channels": (320, 640, 1280, 1280),
        "cross_attention_dim": 1024,
        "attention_head_dim": [5, 10, 20, 20],
        "use_linear_projection": True,
    },
    "sdxl": {
        "sample_size": 128,
        "block_out_channels": (320, 640, 1280),
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        "transformer_layers_per_block": [1, 2, 10],
        "cross_attention_dim": 2048,
        "attention_head_dim": [5, 10, 20],
        "use_linear_projection": True,
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": 256,
        "projection_class_embeddings_input_dim": 2816,
    },
}
CLIP_L = {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12,
          "projection_dim": 768, "hidden_act": "quick_gelu"}  # fmt: skip
CLIP_H = {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 23, "num_attention_heads": 16,
          "projection_dim": 1024, "hidden_act": "gelu"}  # fmt: skip
CLIP_G = {"hidden_size": 1280, "intermediate_size": 5120, "num_hidden_layers": 32, "num_attention_heads": 20,
          "projection_dim": 1280, "hidden_act": "gelu"}  # fmt: skip


def real_file(family, families):
    """A file of the real sizes on the meta device: names and shapes, no numbers."""
    texts = {"sd2": [CLIP_H], "sdxl": [CLIP_L, CLIP_G]}[family]
    unet = build_unet(REAL_UNETS[family])
    encoders = [build_text_encoder(c, pooled=number > 0) for number, c in enumerate(texts)]
    vae = families[family].vae
    configs = Configs(
        config_json(unet),
        config_json(vae),
        texts[0],
        {},
        text_encoder_2=texts[1] if len(texts) > 1 else None,
        family=family,
    )
    states = {"unet": unet.state_dict(), "vae": vae.state_dict(), "text_encoder": encoders[0].state_dict()}
    if len(encoders) > 1:
        states["text_encoder_2"] = encoders[1].state_dict()
    return SingleFile(configs, states)


@pytest.fixture(scope="module")
def real_keys(families):
    with torch.device("meta"):
        return {family: join(real_file(family, families)) for family in ("sd2", "sdxl")}


@pytest.mark.parametrize(
    ("family", "key", "shape"),
    [
        # Facts of v2-1_768-ema-pruned.safetensors and sd_xl_base_1.0.safetensors, one for each rule.
        ("sd2", "model.diffusion_model.input_blocks.1.1.proj_in.weight", (320, 320)),
        ("sd2", "model.diffusion_model.output_blocks.11.1.transformer_blocks.0.attn2.to_k.weight", (320, 1024)),
        ("sd2", "cond_stage_model.model.positional_embedding", (77, 1024)),
        ("sd2", "cond_stage_model.model.token_embedding.weight", (49408, 1024)),
        ("sd2", "cond_stage_model.model.transformer.resblocks.0.attn.in_proj_weight", (3072, 1024)),
        ("sd2", "cond_stage_model.model.transformer.resblocks.22.attn.in_proj_bias", (3072,)),
        ("sd2", "cond_stage_model.model.transformer.resblocks.23.mlp.c_fc.weight", (4096, 1024)),
        ("sd2", "cond_stage_model.model.transformer.resblocks.5.ln_2.bias", (1024,)),
        ("sd2", "cond_stage_model.model.text_projection", (1024, 1024)),
        ("sd2", "cond_stage_model.model.ln_final.weight", (1024,)),
        ("sd2", "cond_stage_model.model.logit_scale", ()),
        ("sdxl", "model.diffusion_model.label_emb.0.0.weight", (1280, 2816)),
        ("sdxl", "model.diffusion_model.label_emb.0.2.bias", (1280,)),
        ("sdxl", "model.diffusion_model.input_blocks.3.0.op.weight", (320, 320, 3, 3)),
        ("sdxl", "model.diffusion_model.input_blocks.4.1.transformer_blocks.1.attn2.to_k.weight", (640, 2048)),
        ("sdxl", "model.diffusion_model.input_blocks.8.1.transformer_blocks.9.ff.net.2.weight", (1280, 5120)),
        ("sdxl", "model.diffusion_model.middle_block.1.transformer_blocks.9.attn1.to_q.weight", (1280, 1280)),
        ("sdxl", "model.diffusion_model.output_blocks.2.2.conv.weight", (1280, 1280, 3, 3)),
        ("sdxl", "model.diffusion_model.output_blocks.5.2.conv.weight", (640, 640, 3, 3)),
        ("sdxl", "model.diffusion_model.output_blocks.8.0.skip_connection.weight", (320, 640, 1, 1)),
        ("sdxl", "conditioner.embedders.0.transformer.text_model.encoder.layers.11.mlp.fc1.weight", (3072, 768)),
        ("sdxl", "conditioner.embedders.1.model.transformer.resblocks.31.attn.in_proj_weight", (3840, 1280)),
        ("sdxl", "conditioner.embedders.1.model.transformer.resblocks.9.mlp.c_proj.bias", (1280,)),
        ("sdxl", "conditioner.embedders.1.model.text_projection", (1280, 1280)),
        ("sdxl", "conditioner.embedders.1.model.logit_scale", ()),
    ],
)
def test_names_as_the_world_has_them(real_keys, family, key, shape):
    assert tuple(real_keys[family][key].shape) == shape


@pytest.mark.parametrize("family", ["sd2", "sdxl"])
def test_real_settings_are_read_from_shapes(real_keys, family):
    shapes = {k: tuple(v.shape) for k, v in real_keys[family].items()}
    assert identify(shapes).family == family
    expected = {**REAL_UNETS[family]}
    if family == "sd2":
        expected["sample_size"] = 64
    read = read_unet_config(shapes, family)
    assert {k: tuple(v) if isinstance(v, list) else v for k, v in read.items() if k in expected} == {
        k: tuple(v) if isinstance(v, list) else v for k, v in expected.items()
    }
    prefixes = {
        "sd2": {"cond_stage_model.model.": CLIP_H},
        "sdxl": {"conditioner.embedders.0.transformer.": CLIP_L, "conditioner.embedders.1.model.": CLIP_G},
    }
    for prefix, config in prefixes[family].items():
        read = read_text_config(shapes, prefix)
        assert {k: read[k] for k in config} == config
    assert read_vae_config(shapes, family=family)["scaling_factor"] == (0.13025 if family == "sdxl" else 0.18215)


@pytest.mark.parametrize("family", FAMILIES)
def test_there_and_back_is_bit_equal(families, family, tmp_path):
    model = families[family]
    file = save_single_file(model, tmp_path / "a.safetensors", dtype=torch.float32)
    again = load_model(file)
    for part, network in model.networks.items():
        other = again.networks[part].state_dict()
        own = network.state_dict()
        assert own.keys() == other.keys() and all(torch.equal(own[k], other[k]) for k in own), part
    second = save_single_file(again, tmp_path / "b.safetensors", dtype=torch.float32)
    first, then = load_file(file), load_file(second)
    assert first.keys() == then.keys() and all(torch.equal(first[k], then[k]) for k in first)
    cond = again.encode_prompt(["a hat"])
    assert torch.equal(cond.hidden, model.encode_prompt(["a hat"]).hidden)
    x_t, t = torch.randn(1, 4, 8, 8), torch.tensor([500])
    torch.testing.assert_close(again(x_t, t, cond), model(x_t, t, cond))  # equal weights, laid out in memory otherwise


@pytest.mark.parametrize("family", FAMILIES)
def test_a_foreign_file_is_read_from_its_shapes_and_written_bit_equal(families, family, tmp_path):
    """No word of ours in the header; training leftovers, an unused layer and schedules are in the file."""
    model = families[family]
    tensors = load_file(save_single_file(model, tmp_path / "a.safetensors"))
    prefix = {"sd1": "", "sd2": "cond_stage_model.model.", "sdxl": "conditioner.embedders.1.model."}[family]
    if prefix:
        tensors[f"{prefix}logit_scale"] = torch.tensor(4.5, dtype=torch.float16)
    if family == "sd2":
        tensors[f"{prefix}transformer.resblocks.3.ln_1.weight"] += 1
    tensors["betas"] = torch.linspace(0, 1, 10)
    tensors["model_ema.decay"] = torch.zeros(())
    path = tmp_path / "foreign.safetensors"
    save_file(tensors, path)
    model.tokenizer.save_pretrained(str(tmp_path / "tokenizer"))
    again = load_model(path, dtype=torch.float16)
    assert again.family == family and again.scheduler_config["prediction_type"] in ("epsilon", "v_prediction")
    for part, network in model.networks.items():
        own = {k: v.half() for k, v in network.state_dict().items()}
        other = again.networks[part].state_dict()
        assert own.keys() == other.keys() and all(torch.equal(own[k], other[k].half()) for k in own), part
    written = load_file(write_single_file(read_single_file(path), tmp_path / "again.safetensors"))
    del tensors["model_ema.decay"]
    marks = {"v_pred"} & set(written)
    assert written.keys() - marks == tensors.keys()
    assert all(torch.equal(written[k], tensors[k]) and written[k].dtype == tensors[k].dtype for k in tensors)
    pads = {"sd1": ["<|endoftext|>"], "sd2": ["!"], "sdxl": ["<|endoftext|>", "!"]}[family]
    assert [t.pad_token for t in again.tokenizers.values()] == pads


@pytest.mark.parametrize("family", FAMILIES)
def test_diffusers_reads_the_same_weights_out_of_our_file(families, family, tmp_path):
    """Its own converter, on the parts that it can build without asking the network."""
    from diffusers.loaders import single_file_utils as theirs

    model = families[family]
    tensors = load_file(save_single_file(model, tmp_path / "a.safetensors", dtype=torch.float32))
    unet = theirs.convert_ldm_unet_checkpoint(dict(tensors), config_json(model.unet))
    assert all(torch.equal(unet[k], v) for k, v in model.unet.state_dict().items())
    vae = theirs.convert_ldm_vae_checkpoint(dict(tensors), config_json(model.vae))
    assert all(torch.equal(vae[k].view(v.shape), v) for k, v in model.vae.state_dict().items())
    if family == "sd1":
        return
    prefix, encoder = ("cond_stage_model.model.", model.text_encoder) if family == "sd2" else (
        "conditioner.embedders.1.model.", model.text_encoder_2)  # fmt: skip
    # Its split counts rows by the projection's width, which is the encoder's in every real file.
    if family == "sd2":
        found = theirs.convert_open_clip_checkpoint(encoder, dict(tensors), prefix)
        own = {k.removeprefix("text_model."): v for k, v in encoder.state_dict().items()}
        assert all(torch.equal(found[f"text_model.{k}"], v) for k, v in own.items())


def test_what_a_file_predicts_is_read_from_it(make_family, tmp_path):
    """Marker keys, as NoobAI's files have them; no metadata, no question."""
    model = make_family("sdxl", scheduler={**V, "rescale_betas_zero_snr": True, "timestep_spacing": "trailing"})
    path = save_single_file(model, tmp_path / "a.safetensors")
    header = read_header(path)
    assert header.shapes["v_pred"] == (0,) and header.shapes["ztsnr"] == (0,)
    assert header.metadata["modelspec.prediction_type"] == "v"
    bare = load_file(path)
    save_file(bare, path)
    model.tokenizer.save_pretrained(str(tmp_path / "tokenizer"))
    again = load_model(path)
    assert again.schedule.prediction == "v_prediction" and again.schedule.snr(torch.tensor([999])) == 0
    assert again.notes == ()
    assert load_model(path, prediction="epsilon").schedule.prediction == "epsilon"
    del bare["v_pred"], bare["ztsnr"]
    save_file(bare, path)
    assert load_model(path).schedule.prediction == "epsilon" and load_model(path).notes == ()
    assert load_model(path, prediction="v_prediction").schedule.prediction == "v_prediction"


def test_the_scheduler_of_a_folder_says_it(make_family, tmp_path):
    model = make_family("sd2", scheduler=V)
    model.save(tmp_path / "m")
    assert load_model(tmp_path / "m").schedule.prediction == "v_prediction"
    assert load_model(tmp_path / "m", prediction="epsilon").schedule.prediction == "epsilon"


MARK = {"v_pred": (0,)}
SPEC_V = {"modelspec.prediction_type": "v"}
SPEC_EPS = {"modelspec.prediction_type": "epsilon"}
YAML_V = "model:\n  params:\n    parameterization: v\n    unet_config:\n      params: {num_heads: -1}\n"
YAML_EPS = "model:\n  params:\n    unet_config:\n      params: {num_heads: -1}\n"
SGM = (
    "model:\n  params:\n    denoiser_config:\n      params:\n        scaling_config:\n"
    "          target: sgm.modules.diffusionmodules.denoiser_scaling.%s\n"
    "    network_config:\n      params: {num_head_channels: 64, model_channels: 320, channel_mult: [1, 2, 4]}\n"
)
SD2_BIAS = "model.diffusion_model.output_blocks.11.1.transformer_blocks.0.norm1.bias"


@pytest.mark.parametrize(
    ("shapes", "metadata", "yaml", "family", "expected"),
    [
        ({}, {}, None, "sd1", "epsilon"),
        ({}, {}, None, "sdxl", "epsilon"),
        (MARK, SPEC_EPS, YAML_EPS, "sd2", "v_prediction"),
        ({}, SPEC_EPS, YAML_V, "sd2", "epsilon"),
        ({}, SPEC_V, YAML_EPS, "sd1", "v_prediction"),
        ({}, {"modelspec.architecture": "stable-diffusion-v2-512"}, None, "sd2", "epsilon"),
        ({}, {}, YAML_EPS, "sd2", "epsilon"),
        ({}, {}, YAML_V, "sd1", "v_prediction"),
        ({}, {}, SGM % "VScaling", "sdxl", "v_prediction"),
        ({}, {}, SGM % "EpsScaling", "sdxl", "epsilon"),
    ],
)
def test_witnesses_in_their_order(tmp_path, shapes, metadata, yaml, family, expected):
    if yaml:
        (tmp_path / "a.yaml").write_text(yaml)
    found = find_evidence(Header(shapes, metadata), tmp_path / "a.safetensors", family)
    assert (found.scheduler["prediction_type"], found.notes) == (expected, ())
    if yaml and "network_config" in yaml:
        assert found.unet["attention_head_dim"] == [5, 10, 20]


@pytest.mark.parametrize(("spread", "expected"), [(0.2, "v_prediction"), (0.05, "epsilon"), (None, "v_prediction")])
def test_an_sd2_file_that_says_nothing_is_told_by_a_bias_and_a_note(tmp_path, spread, expected):
    tensors = {} if spread is None else {SD2_BIAS: torch.tensor([-spread, spread] * 8)}
    found = find_evidence(Header({}, {}), tmp_path / "wd15.safetensors", "sd2", tensors)
    assert found.scheduler["prediction_type"] == expected
    assert "wd15.safetensors" in found.notes[0] and "model.prediction = " in found.notes[0]


def test_the_note_of_an_unsure_file_is_the_model_s(families, tmp_path):
    path = save_single_file(families["sd2"], tmp_path / "a.safetensors")
    save_file(load_file(path), path)
    families["sd2"].tokenizer.save_pretrained(str(tmp_path / "tokenizer"))
    model = load_model(path)
    assert "does not state" in model.notes[0]
    assert model.unet.config.sample_size == (96 if model.schedule.prediction == "v_prediction" else 64)
    said = load_model(path, prediction="epsilon")
    assert said.notes == () and said.schedule.prediction == "epsilon" and said.unet.config.sample_size == 64


def test_the_native_size_of_a_file_is_its_family_s(families, tmp_path):
    for family, side in (("sd1", 512), ("sdxl", 1024)):
        path = save_single_file(families[family], tmp_path / f"{family}.safetensors")
        save_file(load_file(path), path)
        assert native_size(resolve_model(path)) == side


def test_distilled_models_are_told_apart(families, tmp_path):
    """SSD-1B and its kin have another depth in every block, which shapes alone do not bring back."""
    path = save_single_file(families["sdxl"], tmp_path / "a.safetensors")
    gone = "input_blocks.8.1.transformer_blocks.1."
    save_file({k: v for k, v in load_file(path).items() if gone not in k}, path)
    with pytest.raises(BakehouseError, match="distilled"):
        load_model(path)


def test_a_whole_tower_is_written_for_those_who_ask_for_it(families, tmp_path):
    tensors = load_file(save_single_file(families["sd2"], tmp_path / "a.safetensors", dtype=torch.float32))
    blocks = {k.split(".")[4] for k in tensors if "resblocks" in k}
    assert blocks == {"0", "1", "2", "3"}
    states, _ = split(tensors, single_file_of(families["sd2"]).configs)
    assert not any("layers.3." in k for k in states["text_encoder"])


def test_old_headers_of_ours_are_read(tiny, tmp_path):
    path = save_single_file(tiny, tmp_path / "a.safetensors")
    own = json.loads(read_header(path).metadata[METADATA_KEY])
    old = {k: own[k] for k in ("unet", "vae", "text_encoder", "scheduler", "tokenizer")}
    save_file(load_file(path), path, metadata={METADATA_KEY: json.dumps(old)})
    assert load_model(path).family == "sd1"
