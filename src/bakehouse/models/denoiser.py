"""The one object that everything turns around: a base model of any family behind four verbs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bakehouse.core.files import sha256_bytes
from bakehouse.models.noise_schedule import NoiseSchedule


@dataclass(frozen=True)
class Moments:
    """What the image encoder says: a normal distribution over latents, already in the model's scale.

    `mean` and `std` are [B, C, h, w]; caching these instead of one draw keeps every epoch's draw fresh.
    """

    mean: Tensor
    std: Tensor

    def sample(self, generator: torch.Generator | None = None) -> Tensor:
        """One draw; the noise comes from the CPU so that every device draws the same."""
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
        """The same prompts with the pictures' sizes [B, 6] int (Podell et al. 2023, arXiv:2307.01952, section 2.2).

        Families without size conditions have no `pooled` either: for them, and for None, nothing changes. Where a
        family needs sizes and was given none, `forward` takes those of the latents it is given, uncropped.

        Raises:
            ValueError: `sizes` is not [B, 6].
        """
        if sizes is None or self.pooled is None:
            return self
        if tuple(sizes.shape) != (len(self), 6):
            raise ValueError(f"sizes are {tuple(sizes.shape)}: expected {(len(self), 6)}")
        return replace(self, sizes=sizes.to(self.pooled.device, torch.int64))

    def to(self, *args: torch.device | torch.dtype | str) -> Conditioning:
        """Moved or cast, like a tensor; sizes stay whole numbers."""

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
    def cat(parts: Sequence[Conditioning]) -> Conditioning:
        """Stacked along the batch; prompts of different length are padded by repeating their last token's row.

        Raises:
            ValueError: some have `pooled` or `sizes` and others have not.
        """
        longest = max(p.hidden.shape[1] for p in parts)

        def padded(h: Tensor) -> Tensor:
            missing = longest - h.shape[1]
            return h if not missing else torch.cat([h, h[:, -1:].expand(-1, missing, -1)], dim=1)

        def joined(xs: Sequence[Tensor | None]) -> Tensor | None:
            present = [x for x in xs if x is not None]
            if present and len(present) != len(xs):
                raise ValueError("some of the conditionings have a pooled vector or sizes, and others have not")
            return torch.cat(present) if present else None

        hidden = torch.cat([padded(p.hidden) for p in parts])
        return Conditioning(hidden, joined([p.pooled for p in parts]), joined([p.sizes for p in parts]))


class Denoiser(nn.Module, ABC):
    """A base model: encodes pictures and prompts, predicts, decodes. A family answers; nobody asks its kind."""

    family: str
    """`sd1`, `sd2`, `sdxl`: for metadata and file formats only."""
    name: str
    """What the user called it: `crumb`, a Hub id, a path."""
    schedule: NoiseSchedule
    latent_channels: int = 4
    downscale: int = 8
    """Pixels per latent on each axis."""
    needs_sizes: bool = False
    """Whether the network is told each picture's size and crop (`Conditioning.with_sizes`)."""
    native_size: int
    """The picture's side that the model was trained on, in pixels."""
    notes: tuple[str, ...] = ()
    """What the user should hear about how this model was found or read."""

    @property
    def device(self) -> torch.device:
        return next(self.parameters()).device

    def latent_shape(self, width: int, height: int) -> tuple[int, int, int]:
        """Channels, rows and columns of the latents of a picture of so many pixels."""
        return self.latent_channels, height // self.downscale, width // self.downscale

    @property
    @abstractmethod
    def fingerprint(self) -> str:
        """sha256 over the weights: the key of every cache that depends on the model."""

    def drawing_facts(self) -> tuple[object, ...]:
        """What decides a picture and stands in no weight: how the schedule runs, and what an empty prompt means."""
        return self.schedule.prediction, sha256_bytes(self.schedule.alphas_cumprod.numpy().tobytes())

    @property
    def origin(self) -> Mapping[str, str]:
        """sha256 of every file that decides what the model computes, by the file's name and its folder's."""
        return {"weights": self.fingerprint}

    @property
    @abstractmethod
    def dtype(self) -> torch.dtype:
        """Of the denoising network's weights."""

    @abstractmethod
    def parts(self) -> dict[str, nn.Module]:
        """The trainable networks by kohya's prefix: `lora_unet`, `lora_te` (SDXL: `lora_te1`, `lora_te2`)."""

    def use_zero_terminal_snr(self) -> None:
        """Rescales the schedule to pure noise at its end, for losses, samples and saved files alike. Twice is once."""
        self.schedule = self.schedule.rescaled_to_zero_terminal_snr()

    def use_channels_last(self) -> None:
        """Keeps the weights of the UNet's convolutions pixel by pixel, as they are computed fastest.

        The VAE stays as it is: what it encodes is kept for other runs, and should not differ by rounding.
        """
        self.parts()["lora_unet"].to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    @abstractmethod
    def use_attention(self, kernel: str) -> None:
        """`sdpa`, PyTorch's own, or `xformers`.

        Raises:
            UsageError: xformers is not installed.
        """

    @abstractmethod
    def use_compiler(self) -> None:
        """Compiles the denoising network when it is first called."""

    @abstractmethod
    def encode_image(self, pixels: Tensor) -> Moments:
        """Pixels [B, 3, H, W] in -1..1, H and W multiples of `downscale`, to moments [B, C, H/8, W/8]."""

    @abstractmethod
    def encode_prompt(self, prompts: Sequence[str], *, clip_skip: int = 1, chunks: int = 1) -> Conditioning:
        """Prompts to [B, 77 x chunks, D]. `clip_skip` counts as A1111 does (1 = last layer). Keeps gradients."""

    def encode_negative(self, prompts: Sequence[str], *, clip_skip: int = 1, chunks: int = 1) -> Conditioning:
        """The same for what guidance steers away from; families that learned an empty prompt otherwise say so here."""
        return self.encode_prompt(prompts, clip_skip=clip_skip, chunks=chunks)

    @property
    @abstractmethod
    def tokenizers(self) -> Mapping[str, Any]:
        """Hugging Face tokenizers by diffusers' names: `tokenizer`, for SDXL `tokenizer_2` too."""

    @abstractmethod
    def token_count(self, prompts: Sequence[str]) -> list[int]:
        """Tokens of each prompt without the begin and end marks; more than 75 x `chunks` means the rest is not read."""

    @abstractmethod
    def pieces(self, prompts: Sequence[str]) -> list[list[str]]:
        """What the tokenizer cuts each prompt into, without the begin and end marks: `zwx` -> `z`, `wx</w>`."""

    @abstractmethod
    def whole_words(self) -> list[str]:
        """Words that are one piece to the tokenizer, those that its own texts had least last."""

    @abstractmethod
    def use_gradient_checkpointing(self, on: bool = True) -> None:
        """Trades about a third more time for activations that are computed again on the way back."""

    @abstractmethod
    def forward(self, x_t: Tensor, t: Tensor, cond: Conditioning) -> Tensor:
        """The raw prediction [B, C, h, w] for x_t [B, C, h, w] and timesteps [B]."""

    @abstractmethod
    def decode(self, latents: Tensor) -> Tensor:
        """Latents [B, C, h, w] to pixels [B, 3, 8h, 8w] in -1..1."""

    @abstractmethod
    def save(self, folder: Path, *, dtype: torch.dtype = torch.float16) -> None:
        """Writes a diffusers pipeline folder."""
