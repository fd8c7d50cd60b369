"""What ships in the package is whole, loads with plain diffusers, and draws the same picture twice."""

import hashlib
import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from bakehouse.data.crumb_attributes import ASSETS
from bakehouse.vision.taggers import CrumbTagger, Vocabulary, prompt_accuracy

EXAMPLES = sorted(p for p in (ASSETS / "examples").iterdir() if p.is_dir())


def size(folder: Path) -> int:
    return sum(p.stat().st_size for p in folder.rglob("*") if p.is_file())


@pytest.fixture(scope="module")
def pipe() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from diffusers import StableDiffusionPipeline

        loaded = StableDiffusionPipeline.from_pretrained(ASSETS / "crumb").to(torch.float32)
    loaded.set_progress_bar_config(disable=True)
    return loaded


def draw(pipe: Any, prompt: str, seed: int = 0) -> Image.Image:
    generator = torch.Generator().manual_seed(seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        images = pipe(
            prompt, num_inference_steps=8, guidance_scale=3.0, generator=generator, height=128, width=128
        ).images
    image: Image.Image = images[0]
    return image


@pytest.mark.parametrize("name", ["crumb", "crumb-tagger"])
def test_files_are_the_ones_that_were_packed(name: str) -> None:
    folder = ASSETS / name
    sums = dict(reversed(line.split("  ", 1)) for line in (folder / "SHA256SUMS").read_text().splitlines())
    there = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()} - {"SHA256SUMS"}
    assert there == set(sums)
    for file, expected in sums.items():
        assert hashlib.sha256((folder / file).read_bytes()).hexdigest() == expected, file


def test_the_package_stays_small() -> None:
    assert size(ASSETS / "crumb") <= 40 * 2**20
    assert size(ASSETS / "crumb-tagger") <= 4 * 2**20
    assert size(ASSETS / "examples") <= 1.5e6


def test_crumb_has_sd1s_architecture(pipe: Any) -> None:
    assert pipe.vae.config.latent_channels == 4
    assert pipe.vae.config.scaling_factor == 0.18215
    assert len(pipe.unet.config.block_out_channels) == 4
    assert pipe.scheduler.config.prediction_type == "epsilon"
    assert pipe.tokenizer.model_max_length == 77


def test_crumb_draws_what_is_asked_the_same_each_time(pipe: Any) -> None:
    prompt = "a portrait of a person with pink afro, tan skin and green hoodie, at the beach"
    image = draw(pipe, prompt)
    assert np.array_equal(np.asarray(image), np.asarray(draw(pipe, prompt)))
    result = CrumbTagger.load()([image])
    there = prompt_accuracy(result, 0, result.vocabulary.atoms_of_prompt(prompt))
    assert sum(there.values()) >= len(there) - 1, there


@pytest.mark.parametrize("folder", EXAMPLES, ids=lambda p: p.name)
def test_an_example_is_well_formed(folder: Path) -> None:
    facts = json.loads((folder / "example.json").read_text())
    images, captions = sorted(folder.glob("*.png")), sorted(folder.glob("*.txt"))
    assert [p.stem for p in images] == [p.stem for p in captions]
    holdout = folder.name.endswith("-holdout")
    assert (4 <= len(images) <= 6) if holdout else (12 <= len(images) <= 20)
    assert "Designer" in (folder / "LICENSE.md").read_text()
    words = Vocabulary.load()
    for group, value in facts["attributes"].items():
        assert value in words.groups[group]
    for image, caption in zip(images, captions, strict=True):
        with Image.open(image) as opened:
            assert opened.size == (256, 256)
        text = caption.read_text().strip()
        assert facts["phrase"] in text
        # Of the look, which the trigger has to absorb, a caption says nothing.
        said = words.atoms_of_prompt(text)
        assert not set(facts["attributes"]) & set(said) - {"class", "style"}, text
