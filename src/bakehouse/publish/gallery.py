"""The gallery of a published model: images of its evaluation, with the settings that made them in each file."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from bakehouse.core.files import write_bytes
from bakehouse.core.message_text import visible
from bakehouse.core.model_catalogue.conventions import with_quality
from bakehouse.data.open_image import open_image
from bakehouse.evaluation.html_strips import spread_over_prompts
from bakehouse.evaluation.result import Report
from bakehouse.generation.adapter_header import tensor_hash
from bakehouse.generation.infotext import Infotext, encode, lora_hashes, with_networks
from bakehouse.generation.sampler_infotext import noise_settings, sampler_settings, schedule_settings
from bakehouse.models.text_to_image import ImageSpec
from bakehouse.publish.publication_facts import PublicationFacts
from bakehouse.recipe.sample_prompt import SamplePrompt, parse_sample_prompt, sample_defaults

FOLDER = "images"
_SAMPLE = re.compile(r"step-(\d+)-(\d+)\.png")


@dataclass(frozen=True)
class GalleryImage:
    """An image to publish."""

    name: str
    """Its path in the publication: `images/01.png`."""
    source: Path
    prompt: str
    spec: ImageSpec
    """The settings that it was made with."""
    base: Path | None = None
    """The untouched base's image of the class, with the same seed and the same prompt without the trigger."""

    @property
    def base_name(self) -> str:
        return self.name.replace(".png", "-base.png")


def choose_images(facts: PublicationFacts) -> tuple[GalleryImage, ...]:
    """Return the images to publish: of as many different prompts as possible, none of them broken.

    They are those of the evaluation at the published weights and strength, else the last samples of the training.
    """
    found = list(_evaluated(facts)) or list(_samples(facts))
    return tuple(found[: facts.spec.images])


def _evaluated(facts: PublicationFacts) -> Iterator[GalleryImage]:
    report, cell = facts.report, facts.scores
    if report is None or cell is None:
        return
    healthy = [i for i in spread_over_prompts(cell.images, cell.images) if i not in cell.broken_images]
    # Of one prompt after the other, and its second image only when all prompts have been shown.
    ordered = sorted(healthy, key=lambda i: (i % 2, i))
    shown = 0
    for i in ordered:
        path = report.image_path(cell, "subject", i)
        if path is None or not path.is_file():
            continue
        shown += 1
        prompt = report.prompts.subject[i]
        base = report.image_path(None, "class", i)
        yield GalleryImage(
            f"{FOLDER}/{shown:02d}.png",
            path,
            with_quality(prompt.prompt, report.settings.quality),
            _spec(facts, report, prompt.prompt, prompt.seed),
            base if base is not None and base.is_file() else None,
        )


def _spec(facts: PublicationFacts, report: Report, prompt: str, seed: int) -> ImageSpec:
    settings = report.settings
    side = settings.size or facts.side
    return ImageSpec(
        prompt=with_quality(prompt, settings.quality),
        negative=settings.negative,
        width=side,
        height=side,
        seed=seed,
        steps=settings.steps,
        guidance=settings.guidance,
        sampler=settings.sampler,
        clip_skip=facts.recipe.model.clip_skip,
    )


def _samples(facts: PublicationFacts) -> Iterator[GalleryImage]:
    """The samples of the last step that has any: they are of the weights as they were then, at strength 1."""
    named = [(m, p) for p in sorted(facts.run.samples.glob("step-*.png")) if (m := _SAMPLE.fullmatch(p.name))]
    last = max((int(m[1]) for m, _ in named), default=0)
    prompts = _sample_prompts(facts)
    if not last:
        return
    chosen = [(int(m[2]), path) for m, path in named if int(m[1]) == last and int(m[2]) < len(prompts)]
    for shown, (number, path) in enumerate(sorted(chosen), start=1):
        asked = prompts[number]
        spec = ImageSpec(
            prompt=asked.prompt, negative=asked.negative, width=asked.width, height=asked.height, seed=asked.seed,
            steps=asked.steps, guidance=asked.guidance, sampler=asked.sampler,
            clip_skip=facts.recipe.model.clip_skip,
        )  # fmt: skip
        yield GalleryImage(f"{FOLDER}/{shown:02d}.png", path, asked.prompt, spec)


def _sample_prompts(facts: PublicationFacts) -> list[SamplePrompt]:
    defaults = sample_defaults(facts.recipe.sample, facts.side)
    return [parse_sample_prompt(line, defaults) for line in facts.recipe.sample.prompts]


def write_images(facts: PublicationFacts, images: tuple[GalleryImage, ...], folder: Path) -> list[Path]:
    """Write the gallery as PNG files with infotext, which webuis and sites read; return their paths.

    Raises:
        BakehouseError: an image is damaged, or the disk is full.
    """
    written = []
    for one in images:
        image = open_image(one.source).convert("RGB")
        text = infotext(facts, one, image.size)
        written.append(write_bytes(folder / one.name, encode(image, text, ".png")))
        if one.base is not None:
            base = open_image(one.base).convert("RGB")
            written.append(write_bytes(folder / one.base_name, encode(base, None, ".png")))
    return written


def infotext(facts: PublicationFacts, image: GalleryImage, size: tuple[int, int]) -> Infotext:
    """Return the settings of an image under A1111's names, with the names of the published files."""
    spec, on_base = image.spec, facts.kind in ("adapter", "slider")
    settings = {
        "Steps": spec.steps,
        **schedule_settings(spec),
        "CFG scale": spec.guidance,
        "Seed": spec.seed,
        "Size": f"{size[0]}x{size[1]}",
        "Model": facts.name if facts.kind == "model" else Path(facts.base).stem,
        **noise_settings(spec, downscale=8),
        **sampler_settings(spec),
        "Lora hashes": lora_hashes([(facts.name, tensor_hash(facts.weights))]) if on_base else None,
        "Version": f"bakehouse {metadata.version('bakehouse')}",
    }
    networks = [(facts.name, facts.strength)] if on_base else []
    return Infotext.make(with_networks(visible(spec.prompt), networks), visible(spec.negative), settings)
