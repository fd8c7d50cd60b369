"""The same numbers as LyCORIS, PEFT and diffusers: that is where wrong scales would show."""

import warnings

import peft
import pytest
import torch
from diffusers import StableDiffusionPipeline
from torch import nn

from bakehouse.adapters import LoRALayer, load_adapter, save_adapter
from bakehouse.adapters.target_modules import all_sites

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from lycoris.modules.locon import LoConModule

BASES = {
    "linear": lambda: nn.Linear(12, 10),
    "1x1": lambda: nn.Conv2d(12, 10, 1),
    "3x3": lambda: nn.Conv2d(12, 10, 3, padding=1),
}


def random_pair(base, rank):
    outs, ins, *kernel = base.weight.shape
    return torch.randn(rank, ins, *kernel), torch.randn(outs, rank, *[1] * len(kernel))


@pytest.mark.parametrize("rs_lora", [False, True])
@pytest.mark.parametrize("kind", BASES)
def test_delta_is_that_of_lycoris(kind, rs_lora):
    torch.manual_seed(0)
    base = BASES[kind]()
    down, up = random_pair(base, 4)
    theirs = LoConModule("x", base, 1.0, lora_dim=4, alpha=3.0, rs_lora=rs_lora)
    with torch.no_grad():
        theirs.lora_down.weight.copy_(down)
        theirs.lora_up.weight.copy_(up)
        # The alpha that a file of theirs holds.
        ours = LoRALayer(down, up, float(theirs.alpha))
        expected = theirs.get_diff_weight(1.0)[0]
        torch.testing.assert_close(ours.delta(base.weight), expected.view(base.weight.shape), atol=1e-5, rtol=1e-5)


def test_tucker_files_of_lycoris():
    torch.manual_seed(0)
    base = nn.Conv2d(12, 10, 3, padding=1)
    theirs = LoConModule("x", base, 1.0, lora_dim=4, alpha=3.0, use_tucker=True)
    with torch.no_grad():
        for p in theirs.parameters():
            p.copy_(torch.randn(p.shape))
        tensors = {k: v for k, v in theirs.state_dict().items() if k != "scalar"}
        assert "lora_mid.weight" in tensors
        ours = LoRALayer.from_tensors(tensors, base)
        torch.testing.assert_close(
            ours.delta(base.weight), theirs.get_diff_weight(1.0)[0].view(base.weight.shape), atol=1e-4, rtol=1e-5
        )


@pytest.mark.parametrize("use_rslora", [False, True])
@pytest.mark.parametrize("kind", BASES)
def test_delta_is_that_of_peft(kind, use_rslora):
    torch.manual_seed(0)
    model = nn.ModuleDict({"layer": BASES[kind]()})
    base = model["layer"]
    config = peft.LoraConfig(r=4, lora_alpha=3, target_modules=["layer"], use_rslora=use_rslora)
    theirs = peft.get_peft_model(model, config).base_model.model["layer"]
    down, up = random_pair(base, 4)
    with torch.no_grad():
        theirs.lora_A["default"].weight.copy_(down)
        theirs.lora_B["default"].weight.copy_(up)
        alpha = 3 * 4**0.5 if use_rslora else 3.0
        ours = LoRALayer(down, up, alpha)
        expected = theirs.get_delta_weight("default")
        torch.testing.assert_close(ours.delta(base.weight), expected, atol=1e-5, rtol=1e-5)


@pytest.fixture
def pipe(tiny_folder):
    pipe = StableDiffusionPipeline.from_pretrained(tiny_folder)
    pipe.set_progress_bar_config(disable=True)
    return pipe


@torch.no_grad()
def pipeline_output(pipe):
    x_t = torch.randn(2, 4, 16, 8, generator=torch.Generator().manual_seed(9))
    ids = pipe.tokenizer(["a red robot", "hat"], padding="max_length", max_length=77, return_tensors="pt").input_ids
    hidden = pipe.text_encoder(ids).last_hidden_state
    return torch.cat([pipe.unet(x_t, torch.tensor([500, 20]), hidden).sample.flatten(), hidden.flatten()])


@pytest.mark.parametrize("name", ["mlp+text", "locon", "rs", "lora-fa"])
def test_diffusers_reads_our_file_the_same(tiny, name, specs, output, randomised, pipe, tmp_path):
    spec = specs[name]
    adapter = randomised(spec, tiny)
    ours = output(tiny)
    file = save_adapter(adapter, tmp_path / "a.safetensors", {}, torch.float32)
    before = pipeline_output(pipe)
    pipe.load_lora_weights(tmp_path, weight_name=file.name)
    theirs = pipeline_output(pipe)
    assert (theirs - before).abs().max() > 0.05
    torch.testing.assert_close(theirs, ours, atol=1e-4, rtol=1e-4)


def test_we_read_the_file_of_diffusers_the_same(tiny, output, pipe, tmp_path, make_tiny):
    """A training script of diffusers: PEFT on both networks, alpha unlike the rank, alpha in the header."""
    from diffusers.utils import convert_state_dict_to_diffusers

    torch.manual_seed(3)
    targets = {"unet": ["to_q", "to_v", "to_out.0"], "text_encoder": ["q_proj", "k_proj"]}
    alphas = {"unet": (4, 7), "text_encoder": (3, 2)}
    wanted = [
        peft.LoraConfig(r=alphas[part][0], lora_alpha=alphas[part][1], target_modules=targets[part]) for part in targets
    ]
    for network, config in zip((pipe.unet, pipe.text_encoder), wanted, strict=True):
        peft.inject_adapter_in_model(config, network)
        for name, p in network.named_parameters():
            if "lora_" in name:
                p.data.normal_(0, 0.2)
    states = [
        convert_state_dict_to_diffusers(peft.get_peft_model_state_dict(network))
        for network in (pipe.unet, pipe.text_encoder)
    ]
    configs = [config.to_dict() for config in wanted]
    pipe.save_lora_weights(
        tmp_path, states[0], states[1],
        unet_lora_adapter_metadata=configs[0], text_encoder_lora_adapter_metadata=configs[1],
    )  # fmt: skip
    load_adapter(tmp_path / "pytorch_lora_weights.safetensors", tiny.trainable_modules())
    torch.testing.assert_close(output(tiny), pipeline_output(pipe), atol=1e-4, rtol=1e-4)


def test_all_sites_cover_what_peft_would_find(tiny):
    names = {site.path for site in all_sites(tiny.trainable_modules()) if site.prefix == "lora_unet"}
    linear = {n for n, m in tiny.unet.named_modules() if isinstance(m, nn.Linear | nn.Conv2d)}
    assert names == linear
