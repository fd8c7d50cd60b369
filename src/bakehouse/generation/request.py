"""What is asked of a studio and what comes back: plain values, no torch."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from dataclasses import dataclass, replace

from PIL import Image

from bakehouse.core.errors import Problems
from bakehouse.generation.infotext import Infotext

RANDOM_SEED = -1
MAX_SEED = 2**63 - 1
MOST_PIXELS = 16384
"""Of a side."""
MOST_PICTURES = 100_000
"""Of one prompt."""
_PIXELS = f"allowed are 1 to {MOST_PIXELS} pixels"


@dataclass(frozen=True, kw_only=True)
class Request:
    """`count` pictures of one prompt; the i-th has seed + i, as in A1111's webui.

    Raises:
        Problems: values that no model could mean, all of them at once.
    """

    prompt: str
    negative: str = ""
    width: int | None = None
    """Pixels. Left out: the model's native size."""
    height: int | None = None
    """Pixels. Left out: the model's native size."""
    steps: int = 20
    guidance: float | None = None
    """Classifier-free guidance (CFG scale); at 1 the negative prompt is not read and a step costs half. Left out: what
    the base draws best with, 3 for crumb and 7 for Stable Diffusion."""
    guidance_rescale: float = 0.0
    """How far a guided picture's contrast is brought back to an unguided one's (Lin et al. 2023, section 3.4): 0 is
    off, 0.7 is usual for zero-terminal-SNR models, which guidance overexposes."""
    sampler: str = "dpm++ 2m"
    seed: int = RANDOM_SEED
    """-1 draws one."""
    count: int = 1
    clip_skip: int | None = None
    """As A1111 counts it: 1 is the text encoder's last layer. Left out: what the model was trained with."""

    def __post_init__(self) -> None:
        checks = (
            (self.width is None or 0 < self.width <= MOST_PIXELS, f"width = {self.width}: {_PIXELS}"),
            (self.height is None or 0 < self.height <= MOST_PIXELS, f"height = {self.height}: {_PIXELS}"),
            (1 <= self.steps <= 1000, f"steps = {self.steps}: allowed are 1 to 1000"),
            (
                self.guidance is None or (math.isfinite(self.guidance) and self.guidance >= 0),
                f"guidance = {self.guidance}: allowed are numbers from 0; usual are 4 to 12",
            ),
            (0 <= self.guidance_rescale <= 1, f"guidance_rescale = {self.guidance_rescale}: allowed are 0 to 1"),
            (
                RANDOM_SEED <= self.seed <= MAX_SEED,
                f"seed = {self.seed}: allowed are 0 to {MAX_SEED}, and -1 to draw one",
            ),
            (1 <= self.count <= MOST_PICTURES, f"count = {self.count}: allowed are 1 to {MOST_PICTURES:,}"),
            (
                self.clip_skip is None or self.clip_skip >= 1,
                f"clip_skip = {self.clip_skip}: at least 1 (the last layer)",
            ),
        )
        problems = [said for good, said in checks if not good]
        if problems:
            raise Problems("this picture cannot be made:", problems)

    def seeded(self) -> Request:
        """The same request with its seed drawn where it was -1."""
        # 32 bits: what A1111 draws, and what every other tool can read back.
        return self if self.seed != RANDOM_SEED else replace(self, seed=random.randrange(2**32))

    def each(self) -> Iterator[Request]:
        """One request for each picture, with a seed of its own."""
        first = self.seeded()
        for i in range(first.count):
            yield replace(first, seed=first.seed + i, count=1)


@dataclass(frozen=True)
class Picture:
    """One picture and how to make it again."""

    image: Image.Image
    request: Request
    """Of this picture alone: its own seed, its size in pixels, its clip skip."""
    infotext: Infotext

    @property
    def seed(self) -> int:
        return self.request.seed
