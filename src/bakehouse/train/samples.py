"""Pictures on the way: the same prompts and seeds each time, so that a row of them shows the learning."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from PIL import Image

from bakehouse.adapters import Adapter
from bakehouse.core.events import Event, Sampled
from bakehouse.core.files import atomic_path
from bakehouse.core.run import Run
from bakehouse.families.denoiser import Denoiser
from bakehouse.families.sampling import initial_noise, sample, to_images
from bakehouse.recipe.recipe import Recipe
from bakehouse.recipe.sample_prompt import SamplePrompt, parse_sample_prompt, sample_defaults


def make_samples(recipe: Recipe, model: Denoiser, adapter: Adapter, run: Run, step: int) -> Iterator[Event]:
    """Writes samples/step-000100-0.png and so on."""
    defaults = sample_defaults(recipe.sample, recipe.buckets.resolution)
    adapter.eval()
    try:
        for number, line in enumerate(recipe.sample.prompts):
            path = run.samples / f"step-{step:06d}-{number}.png"
            with torch.no_grad(), atomic_path(path) as temporary:
                _draw(parse_sample_prompt(line, defaults), recipe, model).save(temporary, format="PNG")
            yield Sampled(step=step, path=str(path.relative_to(run.folder)))
    finally:
        adapter.train()


def _draw(wanted: SamplePrompt, recipe: Recipe, model: Denoiser) -> Image.Image:
    chunks = recipe.model.max_tokens // 75
    both = model.encode_prompt([wanted.prompt, wanted.negative], clip_skip=recipe.model.clip_skip, chunks=chunks)
    shape = (model.latent_channels, wanted.height // model.downscale, wanted.width // model.downscale)
    latents = sample(
        model,
        both[:1],
        both[1:] if wanted.guidance > 1 else None,
        noise=initial_noise([wanted.seed], shape),
        steps=wanted.steps,
        guidance=wanted.guidance,
        sampler=wanted.sampler,
        seeds=[wanted.seed],
    )
    return to_images(model.decode(latents))[0]
