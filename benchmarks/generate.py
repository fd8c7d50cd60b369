"""Images a second beside plain diffusers: `python -m benchmarks.generate`.

Both draw the same image with the same networks, sampler, steps and first noise, and take turns, so that a machine that
slows down affects both. `diffusers` is its `StableDiffusionPipeline` as its documentation uses it; `bakehouse` is
`Pipeline.generate`, which `bakehouse generate` and the server call. With `--lora` both have an adapter: diffusers by
`load_lora_weights`, which needs PEFT.

The images are compared, too: a speed is shown only if no pixel differs by more than two levels. Ratios are medians of
each round's ratio: of time on the clock, and of processor time, which a busy machine disturbs less.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from rich.console import Console
from rich.table import Table

from bakehouse.adapters import LoRA, inject, save_adapter
from bakehouse.generation import ImageRequest, Pipeline
from bakehouse.generation.model_source import ModelSource
from bakehouse.models.samplers import ignore_numpy_2_warnings, make_scheduler
from bakehouse.models.sampling import initial_noise
from benchmarks.models import make_model

PROMPT, NEGATIVE = "a person, smile, red hair, outdoors", "hat"
SAMPLER = "DPM++ 2M"
LEVELS = 2
"""Of 255: how far two images may differ and count as the same."""


@dataclass(frozen=True)
class Work:
    """One row: what both are asked for."""

    model: str
    batch: int
    side: int
    """Of an image, in pixels."""
    steps: int
    lora: bool = False

    @property
    def title(self) -> str:
        with_lora = ", LoRA" if self.lora else ""
        return f"{self.model}{with_lora}, {self.side} px, {self.steps} steps, batch {self.batch}"


ROWS = {
    "crumb": [Work("crumb", 1, 128, 20), Work("crumb", 8, 128, 20), Work("crumb", 1, 128, 20, lora=True)],
    "sd15": [Work("sd15", 1, 256, 4), Work("sd15", 8, 256, 2)],
    "tiny": [Work("tiny", 2, 64, 2), Work("tiny", 1, 64, 2, lora=True)],
}
"""By model; `tiny` is for testing this benchmark."""


@dataclass(frozen=True)
class Measured:
    """Seconds of each round, and how far the images differ."""

    seconds: dict[str, list[float]]
    processor: dict[str, list[float]]
    difference: int
    """The largest of any pixel, in levels of 255."""

    def ratio(self, of: dict[str, list[float]]) -> float:
        """Return how many times as fast bakehouse is: the median of the rounds' ratios."""
        return statistics.median(d / b for d, b in zip(of["diffusers"], of["bakehouse"], strict=True))


def plain_diffusers(model: Any, work: Work, lora: Path | None) -> Callable[[], list[Image.Image]]:
    """Return a function that draws the images with diffusers' pipeline."""
    from diffusers import StableDiffusionPipeline

    pipeline = StableDiffusionPipeline(
        vae=model.vae,
        text_encoder=model.text_encoder,
        tokenizer=model.tokenizer,
        unet=model.unet,
        scheduler=make_scheduler(model.schedule, SAMPLER),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.set_progress_bar_config(disable=True)
    if lora is not None:
        pipeline.load_lora_weights(str(lora.parent), weight_name=lora.name)
    noise = initial_noise(range(1, work.batch + 1), model.latent_shape(work.side, work.side))

    def draw() -> list[Image.Image]:
        with ignore_numpy_2_warnings():
            made = pipeline(
                [PROMPT] * work.batch,
                negative_prompt=[NEGATIVE] * work.batch,
                width=work.side,
                height=work.side,
                num_inference_steps=work.steps,
                guidance_scale=5.0,
                latents=noise.to(model.device, model.dtype),
            )
        images: list[Image.Image] = made.images
        return images

    return draw


@contextmanager
def our_pipeline(model: Any, work: Work, lora: Path | None) -> Iterator[Callable[[], list[Image.Image]]]:
    """Give a function that draws the images with a pipeline, which is open inside a `with` block."""
    adapters = () if lora is None else ((lora, 1.0),)
    source = ModelSource(base=work.model, adapters=adapters)
    request = ImageRequest(
        prompt=PROMPT, negative=NEGATIVE, width=work.side, height=work.side, seed=1, count=work.batch,
        steps=work.steps, guidance=5.0, sampler=SAMPLER,
    )  # fmt: skip
    with Pipeline(model, source) as pipeline:
        yield lambda: [made.image for made in pipeline.generate([request], batch=work.batch)]


def random_lora(model: Any, folder: Path) -> Path:
    """Write a LoRA of rank 16 with random weights."""
    adapter = inject(LoRA(rank=16), model.trainable_modules(), generator=torch.Generator().manual_seed(0))
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in adapter.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.02)
    path = folder / "random.safetensors"
    save_adapter(adapter, path)
    adapter.remove()
    return path


def measure(work: Work, rounds: int) -> Measured:
    """Draw in turns, after one image each that is not counted."""
    seconds: dict[str, list[float]] = {"diffusers": [], "bakehouse": []}
    processor: dict[str, list[float]] = {"diffusers": [], "bakehouse": []}
    with tempfile.TemporaryDirectory() as folder:
        ours = make_model(work.model, "cpu", torch.float32)
        lora = random_lora(ours, Path(folder)) if work.lora else None
        # diffusers changes the networks that it puts a LoRA on, so it has its own.
        theirs = make_model(work.model, "cpu", torch.float32) if work.lora else ours
        draw = plain_diffusers(theirs, work, lora)
        with our_pipeline(ours, work, lora) as draw_ours:
            cases = {"diffusers": draw, "bakehouse": draw_ours}
            images = {who: case() for who, case in cases.items()}
            for _ in range(rounds):
                for who, case in cases.items():
                    began, began_cpu = time.perf_counter(), time.process_time()
                    case()
                    seconds[who].append(time.perf_counter() - began)
                    processor[who].append(time.process_time() - began_cpu)
    return Measured(seconds, processor, difference(images["diffusers"], images["bakehouse"]))


def difference(some: Sequence[Image.Image], others: Sequence[Image.Image]) -> int:
    """Return the largest difference of any pixel of two lists of images, in levels of 255."""
    pairs = zip(some, others, strict=True)
    return max(int(np.abs(np.asarray(a, np.int16) - np.asarray(b, np.int16)).max()) for a, b in pairs)


def table(rows: Sequence[tuple[Work, Measured]], title: str) -> Table:
    """Return a table of speeds; a row whose images differ says so in place of them."""
    out = Table("", "diffusers, images / s", "bakehouse, images / s", "ratio", "processor time", title=title)
    for work, found in rows:
        if found.difference > LEVELS:
            out.add_row(work.title, f"the images differ by {found.difference} levels", "", "", "")
            continue
        speeds = [work.batch / statistics.median(found.seconds[who]) for who in ("diffusers", "bakehouse")]
        ratios = [found.ratio(found.seconds), found.ratio(found.processor)]
        out.add_row(work.title, *(f"{s:.2f}" for s in speeds), *(f"{r:.2f}" for r in ratios))
    return out


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(prog="benchmarks.generate", description=__doc__)
    parser.add_argument("--models", nargs="+", default=["crumb", "sd15"], choices=list(ROWS))
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args(arguments)
    rows = [(work, measure(work, options.rounds)) for model in options.models for work in ROWS[model]]
    Console().print(table(rows, f"cpu, {torch.get_num_threads()} threads, {SAMPLER}, {options.rounds} rounds"))


if __name__ == "__main__":
    main()
