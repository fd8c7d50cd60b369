"""The function that draws, with a tiny model: what it takes together, what it refuses, what it never returns."""

import math

import numpy as np
import pytest
import torch

from bakehouse.core.errors import UsageError
from bakehouse.models.prompt_guiders import PromptCache
from bakehouse.models.sampling_options import SamplingOptions
from bakehouse.models.text_to_image import ImageSpec, NotFiniteError, batches, chunks_for, generate_images


@pytest.fixture(scope="module")
def model(make_tiny):
    return make_tiny()


def spec(**changes):
    plain = {"prompt": "a hat", "width": 64, "height": 64, "seed": 1, "steps": 1, "guidance": 3.0, "sampler": "ddim"}
    return ImageSpec(**{**plain, **changes})


def test_neighbours_of_one_kind_are_drawn_together():
    specs = [spec(), spec(seed=2), spec(prompt="b", negative="c"), spec(width=72), spec(), spec(chunks=2)]
    assert [len(group) for group in batches(specs, lambda _: 2)] == [2, 1, 1, 1, 1]
    with pytest.raises(ValueError, match="different batch keys"):
        generate_images(None, [spec(), spec(width=72)])


def test_images_whose_steps_depend_on_them_are_drawn_alone(model):
    specs = [spec(sampler="DPM adaptive"), spec(sampler="DPM adaptive", seed=2)]
    assert [len(group) for group in batches(specs, lambda _: 2)] == [1, 1]
    together = generate_images(model, specs)
    assert together == [generate_images(model, [one])[0] for one in specs]


def test_cfg_pp_divides_the_guidance_and_needs_the_negative_prompt_always(model):
    at = {g: generate_images(model, [spec(sampler="DDIM CFG++", steps=3, guidance=g)]) for g in (1, 12.5)}
    assert at[1] != at[12.5]
    other = spec(sampler="DDIM CFG++", steps=3, guidance=12.5, negative="c")
    assert generate_images(model, [other]) != at[12.5], "its noise is the negative prompt's"


def test_tiling_is_a_setting_of_the_image(model):
    plain, tiling = (
        np.asarray(generate_images(model, [spec(options=SamplingOptions(tiling=on))])[0], np.int16)
        for on in (False, True)
    )
    assert (plain != tiling).any()
    assert np.array_equal(plain, np.asarray(generate_images(model, [spec()])[0])), "and of no other"


def test_a_size_is_refused_never_rounded(model):
    with pytest.raises(UsageError, match=r"height = 60: must be a multiple of 8; the nearest is 64"):
        generate_images(model, [spec(height=60)])


def test_guidance_below_one_is_the_formula(model):
    """pred = uncond + g (cond - uncond): at 0 the prompt has no say, at 1 the negative prompt has none."""
    at = {
        g: [generate_images(model, [spec(guidance=g, prompt=p)])[0].tobytes() for p in ("a", "b")] for g in (0, 0.5, 1)
    }
    assert at[0][0] == at[0][1]
    assert at[0.5][0] != at[0.5][1]
    assert generate_images(model, [spec(guidance=1, negative="c")]) == generate_images(model, [spec(guidance=1)])


def test_prompts_are_encoded_once_for_each_state(model, monkeypatch):
    calls, encode = [], model.encode_prompt
    monkeypatch.setattr(model, "encode_prompt", lambda p, **k: calls.extend(p) or encode(p, **k))
    cache = PromptCache()
    generate_images(model, [spec(), spec(seed=2)], prompt_cache=cache)
    assert calls == ["a hat", ""]
    generate_images(model, [spec(negative=" ")], prompt_cache=cache)
    assert len(calls) == 2
    cache.state = "an adapter"
    generate_images(model, [spec()], prompt_cache=cache)
    assert len(calls) == 4


def test_chunks_are_as_many_as_the_longer_prompt_needs(model):
    long = "hat " * 80
    assert [chunks_for(model, *p) for p in (("",), ("hat", long), (long, ""), (long * 9,))] == [1, 2, 2, 10]


@pytest.mark.parametrize(
    ("dtype", "remedy"),
    [(torch.float32, "lower the adapter's strength or the guidance"), (torch.float16, "compute in bf16 or fp32")],
)
def test_latents_of_nan_are_no_picture(model, monkeypatch, dtype, remedy):
    monkeypatch.setattr(
        type(model), "forward", lambda self, x, t, cond: x * torch.where(x.new_tensor(1) > 0, math.inf, 1)
    )
    monkeypatch.setattr(type(model), "dtype", dtype)
    with pytest.raises(NotFiniteError, match="the image of 'a hat' with seed 1 came out as NaN") as e:
        generate_images(model, [spec()])
    assert remedy in e.value.hint


def test_pixels_of_nan_are_no_picture_and_the_picture_is_named(model, monkeypatch):
    decode = model._pixels

    def broken(latents):
        pixels = decode(latents).clone()
        pixels[1, 0, 0, 0] = math.nan
        return pixels

    monkeypatch.setattr(model, "_pixels", broken)
    with pytest.raises(NotFiniteError, match="with seed 7") as e:
        generate_images(model, [spec(), spec(seed=7)])
    assert "model.vae" in e.value.hint
