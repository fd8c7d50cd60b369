"""Prompt accuracy of crumb: random prompts, and the share of their attributes that the tagger finds in the images."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers import StableDiffusionPipeline
from PIL import Image

from bakehouse.vision.taggers.crumb_tagger import CrumbTagger, prompt_accuracy
from tools.crumb import backgrounds
from tools.crumb.training_images import Picture, prompt

GUIDANCE = 3.0


@dataclass(frozen=True)
class Accuracy:
    """Share of prompted attributes found in the images: by group, and the mean over the scored groups."""

    images: int
    steps: int
    guidance: float
    by_group: dict[str, float]
    whole: dict[str, float]
    """The same without close-ups, which cut off clothes and hide much of the background."""
    asked: dict[str, int]
    judged: dict[str, float]

    @property
    def mean(self) -> float:
        return float(np.mean(list(self.judged.values())))


def load(folder: Path, device: str = "cpu") -> StableDiffusionPipeline:
    pipe = StableDiffusionPipeline.from_pretrained(folder, safety_checker=None)
    pipe.set_progress_bar_config(disable=True)
    return pipe.to(device, torch.float32)


def generate(
    pipe: StableDiffusionPipeline,
    prompts: Sequence[str],
    steps: int = 20,
    guidance: float = 3.0,
    seed: int = 0,
    batch: int = 32,
) -> list[Image.Image]:
    """Generate one image per prompt, the i-th from seed + i."""
    images: list[Image.Image] = []
    for start in range(0, len(prompts), batch):
        some = list(prompts[start : start + batch])
        images += pipe(
            some,
            num_inference_steps=steps,
            guidance_scale=guidance,
            generator=[torch.Generator().manual_seed(seed + start + i) for i in range(len(some))],
            height=128,
            width=128,
        ).images
    return images


def random_prompts(pictures: Sequence[Picture], count: int, seed: int) -> list[str]:
    """Return captions of known figures with new backgrounds: none is a training caption."""
    rng = random.Random(seed)
    framings = ["portrait"] * 5 + ["close-up"] * 2 + ["from afar"] * 2
    prompts = []
    for _ in range(count):
        p = rng.choice(pictures)
        _, background = backgrounds.draw(rng)
        framing = rng.choice(framings) if len(p.figures) == 1 else p.framing
        prompts.append(prompt(Picture(p.figures, background, framing), rng))
    return prompts


def measure(
    pipe: StableDiffusionPipeline,
    tagger: CrumbTagger,
    prompts: Sequence[str],
    steps: int = 20,
    guidance: float = 3.0,
    say: Callable[[str], None] = lambda _: None,
) -> tuple[Accuracy, list[Image.Image]]:
    found: dict[str, list[bool]] = defaultdict(list)
    whole: dict[str, list[bool]] = defaultdict(list)
    images: list[Image.Image] = []
    for start in range(0, len(prompts), 64):
        some = prompts[start : start + 64]
        batch = generate(pipe, some, steps, guidance, seed=start)
        result = tagger(batch)
        for i, text in enumerate(some):
            wanted = tagger.vocabulary.atoms_of_prompt(text)
            for group, there in prompt_accuracy(result, i, wanted).items():
                found[group].append(there)
                if wanted.get("framing") != "close-up":
                    whole[group].append(there)
        images += batch
        say(f"scored {len(images)} of {len(prompts)}")
    by_group, uncut = ({g: float(np.mean(f[g])) for g in tagger.vocabulary.groups if f[g]} for f in (found, whole))
    scored = {g: by_group[g] for g in tagger.vocabulary.scored_groups if g in by_group}
    asked = {g: len(found[g]) for g in by_group}
    return Accuracy(len(images), steps, guidance, by_group, uncut, asked, scored), images


def table(j: Accuracy, least: int = 15) -> str:
    """Return the accuracy as a Markdown table, with groups that were prompted at least `least` times."""

    def row(group: str) -> str:
        return f"| {group} | {j.by_group[group]:.1%} | {j.whole.get(group, float('nan')):.1%} | {j.asked[group]} |"

    uncut = float(np.mean([j.whole[g] for g in j.judged]))
    return "\n".join(
        [
            "| asked | there, all images | without close-ups | times asked |",
            "| --- | --- | --- | --- |",
            *(row(g) for g in j.judged),
            f"| **mean of these** | **{j.mean:.1%}** | **{uncut:.1%}** | |",
            *(row(g) for g in j.by_group if g not in j.judged and j.asked[g] >= least),
        ]
    )
