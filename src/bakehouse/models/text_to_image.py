"""Text to image: the one function that draws, for pictures that are asked for, samples and class images alike."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from bakehouse.core.errors import BakehouseError, UsageError
from bakehouse.core.files import key_of
from bakehouse.models.denoiser import Conditioning, Denoiser
from bakehouse.models.quantize import is_quantized
from bakehouse.models.samplers import initial_noise, sample, to_images
from bakehouse.models.text_encoders import CHUNK_TOKENS, MOST_CHUNKS

if TYPE_CHECKING:
    from PIL.Image import Image

OnProgress = Callable[[int, int], None]
"""Called after each call of the network: done, total."""
OnHalved = Callable[[int, int], None]
"""Called where memory is short: pictures at once that did not fit, and that are tried next."""

_REMEMBERED = 512
"""Prompt embeddings kept, some 240 KB each for SD 1.x."""


class NotFiniteError(BakehouseError):
    """A picture came out as NaN or infinity: nothing of it can be shown or kept."""


@dataclass(frozen=True, kw_only=True)
class ImageSpec:
    """One picture to draw, every number decided. With the same weights and arithmetic it is the same picture."""

    prompt: str
    negative: str = ""
    width: int
    """Pixels, a multiple of the model's `downscale`."""
    height: int
    """Pixels, a multiple of the model's `downscale`."""
    seed: int
    steps: int
    guidance: float
    """Classifier-free guidance; at 1 the negative prompt is not read."""
    guidance_rescale: float = 0.0
    sampler: str
    clip_skip: int = 1
    chunks: int = 1
    """Passes of the text encoder, 75 tokens each; what does not fit in is not read. See `chunks_for`."""

    @property
    def kind(self) -> tuple[object, ...]:
        """Pictures of one kind can share a batch and come out as they would alone.

        The number of chunks belongs to it: padding a short prompt would change what it attends to.
        """
        guidance = self.guidance, self.guidance_rescale
        return self.width, self.height, self.chunks, self.steps, *guidance, self.sampler


def chunks_for(model: Denoiser, prompt: str, negative: str = "") -> int:
    """As many passes of the text encoder as the longer of the two prompts needs, 3 at most, as A1111 does."""
    return min(MOST_CHUNKS, max(1, -(-max(model.token_count([prompt, negative])) // CHUNK_TOKENS)))


def check_size(model: Denoiser, width: int, height: int) -> None:
    """Holds a picture's size against what a model can draw.

    Raises:
        UsageError: a side that is no multiple of the model's pixels per latent.
    """
    grain = model.downscale
    for name, pixels in (("width", width), ("height", height)):
        if pixels < 1 or pixels % grain:
            near = max(grain, round(pixels / grain) * grain)
            raise UsageError(f"{name} = {pixels}: must be a multiple of {grain}; the nearest is {near}")


def model_key(model: Denoiser) -> str:
    """Names everything of a model that decides a picture beside its `ImageSpec`: weights, schedule, arithmetic."""
    in_8_bits = [name for name, part in model.parts().items() if is_quantized(part)]
    arithmetic = model.device.type, str(model.dtype), in_8_bits
    return key_of("model", model.fingerprint, *model.drawing_facts(), *arithmetic)


class Embeddings:
    """Encoded prompts, each made alone so that no neighbour in a batch changes a bit of it; the last 512 are kept."""

    def __init__(self) -> None:
        self.state: object = None
        """What is on the text encoder. Prompts are encoded anew wherever it differs: set it before you draw."""
        self._kept: dict[object, Conditioning] = {}

    def prompt(self, model: Denoiser, spec: ImageSpec) -> Conditioning:
        """What to draw, [1, 77 x chunks, D]."""
        return self._encoded(model, spec, spec.prompt)

    def negative(self, model: Denoiser, spec: ImageSpec) -> Conditioning:
        """What guidance steers away from; an empty one is told apart by the families that learned it otherwise."""
        return self._encoded(model, spec, spec.negative if spec.negative.strip() else None)

    def clear(self) -> None:
        """Forgets all of them."""
        self._kept.clear()

    def _encoded(self, model: Denoiser, spec: ImageSpec, text: str | None) -> Conditioning:
        key = text, spec.clip_skip, spec.chunks, self.state
        if key not in self._kept:
            encode = model.encode_negative if text is None else model.encode_prompt
            while len(self._kept) >= _REMEMBERED:
                del self._kept[next(iter(self._kept))]
            self._kept[key] = encode([text or ""], clip_skip=spec.clip_skip, chunks=spec.chunks)
        return self._kept[key]


def batches(specs: Sequence[ImageSpec], most: Callable[[ImageSpec], int]) -> Iterator[list[ImageSpec]]:
    """Neighbours of one kind, at most `most(first)` together."""
    group: list[ImageSpec] = []
    for spec in specs:
        if group and (group[0].kind != spec.kind or len(group) >= most(group[0])):
            yield group
            group = []
        group.append(spec)
    if group:
        yield group


def draw_images(
    model: Denoiser,
    specs: Sequence[ImageSpec],
    *,
    embeddings: Embeddings | None = None,
    on_progress: OnProgress | None = None,
    on_halved: OnHalved | None = None,
) -> list[Image]:
    """Draws pictures of one kind together; in halves where memory is short.

    Args:
        specs: of one `kind`; see `batches`.
        embeddings: where encoded prompts are kept from one call to the next.
        on_progress: hears how far the sampler is.
        on_halved: hears that a batch did not fit into memory.

    Raises:
        UsageError: a size, sampler or clip skip that this model cannot draw.
        NotFiniteError: a picture came out as NaN or infinity; says why, and what to try.
        BakehouseError: one picture alone does not fit into memory.
    """
    embeddings = embeddings or Embeddings()
    try:
        return to_images(_pixels(model, specs, embeddings, on_progress))
    except torch.OutOfMemoryError as e:
        if len(specs) == 1:
            raise BakehouseError(
                f"one picture of {specs[0].width}x{specs[0].height} does not fit into the memory of {model.device}",
                hint="make it smaller, or compute in half precision (fp16, bf16)",
            ) from e
    half = len(specs) // 2
    torch.cuda.empty_cache()
    if on_halved is not None:
        on_halved(len(specs), half)
    hears = {"embeddings": embeddings, "on_progress": on_progress, "on_halved": on_halved}
    return draw_images(model, specs[:half], **hears) + draw_images(model, specs[half:], **hears)  # type: ignore[arg-type]


@torch.no_grad()
def _pixels(
    model: Denoiser, specs: Sequence[ImageSpec], embeddings: Embeddings, on_progress: OnProgress | None
) -> Tensor:
    """[B, 3, H, W] in -1..1, every number finite."""
    first = specs[0]
    if any(spec.kind != first.kind for spec in specs):
        raise ValueError("pictures of different kinds cannot share a batch")
    check_size(model, first.width, first.height)
    seeds = [spec.seed for spec in specs]
    latents = sample(
        model,
        Conditioning.cat([embeddings.prompt(model, spec) for spec in specs]),
        Conditioning.cat([embeddings.negative(model, spec) for spec in specs]) if first.guidance != 1 else None,
        noise=initial_noise(seeds, model.latent_shape(first.width, first.height)),
        steps=first.steps,
        guidance=first.guidance,
        guidance_rescale=first.guidance_rescale,
        sampler=first.sampler,
        seeds=seeds,
        on_step=None if on_progress is None else lambda done, total, _: on_progress(done, total),
    )
    if broken := _broken(latents):
        raise NotFiniteError(_said(specs, broken), hint=_remedy(model))
    pixels = model.decode(latents)
    if broken := _broken(pixels):
        hint = "its autoencoder computes no numbers even in fp32: use another one (model.vae)"
        raise NotFiniteError(_said(specs, broken), hint=hint)
    return pixels


def _broken(rows: Tensor) -> list[int]:
    """The rows [B, ...] that hold a number that is not finite."""
    return [i for i, fine in enumerate(torch.isfinite(rows).flatten(1).all(dim=1).tolist()) if not fine]


def _said(specs: Sequence[ImageSpec], broken: Sequence[int]) -> str:
    spec = specs[broken[0]]
    return f"the picture of {spec.prompt[:60]!r} with seed {spec.seed} came out as NaN or infinity: it was not kept"


def _remedy(model: Denoiser) -> str:
    if model.dtype is torch.float16:
        return "the network overflows in fp16: compute in bf16 or fp32 (--precision, or train.precision in a recipe)"
    return "the network overflows: lower the adapter's weight or the guidance"
