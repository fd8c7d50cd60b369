"""Single files: there and back bit by bit, at every size, read from shapes alone where nothing else is known."""

import json
import pickle

import pytest
import torch
from safetensors.torch import load_file, save_file

from bakehouse.core.errors import BakehouseError, UsageError
from bakehouse.models import load_model
from bakehouse.models.diffusers_networks import build_text_encoder, build_unet, build_vae, config_json
from bakehouse.models.identify import identify, read_header
from bakehouse.models.infer_config import read_text_config, read_unet_config, read_vae_config
from bakehouse.models.single_file import (
    METADATA_KEY,
    Configs,
    SingleFile,
    configs_of,
    join,
    save_single_file,
    split,
)

SD15_UNET = {
    "sample_size": 64,
    "block_out_channels": (320, 640, 1280, 1280),
    "layers_per_block": 2,
    "cross_attention_dim": 768,
    "attention_head_dim": 8,
}
SD15_VAE = {
    "block_out_channels": (128, 256, 512, 512),
    "layers_per_block": 2,
    "latent_channels": 4,
    "sample_size": 512,
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "force_upcast": False,
}
SD15_TEXT = {
    "vocab_size": 49408,
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "projection_dim": 768,
}


@pytest.fixture(scope="module")
def sd15():
    """Stable Diffusion 1.5's networks on the meta device: names and shapes, no numbers."""
    return {
        "unet": build_unet(SD15_UNET),
        "vae": build_vae(SD15_VAE),
        "text_encoder": build_text_encoder(SD15_TEXT),
    }


@pytest.fixture(scope="module")
def sd15_configs(sd15):
    return Configs(*(config_json(sd15[part]) for part in ("unet", "vae", "text_encoder")), scheduler={})


def states(model):
    return {part: network.state_dict() for part, network in model.networks.items()}


def joined_of(networks, configs):
    return join(SingleFile(configs, {part: network.state_dict() for part, network in networks.items()}))


def test_there_and_back_is_bit_equal(tiny, tmp_path):
    file = save_single_file(tiny, tmp_path / "tiny.safetensors", dtype=torch.float32)
    again = load_model(file)
    for part, state in states(tiny).items():
        other = getattr(again, part).state_dict()
        assert state.keys() == other.keys()
        assert all(torch.equal(state[k], other[k]) for k in state), part
    assert configs_of(again) == configs_of(tiny)
    ids = tiny.token_ids(["a red robot, zwx"])
    assert torch.equal(again.token_ids(["a red robot, zwx"]), ids)
    x_t, t = torch.randn(1, 4, 8, 8), torch.tensor([500])
    ours, theirs = (model(x_t, t, model.encode_prompt(["a"])) for model in (again, tiny))
    torch.testing.assert_close(ours, theirs)  # equal weights, laid out in memory otherwise
    second = save_single_file(again, tmp_path / "again.safetensors", dtype=torch.float32)
    first, then = load_file(file), load_file(second)
    assert first.keys() == then.keys() and all(torch.equal(first[k], then[k]) for k in first)


def test_sd15_keys_go_there_and_back(sd15, sd15_configs):
    given = {part: network.state_dict() for part, network in sd15.items()}
    joined = joined_of(sd15, sd15_configs)
    assert len(joined) == sum(map(len, given.values()))
    back, used = split(joined, sd15_configs)
    assert used == set(joined)
    for part, state in given.items():
        assert {k: v.shape for k, v in back[part].items()} == {k: v.shape for k, v in state.items()}


@pytest.mark.parametrize(
    ("key", "shape"),
    [
        # Facts of v1-5-pruned.safetensors, one for each rule.
        ("model.diffusion_model.time_embed.2.weight", (1280, 1280)),
        ("model.diffusion_model.input_blocks.0.0.weight", (320, 4, 3, 3)),
        ("model.diffusion_model.input_blocks.3.0.op.weight", (320, 320, 3, 3)),
        ("model.diffusion_model.input_blocks.4.0.skip_connection.weight", (640, 320, 1, 1)),
        ("model.diffusion_model.input_blocks.8.1.transformer_blocks.0.attn2.to_k.weight", (1280, 768)),
        ("model.diffusion_model.input_blocks.11.0.out_layers.3.weight", (1280, 1280, 3, 3)),
        ("model.diffusion_model.middle_block.1.proj_in.weight", (1280, 1280, 1, 1)),
        ("model.diffusion_model.middle_block.2.emb_layers.1.weight", (1280, 1280)),
        ("model.diffusion_model.output_blocks.2.1.conv.weight", (1280, 1280, 3, 3)),
        ("model.diffusion_model.output_blocks.5.2.conv.weight", (1280, 1280, 3, 3)),
        ("model.diffusion_model.output_blocks.8.2.conv.weight", (640, 640, 3, 3)),
        ("model.diffusion_model.output_blocks.11.1.transformer_blocks.0.ff.net.0.proj.weight", (2560, 320)),
        ("model.diffusion_model.out.2.weight", (4, 320, 3, 3)),
        ("first_stage_model.encoder.down.1.block.0.nin_shortcut.weight", (256, 128, 1, 1)),
        ("first_stage_model.encoder.down.2.downsample.conv.weight", (512, 512, 3, 3)),
        ("first_stage_model.encoder.mid.attn_1.q.weight", (512, 512, 1, 1)),
        ("first_stage_model.decoder.up.0.block.0.nin_shortcut.weight", (128, 256, 1, 1)),
        ("first_stage_model.decoder.up.3.upsample.conv.weight", (512, 512, 3, 3)),
        ("first_stage_model.decoder.norm_out.weight", (128,)),
        ("first_stage_model.quant_conv.weight", (8, 8, 1, 1)),
        ("cond_stage_model.transformer.text_model.encoder.layers.11.mlp.fc1.weight", (3072, 768)),
        ("cond_stage_model.transformer.text_model.final_layer_norm.weight", (768,)),
    ],
)
def test_sd15_names_as_the_world_has_them(sd15, sd15_configs, key, shape):
    joined = joined_of(sd15, sd15_configs)
    assert tuple(joined[key].shape) == shape


def test_sd15_settings_are_read_from_shapes(sd15, sd15_configs):
    joined = joined_of(sd15, sd15_configs)
    shapes = {k: tuple(v.shape) for k, v in joined.items()}
    assert identify(shapes).family == "sd1"
    for read, part in ((read_unet_config, "unet"), (read_vae_config, "vae"), (read_text_config, "text_encoder")):
        own = config_json(sd15[part])
        for name, value in read(shapes).items():
            if not name.endswith("_token_id"):
                assert (list(value) if isinstance(value, tuple) else value) == (
                    list(own[name]) if isinstance(own[name], tuple) else own[name]
                ), name


def test_without_our_metadata_shapes_do(make_tiny, tmp_path):
    # 8 heads and 32 groups are what SD 1.x has where a file says nothing.
    wide = make_tiny(block_out_channels=(32, 64, 64, 64), norm_num_groups=32, attention_head_dim=8)
    file = save_single_file(wide, tmp_path / "wide.safetensors", dtype=torch.float32)
    tensors = load_file(file)
    read = read_unet_config({k: tuple(v.shape) for k, v in tensors.items()})
    got, _ = split(tensors, Configs(read, configs_of(wide).vae, configs_of(wide).text_encoder, {}))
    assert all(torch.equal(got["unet"][k], v) for k, v in wide.unet.state_dict().items())


def test_old_files_without_the_text_model_level(tiny, tmp_path):
    path = save_single_file(tiny, tmp_path / "a.safetensors", dtype=torch.float32)
    tensors = {k.replace("transformer.text_model.", "transformer."): v for k, v in load_file(path).items()}
    tensors["cond_stage_model.transformer.embeddings.position_ids"] = torch.arange(77).expand(1, -1).contiguous()
    tensors["model_ema.decay"] = torch.zeros(())
    save_file(tensors, path, metadata=dict(read_header(path).metadata))
    again = load_model(path)
    assert torch.equal(again.unet.conv_in.weight, tiny.unet.conv_in.weight)


def test_ckpt_is_read_as_tensors_only(tiny, tmp_path):
    tensors = load_file(save_single_file(tiny, tmp_path / "a.safetensors", dtype=torch.float32))
    torch.save({"state_dict": tensors, "global_step": 3}, tmp_path / "a.ckpt")
    assert len(read_header(tmp_path / "a.ckpt").shapes) == len(tensors)


class Evil:
    def __reduce__(self):
        return (print, ("this must never be printed",))


def test_pickles_with_code_are_refused(tmp_path, capsys):
    (tmp_path / "evil.ckpt").write_bytes(pickle.dumps({"state_dict": Evil()}))
    torch.save({"state_dict": Evil()}, tmp_path / "evil2.ckpt")
    for name in ("evil.ckpt", "evil2.ckpt"):
        with pytest.raises(BakehouseError, match=r"more than tensors|cannot read"):
            load_model(tmp_path / name)
    assert "never" not in capsys.readouterr().out


def test_missing_weights_are_named(tiny, tmp_path):
    path = save_single_file(tiny, tmp_path / "a.safetensors", dtype=torch.float32)
    tensors, metadata = load_file(path), dict(read_header(path).metadata)
    del tensors["model.diffusion_model.out.2.bias"]
    save_file(tensors, path, metadata=metadata)
    with pytest.raises(BakehouseError, match=r"out\.2\.bias"):
        load_model(path)


def test_cut_off_files_are_named(tiny, tmp_path):
    path = save_single_file(tiny, tmp_path / "a.safetensors")
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(BakehouseError, match="cut off"):
        load_model(path)


def test_own_words_without_a_tokenizer_are_an_error(tiny, tmp_path):
    path = save_single_file(tiny, tmp_path / "a.safetensors")
    header = dict(read_header(path).metadata)
    configs = json.loads(header[METADATA_KEY])
    save_file(load_file(path), path, metadata={METADATA_KEY: json.dumps({**configs, "tokenizer": None})})
    with pytest.raises(BakehouseError, match="no tokenizer"):
        load_model(path)
    tiny.tokenizer.save_pretrained(str(tmp_path / "tokenizer"))
    assert load_model(path).token_count(["a hat"]) == tiny.token_count(["a hat"])


def test_yaml_beside_says_heads_and_prediction(make_tiny, tmp_path):
    from bakehouse.models.single_file import read_configs

    model = make_tiny(block_out_channels=(32, 64, 64, 64), norm_num_groups=32, attention_head_dim=8)
    path = save_single_file(model, tmp_path / "a.safetensors")
    save_file(load_file(path), path)
    (tmp_path / "a.yaml").write_text(
        "model:\n  params:\n    parameterization: v\n    unet_config:\n      params:\n        num_heads: 4\n"
    )
    configs = read_configs(read_header(path), path)
    assert (configs.unet["attention_head_dim"], configs.scheduler["prediction_type"]) == (4, "v_prediction")
    (tmp_path / "a.yaml").write_text("model: 3")
    with pytest.raises(BakehouseError, match=r"a\.yaml"):
        read_configs(read_header(path), path)


INPUT = "model.diffusion_model.input_blocks.0.0.weight"
LABEL = "model.diffusion_model.label_emb.0.0.weight"
XL = {"conditioner.embedders.0.transformer.x": (1,), "conditioner.embedders.1.model.x": (1,)}
SD1_TEXT = {"cond_stage_model.transformer.x": (1,)}


@pytest.mark.parametrize(
    ("shapes", "says"),
    [
        ({"lora_unet_a_attn2_to_k.lora_down.weight": (4, 2048)}, "an SDXL adapter"),
        ({"lora_unet_a_to_q.lora_down.weight": (4, 8)}, "an adapter"),
        ({"encoder.conv_in.weight": (4, 3, 3, 3), "decoder.conv_in.weight": (4, 4, 3, 3)}, "a vae"),
        ({INPUT: (4, 8, 3, 3), **SD1_TEXT}, "an SD 1.x pix2pix model"),
        ({INPUT: (4, 5, 3, 3), "cond_stage_model.model.x": (1,)}, "an SD 2.x depth model"),
        (
            {
                INPUT: (4, 4, 3, 3),
                "cond_stage_model.model.x": (1,),
                "model.diffusion_model.label_emb.0.0.weight": (1, 1),
            },
            "an SD 2.x unCLIP model",
        ),
        ({INPUT: (4, 4, 3, 3), "conditioner.embedders.0.model.x": (1,)}, "an SDXL refiner"),
        ({INPUT: (4, 4, 3, 3), "edm_vpred.sigma_max": (1,), **XL}, "an SDXL EDM model"),
        ({INPUT: (4, 4, 3, 3)}, "a unet"),
        ({"double_blocks.0.img_attn.weight": (1,)}, "FLUX"),
        ({"model.diffusion_model.joint_blocks.0.x.weight": (1,)}, "SD 3"),
        ({"some.other": (1,)}, "a file of an unknown kind"),
    ],
)
def test_other_files_are_refused_by_name(tmp_path, shapes, says):
    save_file({k: torch.zeros(v) for k, v in shapes.items()}, tmp_path / "x.safetensors")
    with pytest.raises(UsageError, match=says):
        load_model(tmp_path / "x.safetensors")


def test_what_stands_beside_a_pickle_is_not_lost(families, tmp_path):
    """A YAML file says that the model predicts v; the file that is made of it says so itself, and leaves twins out."""
    from bakehouse.weights.convert_base import convert_base

    state = load_file(save_single_file(families["sd1"], tmp_path / "a.safetensors", dtype=torch.float32))
    twin = {"model_ema.decay": torch.tensor(0.5), "model_ema.diffusion_modelconvweight": torch.zeros(2)}
    torch.save({"state_dict": {**state, **twin, "global_step": torch.tensor(7)}}, tmp_path / "old.ckpt")
    unet = {"params": {"model_channels": 32, "channel_mult": [1, 2, 2, 2], "num_heads": 8}}
    said = {"model": {"params": {"parameterization": "v", "unet_config": unet}}}
    (tmp_path / "old.yaml").write_text(json.dumps(said))
    done = convert_base(tmp_path / "old.ckpt", tmp_path / "new.safetensors")
    assert done.notes == ("2 EMA weights (model_ema....) are left out",)
    made = load_file(tmp_path / "new.safetensors")
    assert made.keys() == {*state, "global_step", "v_pred"}
    assert all(torch.equal(made[k], v) for k, v in state.items())
    assert read_header(tmp_path / "new.safetensors").metadata["modelspec.prediction_type"] == "v"


@pytest.mark.parametrize("flat", [True, False], ids=["linear", "1x1"])
@pytest.mark.parametrize("prefix", ["to_", "to_to_"])
def test_a_vae_under_newer_names_is_read(tiny, tmp_path, prefix, flat):
    """Conversion scripts of several years have left `to_q` and even `to_to_q` where a single file says `q`."""
    whole = load_file(save_single_file(tiny, tmp_path / "a.safetensors", dtype=torch.float32))
    spelled = {}
    for name, tensor in whole.items():
        head, inside, rest = name.partition(".mid.attn_1.")
        module, _, leaf = rest.rpartition(".")
        if inside and module in ("q", "k", "v", "proj_out"):
            name = f"{head}{inside}{f'{prefix}{module}' if module != 'proj_out' else 'to_out.0'}.{leaf}"
            tensor = tensor.flatten(1) if flat and leaf == "weight" else tensor
        spelled[name] = tensor.contiguous()
    assert not whole.keys() >= spelled.keys()
    save_file(spelled, tmp_path / "b.safetensors", metadata=read_header(tmp_path / "a.safetensors").metadata)
    vae = load_model(tmp_path / "b.safetensors").vae.state_dict()
    assert all(torch.equal(tensor, vae[name]) for name, tensor in tiny.vae.state_dict().items())


def test_widths_of_no_family_are_told_in_one_message(tiny, tmp_path):
    state = load_file(save_single_file(tiny, tmp_path / "a.safetensors"))
    save_file(state, tmp_path / "b.safetensors")
    with pytest.raises(BakehouseError, match="UNet in the file has widths 8, 16, 16, 16") as e:
        load_model(tmp_path / "b.safetensors")
    assert "diffusers folder" in e.value.hint
