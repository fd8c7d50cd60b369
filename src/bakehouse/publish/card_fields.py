"""The YAML fields at the head of a model card, as the Hub reads them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import yaml  # type: ignore[import-untyped]

from bakehouse.core.message_text import visible
from bakehouse.evaluation.metrics import Interval
from bakehouse.publish.gallery import GalleryImage
from bakehouse.publish.publication_facts import PublicationFacts

_FAMILY_TAGS = {
    "sd1": ("stable-diffusion", "stable-diffusion-diffusers"),
    "sd2": ("stable-diffusion", "stable-diffusion-diffusers"),
    "sdxl": ("stable-diffusion-xl", "stable-diffusion-xl-diffusers"),
}
_KIND_TAGS = {
    "adapter": ("lora", "template:diffusion-lora"),
    "slider": ("lora", "template:diffusion-lora"),
    "embedding": ("textual_inversion",),
    "model": ("dreambooth",),
}


def front_matter(facts: PublicationFacts, images: tuple[GalleryImage, ...]) -> str:
    """Return the fields between two lines of dashes."""
    text = yaml.safe_dump(fields(facts, images), sort_keys=False, allow_unicode=True, width=1000)
    return f"---\n{text}---\n"


def fields(facts: PublicationFacts, images: tuple[GalleryImage, ...]) -> dict[str, Any]:
    """Return the fields of a card."""
    found: dict[str, Any] = {**facts.licence.hub_fields, "library_name": "diffusers", "pipeline_tag": "text-to-image"}
    if facts.base_on_hub:
        found["base_model"] = facts.base_on_hub
        found["base_model_relation"] = "finetune" if facts.kind == "model" else "adapter"
    found["instance_prompt"] = facts.triggers[0][1] if facts.triggers else None
    found["tags"] = list(tags(facts))
    if images:
        found["widget"] = [_widget(image) for image in images]
    if scored := list(_metrics(facts)):
        found["model-index"] = [{"name": facts.title, "results": [_result(scored)]}]
    return found


def tags(facts: PublicationFacts) -> Iterator[str]:
    """Yield the Hub's tags, by which models are found and loaded."""
    yield from ("text-to-image", "diffusers", "diffusers-training")
    yield from _FAMILY_TAGS.get(facts.family, ())
    yield from _KIND_TAGS[facts.kind]
    yield "bakehouse"


def _widget(image: GalleryImage) -> dict[str, Any]:
    parameters = {"negative_prompt": visible(image.spec.negative)} if image.spec.negative else {}
    one: dict[str, Any] = {"text": visible(image.prompt), "output": {"url": image.name}}
    return one | ({"parameters": parameters} if parameters else {})


def _result(metrics: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "task": {"type": "text-to-image", "name": "Text-to-image"},
        "dataset": {"type": "bakehouse-evaluation", "name": "prompts of bakehouse evaluate"},
        "metrics": metrics,
    }


def _metrics(facts: PublicationFacts) -> Iterator[dict[str, Any]]:
    """Yield the scores that are known; shares in percent."""
    cell = facts.scores
    if facts.slider is not None and facts.slider.correlation is not None:
        yield _metric("rank-correlation", "Rank correlation of strength and attribute", facts.slider.correlation)
    if cell is None:
        return
    figures: tuple[tuple[str, str, Interval, float], ...] = (
        ("subject-fidelity", "Subject fidelity, 0 to 100", cell.fidelity, 100),
        ("prompt-retention", "Prompt retention, % of the base's", cell.retention, 100),
        ("prior-drift", "Prior drift, points", cell.drift.points, 1),
        ("near-copies", "Near copies of training images, %", cell.near_copies.share, 100),
    )
    for name, title, figure, factor in figures:
        if figure.value == figure.value:  # NaN: not measured
            yield _metric(name, title, figure.value * factor)


def _metric(name: str, title: str, value: float) -> dict[str, Any]:
    return {"type": name, "name": title, "value": round(value, 2)}
