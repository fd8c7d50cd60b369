"""Requests for images and their results. Plain values, no torch."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from PIL import Image

from bakehouse.core.errors import Problems
from bakehouse.data.weighted_prompt import EMPHASES, Emphasis, StepPrompts
from bakehouse.generation.img2img_settings import FromImage, Hires, Inpaint
from bakehouse.generation.infotext import Infotext
from bakehouse.generation.regions import Regions
from bakehouse.generation.sampler_request import MAX_SEED, SamplerRequest

if TYPE_CHECKING:
    from bakehouse.models.second_pass import SecondPass
    from bakehouse.models.text_to_image import ImageSpec

RANDOM_SEED = -1
MAX_SIDE = 16384
"""Pixels."""
MAX_COUNT = 100_000
"""Images of one prompt."""
_SIDES = f"allowed are 1 to {MAX_SIDE} pixels"


@dataclass(frozen=True, kw_only=True)
class ImageRequest(SamplerRequest):
    """`count` images of one prompt, as a user asks for them; image i has seed + i, as in A1111's webui.

    What is None is filled in by the model that generates them; `to_spec` gives the image with all settings resolved.

    Raises:
        Problems: values out of range, all of them at once.
    """

    prompt: str
    negative: str = ""
    width: int | None = None
    """Pixels; None: the model's native size, or the size of `image`."""
    height: int | None = None
    """Pixels; None: the model's native size, or the size of `image`."""
    steps: int = 20
    guidance: float | None = None
    """Classifier-free guidance (CFG scale); at 1 the negative prompt is ignored and a step costs half. None: what the
    base's usual one (`core.model_catalogue.conventions`), 3 for crumb and 7 for Stable Diffusion."""
    guidance_rescale: float = 0.0
    """CFG rescale (Lin et al. 2023, arXiv:2305.08891, section 3.4): 0 is off, 0.7 is usual for zero-terminal-SNR
    models, which guidance overexposes."""
    sampler: str = "dpm++ 2m"
    seed: int = RANDOM_SEED
    """-1: random."""
    count: int = 1
    clip_skip: int | None = None
    """As A1111 counts it: 1 is the text encoder's last layer. None: as the model was trained."""
    image: FromImage | None = None
    """Begin from an image (image-to-image, outpainting); None: from words alone."""
    inpaint: Inpaint | None = None
    """Redraw only a part of `image`."""
    hires: Hires | None = None
    """Enlarge the image and sample it again (hires fix)."""
    regions: Regions | None = None
    """Parts of the image with prompts, and adapters, of their own; `prompt` is the base of all."""
    prompt_syntax: Literal["a1111", "plain"] = "a1111"
    """How prompts are read: in A1111's language (docs/prompts.md), or as plain text whose brackets mean nothing."""
    emphasis: Emphasis = "original"
    """What weights such as (x:1.2) do; see `data.weighted_prompt.Emphasis`."""

    def __post_init__(self) -> None:
        checks = (
            (self.width is None or 0 < self.width <= MAX_SIDE, f"width = {self.width}: {_SIDES}"),
            (self.height is None or 0 < self.height <= MAX_SIDE, f"height = {self.height}: {_SIDES}"),
            (1 <= self.steps <= 1000, f"steps = {self.steps}: allowed are 1 to 1000"),
            (
                self.guidance is None or (math.isfinite(self.guidance) and self.guidance >= 0),
                f"guidance = {self.guidance}: must be 0 or more; 4 to 12 are usual",
            ),
            (0 <= self.guidance_rescale <= 1, f"guidance_rescale = {self.guidance_rescale}: allowed are 0 to 1"),
            (
                RANDOM_SEED <= self.seed <= MAX_SEED,
                f"seed = {self.seed}: allowed are 0 to {MAX_SEED}, and -1 for a random one",
            ),
            (1 <= self.count <= MAX_COUNT, f"count = {self.count}: allowed are 1 to {MAX_COUNT:,}"),
            (
                self.clip_skip is None or self.clip_skip >= 1,
                f"clip_skip = {self.clip_skip}: must be at least 1 (the last layer)",
            ),
            (self.inpaint is None or self.image is not None, "inpaint needs an image to redraw a part of"),
            (
                self.inpaint is None
                or self.image is None
                or self.inpaint.mask is not None
                or self.image.extend is not None,
                "inpaint needs a mask, or an image that is extended",
            ),
            (
                self.hires is None or self.image is None,
                "hires is for images made from words: to enlarge an image, give it with a larger width",
            ),
            (
                self.regions is None or self.inpaint is None or self.inpaint.area != "only masked",
                "regions are parts of the whole image, and with `only masked` a part of it is drawn: leave out one",
            ),
            (
                self.prompt_syntax in ("a1111", "plain"),
                f"prompt_syntax = {self.prompt_syntax!r}: allowed are a1111 and plain",
            ),
            (self.emphasis in EMPHASES, f"emphasis = {self.emphasis!r}: allowed are {', '.join(EMPHASES)}"),
        )
        problems = [message for valid, message in checks if not valid] + list(self.sampler_problems())
        if problems:
            raise Problems("this image cannot be generated:", problems)

    @property
    def from_words_alone(self) -> bool:
        """Whether there is no image, mask, second pass or region."""
        return self.image is None and self.inpaint is None and self.hires is None and self.regions is None

    def seeded(self) -> ImageRequest:
        """Return the same request with random seeds in place of -1."""
        # 32 bits: the range of A1111's random seeds, which every other tool can read.
        seed, variation = (random.randrange(2**32) if s == RANDOM_SEED else s for s in (self.seed, self.variation_seed))
        return replace(self, seed=seed, variation_seed=variation if self.variation_strength else self.variation_seed)

    def each(self) -> Iterator[ImageRequest]:
        """Yield one request per image, each with its own seed, or its own variation seed if there is one."""
        first = self.seeded()
        for i in range(first.count):
            if first.variation_strength:
                yield replace(first, variation_seed=first.variation_seed + i, count=1)
            else:
                yield replace(first, seed=first.seed + i, count=1)

    def to_spec(
        self, *, step_prompts: tuple[StepPrompts, ...], size: tuple[int, int] | None = None, multiple: int = 8
    ) -> ImageSpec:
        """Return one image with every setting resolved.

        Args:
            step_prompts: what its prompts mean, see `generation.read_prompts`.
            size: width and height in which an image that begins from another is drawn; None: the request's.
            multiple: pixels of one latent of the model on each axis.

        Raises:
            ValueError: a setting is still open (None, a random seed, more than one image).
        """
        from bakehouse.models.text_to_image import ImageSpec

        if self.width is None or self.height is None or self.guidance is None or self.clip_skip is None:
            raise ValueError("width, height, guidance and clip_skip must be resolved first")
        random_variation = self.variation_strength > 0 and self.variation_seed == RANDOM_SEED
        if self.seed == RANDOM_SEED or random_variation or self.count != 1:
            raise ValueError("a request for several images or with a random seed is split by `each` first")
        width, height = size or (self.width, self.height)
        return ImageSpec(
            prompt=self.prompt,
            negative=self.negative,
            width=width,
            height=height,
            seed=self.seed,
            steps=self.steps,
            guidance=self.guidance,
            guidance_rescale=self.guidance_rescale,
            sampler=self.sampler,
            schedule=self.schedule,
            variation_seed=max(0, self.variation_seed),
            options=self.sampling_options(downscale=multiple),
            clip_skip=self.clip_skip,
            step_prompts=step_prompts,
            strength=None if self.image is None else self.image.strength,
            second_pass=self._second_pass(width, height, multiple),
        )

    def _second_pass(self, width: int, height: int, multiple: int) -> SecondPass | None:
        from bakehouse.models.second_pass import SecondPass

        if self.hires is None:
            return None
        larger_width, larger_height = self.hires.size(width, height, multiple)
        return SecondPass(
            width=larger_width,
            height=larger_height,
            steps=self.hires.steps or self.steps,
            strength=self.hires.strength,
            upscaler=self.hires.upscaler,
        )


@dataclass(frozen=True)
class GeneratedImage:
    """One image and what it takes to generate it again."""

    image: Image.Image
    request: ImageRequest
    """Of this image alone: with its own seed, size in pixels and clip skip."""
    infotext: Infotext

    @property
    def seed(self) -> int:
        return self.request.seed
