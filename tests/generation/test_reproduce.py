"""An image again from its infotext: ours to the same bytes, A1111's with the settings that it was made with."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bakehouse.core.errors import UsageError
from bakehouse.core.model_catalogue.installed_models import UserModel, edit_registry
from bakehouse.generation import ImageRequest, Pipeline
from bakehouse.generation.adapter_header import tensor_hash
from bakehouse.generation.img2img_settings import Hires
from bakehouse.generation.infotext import Infotext, write
from bakehouse.generation.reproduce import find_adapters, find_base, read_reproduction, reproduce, weights_notes

A1111 = (
    "a cat\nNegative prompt: blurry\nSteps: 20, Sampler: {sampler}, CFG scale: 6.5, Seed: 42, Size: 512x768, "
    "Model hash: 6ce0161689, Model: v1-5-pruned-emaonly, {more}Version: {version}"
)


def asked_by(sampler: str = "Euler a", more: str = "", version: str = "v1.10.1"):
    return reproduce(Infotext.parse(A1111.format(sampler=sampler, more=more, version=version)))


def test_what_a1111_writes_is_followed() -> None:
    more = (
        "Variation seed: 7, Variation seed strength: 0.3, Seed resize from: 640x384, Clip skip: 2, ENSD: 31337, "
        "RNG: CPU, Tiling: True, Eta: 0.5, Discard penultimate sigma: True, CFG Rescale: 0.7, "
    )
    wanted = asked_by(more="Schedule type: Exponential, " + more)
    assert wanted.request == ImageRequest(
        prompt="a cat", negative="blurry", steps=20, sampler="Euler a", schedule="Exponential", guidance=6.5,
        guidance_rescale=0.7, seed=42, width=512, height=768, clip_skip=2, variation_seed=7, variation_strength=0.3,
        seed_resize=(640, 384), ensd=31337, rng="cpu", tiling=True, eta=0.5, discard_penultimate=True,
    )  # fmt: skip
    assert (wanted.model, wanted.model_hash, wanted.notes) == ("v1-5-pruned-emaonly", "6ce0161689", ())


@pytest.mark.parametrize(
    ("sampler", "more", "version", "schedule"),
    [
        ("DPM++ 2M", "Schedule type: Karras, ", "v1.10.1", "Karras"),
        ("DPM++ 2M", "Schedule type: Automatic, ", "v1.9.3", "Karras"),
        ("DPM++ 2M", "", "v1.9.0", "Karras"),
        ("DPM++ 2M", "", "v1.8.0", "Uniform"),
        ("DPM++ 2M Karras", "", "v1.6.0", "Karras"),
        ("DPM++ 2M SDE Heun Exponential", "", "v1.7.0", "Exponential"),
        ("Restart", "", "v1.7.0", "Karras"),
        ("DPM++ 2M", "", "f0.0.17v1.8.0rc-latest-276-g29be1da7", "Uniform"),
        ("DDIM", "Schedule type: Automatic, ", "v1.10.1", "Uniform"),
        ("DPM++ 2M", "Schedule type: SGM Uniform, Timestep spacing: trailing, ", "bakehouse 1.0", "Trailing"),
        ("DDIM", "", "bakehouse 1.0", "Trailing"),
    ],
)
def test_the_schedule_is_that_of_the_version(sampler: str, more: str, version: str, schedule: str) -> None:
    """Before 1.9 a sampler's name was its schedule, and a name without one was Uniform."""
    assert asked_by(sampler, more + "RNG: CPU, ", version).request.schedule == schedule


def test_the_noise_of_a_gpu_is_followed_and_said() -> None:
    assert asked_by(more="RNG: NV, ").request.rng == "nv"
    assert asked_by(more="RNG: NV, ").notes == ()
    wanted = asked_by()
    assert wanted.request.rng == "nv" and "NVIDIA" in wanted.notes[0]


def test_what_cannot_be_followed_is_said() -> None:
    more = "Denoising strength: 0.5, Hires prompt: a dog, ADetailer model: face.pt, RNG: CPU, "
    notes = asked_by(more=more).notes
    for said in ("Denoising strength: 0.5", "Hires prompt: a dog", "ADetailer model: face"):
        assert any(note.startswith(said) and "not followed" in note for note in notes)
    assert any("half precision" in note for note in asked_by(version="v1.6.0", more="RNG: CPU, ").notes)
    assert not asked_by("Euler", "Eta: 0, RNG: CPU, ").notes, "it has no effect there"
    assert not asked_by(more='RNG: CPU, Template: "a {red|blue} cat", ').notes, "the prompt is what was drawn"


@pytest.mark.parametrize(
    ("more", "hires"),
    [
        ("Denoising strength: 0.5, Hires upscale: 1.5, ", Hires(scale=1.5, strength=0.5)),
        ("Denoising strength: 0.4, Hires upscale: 2, Hires steps: 0, Hires upscaler: Lanczos, ",
         Hires(strength=0.4, upscaler="Lanczos")),
        ("Hires upscale: 2, Hires steps: 8, Hires upscaler: Latent (nearest), ",
         Hires(steps=8, upscaler="Latent (nearest)")),
    ],
)  # fmt: skip
def test_a_second_pass_is_followed(more: str, hires: Hires) -> None:
    wanted = asked_by(more=more + "RNG: CPU, ")
    assert (wanted.request.hires, wanted.notes) == (hires, ())
    from_image = asked_by(more=more + "Init image hash: 1234, RNG: CPU, ")
    assert from_image.request.hires is None and any("Hires upscale" in note for note in from_image.notes)


@pytest.mark.parametrize(
    "tag", ["<lora:a:0.5:0.8>", "<lora:a:te=0.5:unet=0.8>", "<lora:a:unet=0.8>", "<lora:a:0.5:0.8:4>"]
)
def test_strengths_of_unet_and_text_encoder_stay_in_the_prompt(tag: str) -> None:
    wanted = reproduce(Infotext.parse(f"a cat {tag}, a dog <lora:b:1>\nSteps: 2, Sampler: Euler, Seed: 1, RNG: CPU"))
    assert wanted.request.prompt == f"a cat {tag}, a dog <lora:b:1>"
    assert sorted(network.name for network in wanted.networks) == ["a", "b"]
    assert not wanted.notes
    simple = reproduce(Infotext.parse("a cat <lora:b:1>\nSteps: 2, Sampler: Euler, Seed: 1, RNG: CPU"))
    assert "<lora" not in simple.request.prompt


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a cat\nSteps: 20, Sampler: Euler, Seed: 1, Hires upscale: 20", "scale = 20"),
        ("a cat\nSteps: 20, Sampler: Euler, Seed: 1, Hires upscale: two", "Hires upscale: two is not a number"),
        ("a cat\nSteps: 20, Sampler: Euler, CFG scale: 7", "no Seed"),
        ("a cat", "no Steps and no Seed"),
        ("a cat\nSteps: many, Sampler: Euler, Seed: 1", "Steps: many is not a whole number"),
        ("a cat\nSteps: 20, Seed: 1, CFG scale: 7", "no Sampler"),
        ("a cat\nSteps: 20, Sampler: Eular, Seed: 1", "did you mean 'euler'"),
        ("a cat\nSteps: 20, Sampler: Euler, Seed: 1, Emphasis: loud", "known are Original, No norm, Ignore, None"),
        ("a cat\nSteps: 20, Sampler: Euler, Seed: 1, RNG: dice", "allowed are CPU, GPU and NV"),
        ("a cat\nSteps: 5000, Sampler: Euler, Seed: 1", "steps = 5000"),
    ],
)
def test_values_that_are_not_valid(text: str, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        reproduce(Infotext.parse(text))


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.webp"])
@pytest.mark.parametrize(
    "change",
    [
        {},
        {"sampler": "DPM++ 2M SDE", "schedule": "Karras"},
        {"sampler": "Euler a", "schedule": "Automatic", "ensd": 5, "eta": 0.7, "rng": "nv", "tiling": True},
        {"sampler": "DPM2", "schedule": "Simple", "variation_seed": 3, "variation_strength": 0.4},
        {"sampler": "DDIM", "schedule": "Automatic", "eta": 0.3, "seed_resize": (128, 128), "clip_skip": 2},
        {"prompt": "a (red:1.4) hat", "emphasis": "no-norm"},
        {"sampler": "Heun", "schedule": "Beta", "discard_penultimate": True, "guidance_rescale": 0.5},
        {"hires": Hires(scale=1.5, steps=2, strength=0.6, upscaler="Lanczos")},
    ],
    ids=lambda c: c.get("sampler", "default"),
)
def test_our_own_image_is_made_again(
    pipeline: Pipeline, asked: ImageRequest, tmp_path: Path, name: str, change: dict[str, object]
) -> None:
    (first,) = pipeline.txt2img(replace(asked, negative="blurry", steps=3, **change))
    wanted = read_reproduction(write(first.image, first.infotext, tmp_path / name))
    assert wanted.notes == ()
    (second,) = pipeline.txt2img(wanted.request)
    assert np.array_equal(np.asarray(first.image), np.asarray(second.image))
    assert second.infotext == first.infotext


def test_an_image_among_several_is_made_again(pipeline: Pipeline, asked: ImageRequest) -> None:
    made = list(pipeline.txt2img(replace(asked, count=2, variation_seed=3, variation_strength=0.5)))
    assert [(p.seed, p.request.variation_seed) for p in made] == [(5, 3), (5, 4)]
    (second,) = pipeline.txt2img(reproduce(made[1].infotext).request)
    assert np.abs(np.asarray(second.image, np.int16) - np.asarray(made[1].image, np.int16)).max() <= 1


@pytest.fixture
def registered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lora: Path) -> Path:
    """A registry with a base model and an adapter."""
    monkeypatch.setenv("BAKEHOUSE_DATA", str(tmp_path / "data"))
    base = tmp_path / "base.safetensors"
    with edit_registry() as registry:
        registry.own["mine"] = UserModel(kind="base", where=str(base), sha256="6ce0161689" + "0" * 54)
        registry.own["zoe"] = UserModel(kind="adapter", where=str(lora))
    return base


def test_the_model_is_found_by_its_hash(registered: Path) -> None:
    assert find_base(asked_by()) == "mine"
    with pytest.raises(UsageError, match=r"v1-5-pruned-emaonly \(aaaaaaaaaa\).* not among the models"):
        find_base(replace(asked_by(), model_hash="aaaaaaaaaa"))
    assert find_base(replace(asked_by(), model="crumb")) == "crumb"


def test_adapters_are_found_by_hash_and_by_name(registered: Path, lora: Path, other_lora: Path) -> None:
    def with_adapter(name: str, digits: str = "") -> Infotext:
        info = Infotext.parse(A1111.format(sampler="Euler", more="RNG: CPU, ", version="v1.10.1"))
        info = replace(info, prompt=f"a cat <lora:{name}:0.6>")
        return info.with_settings({"Lora hashes": f"{name}: {digits}" if digits else None})

    wanted = reproduce(with_adapter("renamed", tensor_hash(lora)))
    assert wanted.request.prompt == "a cat"
    assert find_adapters(wanted) == ((lora, 0.6),)
    assert find_adapters(reproduce(with_adapter("zoe"))) == ((lora, 0.6),)
    by_name = reproduce(with_adapter(other_lora.stem, "000000000000"))
    found = find_adapters(by_name, [other_lora])
    assert found == ((other_lora, 0.6),)
    assert "is not the adapter" in weights_notes(by_name, "6ce0161689", found)[0]
    with pytest.raises(UsageError, match="adapter nobody, which is not among"):
        find_adapters(reproduce(with_adapter("nobody")))


def test_another_model_is_said() -> None:
    assert weights_notes(asked_by(), "6ce0161689", ()) == []
    assert "this one's hash is 0123456789" in weights_notes(asked_by(), "0123456789", ())[0]
