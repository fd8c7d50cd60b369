"""The part of an image request that A1111 calls sampling settings. Plain values, no torch."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from bakehouse.models.sampling_options import SamplingOptions

MAX_SEED = 2**63 - 1


@dataclass(frozen=True, kw_only=True)
class SamplerRequest:
    """Settings with A1111's meaning beside sampler, steps and seed."""

    schedule: str | None = None
    """Sigma schedule by A1111's name, such as Karras. None: what the sampler's name says, else `Trailing`, bakehouse's
    own spacing, and `Automatic` for samplers that do not have it."""
    eta: float | None = None
    """Share of the noise that samplers add on the way; None: the sampler's own."""
    discard_penultimate: bool = False
    """Leave out the last noise level but one."""
    rng: Literal["cpu", "nv"] = "cpu"
    """Where noise comes from: torch's generator on the CPU, or numbers like those of an NVIDIA GPU."""
    ensd: int = 0
    """Added to the seed for the noise that samplers add on the way (A1111's eta noise seed delta)."""
    variation_seed: int = -1
    """Seed of the noise that `variation_strength` mixes in; -1: random."""
    variation_strength: float = 0.0
    """0: the seed's noise; 1: the variation seed's. Above 0 image i has the variation seed + i, and the same seed."""
    seed_resize: tuple[int, int] | None = None
    """Width and height in pixels of the image whose noise is in the middle of this one's."""
    tiling: bool = False
    """Make images whose opposite edges fit together."""

    def sampler_problems(self) -> Iterator[str]:
        """Yield a message for each value out of range."""
        if self.eta is not None and not (math.isfinite(self.eta) and 0 <= self.eta <= 1):
            yield f"eta = {self.eta}: allowed are 0 to 1"
        if not 0 <= self.variation_strength <= 1:
            yield f"variation_strength = {self.variation_strength}: allowed are 0 to 1"
        if not -1 <= self.variation_seed <= MAX_SEED:
            yield f"variation_seed = {self.variation_seed}: allowed are 0 to {MAX_SEED}, and -1 for a random one"
        if self.seed_resize is not None and min(self.seed_resize) < 8:
            yield f"seed_resize = {self.seed_resize[0]}x{self.seed_resize[1]}: must be at least 8x8 pixels"

    def sampling_options(self, *, downscale: int) -> SamplingOptions:
        """Return the settings as the sampling loop takes them, with `downscale` pixels for each latent."""
        from bakehouse.models.image_noise import NoiseSettings
        from bakehouse.models.sampling_options import SamplingOptions

        resize = self.seed_resize and (self.seed_resize[0] // downscale, self.seed_resize[1] // downscale)
        noise = NoiseSettings(
            source=self.rng, variation_strength=self.variation_strength, ensd=self.ensd, resize_from=resize
        )
        return SamplingOptions(
            eta=self.eta, discard_penultimate=self.discard_penultimate, tiling=self.tiling, noise=noise
        )
