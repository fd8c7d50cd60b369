"""Text to image: the one function that generates images, for `generate`, samples during training and class images."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from bakehouse.core.errors import BakehouseError, UsageError
from bakehouse.core.files import key_of
from bakehouse.data.weighted_prompt import PromptText, StepPrompts, prompts_at
from bakehouse.models.denoiser import Conditioning, Denoiser
from bakehouse.models.guidance import ClassifierFreeGuidance, ComposedGuidance, Guider, StepwiseGuidance
from bakehouse.models.quantize_int8 import is_quantized
from bakehouse.models.sampling import SamplingStep, initial_noise, sample, to_images
from bakehouse.models.text_encoders import CHUNK_TOKENS
from bakehouse.models.textual_inversion import TextualInversions

if TYPE_CHECKING:
    from PIL.Image import Image

OnProgress = Callable[[int, int], None]
"""Called after each call of the network: calls done, calls in all. It may raise `SamplingCancelledError`."""
OnHalved = Callable[[int, int], None]
"""Called when memory runs out: the batch size that did not fit, and the one that is tried next."""

_CACHED_CHUNKS = 512
"""Chunks of encoded prompts kept, about 240 KB each for SD 1.x."""


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
    clip_skip: int = 1
    chunks: int = 1
    """Passes of the text encoder, 75 tokens each; tokens beyond them are ignored. See `chunks_for`."""
    step_prompts: tuple[StepPrompts, ...] = ()
    """What the prompts mean at each step. Empty: `prompt` and `negative` are plain text, `chunks` long."""

    @property
    def batch_key(self) -> tuple[object, ...]:
        """Images with equal keys can share a batch and come out as they would alone.

        The number of chunks is part of it: padding a short prompt would change what it attends to.
        """
        guidance = self.guidance, self.guidance_rescale
        chunks = [(prompts.last_step, prompts.chunks) for prompts in self.step_prompts] or [(self.steps, self.chunks)]
        changes = tuple(one for one, after in zip(chunks, [*chunks[1:], (0, 0)], strict=True) if one[1] != after[1])
        how = *guidance, self.needs_negative, self.sampler
        return self.width, self.height, changes, bool(self.step_prompts), self.steps, *how

    @property
    def needs_negative(self) -> bool:
        """Whether the prediction for the negative prompt is needed."""
        return self.guidance != 1 or any(not prompts.is_plain for prompts in self.step_prompts)


def chunks_for(model: Denoiser, prompt: str, negative: str = "") -> int:
    """Return how many passes of the text encoder the longer of two plain prompts needs."""
    return max(1, -(-max(model.token_count([prompt, negative])) // CHUNK_TOKENS))


def with_chunks(
    model: Denoiser, schedule: Sequence[StepPrompts], inversions: TextualInversions | None = None
) -> tuple[StepPrompts, ...]:
    """Return a schedule with the number of chunks that the longest prompt of each step needs."""
    counts: dict[PromptText, int] = {}

    def count(text: PromptText) -> int:
        if text not in counts:
            counts[text] = len(model.chunk_token_counts(text, inversions))
        return counts[text]

    return tuple(
        replace(prompts, chunks=max(count(text) for text in (prompts.negative, *(c.text for c in prompts.conditions))))
        for prompts in schedule
    )


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
    """Encoded prompts, the last 512 chunks. Each is encoded alone, so that its batch never changes a bit of it."""

    def __init__(self) -> None:
        self.state: object = None
        """Names what is on the text encoder. Set it before generating: prompts are encoded again when it differs."""
        self.inversions: TextualInversions | None = None
        """Textual inversions that weighted prompts may name."""
        self._cached: dict[object, tuple[Conditioning, int]] = {}
        """Oldest first, with the number of chunks."""

    def plain(self, model: Denoiser, text: str, spec: ImageSpec, *, is_negative: bool = False) -> Conditioning:
        """Return plain text encoded, [1, 77 x chunks, D]; of an empty negative prompt what means empty to the model."""
        empty = is_negative and not text.strip()
        encode = model.encode_negative if empty else model.encode_prompt
        key = None if empty else text, spec.clip_skip, spec.chunks, self.state
        how = {"clip_skip": spec.clip_skip, "chunks": spec.chunks}
        return self._kept(key, spec.chunks, lambda: encode(["" if empty else text], **how))

    def weighted(
        self, model: Denoiser, text: PromptText, spec: ImageSpec, chunks: int, *, is_negative: bool = False
    ) -> Conditioning:
        """Return a weighted prompt encoded, [1, 77 x chunks, D]."""
        key = text, is_negative and text.is_empty, spec.clip_skip, chunks, self.state
        how = {"clip_skip": spec.clip_skip, "chunks": chunks}
        return self._kept(
            key, chunks, lambda: model.encode_text(text, inversions=self.inversions, is_negative=is_negative, **how)
        )

    def clear(self) -> None:
        """Forget all prompts."""
        self._cached.clear()

    def _kept(self, key: object, chunks: int, encode: Callable[[], Conditioning]) -> Conditioning:
        if key not in self._cached:
            kept = sum(count for _, count in self._cached.values())
            while self._cached and kept + chunks > _CACHED_CHUNKS:
                kept -= self._cached.pop(next(iter(self._cached)))[1]
            self._cached[key] = encode(), chunks
        return self._cached[key][0]


def batches(specs: Sequence[ImageSpec], max_size: Callable[[ImageSpec], int]) -> Iterator[list[ImageSpec]]:
    """Split into runs of neighbours with one batch key, at most `max_size(first)` images each."""
    batch: list[ImageSpec] = []
    for spec in specs:
        if batch and (batch[0].batch_key != spec.batch_key or len(batch) >= max_size(batch[0])):
            yield batch
            batch = []
        batch.append(spec)
    if batch:
        yield batch


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
    seeds = [spec.seed for spec in specs]
    guider = _guider(model, specs, prompt_cache)

    def report(step: SamplingStep) -> None:
        if isinstance(guider, StepwiseGuidance):
            guider.advance(step.done, step.total)
        if on_progress is not None:
            on_progress(step.done, step.total)

    latents = sample(
        model,
        guider,
        noise=initial_noise(seeds, model.latent_shape(first.width, first.height)),
        steps=first.steps,
        sampler=first.sampler,
        seeds=seeds,
        on_step=report,
    )
    if broken := _rows_not_finite(latents):
        raise NotFiniteError(_not_finite_message(specs, broken), hint=_not_finite_hint(model))
    pixels = model.decode(latents)
    if broken := _rows_not_finite(pixels):
        hint = "the autoencoder (VAE) fails even in fp32: use another one (model.vae)"
        raise NotFiniteError(_not_finite_message(specs, broken), hint=hint)
    return pixels


def _guider(model: Denoiser, specs: Sequence[ImageSpec], cache: PromptCache) -> Guider:
    """Return what guides a batch: plain prompts, or weighted ones that may change during sampling."""
    first = specs[0]
    how = first.guidance, first.guidance_rescale
    if not any(spec.step_prompts for spec in specs):
        cond = Conditioning.cat([cache.plain(model, spec.prompt, spec) for spec in specs])
        if not first.needs_negative:
            return ClassifierFreeGuidance(cond, None, *how)
        negative = [cache.plain(model, spec.negative, spec, is_negative=True) for spec in specs]
        return ClassifierFreeGuidance(cond, Conditioning.cat(negative), *how)
    ends = sorted({prompts.last_step for spec in specs for prompts in spec.step_prompts})

    def of_range(number: int) -> Guider:
        now = [prompts_at(spec.step_prompts, ends[number]) for spec in specs]
        pairs = list(zip(specs, now, strict=True))
        cond = Conditioning.cat(
            [cache.weighted(model, c.text, spec, p.chunks) for spec, p in pairs for c in p.conditions]
        )
        if not first.needs_negative:
            return ClassifierFreeGuidance(cond, None, *how)
        negative = [cache.weighted(model, p.negative, spec, p.chunks, is_negative=True) for spec, p in pairs]
        if all(prompts.is_plain for prompts in now):
            return ClassifierFreeGuidance(cond, Conditioning.cat(negative), *how)
        weights = [[condition.weight for condition in prompts.conditions] for prompts in now]
        return ComposedGuidance(cond, Conditioning.cat(negative), weights, *how)

    return StepwiseGuidance(ends, of_range)


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
