"""Prompts for regions of an image, in one call of the network a step.

Cross-attention is the one place where a prompt acts on an image. Each such layer attends to the main prompt and to each
region's prompt by itself, and its output is their sum, weighted at every token by the regions' shares (`RegionMap`).
All other layers run once. Balaji et al. 2022 (arXiv:2211.01324, "paint with words") add masks to the scores inside one
softmax instead, where all words of all prompts compete for a token; here a token outside of a region's mask has nothing
of its prompt.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from bakehouse.core.errors import UsageError
from bakehouse.models.denoiser import Conditioning, Denoiser
from bakehouse.models.guidance import ClassifierFreeGuidance, ComposedGuidance, Predict
from bakehouse.models.region_map import MAIN, RegionMap

if TYPE_CHECKING:
    from bakehouse.models.text_to_image import ImageSpec

Guided = ClassifierFreeGuidance | ComposedGuidance
_CROSS_ATTENTION = "attn2"
"""The name of cross-attention in every transformer block of diffusers' UNets."""


class RegionalGuidance:
    """Guides by the main prompt as ever, while cross-attention reads the regions' prompts, too.

    Pooled prompts (SDXL) are the main prompt's: they are added to the timestep's embedding, which has no places, so
    that a region's would reach the whole image.
    """

    def __init__(self, main: Guided, regions: Sequence[Conditioning], region_map: RegionMap) -> None:
        """Prepare a guider.

        Args:
            main: guides by the main prompt.
            regions: the prompts of each region, with as many rows as `main.prompts`, in the same order.
            region_map: what the network's cross-attention and its adapters look at.

        Raises:
            ValueError: another number of rows.
        """
        if any(len(one) != len(main.prompts) for one in regions):
            raise ValueError(f"the regions' prompts must have {len(main.prompts)} rows, as the main prompt has")
        self._main, self._regions, self._map = main, [one.hidden for one in regions], region_map

    @property
    def unguided(self) -> Tensor | None:
        """The last prediction for the negative prompts, if it is kept."""
        return self._main.unguided

    def __call__(self, predict: Predict, x_t: Tensor, t: Tensor) -> Tensor:
        """Return the guided prediction [B, C, h, w] of one call of the network."""
        with self._map.guiding(self._regions, (x_t.shape[-2], x_t.shape[-1])):
            return self._main(predict, x_t, t)


class _RegionalAttention:
    """Replaces the `forward` of a cross-attention, as an attribute of the instance that hides the class's method."""

    def __init__(self, attention: nn.Module, region_map: RegionMap) -> None:
        self._inner = attention.forward
        self._map = region_map

    def __call__(self, hidden_states: Tensor, encoder_hidden_states: Tensor, **how: Any) -> Tensor:
        """Attend from tokens [N, T, C] to the main prompt [N, L, D] and to each region's."""
        shares = self._map.prompt_shares(hidden_states)
        prompts = [encoder_hidden_states, *(one.to(encoder_hidden_states) for one in self._map.conditions)]
        total = torch.zeros((), dtype=hidden_states.dtype, device=hidden_states.device)
        for number, (share, prompt) in enumerate(zip(shares, prompts, strict=True), MAIN):
            with self._map.attending(number):
                total = total + share * self._inner(hidden_states, encoder_hidden_states=prompt, **how)
        return total


def cross_attentions(network: nn.Module) -> list[nn.Module]:
    """Return the cross-attention layers of a denoising network."""
    return [module for name, module in network.named_modules() if name.rpartition(".")[2] == _CROSS_ATTENTION]


@contextlib.contextmanager
def regional_attention(model: Denoiser, region_map: RegionMap, specs: Sequence[ImageSpec]) -> Iterator[None]:
    """Let a model's cross-attention heed the regions of a batch inside a `with` block; does nothing without regions.

    Raises:
        UsageError: the model's network has no cross-attention.
    """
    if not specs[0].regions:
        yield
        return
    attentions = cross_attentions(model.trainable_modules()["lora_unet"])
    if not attentions:
        raise UsageError(
            f"{model.name}: its network has no cross-attention, so regions cannot have prompts of their own",
            hint="use a model of the SD 1.x, SD 2.x or SDXL families",
        )
    masks = torch.stack([torch.stack([region.mask for region in spec.regions]) for spec in specs])
    with region_map.filled(masks.float(), specs[0].region_base), contextlib.ExitStack() as stack:
        for attention in attentions:
            object.__setattr__(attention, "forward", _RegionalAttention(attention, region_map))
            stack.callback(object.__delattr__, attention, "forward")
        yield
