"""Pictures on the way: the same prompts and seeds each time, so that a row of them shows the learning."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
from PIL import Image

from bakehouse.adapters import Adapter, FullAdapter
from bakehouse.core.events import Event, Progress, Sampled
from bakehouse.core.files import atomic_path
from bakehouse.core.run import Run
from bakehouse.families.denoiser import Denoiser
from bakehouse.families.sampling import initial_noise, sample, to_images
from bakehouse.recipe.recipe import Recipe
from bakehouse.recipe.sample_prompt import SamplePrompt, parse_sample_prompt, sample_defaults
from bakehouse.train.averaging import averaged
from bakehouse.train.checkpoint import TrainState
from bakehouse.train.stopping import Draw


def make_samples(recipe: Recipe, model: Denoiser, adapter: Adapter, run: Run, step: int) -> Iterator[Event]:
    """Writes samples/step-000100-0.png and so on; pictures of one size and sampler are made together."""
    defaults = sample_defaults(recipe.sample, recipe.buckets.resolution)
    wanted = [parse_sample_prompt(line, defaults) for line in recipe.sample.prompts]
    groups: dict[tuple[object, ...], list[int]] = {}
    for number, w in enumerate(wanted):
        groups.setdefault((w.width, w.height, w.steps, w.guidance, w.sampler), []).append(number)
    adapter.eval()
    try:
        done = 0
        for numbers in groups.values():
            yield Progress(what="drawing samples", done=done, total=len(wanted))
            done += len(numbers)
            pictures = _draw([wanted[n] for n in numbers], recipe, model)
            for number, picture in zip(numbers, pictures, strict=True):
                path = run.samples / f"step-{step:06d}-{number}.png"
                with atomic_path(path) as temporary:
                    picture.save(temporary, format="PNG")
                yield Sampled(step=step, path=str(path.relative_to(run.folder)))
    finally:
        adapter.train()


def drawer(recipe: Recipe, model: Denoiser, state: TrainState) -> Draw:
    """Draws with the model as it stands; on a CPU one by one, so that no bit depends on what else is drawn."""
    size = 1 if model.device.type == "cpu" else recipe.train.batch_size

    def draw(wanted: Sequence[SamplePrompt], *, base: bool = False) -> Iterator[Image.Image]:
        for start in range(0, len(wanted), size):
            with averaged(state), _untouched(state) if base else nullcontext():
                state.adapter.eval()
                try:
                    pictures = _draw(wanted[start : start + size], recipe, model)
                finally:
                    state.adapter.train()
            yield from pictures

    return draw


def _untouched(state: TrainState) -> AbstractContextManager[None]:
    """The base. Before the first step of a full fine-tune the model still is it, and needs no copy."""
    if state.step == 0 and isinstance(state.adapter, FullAdapter):
        return nullcontext()
    return state.adapter.scaled(0.0)


@torch.no_grad()
def _draw(wanted: Sequence[SamplePrompt], recipe: Recipe, model: Denoiser) -> list[Image.Image]:
    first = wanted[0]
    chunks = recipe.model.max_tokens // 75
    reading = {"clip_skip": recipe.model.clip_skip, "chunks": chunks}
    cond = model.encode_prompt([w.prompt for w in wanted], **reading)
    uncond = model.encode_negative([w.negative for w in wanted], **reading) if first.guidance > 1 else None
    seeds = [w.seed for w in wanted]
    latents = sample(
        model,
        cond,
        uncond,
        noise=initial_noise(seeds, model.latent_shape(first.width, first.height)),
        steps=first.steps,
        guidance=first.guidance,
        sampler=first.sampler,
        seeds=seeds,
    )
    return to_images(model.decode(latents))
