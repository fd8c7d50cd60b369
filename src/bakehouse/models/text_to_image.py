"""The one function that generates images, for `generate`, samples during training and class images.

Whatever an image is made from (words, an image, a mask), it is one or two passes of the same sampling loop.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from bakehouse.core.errors import BakehouseError, UsageError
from bakehouse.core.files import key_of
from bakehouse.data.weighted_prompt import PromptText, StepPrompts
from bakehouse.models.denoiser import Denoiser
from bakehouse.models.guidance import Guider, StepwiseGuidance
from bakehouse.models.image_noise import ImageNoise
from bakehouse.models.image_to_image import InitImage, InitLatents, in_order, steps_of_strength
from bakehouse.models.inpainting_model import mask_channels
from bakehouse.models.kept_projections import kept_projections
from bakehouse.models.latent_preview import OnPreview, Previews
from bakehouse.models.packed_convolutions import packed_convolutions
from bakehouse.models.prompt_guiders import PromptCache, make_guider
from bakehouse.models.quantize_int8 import is_quantized
from bakehouse.models.region_map import ImageRegion, RegionMap
from bakehouse.models.regional_attention import regional_attention
from bakehouse.models.samplers import find_sampler
from bakehouse.models.sampling import OnStep, SamplingStep, sample, to_images
from bakehouse.models.sampling_options import SamplingOptions
from bakehouse.models.second_pass import Enlarge, SecondPass, enlarge_latents
from bakehouse.models.text_encoders import CHUNK_TOKENS
from bakehouse.models.textual_inversion import TextualInversions
from bakehouse.models.tiling import tiled

if TYPE_CHECKING:
    from PIL.Image import Image

OnProgress = Callable[[int, int], None]
"""Called after each call of the network: calls done, calls in all. It may raise `SamplingCancelledError`.

With a second pass, calls in all are an estimate until that pass begins.
"""
OnHalved = Callable[[int, int], None]
"""Called when memory runs out: the batch size that did not fit, and the one that is tried next."""


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
    strength: float | None = None
    """0 to 1: how much of an image is replaced, which `generate_images` is given as well. None: made from noise."""
    second_pass: SecondPass | None = None
    """Enlarge the image and sample it again (hires fix)."""
    step_prompts: tuple[StepPrompts, ...] = ()
    """What the prompts mean at each step. Empty: `prompt` and `negative` are plain text, `chunks` long."""
    regions: tuple[ImageRegion, ...] = ()
    """Parts of the image with prompts of their own; they need `step_prompts`."""
    region_base: float = 0.0
    """0 to 1: the share of the main prompt where regions are."""

    @property
    def schedules(self) -> tuple[tuple[StepPrompts, ...], ...]:
        """What each prompt means at each step: the main prompt, then those of the regions."""
        return self.step_prompts, *(region.step_prompts for region in self.regions)

    @property
    def steps_run(self) -> int:
        """Steps that are run, in all passes."""
        first = self.steps if self.strength is None else steps_of_strength(self.steps, self.strength)
        return first + (self.second_pass.steps_run if self.second_pass else 0)

    @property
    def final_size(self) -> tuple[int, int]:
        """Width and height of the image in pixels, after the last pass."""
        return (self.second_pass.width, self.second_pass.height) if self.second_pass else (self.width, self.height)

    @property
    def batch_key(self) -> tuple[object, ...]:
        """Images with equal keys can share a batch and come out as they would alone.

        The number of chunks is part of it: padding a short prompt would change what it attends to.
        """
        guidance = self.guidance, self.guidance_rescale
        changes = tuple(self._chunk_changes(schedule) for schedule in self.schedules)
        sampler = self.sampler, self.schedule, self.options
        how = *guidance, self.needs_negative, *sampler, self.strength, self.second_pass, self.region_base
        return self.width, self.height, changes, bool(self.step_prompts), self.steps, *how

    def _chunk_changes(self, schedule: tuple[StepPrompts, ...]) -> tuple[tuple[int, int], ...]:
        """Return the last step of each number of chunks, and the number."""
        chunks = [(prompts.last_step, prompts.chunks) for prompts in schedule] or [(self.steps, self.chunks)]
        return tuple(one for one, after in zip(chunks, [*chunks[1:], (0, 0)], strict=True) if one[1] != after[1])

    @property
    def needs_negative(self) -> bool:
        """Whether the prediction for the negative prompt is needed."""
        composed = any(not prompts.is_plain for prompts in self.step_prompts)
        return self.guidance != 1 or composed or find_sampler(self.sampler, self.schedule).sampler.needs_unguided


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


@dataclass(frozen=True, kw_only=True)
class Watch:
    """What `generate_images` reports while it works."""

    on_progress: OnProgress | None = None
    """Called after each call of the network."""
    on_halved: OnHalved | None = None
    """Called when a batch did not fit into memory."""
    on_preview: OnPreview | None = None
    """Called with previews, every `preview_every` steps."""
    preview_every: int = 0
    """0: none."""
    first_image: int = 0
    """Number of the batch's first image, which previews tell."""


def _is_alone(spec: ImageSpec) -> bool:
    """Return whether the sampler's steps depend on the image, so that it cannot share a batch."""
    return find_sampler(spec.sampler, spec.schedule).sampler.adaptive


def generate_images(
    model: Denoiser,
    specs: Sequence[ImageSpec],
    *,
    images: Sequence[InitImage] = (),
    enlarge: Enlarge | None = None,
    prompt_cache: PromptCache | None = None,
    region_map: RegionMap | None = None,
    watch: Watch | None = None,
) -> list[Image]:
    """Generate images in one batch; when memory runs out, in halves of it.

    Args:
        specs: with one `batch_key`; see `batches`.
        images: what to begin from, one for each spec with a strength.
        enlarge: for second passes whose upscaler is not one of latents.
        prompt_cache: keeps encoded prompts from one call to the next.
        region_map: what adapters on the model ask for their strengths, if these differ by region.
        watch: is told of progress, previews and halved batches.

    Raises:
        UsageError: a size, sampler or clip skip that this model does not support.
        NotFiniteError: an image came out as NaN or infinity; says why, and what to try.
        BakehouseError: a single image does not fit into memory.
        SamplingCancelledError: by `watch`.
        ValueError: specs that cannot share a batch, or not one image for each that begins from one.
    """
    prompt_cache, region_map, watch = prompt_cache or PromptCache(), region_map or RegionMap(), watch or Watch()
    if len(specs) > 1 and _is_alone(specs[0]):
        parts = [slice(i, i + 1) for i in range(len(specs))]
        return _in_parts(model, specs, parts, images, enlarge, prompt_cache, region_map, watch)
    try:
        return to_images(_generate_pixels(model, specs, images, enlarge, prompt_cache, region_map, watch))
    except torch.OutOfMemoryError as e:
        if len(specs) == 1:
            width, height = specs[0].final_size
            raise BakehouseError(
                f"out of memory: one image of {width}x{height} does not fit on {model.device}",
                hint="use a smaller size, or compute in half precision (fp16, bf16)",
            ) from e
    half = len(specs) // 2
    torch.cuda.empty_cache()
    if watch.on_halved is not None:
        watch.on_halved(len(specs), half)
    parts = [slice(0, half), slice(half, len(specs))]
    return _in_parts(model, specs, parts, images, enlarge, prompt_cache, region_map, watch)


def _in_parts(
    model: Denoiser,
    specs: Sequence[ImageSpec],
    parts: Sequence[slice],
    images: Sequence[InitImage],
    enlarge: Enlarge | None,
    prompt_cache: PromptCache,
    region_map: RegionMap,
    watch: Watch,
) -> list[Image]:
    made: list[Image] = []
    for part in parts:
        watching = replace(watch, first_image=watch.first_image + part.start)
        made += generate_images(
            model,
            specs[part],
            images=images[part],
            enlarge=enlarge,
            prompt_cache=prompt_cache,
            region_map=region_map,
            watch=watching,
        )
    return made


@torch.no_grad()
def _generate_pixels(
    model: Denoiser,
    specs: Sequence[ImageSpec],
    images: Sequence[InitImage],
    enlarge: Enlarge | None,
    prompt_cache: PromptCache,
    region_map: RegionMap,
    watch: Watch,
) -> Tensor:
    """Return [B, 3, H, W] in -1..1, every number finite."""
    first = specs[0]
    if any(spec.batch_key != first.batch_key for spec in specs):
        raise ValueError("images with different batch keys cannot share a batch")
    if len(images) != (0 if first.strength is None else len(specs)):
        raise ValueError(f"{len(specs)} specs with strength {first.strength} and {len(images)} images to begin from")
    check_size(model, first.width, first.height)
    unet = model.trainable_modules()["lora_unet"]
    plain = unet._compiled_call_impl is None  # a compiled network would be compiled again
    with (
        tiled(model, first.options.tiling),
        regional_attention(model, region_map, specs),
        packed_convolutions(unet, on=plain),
        kept_projections(unet, on=plain and not first.regions),
    ):
        passes = _Passes(model, make_guider(model, specs, prompt_cache, region_map), specs, watch)
        latents = passes.first(images)
        _check_finite(model, specs, latents)
        if first.second_pass is not None:
            latents = passes.second(first.second_pass, enlarge_latents(model, latents, first.second_pass, enlarge))
            _check_finite(model, specs, latents)
        pixels = model.decode(latents)
    if broken := _rows_not_finite(pixels):
        hint = "the autoencoder (VAE) fails even in fp32: use another one (model.vae)"
        raise NotFiniteError(_not_finite_message(specs, broken), hint=hint)
    return pixels


class _Passes:
    """The passes of one batch through the sampling loop: what they share, and how far they have come."""

    def __init__(self, model: Denoiser, guider: Guider, specs: Sequence[ImageSpec], watch: Watch) -> None:
        self._model, self._spec, self._watch = model, specs[0], watch
        self._seeds = [spec.seed for spec in specs]
        self._variation_seeds = [spec.variation_seed for spec in specs]
        self._guider: Guider = guider
        self._stepwise = guider if isinstance(guider, StepwiseGuidance) else None
        self._previews: Previews | None = None
        if watch.on_preview is not None and watch.preview_every and self._spec.steps_run:
            self._guider = self._previews = Previews(
                model,
                guider,
                watch.on_preview,
                every=watch.preview_every,
                steps=self._spec.steps_run,
                first=watch.first_image,
            )
        self._calls = self._calls_before = 0
        """Calls of the network so far, and those of the passes before this one."""
        self._this_pass, self._later = 0, self._spec.steps_run
        """Steps of the present pass and of those after it."""
        self._is_second = False
        self._beside: Tensor | None = None

    def first(self, images: Sequence[InitImage]) -> Tensor:
        """Return the latents of the first pass: from noise, or from images."""
        spec = self._spec
        noise = self._noise(spec.width, spec.height)
        self._beside = mask_channels(self._model, images, (noise.shape[-2], noise.shape[-1]), len(noise))
        if spec.strength is None:
            return self._sample(noise, spec.steps)
        begin = InitLatents(self._model, images, noise)
        skipped = spec.steps - steps_of_strength(spec.steps, spec.strength)
        return self._sample(noise, spec.steps, begin.latents, skipped, begin.hold)

    def second(self, second: SecondPass, latents: Tensor) -> Tensor:
        """Return the latents of a second pass over enlarged ones, with new noise from the same seeds."""
        steps, self._is_second = second.schedule_steps, True
        if self._stepwise is not None:
            self._stepwise.advance(1, 1)  # what prompts become by the end of the first pass they stay, as in A1111
        noise = self._noise(second.width, second.height)
        self._beside = mask_channels(self._model, (), (noise.shape[-2], noise.shape[-1]), len(noise))
        return self._sample(noise, steps, latents, steps - second.steps_run)

    def _noise(self, width: int, height: int) -> Tensor:
        shape = self._model.latent_shape(width, height)
        return ImageNoise(self._seeds, shape, self._spec.options.noise, self._variation_seeds).first()

    def _sample(
        self, noise: Tensor, steps: int, latents: Tensor | None = None, skipped: int = 0, hold: OnStep | None = None
    ) -> Tensor:
        if latents is not None and skipped == steps:
            return latents
        self._this_pass = steps - skipped
        self._later -= self._this_pass
        self._calls_before = self._calls
        return sample(
            self._model,
            self._guider,
            noise=noise,
            image_latents=latents,
            start_step=skipped,
            steps=steps,
            sampler=self._spec.sampler,
            schedule=self._spec.schedule,
            seeds=self._seeds,
            options=self._spec.options,
            on_step=in_order(hold, self._report),
            beside=self._beside,
        )

    def _report(self, step: SamplingStep) -> None:
        if self._stepwise is not None and not self._is_second:
            # Steps count from the first that is run, on the scale of all steps, as in A1111.
            self._stepwise.advance(step.done * self._this_pass, step.total * self._spec.steps)
        self._calls = self._calls_before + step.done
        total = self._calls_before + step.total + step.total * self._later // self._this_pass
        if self._watch.on_progress is not None:
            self._watch.on_progress(self._calls, total)
        if self._previews is not None:
            self._previews.show(self._calls, total)


def _check_finite(model: Denoiser, specs: Sequence[ImageSpec], latents: Tensor) -> None:
    if broken := _rows_not_finite(latents):
        raise NotFiniteError(_not_finite_message(specs, broken), hint=_not_finite_hint(model))


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
