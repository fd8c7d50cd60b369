"""The noise of images: what they start from and what samplers add on the way, each image's from its own seed.

Numbers and order are A1111's for its settings `RNG: CPU` and `RNG: NV` (modules/rng.py), whatever device computes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

import torch
from torch import Tensor

from bakehouse.models.brownian_tree import BrownianTree
from bakehouse.models.philox import PhiloxGenerator

RandomSource = Literal["cpu", "nv"]
"""`cpu`: torch's generator on the CPU; `nv`: CUDA's, which is what A1111's default, `GPU`, gives on an NVIDIA card."""


class _Generator(Protocol):
    def randn(self, shape: Sequence[int]) -> Tensor:
        """Return the next unit noise."""


class _CpuGenerator:
    def __init__(self, seed: int) -> None:
        self.torch = torch.Generator("cpu").manual_seed(seed % 2**63)

    def randn(self, shape: Sequence[int]) -> Tensor:
        return torch.randn(tuple(shape), generator=self.torch)


def _generator(source: RandomSource, seed: int) -> _Generator:
    return _CpuGenerator(seed) if source == "cpu" else PhiloxGenerator(seed)


@dataclass(frozen=True, kw_only=True)
class NoiseSettings:
    """How noise is made from a seed; A1111's settings of the same names."""

    source: RandomSource = "cpu"
    """`RNG`."""
    variation_strength: float = 0.0
    """0: the seed's noise; 1: the variation seed's. `Variation seed strength`."""
    ensd: int = 0
    """Added to the seed for the noise on the way: `ENSD`, eta noise seed delta. 0: it follows the first noise."""
    resize_from: tuple[int, int] | None = None
    """Width and height in latents of the image whose noise is in the middle: `Seed resize from`."""


@dataclass
class ImageNoise:
    """The noise of one batch. Each image's depends on its seeds alone."""

    seeds: Sequence[int]
    shape: tuple[int, int, int]
    """Channels, height and width of the latents."""
    settings: NoiseSettings = field(default_factory=NoiseSettings)
    variation_seeds: Sequence[int] | None = None
    """One for each image; needed for a variation strength above 0."""

    def __post_init__(self) -> None:
        self._on_the_way: list[_Generator] | None = None
        self._trees: list[BrownianTree] | None = None

    def first(self) -> Tensor:
        """Return the unit noise that the images start from, [B, C, h, w] on the CPU."""
        variation = self.variation_seeds or [0] * len(self.seeds)
        return torch.stack([self._first(seed, other) for seed, other in zip(self.seeds, variation, strict=True)])

    def _first(self, seed: int, variation_seed: int) -> Tensor:
        source, strength = self.settings.source, self.settings.variation_strength
        width, height = self.settings.resize_from or (self.shape[2], self.shape[1])
        shape = (self.shape[0], height, width)
        noise = _generator(source, seed).randn(shape)
        if strength:
            noise = slerp(noise, _generator(source, variation_seed).randn(shape), strength)
        return noise if shape == self.shape else centered(noise, _generator(source, seed).randn(self.shape))

    def next(self) -> Tensor:
        """Return the unit noise of the next step, [B, C, h, w] on the CPU."""
        if self._on_the_way is None:
            self._on_the_way = [self._past_first(seed) for seed in self.seeds]
        return torch.stack([generator.randn(self.shape) for generator in self._on_the_way])

    def _past_first(self, seed: int) -> _Generator:
        """Return an image's generator: one that has made the first noise, so that this is never added again."""
        generator = _generator(self.settings.source, seed + self.settings.ensd)
        if not self.settings.ensd:
            generator.randn(self.shape)
        return generator

    def torch_generators(self) -> list[torch.Generator]:
        """Return torch's generators past the first noise, for schedulers that take such; `source` must be `cpu`."""
        generators = [self._past_first(seed) for seed in self.seeds]
        return [g.torch for g in generators if isinstance(g, _CpuGenerator)]

    def use_brownian_paths(self, sigmas: Tensor) -> None:
        """Draw paths over the noise levels of a schedule, for `brownian`."""
        low, high = float(sigmas[sigmas > 0].min()), float(sigmas.max())
        self._trees = [BrownianTree(seed, low, high, self._noise_of_seed) for seed in self.seeds]

    def _noise_of_seed(self, seed: int) -> Tensor:
        return _generator(self.settings.source, seed).randn(self.shape)

    def brownian(self, sigma: Tensor, sigma_next: Tensor) -> Tensor:
        """Return the paths' increments on the way down from one level to the next, as unit noise on the CPU."""
        if self._trees is None:
            raise ValueError("use_brownian_paths comes first")
        down = torch.stack([-tree.increment(float(sigma_next), float(sigma)) for tree in self._trees])
        return down / (sigma - sigma_next).sqrt()


def slerp(low: Tensor, high: Tensor, share: float) -> Tensor:
    """Return noise between two, [C, h, w], on the great circle between them: Shoemake 1985, column by column (axis 1).

    As A1111, columns are normalized and angles are taken for each; where both are nearly parallel, `low` and `high`
    are mixed with their weights exchanged.
    """
    cosine = (low / low.norm(dim=1, keepdim=True) * (high / high.norm(dim=1, keepdim=True))).sum(1)
    if cosine.mean() > 0.9995:
        return low * share + high * (1 - share)
    angle = cosine.acos()
    of_low = ((1 - share) * angle).sin() / angle.sin()
    of_high = (share * angle).sin() / angle.sin()
    between: Tensor = of_low.unsqueeze(1) * low + of_high.unsqueeze(1) * high
    return between


def centered(noise: Tensor, around: Tensor) -> Tensor:
    """Return `around` [C, h, w] with `noise` of another size in its middle, cut where it is larger."""
    result = around.clone()
    to, of = [slice(None)], [slice(None)]
    for size, given in zip(around.shape[1:], noise.shape[1:], strict=True):
        margin = (size - given) // 2
        length = given if margin >= 0 else given + 2 * margin
        to.append(slice(max(margin, 0), max(margin, 0) + length))
        of.append(slice(max(-margin, 0), max(-margin, 0) + length))
    result[tuple(to)] = noise[tuple(of)]
    return result
