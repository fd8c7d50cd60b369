"""Text to image: the one function that generates images, for `generate`, samples during training and class images."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from bakehouse.core.errors import BakehouseError, UsageError
from bakehouse.core.files import key_of
from bakehouse.models.denoiser import Conditioning, Denoiser
from bakehouse.models.guidance import ClassifierFreeGuidance
from bakehouse.models.image_noise import ImageNoise
from bakehouse.models.quantize_int8 import is_quantized
from bakehouse.models.samplers import find_sampler
from bakehouse.models.sampling import SamplingStep, sample, to_images
from bakehouse.models.sampling_options import SamplingOptions
from bakehouse.models.text_encoders import CHUNK_TOKENS, MAX_CHUNKS
from bakehouse.models.tiling import tiled

if TYPE_CHECKING:
    from PIL.Image import Image

OnProgress = Callable[[int, int], None]
"""Called after each call of the network: calls done, calls in all. It may raise `SamplingCancelledError`."""
OnHalved = Callable[[int, int], None]
"""Called when memory runs out: the batch size that did not fit, and the one that is tried next."""

_CACHED_PROMPTS = 512
"""Encoded prompts kept, about 240 KB each for SD 1.x."""


class NotFiniteError(BakehouseError):
    """An image came out as NaN or infinity. It is never returned or saved."""


@dataclass(frozen=True, kw_only=True)
class ImageSpec:
    """One image to generate, with every setting resolved. The same model and arithmetic give the same image."""

    prompt: str
    negative: str = ""
    width: int
    """Pixels, a multiple of the model's `downscale`."""
    height: int
    """Pixels, a multiple of the model's `downscale`."""
    seed: int
    steps: int
    guidance: float
    """Classifier-free guidance; at 1 the negative prompt is ignored."""
    guidance_rescale: float = 0.0
    sampler: str
    schedule: str | None = None
    """See `find_sampler`."""
    variation_seed: int = 0
    """Of the noise that `options.noise.variation_strength` mixes in."""
    options: SamplingOptions = field(default_factory=SamplingOptions)
    clip_skip: int = 1
    chunks: int = 1
    """Passes of the text encoder, 75 tokens each; tokens beyond them are ignored. See `chunks_for`."""

    @property
    def batch_key(self) -> tuple[object, ...]:
        """Images with equal keys can share a batch and come out as they would alone.

        The number of chunks is part of it: padding a short prompt would change what it attends to.
        """
        guidance = self.guidance, self.guidance_rescale
        sampler = self.sampler, self.schedule, self.options
        return self.width, self.height, self.chunks, self.steps, *guidance, *sampler


def chunks_for(model: Denoiser, prompt: str, negative: str = "") -> int:
    """Return how many passes of the text encoder the longer of two prompts needs: 1 to 3, as in A1111."""
    return min(MAX_CHUNKS, max(1, -(-max(model.token_count([prompt, negative])) // CHUNK_TOKENS)))


def check_size(model: Denoiser, width: int, height: int) -> None:
    """Check that a model can generate images of this size.

    Raises:
        UsageError: a side that is not a multiple of the model's pixels per latent.
    """
    multiple = model.downscale
    for name, pixels in (("width", width), ("height", height)):
        if pixels < 1 or pixels % multiple:
            nearest = max(multiple, round(pixels / multiple) * multiple)
            raise UsageError(f"{name} = {pixels}: must be a multiple of {multiple}; the nearest is {nearest}")


def model_key(model: Denoiser) -> str:
    """Return a cache key of all that decides an image beside its `ImageSpec`: weights, schedule and arithmetic."""
    in_8_bits = [name for name, module in model.trainable_modules().items() if is_quantized(module)]
    arithmetic = model.device.type, str(model.dtype), in_8_bits
    return key_of("model", model.fingerprint, *model.sampling_facts(), *arithmetic)


class PromptCache:
    """Encoded prompts, the last 512. Each is encoded alone, so that its batch never changes a bit of it."""

    def __init__(self) -> None:
        self.state: object = None
        """Names what is on the text encoder. Set it before generating: prompts are encoded again when it differs."""
        self._cached: dict[object, Conditioning] = {}

    def prompt(self, model: Denoiser, spec: ImageSpec) -> Conditioning:
        """Return the encoded prompt, [1, 77 x chunks, D]."""
        return self._encode(model, spec, spec.prompt)

    def negative(self, model: Denoiser, spec: ImageSpec) -> Conditioning:
        """Return the encoded negative prompt; for an empty one, what the model was trained to read as empty."""
        return self._encode(model, spec, spec.negative if spec.negative.strip() else None)

    def clear(self) -> None:
        """Forget all prompts."""
        self._cached.clear()

    def _encode(self, model: Denoiser, spec: ImageSpec, text: str | None) -> Conditioning:
        key = text, spec.clip_skip, spec.chunks, self.state
        if key not in self._cached:
            encode = model.encode_negative if text is None else model.encode_prompt
            while len(self._cached) >= _CACHED_PROMPTS:
                del self._cached[next(iter(self._cached))]
            self._cached[key] = encode([text or ""], clip_skip=spec.clip_skip, chunks=spec.chunks)
        return self._cached[key]


def batches(specs: Sequence[ImageSpec], max_size: Callable[[ImageSpec], int]) -> Iterator[list[ImageSpec]]:
    """Split into runs of neighbours with one batch key, at most `max_size(first)` images each.

    An image whose steps depend on it (DPM adaptive) is alone.
    """
    batch: list[ImageSpec] = []
    for spec in specs:
        if batch and (batch[0].batch_key != spec.batch_key or len(batch) >= max_size(batch[0]) or _is_alone(batch[0])):
            yield batch
            batch = []
        batch.append(spec)
    if batch:
        yield batch


def _is_alone(spec: ImageSpec) -> bool:
    """Return whether the sampler's steps depend on the image, so that it cannot share a batch."""
    return find_sampler(spec.sampler, spec.schedule).sampler.adaptive


def generate_images(
    model: Denoiser,
    specs: Sequence[ImageSpec],
    *,
    prompt_cache: PromptCache | None = None,
    on_progress: OnProgress | None = None,
    on_halved: OnHalved | None = None,
) -> list[Image]:
    """Generate images in one batch; when memory runs out, in halves of it.

    Args:
        specs: with one `batch_key`; see `batches`.
        prompt_cache: keeps encoded prompts from one call to the next.
        on_progress: called after each call of the network.
        on_halved: called when a batch did not fit into memory.

    Raises:
        UsageError: a size, sampler or clip skip that this model does not support.
        NotFiniteError: an image came out as NaN or infinity; says why, and what to try.
        BakehouseError: a single image does not fit into memory.
        SamplingCancelledError: by `on_progress`.
    """
    prompt_cache = prompt_cache or PromptCache()
    if len(specs) > 1 and _is_alone(specs[0]):
        return [generate_images(model, [spec], prompt_cache=prompt_cache, on_progress=on_progress)[0] for spec in specs]
    try:
        return to_images(_generate_pixels(model, specs, prompt_cache, on_progress))
    except torch.OutOfMemoryError as e:
        if len(specs) == 1:
            raise BakehouseError(
                f"out of memory: one image of {specs[0].width}x{specs[0].height} does not fit on {model.device}",
                hint="use a smaller size, or compute in half precision (fp16, bf16)",
            ) from e
    half = len(specs) // 2
    torch.cuda.empty_cache()
    if on_halved is not None:
        on_halved(len(specs), half)
    images: list[Image] = []
    for part in (specs[:half], specs[half:]):
        images += generate_images(model, part, prompt_cache=prompt_cache, on_progress=on_progress, on_halved=on_halved)
    return images


@torch.no_grad()
def _generate_pixels(
    model: Denoiser, specs: Sequence[ImageSpec], prompt_cache: PromptCache, on_progress: OnProgress | None
) -> Tensor:
    """Return [B, 3, H, W] in -1..1, every number finite."""
    first = specs[0]
    if any(spec.batch_key != first.batch_key for spec in specs):
        raise ValueError("images with different batch keys cannot share a batch")
    check_size(model, first.width, first.height)
    seeds, sampler = [spec.seed for spec in specs], find_sampler(first.sampler, first.schedule).sampler
    noise = ImageNoise(
        seeds,
        model.latent_shape(first.width, first.height),
        first.options.noise,
        [spec.variation_seed for spec in specs],
    )
    cond = Conditioning.cat([prompt_cache.prompt(model, spec) for spec in specs])
    uncond = None
    if first.guidance != 1 or sampler.needs_unguided:
        uncond = Conditioning.cat([prompt_cache.negative(model, spec) for spec in specs])

    def report(step: SamplingStep) -> None:
        if on_progress is not None:
            on_progress(step.done, step.total)

    guider = ClassifierFreeGuidance(
        cond,
        uncond,
        first.guidance * sampler.guidance_factor,
        first.guidance_rescale,
        keep_unguided=sampler.needs_unguided,
    )
    with tiled(model, first.options.tiling):
        latents = sample(
            model,
            guider,
            noise=noise.first(),
            steps=first.steps,
            sampler=first.sampler,
            schedule=first.schedule,
            seeds=seeds,
            options=first.options,
            on_step=report,
        )
        if broken := _rows_not_finite(latents):
            raise NotFiniteError(_not_finite_message(specs, broken), hint=_not_finite_hint(model))
        pixels = model.decode(latents)
    if broken := _rows_not_finite(pixels):
        hint = "the autoencoder (VAE) fails even in fp32: use another one (model.vae)"
        raise NotFiniteError(_not_finite_message(specs, broken), hint=hint)
    return pixels


def _rows_not_finite(tensor: Tensor) -> list[int]:
    """Return the rows of [B, ...] that hold NaN or infinity."""
    return [i for i, finite in enumerate(torch.isfinite(tensor).flatten(1).all(dim=1).tolist()) if not finite]


def _not_finite_message(specs: Sequence[ImageSpec], rows: Sequence[int]) -> str:
    spec = specs[rows[0]]
    return f"the image of {spec.prompt[:60]!r} with seed {spec.seed} came out as NaN or infinity and was not saved"


def _not_finite_hint(model: Denoiser) -> str:
    if model.dtype is torch.float16:
        return "the network overflows in fp16: compute in bf16 or fp32 (--precision, or train.precision in a recipe)"
    return "the network overflows: lower the adapter's strength or the guidance"
