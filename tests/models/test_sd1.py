"""The SD 1.x family: same numbers as diffusers' own pipeline, and saved so that it can read them."""

import copy

import pytest
import torch
from diffusers import StableDiffusionPipeline

from bakehouse.core.errors import UsageError
from bakehouse.models import Conditioning, crumb_folder, load_model


@pytest.fixture(scope="module")
def pipe(tiny_folder):
    pipe = StableDiffusionPipeline.from_pretrained(tiny_folder)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def test_everything_is_frozen_and_still(tiny):
    assert not any(p.requires_grad for p in tiny.parameters())
    assert not any(m.training for m in tiny.modules())


def test_facts_come_from_the_configs(tiny):
    assert (tiny.family, tiny.latent_channels, tiny.downscale, tiny.native_size) == ("sd1", 4, 8, 64)


def test_prompts_as_the_pipeline_encodes_them(tiny, pipe):
    prompt = "a red robot, smiling"
    expected, _ = pipe.encode_prompt(prompt, "cpu", 1, False)
    torch.testing.assert_close(tiny.encode_prompt([prompt]).hidden, expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("clip_skip", [1, 2, 3])
def test_clip_skip_is_an_encoder_without_its_last_layers(tiny, clip_skip):
    got = tiny.encode_prompt(["a red robot"], clip_skip=clip_skip).hidden
    shorter = copy.deepcopy(tiny)
    inner = getattr(shorter.text_encoder, "text_model", shorter.text_encoder)
    inner.encoder.layers = inner.encoder.layers[: 4 - clip_skip]
    torch.testing.assert_close(got, shorter.encode_prompt(["a red robot"]).hidden)


def test_clip_skip_outside_the_layers_is_an_error(tiny):
    with pytest.raises(UsageError, match=r"1 .* to 3"):
        tiny.encode_prompt(["x"], clip_skip=4)


def test_long_prompts_go_into_chunks(tiny):
    words = " ".join(["hat"] * 100)
    count = tiny.token_count([words, ""])
    assert count[0] >= 100 and count[1] == 0
    one, two = tiny.token_ids([words]), tiny.token_ids([words], chunks=2)
    assert one.shape == (1, 1, 77) and two.shape == (1, 2, 77)
    begin, end = tiny.tokenizer.bos_token_id, tiny.tokenizer.eos_token_id
    assert (two[..., 0] == begin).all() and (two[..., -1] == end).all()
    assert torch.equal(one[0, 0], two[0, 0])
    assert tiny.encode_prompt([words, "a"], chunks=3).hidden.shape == (2, 231, 16)


def test_the_text_encoder_keeps_gradients(tiny):
    tiny.text_encoder.requires_grad_(True)
    tiny.encode_prompt(["a hat"]).hidden.sum().backward()
    assert tiny.text_encoder.get_input_embeddings().weight.grad.abs().sum() > 0


def test_images_encode_and_decode_like_the_pipeline(tiny, pipe):
    pixels = torch.rand(2, 3, 64, 48, generator=torch.Generator().manual_seed(1)) * 2 - 1
    moments = tiny.encode_image(pixels)
    with torch.no_grad():
        posterior = pipe.vae.encode(pixels).latent_dist
        torch.testing.assert_close(moments.mean, posterior.mean * pipe.vae.config.scaling_factor)
        torch.testing.assert_close(moments.std, posterior.std * pipe.vae.config.scaling_factor)
        decoded = pipe.vae.decode(moments.mean / pipe.vae.config.scaling_factor).sample
    torch.testing.assert_close(tiny.decode(moments.mean), decoded)
    assert moments.mean.shape == (2, 4, 8, 6)


def test_odd_sizes_are_refused(tiny):
    with pytest.raises(ValueError, match="multiples of 8"):
        tiny.encode_image(torch.zeros(1, 3, 60, 64))


def test_forward_is_the_unet(tiny, pipe):
    x_t, t = torch.randn(2, 4, 8, 8), torch.tensor([1, 999])
    cond = tiny.encode_prompt(["a", "b"])
    with torch.no_grad():
        expected = pipe.unet(x_t, t, cond.hidden).sample
    torch.testing.assert_close(tiny(x_t, t, cond), expected)  # weights lie in memory otherwise, which rounds otherwise


def test_half_precision_takes_and_gives_single(tiny):
    model = tiny.to(torch.bfloat16)
    cond = model.encode_prompt(["a"])
    assert cond.hidden.dtype == torch.bfloat16
    out = model(torch.randn(1, 4, 8, 8), torch.tensor([5]), Conditioning(cond.hidden.float()))
    assert out.dtype == torch.float32


def test_checkpointing_changes_no_gradient(tiny):
    x_t, t = torch.randn(1, 4, 8, 8), torch.tensor([7])
    tiny.unet.requires_grad_(True)
    tiny.text_encoder.requires_grad_(True)
    grads = []
    for on in (False, True):
        tiny.use_gradient_checkpointing(on)
        tiny.zero_grad()
        tiny(x_t, t, tiny.encode_prompt(["a"])).square().mean().backward()
        words = tiny.text_encoder.get_input_embeddings().weight.grad
        grads.append(torch.cat([tiny.unet.conv_in.weight.grad.flatten(), words.flatten()]))
    torch.testing.assert_close(grads[0], grads[1])
    tiny.use_gradient_checkpointing(False)


def test_saved_in_half_precision_and_read_by_diffusers(tiny, tmp_path):
    tiny.save(tmp_path / "m")
    tiny.save(tmp_path / "m")  # over an old one
    pipe = StableDiffusionPipeline.from_pretrained(tmp_path / "m").to(dtype=torch.float16)
    assert torch.equal(pipe.unet.conv_in.weight, tiny.unet.conv_in.weight.half())
    key = "final_layer_norm.weight"
    ours = {k.removeprefix("text_model."): v for k, v in tiny.text_encoder.state_dict().items()}
    theirs = {k.removeprefix("text_model."): v for k, v in pipe.text_encoder.state_dict().items()}
    assert torch.equal(theirs[key], ours[key].half()) and theirs.keys() == ours.keys()
    assert [p.name for p in tmp_path.iterdir()] == ["m"]
    assert pipe.tokenizer("a hat").input_ids == tiny.tokenizer("a hat").input_ids


def test_a_failed_save_leaves_the_old_one(tiny, tmp_path, monkeypatch):
    tiny.save(tmp_path / "m")
    before = (tmp_path / "m" / "unet" / "diffusion_pytorch_model.safetensors").read_bytes()
    monkeypatch.setattr("bakehouse.models.stable_diffusion.save_file", lambda *a, **k: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        tiny.save(tmp_path / "m", dtype=torch.float32)
    assert (tmp_path / "m" / "unet" / "diffusion_pytorch_model.safetensors").read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["m"]


def test_fingerprint_is_of_the_weights(tiny, tiny_folder, make_tiny):
    first, again = load_model(tiny_folder), load_model(tiny_folder)
    assert first.fingerprint == again.fingerprint and len(first.fingerprint) == 64
    assert tiny.fingerprint != make_tiny(seed=1).fingerprint


def test_crumb_loads_and_is_what_diffusers_loads():
    model = load_model("crumb")
    pipe = StableDiffusionPipeline.from_pretrained(crumb_folder()).to(dtype=torch.float32)
    ours = model.unet.state_dict()
    assert all(torch.equal(tensor, ours[name]) for name, tensor in pipe.unet.state_dict().items())
    assert (model.name, model.native_size, model.schedule.prediction) == ("crumb", 128, "epsilon")
