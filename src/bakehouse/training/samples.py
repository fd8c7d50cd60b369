"""Pictures on the way: the same prompts and seeds each time, so that a row of them shows the learning."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext

from PIL import Image

from bakehouse.adapters import Adapter, FullAdapter
from bakehouse.core.events import Event, Progress, Sampled, Warned
from bakehouse.core.files import atomic_path
from bakehouse.core.run_folder import Run
from bakehouse.models.denoiser import Denoiser
from bakehouse.models.text_encoders import CHUNK_TOKENS, MAX_CHUNKS
from bakehouse.models.text_to_image import ImageSpec, NotFiniteError, batches, chunks_for, generate_images
from bakehouse.recipe.recipe import Recipe
from bakehouse.recipe.sample_prompt import SamplePrompt, parse_sample_prompt, sample_defaults
from bakehouse.training.early_stopping import Draw
from bakehouse.training.ema import averaged
from bakehouse.training.training_state import TrainState

_TOGETHER = 4
"""Pictures at once on a GPU where a step has fewer images."""


def make_samples(recipe: Recipe, model: Denoiser, adapter: Adapter, run: Run, step: int) -> Iterator[Event]:
    """Writes samples/step-000100-0.png and so on. A picture of NaN or infinity is not written, and a `Warned` says so.

    On a GPU neighbours of one size and sampler are made together.
    """
    specs = [_spec(wanted, recipe, model) for wanted in sample_prompts(recipe)]
    adapter.eval()
    try:
        done = 0
        for batch in batches(specs, lambda _: _together(recipe, model)):
            yield Progress(what="drawing samples", done=done, total=len(specs))
            numbers = range(done, done + len(batch))
            done += len(batch)
            try:
                pictures = generate_images(model, batch)
            except NotFiniteError as e:
                yield Warned(message=f"samples {numbers[0]} to {numbers[-1]} of step {step}: {e.message}; {e.hint}")
                continue
            for number, picture in zip(numbers, pictures, strict=True):
                path = run.samples / f"step-{step:06d}-{number}.png"
                with atomic_path(path) as temporary:
                    picture.save(temporary, format="PNG")
                yield Sampled(step=step, path=str(path.relative_to(run.folder)))
    finally:
        adapter.train()


def sample_prompts(recipe: Recipe) -> list[SamplePrompt]:
    """The pictures that a recipe asks for, every number decided."""
    defaults = sample_defaults(recipe.sample, recipe.buckets.resolution)
    return [parse_sample_prompt(line, defaults) for line in recipe.sample.prompts]


def cut_prompts(recipe: Recipe, model: Denoiser) -> list[str]:
    """Says of each sample prompt that no text encoder reads to its end."""
    most = MAX_CHUNKS * CHUNK_TOKENS
    prompts = [wanted.prompt for wanted in sample_prompts(recipe)]
    return [
        f"sample prompt {prompt[:60]!r} has {count} tokens: the first {most} are read"
        for prompt, count in zip(prompts, model.token_count(prompts), strict=True)
        if count > most
    ]


def drawer(recipe: Recipe, model: Denoiser, state: TrainState) -> Draw:
    """Draws with the model as it stands; on a CPU one by one, so that no bit depends on what else is drawn."""

    def draw(wanted: Sequence[SamplePrompt], *, base: bool = False) -> Iterator[Image.Image]:
        specs = [_spec(w, recipe, model) for w in wanted]
        for batch in batches(specs, lambda _: _together(recipe, model)):
            with averaged(state), _untouched(state) if base else nullcontext():
                state.adapter.eval()
                try:
                    pictures = generate_images(model, batch)
                finally:
                    state.adapter.train()
            yield from pictures

    return draw


def _untouched(state: TrainState) -> AbstractContextManager[None]:
    """The base. Before the first step of a full fine-tune the model still is it, and needs no copy."""
    if state.step == 0 and isinstance(state.adapter, FullAdapter):
        return nullcontext()
    return state.adapter.scaled(0.0)


def _together(recipe: Recipe, model: Denoiser) -> int:
    """Pictures at once: as many as a step has images, or some more, since no gradients are kept."""
    return 1 if model.device.type == "cpu" else max(_TOGETHER, recipe.train.batch_size)


def _spec(wanted: SamplePrompt, recipe: Recipe, model: Denoiser) -> ImageSpec:
    """Read as `generate` will read it: a sample shows what the finished weights draw."""
    chunks = chunks_for(model, wanted.prompt, wanted.negative)
    return ImageSpec(**vars(wanted), clip_skip=recipe.model.clip_skip, chunks=chunks)
