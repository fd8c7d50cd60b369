"""PEFT as the oracle: adapters that it writes do to the tiny UNet and text encoder what they do in PEFT itself."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from diffusers import StableDiffusionPipeline, UNet2DConditionModel
from safetensors.torch import load_file, save_file

from bakehouse.adapters import LoRA, inject, load_adapter, read_safetensors_adapter, save_adapter
from bakehouse.adapters.adapter_reader import read_adapter
from bakehouse.adapters.peft_format import PeftSettings
from bakehouse.core.errors import BakehouseError, Problems, UsageError
from bakehouse.models.text_encoders import with_text_model_level
from bakehouse.weights.adapter_info import adapter_info
from bakehouse.weights.convert_adapter import Convert, convert

ATTENTION = ["to_q", "to_k", "to_v", "to_out.0"]
ALL = [*ATTENTION, "ff.net.2", "conv1", "proj_in"]
TEXT = ["q_proj", "k_proj", "out_proj", "fc2"]


def lora(**settings: Any) -> peft.LoraConfig:
    return peft.LoraConfig(
        init_lora_weights=False, **{"r": 4, "lora_alpha": 6, "target_modules": ALL + TEXT, **settings}
    )


def oft(**settings: Any) -> peft.OFTConfig:
    targets = [*ATTENTION, "ff.net.2", *TEXT]
    return peft.OFTConfig(**{"oft_block_size": 4, "target_modules": targets, "init_weights": False, **settings})


def lokr(**settings: Any) -> peft.LoKrConfig:
    return peft.LoKrConfig(**{"r": 2, "alpha": 3, "target_modules": ALL + TEXT, "init_weights": False, **settings})


def loha(**settings: Any) -> peft.LoHaConfig:
    return peft.LoHaConfig(**{"r": 3, "alpha": 8, "target_modules": ALL + TEXT, "init_weights": False, **settings})


SCALED = {
    "lora": lora(),
    "rslora": lora(use_rslora=True, rank_pattern={"attn2.to_k": 8, "to_v": 2}),
    "lora_bias": lora(lora_bias=True, target_modules=["to_out.0", "conv1", "fc2"]),
    "alpha by name": lora(alpha_pattern={"attn2.to_k": 32, "to_out.0": 1}),
    "alpha by expression": lora(alpha_pattern={r".*\.attn2\.to_(k|v)": 32, r"down_blocks\.\d\..*to_q": 12}),
    "alpha anchored": lora(alpha_pattern={"^to_q": 32}),
    "the first pattern counts": lora(alpha_pattern={"attn2.to_k": 32, "to_k": 8}),
    "not the end of a word": lora(alpha_pattern={"o_q": 32}),
    "fan_in_fan_out": lora(fan_in_fan_out=True),
    "loha": loha(alpha_pattern={"to_k": 2}, rank_pattern={"to_q": 2}),
    "loha tucker": loha(use_effective_conv2d=True),
    "lokr": lokr(),
    "lokr both": lokr(r=1, decompose_both=True, decompose_factor=4, use_effective_conv2d=True),
    "lokr whole": lokr(r=32, alpha_pattern={"to_k": 2}),
}
"""What PEFT, too, can use at a weight of 0.5."""
WHOLE = {
    "dora": lora(use_dora=True),
    "oft": oft(),
    "oft exact": oft(use_cayley_neumann=False),
    "oft of 3 terms": oft(num_cayley_neumann_terms=3),
    "oft shared": oft(block_share=True),
    "coft": oft(coft=True, eps=0.5),
    "boft": peft.BOFTConfig(boft_block_size=4, target_modules=ALL + TEXT, init_weights=False),
    "ia3": peft.IA3Config(
        target_modules=ALL + TEXT, feedforward_modules=["ff.net.2", "conv1", "fc2"], init_ia3_weights=False
    ),
}
CASES = {**SCALED, **WHOLE}


@torch.no_grad()
def written(network: torch.nn.Module, config: Any, folder: Path) -> Any:
    """PEFT's model of noise in every parameter, and what it saves."""
    # PEFT's settings are changed when they are put on a model.
    settings = type(config)(**{k: v for k, v in config.to_dict().items() if k not in ("peft_type", "auto_mapping")})
    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
        warnings.simplefilter("ignore")
        torch.manual_seed(1)
        model = peft.get_peft_model(network, settings).eval()
        for name, parameter in model.named_parameters():
            if "ia3_l" in name or "boft_s" in name:
                parameter.normal_(1.0, 0.3)
            elif name.endswith("lora_B.default.bias"):
                parameter.normal_(0.0, 0.3)
        model.save_pretrained(str(folder))
    return model


def turned_down(model: Any) -> None:
    """Weight 0.5, as diffusers' `set_adapters` says it to PEFT."""
    for module in model.modules():
        if isinstance(getattr(module, "scaling", None), dict) and "default" in module.scaling:
            module.scaling["default"] *= 0.5


class Small(torch.nn.Module):
    """A few modules under the names that they have in a UNet: PEFT's patterns see names alone."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            block = torch.nn.Module()
            block.conv1 = torch.nn.Conv2d(8, 16, 3, padding=1)
            block.proj_in = torch.nn.Conv2d(16, 16, 1)
            for attention in ("attn1", "attn2"):
                inner = torch.nn.Module()
                for name in ("to_q", "to_k", "to_v"):
                    setattr(inner, name, torch.nn.Linear(16, 16, bias=False))
                inner.to_out = torch.nn.ModuleList([torch.nn.Linear(16, 16)])
                setattr(block, attention, inner)
            block.ff = torch.nn.Module()
            block.ff.net = torch.nn.ModuleList([torch.nn.Linear(16, 32), torch.nn.GELU(), torch.nn.Linear(32, 16)])
            self.down_blocks = torch.nn.ModuleList([block])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        block = self.down_blocks[0]
        x = block.proj_in(block.conv1(x)).flatten(2).mT
        for attention in (block.attn1, block.attn2):
            weights = (attention.to_q(x) @ attention.to_k(x).mT / 4).softmax(-1)
            x = x + attention.to_out[0](weights @ attention.to_v(x))
        for layer in block.ff.net:
            x = layer(x)
        return x


def small_says(network: Any) -> torch.Tensor:
    with torch.no_grad():
        return network(torch.randn(1, 8, 4, 4, generator=torch.Generator().manual_seed(3)))


def unet_says(unet: Any) -> torch.Tensor:
    generator = torch.Generator().manual_seed(3)
    x, cond = torch.randn(1, 4, 8, 8, generator=generator), torch.randn(1, 5, 16, generator=generator)
    with torch.no_grad():
        return unet(x, torch.tensor([500]), cond).sample


def text_says(encoder: Any) -> torch.Tensor:
    with torch.no_grad():
        return encoder(torch.tensor([[1129, 5, 77, 1130]])).last_hidden_state


@pytest.mark.parametrize("name", CASES)
@pytest.mark.filterwarnings("ignore")
def test_it_does_what_it_does_in_peft(tmp_path, name):
    ours = Small()
    before = small_says(ours)
    model = written(Small(), CASES[name], tmp_path)
    want = small_says(model)
    assert (want - before).abs().max() > 0.02
    adapter = load_adapter(read_adapter(tmp_path), {"lora_unet": ours})
    torch.testing.assert_close(small_says(ours), want, atol=1e-5, rtol=1e-5)
    adapter.set_multiplier(0.5)
    if name in SCALED:
        turned_down(model)
        torch.testing.assert_close(small_says(ours), small_says(model), atol=1e-5, rtol=1e-5)
    half = small_says(ours)
    adapter.merge_into()
    torch.testing.assert_close(small_says(ours), half, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", ["alpha by expression", "ia3"])
@pytest.mark.filterwarnings("ignore")
def test_the_unet_says_what_it_says_in_peft(make_tiny, tmp_path, name):
    theirs, ours = make_tiny(), make_tiny()
    want = unet_says(written(theirs.unet, CASES[name], tmp_path))
    assert (want - unet_says(ours.unet)).abs().max() > 0.02
    load_adapter(read_adapter(tmp_path), {"lora_unet": ours.unet})
    torch.testing.assert_close(unet_says(ours.unet), want, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", ["lora_bias", "boft", "ia3"])
@pytest.mark.filterwarnings("ignore")
def test_the_text_encoder_says_what_it_says_in_peft(make_tiny, tmp_path, name):
    theirs, ours = make_tiny(), make_tiny()
    want = text_says(written(theirs.text_encoder, CASES[name], tmp_path))
    assert (want - text_says(ours.text_encoder)).abs().max() > 0.02
    load_adapter(read_adapter(tmp_path), ours.trainable_modules())
    torch.testing.assert_close(text_says(ours.text_encoder), want, atol=1e-5, rtol=1e-5)


def test_stages_of_a_butterfly_stand_as_in_peft(tiny):
    """On a CPU PEFT makes one stage; the order of more is asked of the function that it makes them with."""
    from bakehouse.adapters.input_rotation_layer import InputRotationLayer

    base = torch.nn.Linear(16, 8)
    theirs = peft.tuners.boft.layer.BOFTLayer.block_butterfly_perm
    blocks = torch.randn(2, 4, 4, 4)
    layer = InputRotationLayer.from_tensors({"rotations": blocks, "out_factors": torch.ones(8)}, base)
    whole = torch.eye(16)
    for stage, turns in enumerate(blocks):
        order = theirs(None, 16, 4 // 2**stage, 2, 1)
        moved = torch.eye(16)[order]
        whole = moved @ torch.block_diag(*turns) @ moved.T @ whole
    torch.testing.assert_close(layer.delta(base.weight) + base.weight, base.weight @ whole.T)


def saved(tmp_path: Path, settings: dict[str, Any], **tensors: torch.Tensor) -> Path:
    name = "base_model.model.down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q"
    state = {f"{name}.lora_A.weight": torch.ones(2, 8), f"{name}.lora_B.weight": torch.ones(8, 2)}
    path = tmp_path / "adapter_model.safetensors"
    save_file({**state, **{key.replace("__", "."): tensor for key, tensor in tensors.items()}}, path)
    settings = {"peft_type": "LORA", "r": 2, "lora_alpha": 2, **settings}
    (tmp_path / "adapter_config.json").write_text(json.dumps(settings))
    return path


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"peft_type": "VERA"}, "peft_type = VERA"),
        ({"modules_to_save": ["conv_in"]}, "modules_to_save"),
        ({"target_parameters": ["x.weight"]}, "target_parameters"),
        ({"layer_replication": [[0, 2]]}, "layer_replication"),
        ({"use_qalora": True}, "use_qalora"),
        ({"trainable_token_indices": [1]}, "trainable_token_indices"),
        ({"r": 4}, "rank 4 .* rank 2"),
        ({"alpha_pattern": {"(": 4}}, "not a regular expression"),
        ({"lora_alpha": "much"}, "alpha 'much'"),
    ],
)
def test_settings_that_cannot_be_applied_are_refused_by_name(tmp_path, settings, says):
    with pytest.raises(UsageError, match=says):
        read_safetensors_adapter(saved(tmp_path, settings))


def test_settings_of_training_alone_and_unknown_ones(tmp_path):
    calm = {"lora_dropout": 0.1, "layers_to_transform": [1], "init_lora_weights": "olora", "inference_mode": True}
    assert read_safetensors_adapter(saved(tmp_path, calm)).coverage.entries == ()
    (note,) = read_safetensors_adapter(saved(tmp_path, {"use_tomorrow": True})).coverage.notes
    assert "use_tomorrow = True" in note


@pytest.mark.parametrize("kind", ["LoraConfig", "LoHaConfig", "LoKrConfig", "OFTConfig", "BOFTConfig", "IA3Config"])
def test_settings_at_their_defaults_are_worth_no_line(kind):
    needed = {"LoraConfig": {"target_modules": ["to_q"]}, "OFTConfig": {"r": 2, "oft_block_size": 0}}
    settings = {k: sorted(v) if isinstance(v, set) else v
                for k, v in getattr(peft, kind)(**needed.get(kind, {})).to_dict().items()}  # fmt: skip
    assert PeftSettings(settings).coverage().entries == ()


def test_tensors_beside_the_adapter_are_refused_by_name(tmp_path):
    path = saved(tmp_path, {}, base_model__model__conv_in__weight=torch.ones(8, 4, 3, 3))
    with pytest.raises(UsageError, match=r"base_model\.model\.conv_in\.weight"):
        read_safetensors_adapter(path)


def test_rotations_without_their_settings_are_refused(make_tiny, tmp_path):
    written(make_tiny().unet, oft(), tmp_path)
    (tmp_path / "adapter_config.json").unlink()
    with pytest.raises(UsageError, match="use_cayley_neumann"):
        read_adapter(tmp_path)


def test_settings_of_several_networks():
    found = PeftSettings({"unet.r": 4, "unet.lora_alpha": 2, "text_encoder.r": 8, "text_encoder.lora_alpha": 8})
    assert found.of("lora_unet_a").scale("a", 4) == 0.5
    assert found.of("lora_te_a").scale("a", 8) == 1.0
    assert found.of("lora_te2_a").scale("a", 8) is None


@pytest.mark.parametrize("form", ["peft", "diffusers"])
@pytest.mark.filterwarnings("ignore")
def test_there_and_back_keeps_alpha_and_biases(make_tiny, tmp_path, form):
    """PEFT reads what is written for it, and what comes back does the same."""
    config = lora(lora_bias=True, alpha_pattern={"conv1": 3}, target_modules=["to_out.0", "conv1"])
    want = unet_says(written(make_tiny().unet, config, tmp_path / "theirs"))
    kohya = convert(tmp_path / "theirs", tmp_path / "k.safetensors").path
    out = convert(kohya, tmp_path / ("p" if form == "peft" else "d.safetensors"), Convert(to=form)).path
    back = convert(out, tmp_path / "b.safetensors").path
    one, two = load_file(kohya), load_file(back)
    assert one.keys() == two.keys() and all(torch.equal(one[k], two[k]) for k in one)
    assert any(key.endswith("diff_b") for key in one)
    ours = make_tiny()
    load_adapter(back, ours.trainable_modules())
    torch.testing.assert_close(unet_says(ours.unet), want, atol=1e-5, rtol=1e-5)
    if form == "peft":
        base: UNet2DConditionModel = make_tiny().unet
        read = peft.PeftModel.from_pretrained(base, str(tmp_path / "p" / "unet")).eval()
        torch.testing.assert_close(unet_says(read), want, atol=1e-5, rtol=1e-5)


DORA = LoRA(rank=4, alpha=6.0, targets="full", conv_rank=3, conv_alpha=2.0, dora=True, wd_on_output=True, text=True)


def dora_file(make_tiny, path: Path, spec: LoRA = DORA, **changes: torch.Tensor) -> tuple[Path, Any]:
    """A DoRA of random numbers, and a tiny model that has it on."""
    model, generator = make_tiny(), torch.Generator().manual_seed(0)
    adapter = inject(spec, model.trainable_modules(), generator=generator)
    with torch.no_grad():
        for name, parameter in adapter.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator) * 0.2
            parameter.copy_(parameter * (1 + noise) if "dora_scale" in name else noise)
    state = {**adapter.file_dict(), **changes}
    return save_adapter(state, path, {"ss_base_model_version": "sd_v1"}, torch.float32), model


@pytest.mark.parametrize("alpha", ["keep", "bake"])
@pytest.mark.filterwarnings("ignore")
def test_dora_by_output_is_what_peft_holds(make_tiny, tmp_path, alpha):
    """PEFT, given the folder, does to both networks what the file does here; linear maps and convolutions."""
    path, ours = dora_file(make_tiny, tmp_path / "a.safetensors")
    convert(path, tmp_path / "p", Convert(to="peft", alpha=alpha))
    theirs = make_tiny()
    for part, network in (("unet", theirs.unet), ("text_encoder", with_text_model_level(theirs.text_encoder))):
        config = json.loads((tmp_path / "p" / part / "adapter_config.json").read_text())
        assert config["use_dora"] is True
        network = peft.inject_adapter_in_model(peft.LoraConfig(**config), network)
        state = load_file(tmp_path / "p" / part / "adapter_model.safetensors")
        state = {key.removeprefix("base_model.model."): tensor for key, tensor in state.items()}
        loaded = peft.set_peft_model_state_dict(network, state)
        assert not loaded.unexpected_keys
    torch.testing.assert_close(unet_says(theirs.unet.eval()), unet_says(ours.unet), atol=1e-5, rtol=1e-5)
    want = text_says(ours.text_encoder)
    torch.testing.assert_close(text_says(theirs.text_encoder.eval()), want, atol=1e-5, rtol=1e-5)
    assert (want - text_says(make_tiny().text_encoder)).abs().max() > 0.02


@pytest.mark.parametrize("alpha", ["keep", "bake"])
@pytest.mark.filterwarnings("ignore")
def test_dora_by_output_is_what_diffusers_reads(make_tiny, tmp_path, alpha):
    """Its own loader, with the settings from the header and with those that it makes of the tensors."""
    path, ours = dora_file(make_tiny, tmp_path / "a.safetensors", DORA.model_copy(update={"text": False}))
    convert(path, tmp_path / "d.safetensors", Convert(to="diffusers", alpha=alpha))
    unet = make_tiny().unet
    state, alphas, settings = StableDiffusionPipeline.lora_state_dict(
        str(tmp_path), weight_name="d.safetensors", return_lora_metadata=True
    )
    StableDiffusionPipeline.load_lora_into_unet(state, alphas, unet, metadata=settings)
    torch.testing.assert_close(unet_says(unet.eval()), unet_says(ours.unet), atol=1e-5, rtol=1e-5)
    verdict = {v.program: v for v in adapter_info(tmp_path / "d.safetensors").loaders}["diffusers"]
    assert verdict.loads and "at strength 1 only" in verdict.why


@pytest.mark.parametrize("form", ["peft", "diffusers"])
def test_dora_there_and_back_is_the_same_file(make_tiny, tmp_path, form):
    path, _ = dora_file(make_tiny, tmp_path / "a.safetensors")
    between = convert(path, tmp_path / ("p" if form == "peft" else "d.safetensors"), Convert(to=form)).path
    one, two = load_file(path), load_file(convert(between, tmp_path / "b.safetensors").path)
    assert one.keys() == two.keys() and all(torch.equal(one[k], two[k]) for k in one)


def test_dora_that_peft_cannot_hold_is_refused_with_the_reason(make_tiny, tmp_path):
    path, _ = dora_file(make_tiny, tmp_path / "i.safetensors", DORA.model_copy(update={"wd_on_output": False}))
    with pytest.raises(Problems, match="one magnitude for each output of a module, this file one for each input") as e:
        convert(path, tmp_path / "p", Convert(to="peft"))
    assert "--to-lora" in str(e.value.hint) and "wd_on_output = true" in str(e.value.hint)
    stem = "lora_unet_down_blocks_0_attentions_0_proj_in"
    path, _ = dora_file(make_tiny, tmp_path / "b.safetensors", **{f"{stem}.diff_b": torch.ones(8)})
    with pytest.raises(Problems, match=f"DoRA with a bias .1 modules, first {stem}"):
        convert(path, tmp_path / "p.safetensors", Convert(to="diffusers"))
    state = {k: t for k, t in load_file(path).items() if not k.startswith(f"{stem}.d")}  # its lengths and its bias
    save_file(state, tmp_path / "m.safetensors")
    with pytest.raises(Problems, match=r"DoRA in some modules of unet alone .1 of"):
        convert(tmp_path / "m.safetensors", tmp_path / "p", Convert(to="peft"))
    assert not (tmp_path / "p").exists()


@pytest.mark.parametrize("name", ["dora", "loha", "loha tucker", "lokr", "lokr both", "lokr whole"])
@pytest.mark.filterwarnings("ignore")
def test_in_kohyas_form_it_does_the_same(tmp_path, name):
    want = small_says(written(Small(), CASES[name], tmp_path / "theirs"))
    once = convert(tmp_path / "theirs", tmp_path / "k.safetensors").path
    lengths = [t.shape for k, t in load_file(once).items() if "conv1.dora_scale" in k.replace("_conv1", ".conv1")]
    assert lengths == ([(16, 1, 1, 1)] if name == "dora" else [])
    ours = Small()
    load_adapter(convert(once, tmp_path / "l.safetensors").path, {"lora_unet": ours})
    torch.testing.assert_close(small_says(ours), want, atol=1e-5, rtol=1e-5)


@pytest.mark.filterwarnings("ignore")
def test_factors_of_modules_without_a_bias_have_a_place_in_kohyas_form(tmp_path):
    """LyCORIS scales weights alone: with a bias it is another thing."""
    config = peft.IA3Config(target_modules=["to_k", "to_v", "ff.net.2"], feedforward_modules=["ff.net.2"])
    want = small_says(written(Small(), config, tmp_path / "a"))
    ours = Small()
    load_adapter(convert(tmp_path / "a", tmp_path / "k.safetensors").path, {"lora_unet": ours})
    torch.testing.assert_close(small_says(ours), want, atol=1e-5, rtol=1e-5)
    for case, says in (("ia3", "scale the bias too"), ("oft", "rotations of inputs"), ("boft", "rotations of inputs")):
        written(Small(), CASES[case], tmp_path / case)
        with pytest.raises(UsageError, match=says):
            convert(tmp_path / case, tmp_path / "x.safetensors")


@pytest.mark.parametrize("name", ["oft", "boft", "ia3"])
@pytest.mark.filterwarnings("ignore")
def test_what_has_no_form_elsewhere_becomes_a_lora_with_its_bias(make_tiny, tiny_folder, tmp_path, name):
    from bakehouse.weights.rank_selection import RankRule
    from bakehouse.weights.resize import Resize, resize

    want = unet_says(written(make_tiny().unet, CASES[name], tmp_path / "a"))
    settings = Resize(linear=RankRule(rank=64), to_lora=True, dtype="fp32")
    out = resize(tmp_path / "a", tmp_path / "l.safetensors", settings, base=tiny_folder).path
    ours = make_tiny()
    load_adapter(out, ours.trainable_modules())
    torch.testing.assert_close(unet_says(ours.unet), want, atol=1e-4, rtol=1e-4)


@pytest.mark.filterwarnings("ignore")
def test_what_diffusers_saves_is_read_with_its_settings(make_tiny, tmp_path):
    theirs, ours = make_tiny(), make_tiny()
    settings = {"alpha_pattern": {r"attn2\.to_(q|k)": 32}, "rank_pattern": {"to_q": 2}, "lora_bias": True}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        theirs.unet.add_adapter(lora(**settings))
        for name, parameter in theirs.unet.named_parameters():
            if name.endswith("lora_B.default.bias"):
                torch.nn.init.normal_(parameter, std=0.3)
    theirs.unet.eval().save_lora_adapter(str(tmp_path))
    load_adapter(tmp_path / "pytorch_lora_weights.safetensors", {"lora_unet": ours.unet})
    torch.testing.assert_close(unet_says(ours.unet), unet_says(theirs.unet), atol=1e-5, rtol=1e-5)


def test_damaged_settings_are_told(tmp_path):
    path = saved(tmp_path, {})
    (tmp_path / "adapter_config.json").write_text("[]")
    with pytest.raises(BakehouseError, match="not a table of settings"):
        read_safetensors_adapter(path)
    (tmp_path / "adapter_config.json").write_text("{")
    with pytest.raises(BakehouseError, match=r"adapter_config\.json"):
        read_safetensors_adapter(path)
