"""Regions of images: the weight of each at every position, at the resolution of every layer of the network.

A layer sees an image as [N, C, h, w] or as tokens [N, h w, C], at the resolution of the latents or a half, a
quarter, ... of it. Masks are averaged over the area of each of its places. Where regions overlap they share: with masks
m_r, region r has the share m_r / max(1, the sum of all masks).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from bakehouse.data.weighted_prompt import StepPrompts

MAIN = 0
"""The number of the main prompt; regions are 1, 2, ..."""


@dataclass(frozen=True, eq=False)
class ImageRegion:
    """A region of one image."""

    mask: Tensor
    """[H, W] of the image, 0 to 1; its size is that of the image's first pass in pixels."""
    step_prompts: tuple[StepPrompts, ...]
    """What its prompt means at each step, with the image's negative prompt."""


class RegionMap:
    """Where the regions of one batch are, and which prompt the network attends to at the moment.

    Whoever applies adapters asks it for their strengths by place (`strength`); `regional_attention` fills it in.
    """

    def __init__(self) -> None:
        self.conditions: tuple[Tensor, ...] = ()
        """Encoded prompts of each region, [N, L, D], of the present call of the network."""
        self._masks = torch.zeros(1, 0, 1, 1)
        self._base_weight = 0.0
        self._latent_size = (1, 1)
        self._attended: int | None = None
        """The prompt whose cross-attention is computed; None: other layers, which see the whole image."""
        self._kept: dict[object, Tensor] = {}

    @contextlib.contextmanager
    def filled(self, masks: Tensor, base_weight: float) -> Iterator[None]:
        """Describe a batch inside a `with` block.

        Args:
            masks: [B, R, H, W], 0 to 1.
            base_weight: 0 to 1, the main prompt's share of the attention where regions are.
        """
        before = self._masks, self._base_weight
        self._masks, self._base_weight = masks, base_weight
        self._kept.clear()
        try:
            yield
        finally:
            self._masks, self._base_weight = before
            self._kept.clear()

    @contextlib.contextmanager
    def guiding(self, conditions: Sequence[Tensor], latent_size: tuple[int, int]) -> Iterator[None]:
        """Set the regions' encoded prompts [N, L, D] and the latents' height and width for a call of the network."""
        if latent_size != self._latent_size:
            self._latent_size = latent_size
            self._kept.clear()
        self.conditions = tuple(conditions)
        try:
            yield
        finally:
            self.conditions = ()

    @contextlib.contextmanager
    def attending(self, prompt: int) -> Iterator[None]:
        """Say inside a `with` block that cross-attention to one prompt is computed: `MAIN`, or a region's number."""
        self._attended = prompt
        try:
            yield
        finally:
            self._attended = None

    def prompt_shares(self, hidden: Tensor) -> list[Tensor]:
        """Return the shares of the main prompt and of each region in the attention of tokens [N, T, C], [N, T, 1] each.

        They sum up to 1: with S the sum of the regions' shares s_r, the main prompt has 1 - (1 - base) S, and region r
        has (1 - base) s_r.
        """

        def make() -> Tensor:
            regional = (1 - self._base_weight) * self._shares(self._size_of(hidden), len(hidden))
            shares = torch.cat([1 - regional.sum(dim=1, keepdim=True), regional], dim=1)
            return shares.flatten(2)[..., None].to(hidden.device, hidden.dtype)

        return list(self._once(("prompts", hidden.shape[:2], hidden.dtype), make).unbind(dim=1))

    def strength(self, values: Sequence[float]) -> Callable[[Tensor], Tensor | float]:
        """Return an adapter's strength by place, as a function of a module's output.

        Tokens and feature maps have the region's strength as far as the region's share goes. In cross-attention every
        prompt is attended to by itself, with its own strength. What has no places ([N, C]: projections of the timestep)
        has the mean over the image.

        Args:
            values: the strength where no region is, and in each region.
        """
        elsewhere, *inside = values

        def by_place(out: Tensor) -> Tensor | float:
            if self._attended is not None:
                return float(values[self._attended])

            def make() -> Tensor:
                shares = self._shares(self._size_of(out), len(out))
                more = torch.tensor([value - elsewhere for value in inside]).view(1, -1, 1, 1)
                field = elsewhere + (shares * more).sum(dim=1, keepdim=True)
                if out.ndim == 3:
                    field = field.flatten(2).transpose(1, 2)
                elif out.ndim == 2:
                    field = field.mean(dim=(2, 3))
                return field.to(out.device, out.dtype)

            shape = out.shape[0], *(out.shape[-2:] if out.ndim == 4 else out.shape[1:2] if out.ndim == 3 else ())
            return self._once(("strength", tuple(values), shape, out.dtype), make)

        return by_place

    def _once(self, key: object, make: Callable[[], Tensor]) -> Tensor:
        if key not in self._kept:
            self._kept[key] = make()
        return self._kept[key]

    def _shares(self, size: tuple[int, int], rows: int) -> Tensor:
        """Return the regions' shares [N, R, h, w] for N rows: the batch once, or once more for negative prompts."""
        masks = interpolate(self._masks, size, mode="area")
        shares = masks / masks.sum(dim=1, keepdim=True).clamp(min=1)
        return shares.repeat(rows // len(masks), 1, 1, 1)

    def _size_of(self, out: Tensor) -> tuple[int, int]:
        """Return the height and width that a module's output has in places.

        Raises:
            ValueError: tokens of no resolution of the latents.
        """
        height, width = self._latent_size
        if out.ndim == 2:
            return height, width
        if out.ndim == 4:
            return out.shape[2], out.shape[3]
        while height * width > out.shape[1]:
            height, width = -(-height // 2), -(-width // 2)
        if height * width != out.shape[1]:
            raise ValueError(f"{out.shape[1]} tokens are no halving of latents of {self._latent_size}")
        return height, width
