"""The range of a finished slider: images from end to end, and how far they can be used.

The base itself judges them, so that it works with any model: an image's place between the ends is by how much better
the base predicts its noise with the positive prompt than with the negative one (a diffusion classifier: Li et al. 2023,
arXiv:2303.16203), and an image whose noise the base predicts much worse or much better than that of its own images is
no longer one.
"""

from __future__ import annotations

import itertools
from collections.abc import Generator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from PIL import Image, ImageDraw
from torch import Tensor

from bakehouse.adapters import Adapter
from bakehouse.core.events import Event, Noted, Progress, Warned
from bakehouse.core.files import atomic_path, write_json
from bakehouse.core.run_folder import Run
from bakehouse.losses.slider import SliderPrompt, with_words
from bakehouse.models.denoiser import Conditioning, Denoiser
from bakehouse.models.guidance import ClassifierFreeGuidance
from bakehouse.models.sampling import initial_noise, sample, to_images
from bakehouse.recipe.recipe import Recipe
from bakehouse.training.ema import averaged_weights
from bakehouse.training.training_state import TrainState

LEVELS = (0.3, 0.5, 0.7)
"""Timesteps of the judgement as shares of the schedule: below are edges and texture, above nothing can be told."""
DRAWS = 2
"""Draws of noise at each of them."""
BROKEN = 1.5
"""An image is broken where the base's error is this many times that on its own images, or that many times less."""
_LABEL = 14
"""Height of the labels above the strip, in pixels."""


@dataclass(frozen=True)
class Place:
    """What the images at one strength show."""

    strength: float
    position: float
    """Share of the base's error by which the positive prompt predicts better than the negative one."""
    health: float
    """The base's error over that on its own images: 1 is as usual."""


@dataclass(frozen=True)
class SliderRange:
    """The strengths from which on nothing more changes, or images break."""

    low: float
    high: float
    places: tuple[Place, ...]
    """From the lowest strength to the highest."""

    @property
    def moves(self) -> bool:
        """Whether there is any strength that does something."""
        return self.low < self.high

    @property
    def preferred(self) -> float:
        """The strength to begin with: the whole effect upwards, or downwards if that is all there is."""
        return self.high or self.low


def calibrate(
    recipe: Recipe, model: Denoiser, state: TrainState, run: Run
) -> Generator[Event, None, Mapping[str, Any]]:
    """Generate images at all strengths, find the range, and return what the weights file says of it.

    Writes report/slider.png, a row of images for each seed, and report/slider.json; the images are in report/slider/.
    """
    subjects = _subjects(recipe)
    strengths = sorted({0.0, *(sign * s for s in recipe.slider.strengths for sign in (1, -1))})
    latents: dict[float, Tensor] = {}
    images: dict[float, list[Image.Image]] = {}
    state.adapter.eval()
    try:
        with averaged_weights(state):
            for done, strength in enumerate(strengths):
                yield Progress(what="images from end to end", done=done, total=len(strengths))
                with state.adapter.scaled(strength):
                    latents[strength], images[strength] = _generate(recipe, model, [text for _, text, _ in subjects])
            yield Progress(what="images from end to end", done=len(strengths), total=len(strengths))
            measured = _measure(recipe, model, state.adapter, subjects, latents)
    finally:
        state.adapter.train()
    found = find_range(measured)
    _save(run, found, images)
    if not found.moves:
        yield Warned(
            message="the slider moves nothing at any strength: train longer (train.steps), raise the prompts' "
            "guidance, or use prompts that the base draws more differently"
        )
        return {}
    hint = usage_hint(found, recipe.slider.prompts[0])
    yield Noted(message=f"{hint} The strip of images is {run.report / 'slider.png'}")
    return {"preferred_weight": found.preferred, "strength_range": [found.low, found.high], "usage_hint": hint}


def find_range(places: Sequence[Place]) -> SliderRange:
    """Return the range around 0 in which each further strength moves the position further, and no image breaks.

    `places` are sorted by strength, with 0 among them.
    """
    zero = next(i for i, p in enumerate(places) if p.strength == 0)
    low, high = (_walk(side, sign) for side, sign in ((places[zero::-1], -1), (places[zero:], 1)))
    return SliderRange(low, high, tuple(places))


def _walk(side: Sequence[Place], sign: int) -> float:
    """Return the last strength, from 0 outwards, up to which the position goes in the direction of `sign`."""
    reached = side[0].strength
    for before, here in itertools.pairwise(side):
        if sign * (here.position - before.position) <= 0 or not 1 / BROKEN <= here.health <= BROKEN:
            break
        reached = here.strength
    return reached


def usage_hint(found: SliderRange, prompt: SliderPrompt) -> str:
    """Return one sentence on how to use the slider, for the file's metadata."""
    positive, negative, neutral = prompt.ends
    more, less = (positive, negative) if prompt.direction > 0 else (negative, positive)
    ends = f"{found.low:g}: {less or neutral or 'the opposite'}; {found.high:g}: {more or neutral or 'the opposite'}"
    return f"Slider for strengths from {found.low:g} to {found.high:g} ({ends}); 0 is the base."


Subject = tuple[SliderPrompt, str, str]
"""One of the slider's prompts, the words that an image is generated from, and those that are added to its ends."""


def _subjects(recipe: Recipe) -> list[Subject]:
    """Return what each image is of: prompts with their kept attributes take turns, as in training."""
    spec = recipe.slider
    turns = itertools.cycle(itertools.product(spec.prompts, spec.keep or ("",)))
    return [(p, with_words(p.target, kept), kept) for p, kept in itertools.islice(turns, spec.images)]


@torch.no_grad()
def _generate(recipe: Recipe, model: Denoiser, prompts: Sequence[str]) -> tuple[Tensor, list[Image.Image]]:
    """Return clean latents [N, C, h, w] and images, one by one: no bit depends on the others."""
    made = recipe.sample
    width, height = recipe.slider.sizes[0]
    options = {"clip_skip": recipe.model.clip_skip, "chunks": recipe.model.max_tokens // 75}
    found = []
    for i, prompt in enumerate(prompts):
        seed = made.seed + i
        cond, uncond = model.encode_prompt([prompt], **options), model.encode_negative([made.negative], **options)
        guider = ClassifierFreeGuidance(cond, uncond, made.guidance)
        noise = initial_noise([seed], model.latent_shape(width, height))
        found.append(sample(model, guider, noise=noise, steps=made.steps, sampler=made.sampler, seeds=[seed]))
    pixels = [model.decode(latents) for latents in found]
    return torch.cat(found), [image for each in pixels for image in to_images(each)]


@torch.no_grad()
def _measure(
    recipe: Recipe, model: Denoiser, adapter: Adapter, subjects: Sequence[Subject], latents: Mapping[float, Tensor]
) -> list[Place]:
    """Return the place of each strength's images, judged by the base."""
    options = {"clip_skip": recipe.model.clip_skip, "chunks": recipe.model.max_tokens // 75}
    rows: dict[float, list[Tensor]] = {strength: [] for strength in latents}
    with adapter.scaled(0.0):
        for i, (prompt, text, kept) in enumerate(subjects):
            positive, negative, _ = (with_words(end, kept) for end in prompt.ends)
            cond = Conditioning.cat([model.encode_prompt([words], **options) for words in (positive, negative, text)])
            sign = 1.0 if prompt.direction > 0 else -1.0
            for strength in latents:
                of_positive, of_negative, of_target = _errors(model, latents[strength][i], cond, seed=i)
                rows[strength].append(torch.stack([sign * (of_negative - of_positive), of_target]))
    means = {strength: torch.stack(each).mean(dim=0) for strength, each in rows.items()}
    usual = float(means[0.0][1])
    return [
        Place(strength, float(position) / usual, float(error) / usual)
        for strength, (position, error) in sorted(means.items())
    ]


def _errors(model: Denoiser, latents: Tensor, cond: Conditioning, *, seed: int) -> Tensor:
    """Return the mean squared error of the noise [P] that the base predicts for latents [C, h, w] with each prompt."""
    generator = torch.Generator().manual_seed(seed)
    total = torch.zeros(len(cond), device=latents.device)
    x0 = latents[None].expand(len(cond), *latents.shape)
    for level in LEVELS:
        t = torch.full((len(cond),), round(level * (model.schedule.steps - 1)), dtype=torch.int64)
        for _ in range(DRAWS):
            eps = torch.randn(latents.shape, generator=generator).to(latents.device).expand_as(x0)
            x_t = model.schedule.add_noise(x0, eps, t)
            pred = model.schedule.to_eps(model(x_t, t.to(x_t.device), cond).float(), x_t, t)
            total += (pred - eps).square().mean(dim=(1, 2, 3))
    return (total / (len(LEVELS) * DRAWS)).cpu()


def _save(run: Run, found: SliderRange, images: Mapping[float, Sequence[Image.Image]]) -> None:
    """Save the range, each image as report/slider/STRENGTH-NUMBER.png, and all of them as one strip."""
    for strength, row in images.items():
        for number, image in enumerate(row):
            with atomic_path(run.report / "slider" / f"{strength:g}-{number}.png") as temporary:
                image.save(temporary, format="PNG")
    with atomic_path(run.report / "slider.png") as temporary:
        strip([images[p.strength] for p in found.places], found).save(temporary, format="PNG")
    values = {"low": found.low, "high": found.high, "preferred": found.preferred}
    write_json(run.report / "slider.json", {**values, "places": [asdict(p) for p in found.places]})


def strip(columns: Sequence[Sequence[Image.Image]], found: SliderRange) -> Image.Image:
    """Return the images of each strength as a column under its number; those outside of the range are in brackets."""
    width, height = columns[0][0].size
    whole = Image.new("RGB", (width * len(columns), _LABEL + height * len(columns[0])), "white")
    pen = ImageDraw.Draw(whole)
    for x, (column, place) in enumerate(zip(columns, found.places, strict=True)):
        inside = found.low <= place.strength <= found.high
        label = f"{place.strength:g}" if inside else f"({place.strength:g})"
        pen.text((x * width + width // 2, _LABEL // 2), label, fill="black", anchor="mm")
        for y, image in enumerate(column):
            whole.paste(image, (x * width, _LABEL + y * height))
    return whole
