"""Samples: images generated during training, with the same prompts and seeds each time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Literal

from PIL import Image

from bakehouse.adapters import Adapter, held_weights
from bakehouse.core.events import Event, Progress, Sampled, Warned
from bakehouse.core.files import atomic_path
from bakehouse.core.run_folder import Run
from bakehouse.data.weighted_prompt import plain_schedule
from bakehouse.models.denoiser import Denoiser
from bakehouse.models.text_to_image import ImageSpec, NotFiniteError, batches, generate_images, with_chunks
from bakehouse.recipe.recipe import Recipe
from bakehouse.recipe.sample_prompt import GenerateSamples, SamplePrompt, parse_sample_prompt, sample_defaults
from bakehouse.training.ema import averaged_weights
from bakehouse.training.training_state import TrainState

_MIN_BATCH = 4
"""Images in one batch on a GPU, if a training batch has fewer."""
_MOST_HELD = 2 << 30
"""Bytes of adapted weights that are made once for an image's steps, beside a training: those of SD 1.x, not of SDXL."""


_Weights = Literal["saved", "ends", "base"]
GenerateBatch = Callable[[Sequence[ImageSpec], _Weights], list[Image.Image] | NotFiniteError]
"""Generates a batch with the weights as they would be saved, with both ends of a slider and the base between them, or
with the untouched base. An image that is not finite is an error that it returns."""


def batch_generator(model: Denoiser, state: TrainState) -> GenerateBatch:
    """Return a function that generates with the model in training.

    Where ranks have parts of its weights, rank 0 calls it and all compute.
    """

    def generate(specs: Sequence[ImageSpec], weights: _Weights) -> list[Image.Image] | NotFiniteError:
        with averaged_weights(state), _base_model(state) if weights == "base" else nullcontext():
            state.adapter.eval()
            try:
                return _ends(model, state.adapter, specs) if weights == "ends" else _images(model, specs)
            except NotFiniteError as e:
                return e
            finally:
                state.adapter.train()

    return state.divided_among.together(generate)


def generate_samples(recipe: Recipe, model: Denoiser, generate: GenerateBatch, run: Run, step: int) -> Iterator[Event]:
    """Generate the recipe's samples as samples/step-000100-0.png, ...; yields progress and events.

    Images with NaN or infinity are not written, but reported by a `Warned`. On a GPU neighbours of one size and sampler
    are one batch. Of a slider, an image shows both ends with the base between them.
    """
    specs = [_image_spec(prompt, recipe, model) for prompt in sample_prompts(recipe)]
    done = 0
    for batch in batches(specs, lambda _: _batch_size(recipe, model)):
        yield Progress(what="generating samples", done=done, total=len(specs))
        numbers = range(done, done + len(batch))
        done += len(batch)
        images = generate(batch, "ends" if recipe.kind == "slider" else "saved")
        if isinstance(images, NotFiniteError):
            why = f"{images.message}; {images.hint}"
            yield Warned(message=f"samples {numbers[0]} to {numbers[-1]} of step {step}: {why}")
            continue
        for number, image in zip(numbers, images, strict=True):
            path = run.samples / f"step-{step:06d}-{number}.png"
            with atomic_path(path) as temporary:
                image.save(temporary, format="PNG")
            yield Sampled(step=step, path=str(path.relative_to(run.folder)))


def _images(model: Denoiser, specs: Sequence[ImageSpec]) -> list[Image.Image]:
    """Generate with the adapters as they are, with the bits of `generate` where the adapted weights are held."""
    with held_weights(model.trainable_modules()["lora_unet"], _MOST_HELD):
        return generate_images(model, specs)


def _ends(model: Denoiser, adapter: Adapter, specs: Sequence[ImageSpec]) -> list[Image.Image]:
    """Return for each image a row of three: at strengths -1, 0 and 1."""
    columns = []
    for strength in (-1.0, 0.0, 1.0):
        with adapter.scaled(strength):
            columns.append(_images(model, specs))
    return [_side_by_side(row) for row in zip(*columns, strict=True)]


def _side_by_side(images: Sequence[Image.Image]) -> Image.Image:
    """Return images of one size as one row."""
    width, height = images[0].size
    row = Image.new("RGB", (width * len(images), height))
    for i, image in enumerate(images):
        row.paste(image, (i * width, 0))
    return row


def sample_prompts(recipe: Recipe) -> list[SamplePrompt]:
    """Return a recipe's sample prompts, with the recipe's values for what their lines leave out."""
    defaults = sample_defaults(recipe.sample, recipe.buckets.resolution)
    return [parse_sample_prompt(line, defaults) for line in recipe.sample.prompts]


def sample_generator(recipe: Recipe, model: Denoiser, generate_batch: GenerateBatch) -> GenerateSamples:
    """Return a function that generates with the current weights.

    On a CPU images are generated one by one, so that no bit depends on the others.
    """

    def generate(prompts: Sequence[SamplePrompt], *, base: bool = False) -> Iterator[Image.Image]:
        specs = [_image_spec(prompt, recipe, model) for prompt in prompts]
        for batch in batches(specs, lambda _: _batch_size(recipe, model)):
            images = generate_batch(batch, "base" if base else "saved")
            if isinstance(images, NotFiniteError):
                raise images
            yield from images

    return generate


def _base_model(state: TrainState) -> AbstractContextManager[None]:
    """Inside the block, the model is the base; one whose own weights train needs no copy before the first step."""
    if state.step == 0 and state.adapter.trains_base:
        return nullcontext()
    return state.adapter.scaled(0.0)


def _batch_size(recipe: Recipe, model: Denoiser) -> int:
    """Return the images in one batch: as many as in training or some more, since no gradients are kept."""
    return 1 if model.device.type == "cpu" else max(_MIN_BATCH, recipe.train.batch_size)


def _image_spec(prompt: SamplePrompt, recipe: Recipe, model: Denoiser) -> ImageSpec:
    """Return what to generate; prompts are plain text, chunked as `generate` does."""
    step_prompts = with_chunks(model, plain_schedule(prompt.prompt, prompt.negative, prompt.steps))
    return ImageSpec(**vars(prompt), clip_skip=recipe.model.clip_skip, step_prompts=step_prompts)
