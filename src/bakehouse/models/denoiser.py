"""`Denoiser`: the interface of a base model of any family, and its encoded images and prompts."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bakehouse.core.files import sha256_bytes
from bakehouse.data.weighted_prompt import PromptText
from bakehouse.models.learned_words import LearnedWords
from bakehouse.models.noise_schedule import NoiseSchedule
from bakehouse.models.textual_inversion import TextualInversions


@dataclass(frozen=True)
class Moments:
    """Moments of the image encoder's normal distribution over latents, in the model's scale.

    `mean` and `std` are [B, C, h, w]. They are cached instead of samples, so that each epoch samples anew.
    """

    mean: Tensor
    std: Tensor

    def to(self, device: torch.device) -> Moments:
        """Return the same moments on a device."""
        return Moments(self.mean.to(device), self.std.to(device))

    def sample(self, generator: torch.Generator | None = None) -> Tensor:
        """Return latents sampled from it; the noise is made on the CPU, so that it is the same on every device."""
        noise = torch.randn(self.mean.shape, generator=generator, dtype=torch.float32)
        return self.mean + self.std * noise.to(self.mean.device, self.mean.dtype)


@dataclass(frozen=True)
class Conditioning:
    """Encoded prompts: `hidden` [B, L, D]; SDXL adds `pooled` [B, P] and `sizes` [B, 6]."""

    hidden: Tensor
    pooled: Tensor | None = None
    sizes: Tensor | None = None
    """Original height and width, top and left of the crop, target height and width, in pixels."""

    def with_sizes(self, sizes: Tensor | None) -> Conditioning:
        """Return the prompts with the images' sizes [B, 6] int (Podell et al. 2023, arXiv:2307.01952, section 2.2).

        Nothing changes for None, nor for families without size conditions, which have no `pooled` either. Without
        sizes, `forward` of a family that needs them uses those of the latents, uncropped.

        Raises:
            ValueError: `sizes` is not [B, 6].
        """
        if sizes is None or self.pooled is None:
            return self
        if tuple(sizes.shape) != (len(self), 6):
            raise ValueError(f"sizes are {tuple(sizes.shape)}: expected {(len(self), 6)}")
        return replace(self, sizes=sizes.to(self.pooled.device, torch.int64))

    def to(self, *args: torch.device | torch.dtype | str) -> Conditioning:
        """Return a copy that is moved or cast, like a tensor; sizes stay integers."""

        def moved(x: Tensor) -> Tensor:
            for arg in args:
                if x.is_floating_point() or not isinstance(arg, torch.dtype):
                    x = x.to(arg)
            return x

        return self._map(moved)

    def __len__(self) -> int:
        return len(self.hidden)

    def __getitem__(self, rows: slice | list[int] | Tensor) -> Conditioning:
        return self._map(lambda x: x[rows])

    def _map(self, f: Callable[[Tensor], Tensor]) -> Conditioning:
        return Conditioning(
            f(self.hidden),
            None if self.pooled is None else f(self.pooled),
            None if self.sizes is None else f(self.sizes),
        )

    @staticmethod
    def cat(conditionings: Sequence[Conditioning]) -> Conditioning:
        """Concatenate along the batch; shorter prompts are padded with their last token's row.

        Raises:
            ValueError: only some have `pooled` or `sizes`.
        """
        longest = max(c.hidden.shape[1] for c in conditionings)

        def padded(h: Tensor) -> Tensor:
            missing = longest - h.shape[1]
            return h if not missing else torch.cat([h, h[:, -1:].expand(-1, missing, -1)], dim=1)

        def joined(xs: Sequence[Tensor | None]) -> Tensor | None:
            present = [x for x in xs if x is not None]
            if present and len(present) != len(xs):
                raise ValueError("only some of the conditionings have a pooled vector or sizes")
            return torch.cat(present) if present else None

        hidden = torch.cat([padded(c.hidden) for c in conditionings])
        return Conditioning(hidden, joined([c.pooled for c in conditionings]), joined([c.sizes for c in conditionings]))


class Denoiser(nn.Module, ABC):
    """A base model: encodes images and prompts, predicts, decodes. Families override what differs."""

    family: str
    """`sd1`, `sd2`, `sdxl`: for metadata and file formats only; behaviour is asked of `models.families`."""
    name: str
    """What the user called it: `crumb`, a Hub id, a path."""
    schedule: NoiseSchedule
    latent_channels: int = 4
    downscale: int = 8
    """Pixels per latent on each axis."""
    needs_sizes: bool = False
    """Whether the network is conditioned on each image's size and crop (`Conditioning.with_sizes`)."""
    native_size: int
    """Side of the images that the model was trained on, in pixels."""
    inpaints: bool = False
    """Whether the network also reads a mask and a masked image (`inpainting_model`): `forward` takes x_t with them."""
    words: LearnedWords
    """Words that stand for the vectors of an adapter, in all that is encoded."""
    notes: tuple[str, ...] = ()
    """Messages for the user about how this model was found or read."""

    @property
    def device(self) -> torch.device:
        return next(self.parameters()).device

    def latent_shape(self, width: int, height: int) -> tuple[int, int, int]:
        """Return channels, rows and columns of the latents of an image of this size in pixels."""
        return self.latent_channels, height // self.downscale, width // self.downscale

    @property
    @abstractmethod
    def fingerprint(self) -> str:
        """sha256 over the weights, for the keys of caches that depend on the model."""

    def sampling_facts(self) -> tuple[object, ...]:
        """Return what decides an image beside the weights: the noise schedule, and how an empty prompt is encoded."""
        return self.schedule.prediction, sha256_bytes(self.schedule.alphas_cumprod.numpy().tobytes())

    @property
    def origin(self) -> Mapping[str, str]:
        """sha256 of every file that decides what the model computes, by `folder/file`."""
        return {"weights": self.fingerprint}

    @property
    @abstractmethod
    def dtype(self) -> torch.dtype:
        """The type of the denoising network's weights."""

    @abstractmethod
    def trainable_modules(self) -> dict[str, nn.Module]:
        """Return the trainable networks by kohya's prefix: `lora_unet`, `lora_te` (SDXL: `lora_te1`, `lora_te2`)."""

    @abstractmethod
    def blocks(self) -> list[nn.Module]:
        """Return the parts of the denoising network, nearly all of it, that are computed one after the other."""

    def use_zero_terminal_snr(self) -> None:
        """Rescale the schedule to zero terminal SNR, for losses, samples and saved files. Idempotent."""
        self.schedule = self.schedule.rescaled_to_zero_terminal_snr()

    def use_channels_last(self) -> None:
        """Store the UNet's weights channels-last, the fastest memory format for convolutions.

        The VAE is left alone: cached latents are shared between runs and must not differ by rounding.
        """
        self.trainable_modules()["lora_unet"].to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    @abstractmethod
    def use_attention(self, kernel: str) -> None:
        """Select the attention kernel: `sdpa` (PyTorch) or `xformers`.

        Raises:
            UsageError: xformers is not installed.
        """

    @abstractmethod
    def use_compiler(self) -> None:
        """Compile the denoising network at its first call."""

    @abstractmethod
    def encode_image(self, pixels: Tensor) -> Moments:
        """Encode pixels [B, 3, H, W] in -1..1, H and W multiples of `downscale`, to moments [B, C, H/8, W/8]."""

    @abstractmethod
    def encode_prompt(self, prompts: Sequence[str], *, clip_skip: int = 1, chunks: int = 1) -> Conditioning:
        """Encode prompts to [B, 77 x chunks, D], with gradients. `clip_skip` counts as in A1111 (1: last layer)."""

    def encode_negative(self, prompts: Sequence[str], *, clip_skip: int = 1, chunks: int = 1) -> Conditioning:
        """Encode negative prompts. Families that encode an empty one in another way override this."""
        return self.encode_prompt(prompts, clip_skip=clip_skip, chunks=chunks)

    @abstractmethod
    def encode_text(
        self,
        text: PromptText,
        *,
        clip_skip: int = 1,
        chunks: int = 1,
        inversions: TextualInversions | None = None,
        is_negative: bool = False,
    ) -> Conditioning:
        """Encode one weighted prompt to [1, 77 x chunks, D].

        A prompt without weights that fits into one chunk is encoded as `encode_prompt` and `encode_negative` do.

        Args:
            clip_skip: counts as in A1111.
            chunks: chunks of the result; empty ones are added. A prompt that needs more has as many as it needs.
            inversions: textual inversions that the prompt may name.
            is_negative: whether it is a negative prompt, which some families encode in another way if it is empty.
        """

    @abstractmethod
    def chunk_token_counts(self, text: PromptText, inversions: TextualInversions | None = None) -> list[int]:
        """Return the number of tokens in each chunk of a weighted prompt, 75 at most; at least one chunk."""

    @abstractmethod
    def textual_inversions(self, files: Mapping[str, Path]) -> TextualInversions:
        """Return files of textual inversions, by name, for prompts of this model."""

    @property
    @abstractmethod
    def tokenizers(self) -> Mapping[str, Any]:
        """Hugging Face tokenizers by diffusers' names: `tokenizer`, for SDXL `tokenizer_2` too."""

    @abstractmethod
    def token_count(self, prompts: Sequence[str]) -> list[int]:
        """Return the number of tokens of each prompt, without start and end; those after 75 x `chunks` are ignored."""

    @abstractmethod
    def tokens(self, prompts: Sequence[str]) -> list[list[str]]:
        """Return the tokens of each prompt as text, without start and end tokens: `zwx` -> `z`, `wx</w>`."""

    @abstractmethod
    def single_token_words(self) -> list[str]:
        """Return words that are a single token, from frequent to rare in the tokenizer's own training text."""

    @abstractmethod
    def use_gradient_checkpointing(self, on: bool = True) -> None:
        """Recompute activations in the backward pass: less memory for about a third more time."""

    @abstractmethod
    def forward(self, x_t: Tensor, t: Tensor, cond: Conditioning) -> Tensor:
        """Return the raw prediction [B, C, h, w] for x_t [B, C, h, w] and timesteps [B]."""

    @abstractmethod
    def decode(self, latents: Tensor) -> Tensor:
        """Decode latents [B, C, h, w] to pixels [B, 3, 8h, 8w] in -1..1."""

    @abstractmethod
    def save(
        self, folder: Path, *, dtype: torch.dtype = torch.float16, unet: Mapping[str, Tensor] | None = None
    ) -> None:
        """Save as a diffusers pipeline folder; `unet` are all tensors of the denoising network, in place of its own."""
