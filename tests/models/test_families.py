"""Every family against diffusers' own pipeline: prompts, predictions, pictures, files."""

import copy
import dataclasses

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, EulerDiscreteScheduler, StableDiffusionPipeline, StableDiffusionXLPipeline

from bakehouse.core.errors import UsageError
from bakehouse.models import ClassifierFreeGuidance, Conditioning, initial_noise, load_model, sample, to_images
from bakehouse.models.diffusers_networks import config_json
from bakehouse.models.samplers import ignore_numpy_2_warnings

FAMILIES = ("sd1", "sd2", "sdxl")
PROMPT = "a red robot, smiling"


def pipeline_prompt(pipe, prompt, **options):
    found = pipe.encode_prompt(
        prompt, device="cpu", num_images_per_prompt=1, do_classifier_free_guidance=False, **options
    )
    return (found[0], found[2] if len(found) == 4 else None)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_saved_model_is_the_same_model(families, family_folders, family):
    model, again = families[family], load_model(family_folders[family])
    assert (again.family, again.native_size, again.needs_sizes) == (
        family,
        64,
        family == "sdxl",
    )
    ours, theirs = model.state_dict(), again.state_dict()
    assert ours.keys() == theirs.keys() and all(torch.equal(ours[k], theirs[k]) for k in ours)
    for part, network in model.networks.items():
        before, now = config_json(network), config_json(again.networks[part])
        assert {k: v for k, v in before.items() if k not in ("dtype", "_diffusers_version")} == {
            k: v for k, v in now.items() if k not in ("dtype", "_diffusers_version")
        }


# diffusers 0.42 cannot skip layers of SD 1.x and 2.x under transformers 5; the next test stands in for it.
@pytest.mark.parametrize(("family", "skip"), [("sd1", 0), ("sd2", 0), ("sdxl", 0), ("sdxl", 1)])
def test_prompts_as_the_pipeline_encodes_them(families, pipelines, family, skip):
    """diffusers counts layers back from the one the family was trained on; A1111 from the last."""
    hidden, pooled = pipeline_prompt(pipelines[family], PROMPT, clip_skip=skip or None)
    ours = families[family].encode_prompt([PROMPT], clip_skip=1 + skip + (family == "sdxl"))
    torch.testing.assert_close(ours.hidden, hidden, atol=1e-5, rtol=0)
    assert (pooled is None) == (ours.pooled is None)
    if pooled is not None:
        torch.testing.assert_close(ours.pooled, pooled, atol=1e-5, rtol=0)


@pytest.mark.parametrize("family", ["sd1", "sd2"])
def test_clip_skip_is_an_encoder_without_its_last_layers(families, family):
    shorter = copy.deepcopy(families[family])
    inner = getattr(shorter.text_encoder, "text_model", shorter.text_encoder)
    inner.encoder.layers = inner.encoder.layers[:-1]
    expected = shorter.encode_prompt([PROMPT]).hidden
    torch.testing.assert_close(families[family].encode_prompt([PROMPT], clip_skip=2).hidden, expected)


@pytest.mark.parametrize("family", FAMILIES)
def test_predictions_as_the_pipeline_s(families, pipelines, family):
    model, pipe = families[family], pipelines[family]
    x_t = torch.randn(2, 4, 8, 6, generator=torch.Generator().manual_seed(1))
    t = torch.tensor([17, 900])
    sizes = torch.tensor([[80, 60, 3, 5, 64, 48], [64, 48, 0, 0, 64, 48]])
    cond = model.encode_prompt([PROMPT, "a hat"]).with_sizes(sizes)
    assert (cond.sizes is None) == (family != "sdxl")
    added = {"text_embeds": cond.pooled, "time_ids": sizes.float()} if model.needs_sizes else None
    with torch.no_grad():
        expected = pipe.unet(x_t, t, cond.hidden, added_cond_kwargs=added).sample
        torch.testing.assert_close(model(x_t, t, cond), expected, atol=1e-4, rtol=0)


def test_sizes_count_and_the_whole_picture_is_the_default(families):
    model = families["sdxl"]
    x_t, t = torch.randn(1, 4, 8, 6), torch.tensor([500])
    cond = model.encode_prompt([PROMPT])
    whole = model(x_t, t, cond)
    assert torch.equal(whole, model(x_t, t, cond.with_sizes(torch.tensor([[64, 48, 0, 0, 64, 48]]))))
    assert not torch.equal(whole, model(x_t, t, cond.with_sizes(torch.tensor([[640, 48, 0, 0, 64, 48]]))))
    with pytest.raises(ValueError, match="expected"):
        cond.with_sizes(torch.zeros(2, 6))
    with pytest.raises(ValueError, match="pooled prompt"):
        model(x_t, t, Conditioning(cond.hidden))


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("variant", ["epsilon", "v", "zero-terminal v"])
def test_pictures_as_the_pipeline_draws_them(families, pipelines, family, variant, make_family, monkeypatch):
    """The same scheduler on both sides, guidance on, and for SDXL its zeros for no negative prompt."""
    model, pipe = families[family], pipelines[family]
    config = {**model.scheduler_config, "timestep_spacing": "trailing"}
    if variant != "epsilon":
        config["prediction_type"] = "v_prediction"
    if variant == "zero-terminal v":
        config["rescale_betas_zero_snr"] = True
    from bakehouse.models.noise_schedule import schedule_from_config

    monkeypatch.setattr(model, "schedule", schedule_from_config(config))
    both = (("euler", EulerDiscreteScheduler), ("ddim", DDIMScheduler))
    for sampler, cls in both if family == "sdxl" else both[:1]:
        monkeypatch.setattr(pipe, "scheduler", cls.from_config(config))
        noise = initial_noise([5], (4, 8, 6))
        with ignore_numpy_2_warnings():
            expected = pipe(PROMPT, num_inference_steps=3, guidance_scale=3.0, width=48, height=64, latents=noise,
                        output_type="np").images  # fmt: skip
        guider = ClassifierFreeGuidance(model.encode_prompt([PROMPT]), model.encode_negative([""]), 3.0)
        latents = sample(model, guider, noise=noise, steps=3, sampler=sampler)
        with torch.no_grad():
            (image,) = to_images(model.decode(latents))
        assert np.abs(np.array(image) / 255 - expected[0]).max() < 3 / 255, (sampler, family)


def test_an_empty_negative_prompt_is_zeros_where_it_was_trained_so(families, pipelines):
    model = families["sdxl"]
    cond = model.encode_negative(["", "a hat"])
    assert not cond.hidden[0].any() and not cond.pooled[0].any()
    torch.testing.assert_close(cond.hidden[1:], model.encode_prompt(["a hat"]).hidden)
    for family in ("sd1", "sd2"):
        assert torch.equal(families[family].encode_negative([""]).hidden, families[family].encode_prompt([""]).hidden)


def test_clip_skip_as_a1111_counts_it(families):
    """SDXL never reads the last layer: 1 and 2 are the same there, and 3 is one further back."""
    one, two, three = (families["sdxl"].encode_prompt([PROMPT], clip_skip=k) for k in (1, 2, 3))
    assert torch.equal(one.hidden, two.hidden) and not torch.equal(two.hidden, three.hidden)
    assert torch.equal(one.pooled, three.pooled)
    for family in ("sd1", "sd2"):
        first, second = (families[family].encode_prompt([PROMPT], clip_skip=k).hidden for k in (1, 2))
        assert not torch.equal(first, second)
        with pytest.raises(UsageError, match="clip_skip = 4"):
            families[family].encode_prompt([PROMPT], clip_skip=4)


@pytest.mark.parametrize("family", FAMILIES)
def test_long_prompts_go_into_chunks(families, family):
    model = families[family]
    words = " ".join(["hat"] * 60 + ["robot"] * 60)
    one, two = model.encode_prompt([words]), model.encode_prompt([words], chunks=2)
    assert two.hidden.shape[1] == 2 * one.hidden.shape[1] == 154
    torch.testing.assert_close(two.hidden[:, :77], one.hidden, atol=1e-5, rtol=0)
    if two.pooled is not None:
        torch.testing.assert_close(two.pooled, one.pooled, atol=1e-5, rtol=0)


def test_prompts_are_filled_up_as_each_encoder_was_trained(families):
    sd1, sd2, sdxl = (families[f] for f in FAMILIES)
    bang, end = sd2.tokenizer.convert_tokens_to_ids("!"), sd1.tokenizer.eos_token_id
    assert sd1.token_ids(["a"])[0, 0, -1] == end and sd2.token_ids(["a"])[0, 0, -1] == bang
    assert sdxl.token_ids(["a"])[0, 0, -1] == end
    assert sdxl.token_ids(["a"], part="text_encoder_2")[0, 0, -1] == bang


def test_parts_have_kohya_s_prefixes(families):
    assert {f: list(families[f].trainable_modules()) for f in FAMILIES} == {
        "sd1": ["lora_unet", "lora_te"],
        "sd2": ["lora_unet", "lora_te"],
        "sdxl": ["lora_unet", "lora_te1", "lora_te2"],
    }
    for prefix in ("lora_te1", "lora_te2"):
        names = dict(families["sdxl"].trainable_modules()[prefix].named_modules())
        assert "text_model.encoder.layers.0.self_attn.q_proj" in names


@pytest.mark.parametrize(
    ("family", "dtype"),
    [("sd1", torch.bfloat16), ("sd2", torch.float16), ("sdxl", torch.float16), ("sdxl", torch.bfloat16)],
)
def test_half_precision(family_folders, family, dtype):
    model = load_model(family_folders[family], dtype=dtype)
    assert model.dtype == dtype
    cond = model.encode_prompt([PROMPT])
    out = model(torch.randn(1, 4, 8, 8), torch.tensor([5]), cond)
    assert out.dtype == torch.float32 and torch.isfinite(out).all()
    # SDXL's own autoencoder overflows in fp16 (force_upcast in its settings); bf16 has the range.
    kept = torch.float32 if family == "sdxl" and dtype == torch.float16 else dtype
    assert model.vae.dtype == kept
    moments = model.encode_image(torch.zeros(1, 3, 64, 64))
    assert moments.mean.dtype == torch.float32 and torch.isfinite(model.decode(moments.mean)).all()


def test_an_autoencoder_that_overflows_is_asked_again_in_fp32(make_family):
    """Some autoencoders of SD 1.x run out of fp16's range on some pictures, without a word in their settings."""
    model = make_family("sd1")
    model.vae.decoder.conv_in.weight.data *= 1e5
    model.vae.encoder.conv_in.weight.data *= 1e5
    expected = model.decode(torch.ones(1, 4, 8, 8))
    mean = model.encode_image(torch.ones(1, 3, 64, 64)).mean
    assert torch.isfinite(expected).all()
    half = model.to(torch.float16)
    half.vae.decoder.conv_in.weight.data = half.vae.decoder.conv_in.weight.data.clamp(-6e4, 6e4)
    half.vae.encoder.conv_in.weight.data = half.vae.encoder.conv_in.weight.data.clamp(-6e4, 6e4)
    got = half.decode(torch.ones(1, 4, 8, 8))
    assert torch.isfinite(got).all() and half.vae.dtype == torch.float32
    assert torch.isfinite(half.encode_image(torch.ones(1, 3, 64, 64)).mean).all() and mean.shape == (1, 4, 8, 8)
    broken = half.decode(torch.full((1, 4, 8, 8), float("nan")))
    assert torch.isnan(broken).all()


@pytest.mark.parametrize("family", FAMILIES)
def test_checkpointing_changes_no_gradient(make_family, family):
    model = make_family(family)
    x_t, t = torch.randn(1, 4, 8, 8), torch.tensor([7])
    model.unet.requires_grad_(True)
    for encoder in model.text_encoders.values():
        encoder.requires_grad_(True)
    grads = []
    for on in (False, True):
        model.use_gradient_checkpointing(on)
        model.zero_grad()
        model(x_t, t, model.encode_prompt([PROMPT])).square().mean().backward()
        learned = [model.unet.conv_in.weight, *(e.get_input_embeddings().weight for e in model.text_encoders.values())]
        assert all(p.grad.abs().sum() > 0 for p in learned)
        grads.append(torch.cat([p.grad.flatten() for p in learned]))
    torch.testing.assert_close(grads[0], grads[1])


@pytest.mark.parametrize("family", FAMILIES)
def test_saved_in_half_precision_and_read_by_diffusers(families, family, tmp_path):
    families[family].save(tmp_path / "m")
    cls = StableDiffusionXLPipeline if family == "sdxl" else StableDiffusionPipeline
    pipe = cls.from_pretrained(tmp_path / "m").to(dtype=torch.float16)
    for part, network in families[family].networks.items():
        theirs = getattr(pipe, part).state_dict()
        assert all(torch.equal(theirs[k], v.half()) for k, v in network.state_dict().items())


def test_conditionings_of_two_kinds_do_not_mix(families):
    plain, pooled = families["sd1"].encode_prompt(["a"]), families["sdxl"].encode_prompt(["a"])
    with pytest.raises(ValueError, match="only some of the conditionings"):
        Conditioning.cat([dataclasses.replace(pooled, pooled=None), pooled])
    assert plain.with_sizes(torch.zeros(1, 6)) is plain and plain.with_sizes(None) is plain
    half = pooled.with_sizes(torch.full((1, 6), 4096)).to(torch.float16)
    assert half.pooled.dtype == torch.float16 and half.sizes.dtype == torch.int64
    assert Conditioning.cat([half, half])[1:].sizes.tolist() == [[4096] * 6]


@pytest.mark.parametrize(("channels", "says"), [(5, "5 channels"), (8, "8 channels")])
def test_models_for_other_tasks_are_refused(make_tiny, channels, says):
    with pytest.raises(UsageError, match=says):
        make_tiny(in_channels=channels)


def test_remembered_prompts_keep_their_pooled_vector(families):
    from bakehouse.adapters import LoRA, inject
    from bakehouse.training.text_cache import PromptEncoder

    model = families["sdxl"]
    adapter = inject(LoRA(rank=2, text=False), model.trainable_modules())
    try:
        encode = PromptEncoder(model, adapter, clip_skip=1, chunks=1)
        first, again = encode([PROMPT, "a hat"]), encode(["a hat", PROMPT])
        expected = model.encode_prompt([PROMPT])
        for cond, row in ((first, 0), (again, 1)):
            assert torch.equal(cond.hidden[row], expected.hidden[0]) and torch.equal(
                cond.pooled[row], expected.pooled[0]
            )
        assert not first.hidden.requires_grad
    finally:
        adapter.remove()


def test_another_autoencoder_in_its_own_type(families, family_folders, make_family, tmp_path):
    """A fixed SDXL autoencoder says that it needs no fp32, and is taken at its word."""
    from bakehouse.models.single_file import save_single_file

    fixed = make_family("sdxl", seed=4, force_upcast=False)
    fixed.save(tmp_path / "fixed", dtype=torch.float32)
    single = save_single_file(fixed, tmp_path / "fixed.safetensors", dtype=torch.float32)
    for vae in (tmp_path / "fixed", single):
        model = load_model(family_folders["sdxl"], dtype=torch.float16, vae=str(vae))
        assert model.vae.dtype == torch.float16 and model.vae.config.scaling_factor == 0.13025
        assert torch.equal(model.vae.decoder.conv_in.weight, fixed.vae.decoder.conv_in.weight.half())
