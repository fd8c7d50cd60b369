"""SDXL: two text encoders, and a UNet conditioned on the pooled prompt and on the image's size and crop."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from bakehouse.data.weighted_prompt import PromptText
from bakehouse.models.denoiser import Conditioning
from bakehouse.models.family import Family
from bakehouse.models.identify import SDXL_OPEN_CLIP, SDXL_TEXT
from bakehouse.models.stable_diffusion import StableDiffusion
from bakehouse.models.text_encoders import layer_count, raw_hidden_state

_TRAINED_LAYER = 2
"""Counted from the end: the network reads the layer before the last."""


class SDXL(StableDiffusion):
    """A base model of the SDXL architecture, of any width; Pony, Illustrious and NoobAI are SDXL models too.

    Podell et al. 2023, arXiv:2307.01952.
    """

    family = "sdxl"
    needs_sizes = True
    pipeline: ClassVar[str] = "StableDiffusionXLPipeline"
    text_parts: ClassVar[Mapping[str, str]] = {"text_encoder": "lora_te1", "text_encoder_2": "lora_te2"}

    def __init__(self, *, zero_negative: bool = True, **parts: Any) -> None:
        """`zero_negative`: an empty negative prompt is all zeros, as in training (`force_zeros_for_empty_prompt`)."""
        super().__init__(**parts)
        self.zero_negative = zero_negative

    def sampling_facts(self) -> tuple[object, ...]:
        return *super().sampling_facts(), self.zero_negative

    @classmethod
    def vae_dtype(cls, config: Mapping[str, Any], dtype: torch.dtype) -> torch.dtype:
        """Return fp32 for an fp16 model whose autoencoder overflows in fp16, as SDXL's own does (`force_upcast`)."""
        return torch.float32 if dtype is torch.float16 and config.get("force_upcast", True) else dtype

    def _encode_ids(self, part: str, ids: Tensor, clip_skip: int) -> tuple[Tensor, Tensor | None]:
        """Encode with one of the two encoders; the second one has a pooled vector, of which the first chunk's is used.

        SDXL never reads the last layer: clip skip 1 and 2 are both the layer before it, as in A1111. Emphasis does
        not change the pooled vector, as in A1111.
        """
        self._check_clip_skip(clip_skip, min(layer_count(encoder) for encoder in self.text_encoders.values()))
        encoder = self.text_encoders[part]
        return raw_hidden_state(encoder, ids.to(encoder.device), max(clip_skip, _TRAINED_LAYER))

    def encode_text(self, text: PromptText, *, is_negative: bool = False, **how: Any) -> Conditioning:
        cond = super().encode_text(text, is_negative=is_negative, **how)
        return self._zeroed(cond, [text.is_empty]) if is_negative else cond

    def encode_negative(self, prompts: Sequence[str], *, clip_skip: int = 1, chunks: int = 1) -> Conditioning:
        cond = self.encode_prompt(prompts, clip_skip=clip_skip, chunks=chunks)
        return self._zeroed(cond, [not prompt.strip() for prompt in prompts])

    def _zeroed(self, cond: Conditioning, empty: Sequence[bool]) -> Conditioning:
        """Return zeros for empty negative prompts, as SDXL was trained, and as in A1111 and diffusers."""
        if not self.zero_negative or cond.pooled is None:
            return cond
        kept = torch.tensor([0.0 if is_empty else 1.0 for is_empty in empty]).to(cond.hidden)
        return Conditioning(cond.hidden * kept.view(-1, 1, 1), cond.pooled * kept.view(-1, 1))

    def _added(self, x_t: Tensor, cond: Conditioning) -> dict[str, Tensor]:
        if cond.pooled is None:
            raise ValueError("SDXL needs the pooled prompt: encode it with this model's encode_prompt")
        sizes = cond.sizes if cond.sizes is not None else self._uncropped(x_t)
        return {"text_embeds": cond.pooled.to(self.dtype), "time_ids": sizes.to(x_t.device)}

    def _uncropped(self, x_t: Tensor) -> Tensor:
        """Return sizes [B, 6] of images that are neither resized nor cropped."""
        height, width = (side * self.downscale for side in x_t.shape[-2:])
        return torch.tensor([[height, width, 0, 0, height, width]]).expand(len(x_t), -1)

    def _index_facts(self) -> dict[str, Any]:
        return {"force_zeros_for_empty_prompt": self.zero_negative}


FAMILY = Family(
    name="sdxl",
    network_class=SDXL,
    native_size=1024,
    text_keys=(SDXL_TEXT, SDXL_OPEN_CLIP),
    pad_tokens={"text_encoder_2": "!"},  # OpenCLIP's, as in SD 2.x
    modelspec={"epsilon": "stable-diffusion-xl-v1-base", "v_prediction": "stable-diffusion-xl-v1-base"},
)
