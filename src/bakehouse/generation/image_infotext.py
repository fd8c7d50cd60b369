"""The infotext of a generated image: everything that determines it, under A1111's names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from bakehouse.core.files import sha256_file
from bakehouse.generation.adapter_header import is_embedding, tensor_hash
from bakehouse.generation.img2img_infotext import img2img_settings, strength_of
from bakehouse.generation.infotext import Infotext, lora_hashes, with_networks
from bakehouse.generation.region_infotext import region_settings
from bakehouse.generation.sampler_infotext import noise_settings, sampler_settings, schedule_settings

if TYPE_CHECKING:
    from bakehouse.data.weighted_prompt import Emphasis
    from bakehouse.generation.read_prompts import ReadPrompt
    from bakehouse.generation.request import ImageRequest
    from bakehouse.generation.source_image import PreparedSource
    from bakehouse.models.text_to_image import ImageSpec

EMPHASIS_NAMES: Mapping[Emphasis, str] = {
    "original": "Original",
    "no-norm": "No norm",
    "ignore": "Ignore",
    "none": "None",
}
"""A1111's names of the emphasis modes."""


def image_infotext(
    request: ImageRequest,
    spec: ImageSpec,
    read: ReadPrompt,
    prepared: PreparedSource | None,
    *,
    adapters: Sequence[tuple[Path, float]],
    model: Mapping[str, str | None],
    downscale: int,
) -> Infotext:
    """Return the infotext of one image.

    Args:
        request: with all settings resolved.
        spec: what was made of it.
        read: what its prompts mean.
        prepared: the image that it began from, if any.
        adapters: those on the model and their strengths; what the prompt names itself is not repeated.
        model: `Model hash` and `Model`.
        downscale: pixels of one latent on each axis.
    """
    asked = {one.path for tags in read.adapters_by_prompt for one in tags}
    own = [(path, strength) for path, strength in adapters if path not in asked and not is_embedding(path)]
    embeddings = [
        f"{path.stem}: {sha256_file(path)[:12]}" for path, strength in adapters if strength and is_embedding(path)
    ]
    hashes = [
        (path.stem, tensor_hash(path))
        for path in (*(path for path, _ in own), *sorted(asked, key=lambda path: (path.stem, path)))
    ]
    regions = request.regions.regions if request.regions else ()
    texts = [request.prompt, request.negative, *(one.prompt for one in regions)]
    brackets = any(bracket in text for text in texts for bracket in "([")
    width, height = spec.width, spec.height
    if prepared is not None and not prepared.scaled:
        width, height = prepared.source.size
    settings = {
        "Steps": spec.steps,
        **schedule_settings(spec),
        "CFG scale": spec.guidance,
        "CFG Rescale": spec.guidance_rescale or None,
        "Seed": spec.seed,
        "Size": f"{width}x{height}",
        **model,
        "Denoising strength": strength_of(request),
        "Init image hash": None if prepared is None else prepared.image_hash,
        **noise_settings(spec, downscale=downscale),
        **sampler_settings(spec),
        **img2img_settings(request, prepared),
        **region_settings(request.regions),
        "Lora hashes": lora_hashes(hashes),
        "TI hashes": ", ".join([*embeddings, *filter(None, [read.embedding_hashes])]) or None,
        "Emphasis": EMPHASIS_NAMES[request.emphasis] if brackets and request.emphasis != "original" else None,
        "Version": f"bakehouse {metadata.version('bakehouse')}",
    }
    networks = [(path.stem, strength) for path, strength in own]
    return Infotext.make(with_networks(spec.prompt, networks), spec.negative, settings)
