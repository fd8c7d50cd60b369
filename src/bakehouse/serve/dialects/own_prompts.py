"""What helps to write a request: warnings, tags, templates, and the settings of an existing picture."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import cache, lru_cache
from typing import Any

from fastapi import Query, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field

from bakehouse.core.bundled_models import BUNDLED_BASE
from bakehouse.core.errors import BakehouseError
from bakehouse.core.model_catalogue.conventions import PromptForm
from bakehouse.data.tag_vocabulary import load_vocabulary
from bakehouse.data.tags import key
from bakehouse.data.weighted_prompt import Emphasis
from bakehouse.generation.infotext import Infotext, read_text
from bakehouse.generation.prompt import compile_prompt
from bakehouse.generation.prompt.describe import describe
from bakehouse.generation.prompt.highlight import highlight
from bakehouse.generation.region_infotext import is_region_setting, read_regions
from bakehouse.generation.request import ImageRequest
from bakehouse.generation.templates import draw_prompts, library, plain_words
from bakehouse.serve.dialects.own_answers import answers
from bakehouse.serve.dialects.own_dialect import OWN
from bakehouse.serve.dialects.own_run_answers import (
    CompletionsAnswer,
    FilledAnswer,
    PromptAnswer,
    RecalledAnswer,
    TemplatesAnswer,
)
from bakehouse.serve.dialects.saved_images import save_text
from bakehouse.serve.errors import ServeError, bad_request
from bakehouse.serve.server import Server, server_of

_SIZE = re.compile(r"(\d+)x(\d+)")
_LONGEST_SLOT = 500
_NUMBERS: dict[str, tuple[str, type[int] | type[float]]] = {
    "Steps": ("steps", int),
    "CFG scale": ("guidance", float),
    "Seed": ("seed", int),
    "Clip skip": ("clip_skip", int),
    "Variation seed": ("variation_seed", int),
    "Variation seed strength": ("variation_strength", float),
}
_NO_NOTE = frozenset({
    "Version", "User", "Model hash", "Lora hashes", "TI hashes", "Hashes", "Schedule type", "RNG", "Timestep spacing",
    "Template", "Template name", "Hires upscale", "Hires upscaler", "Hires steps",
})  # fmt: skip


class RecallBody(BaseModel):
    """A picture, or the infotext of one."""

    model_config = ConfigDict(extra="forbid")

    image: str | None = Field(None, description="Base64 of a PNG, JPEG or WebP, or a data: URL.")
    infotext: str | None = Field(None, description="In place of an image.")


class PromptBody(BaseModel):
    """A prompt to look at."""

    model_config = ConfigDict(extra="forbid")

    prompt: str = Field(max_length=20_000)
    negative: str = Field("", max_length=20_000)
    steps: int = Field(20, ge=1, le=1000)
    emphasis: Emphasis = "original"


class FillBody(BaseModel):
    """A template of the library, and what fills its slots."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(max_length=100, description="Set and number, as the list has them: `portraits:3`.")
    form: PromptForm = Field("sentences", description="Sentences, or tags for bases that are prompted so.")
    slots: dict[str, str] = Field(default_factory=dict, max_length=20, description="Plain words; left out: by chance.")
    seed: int = Field(0, ge=0, le=2**63 - 1, description="Decides what is left to chance.")


@OWN.route("POST", "/api/v1/prompt", "read", **answers(PromptAnswer))
async def read_prompt(body: PromptBody) -> Response:
    """Say how a prompt is read: its syntax tree, its parts, the adapters that it names, and what is probably not meant.

    `parts` are pieces to be shown in different ways, which joined are the prompt; `tree` is as in `bakehouse prompt`.
    """
    found = await asyncio.to_thread(
        compile_prompt, body.prompt, body.negative, steps=body.steps, emphasis=body.emphasis
    )
    adapters = [{"name": tag.name, "text": tag.text, "unet": tag.unet} for tag in found.adapters]
    answer = {
        "warnings": list(found.warnings),
        "adapters": adapters,
        "parts": [one.to_json() for one in highlight(body.prompt)],
        "negative_parts": [one.to_json() for one in highlight(body.negative, negative=True)],
        "tree": [one.to_json() for one in describe(found.prompt, body.steps)],
    }
    return JSONResponse(answer)


@OWN.route("GET", "/api/v1/tags", "read", **answers(CompletionsAnswer))
async def complete_tag(
    q: str = Query(min_length=1, max_length=100),
    vocabulary: str = Query(BUNDLED_BASE, pattern=r"^[\w.+-]{1,64}$", description="crumb, or an installed tagger."),
    limit: int = Query(20, ge=1, le=200),
) -> Response:
    """Complete a tag from a vocabulary: tags that begin so, then tags that contain it, the most frequent first."""
    return JSONResponse({"tags": await asyncio.to_thread(_completions, q, vocabulary, limit)})


@OWN.route("POST", "/api/v1/recall", "read", **answers(RecalledAnswer))
async def recall(request: Request, body: RecallBody) -> Response:
    """Return the settings that a picture was made with, as `/api/v1/draw` takes them, and notes on what is left out."""
    text = body.infotext
    if body.image is not None:
        path = await save_text(request, body.image, "image")
        text = await asyncio.to_thread(read_text, path)
    if not text:
        raise ServeError(
            400,
            "no_infotext",
            "the picture does not say how it was made",
            hint="bakehouse, A1111 and many others write it into PNG, JPEG and WebP; messengers and editors remove it",
        )
    return JSONResponse(recalled(Infotext.parse(text), server_of(request)))


@OWN.route("GET", "/api/v1/templates", "read", **answers(TemplatesAnswer))
async def templates() -> Response:
    """List the library of templates."""
    return JSONResponse({"templates": _library()})


@OWN.route("POST", "/api/v1/templates/fill", "read", **answers(FilledAnswer))
async def fill_template(body: FillBody) -> Response:
    """Return the prompt that a template of the library comes to; the same seed gives the same."""
    return JSONResponse(await asyncio.to_thread(_filled, body))


def recalled(info: Infotext, server: Server) -> dict[str, Any]:
    """Return an infotext's settings as a request, the served model that it names, and notes in plain words."""
    settings = dict(info.settings)
    found: dict[str, Any] = {"prompt": info.prompt, "negative": info.negative}
    notes: list[str] = []
    for name, value in settings.items():
        if name in _NUMBERS:
            field, kind = _NUMBERS[name]
            try:
                found[field] = kind(value)
            except ValueError:
                notes.append(f"{name}: {value} is no number")
        elif name == "Size" and (size := _SIZE.fullmatch(value)):
            found |= {"width": int(size[1]), "height": int(size[2])}
        elif name == "Denoising strength" and "Hires upscale" in settings:
            continue
        elif name not in {"Sampler", "Model"} | _NO_NOTE and not is_region_setting(name):
            notes.append(f"{name}: {value} is not taken over")
    found |= _regions(settings, notes) | _hires(settings, server, notes)
    facts = server.engine.facts()
    schedule = settings.get("Schedule type") or ("Trailing" if settings.get("Timestep spacing") == "trailing" else "")
    if asked := settings.get("Sampler"):
        sampler, rest = _named(asked, facts["samplers"], "name")
        if sampler is None:
            notes.append(f"the sampler {asked} is not known here")
        else:
            found["sampler"], schedule = sampler, schedule or rest
    if schedule:
        found["schedule"], _ = _named(schedule, facts["schedules"], "label")
    model = settings.get("Model", "")
    is_served = model in server.engine.models
    if model and not is_served:
        notes.append(f"the model {model} is not served here")
    return {"request": found, "model": model if is_served else None, "notes": notes}


def _regions(settings: Mapping[str, str], notes: list[str]) -> dict[str, Any]:
    """Return the regions that settings describe. Masks are files of somebody's disk: such regions are left out."""
    masked = {name for name, text in settings.items() if is_region_setting(name) and text.startswith("mask=")}
    if masked:
        notes.append(f"{', '.join(sorted(masked))}: regions with a mask are not taken over")
    try:
        regions, _ = read_regions({name: text for name, text in settings.items() if name not in masked})
    except BakehouseError as e:
        notes.append(f"the regions cannot be read: {e}")
        return {}
    if regions is None:
        return {}
    rows = [{"area": str(region.area), "prompt": region.prompt} for region in regions.regions]
    return {"regions": {"regions": rows, "base": regions.base, "edge": regions.edge}}


def _hires(settings: Mapping[str, str], server: Server, notes: list[str]) -> dict[str, Any]:
    """Return the second pass that settings describe; their denoising strength is that of this pass."""
    if "Hires upscale" not in settings:
        return {}
    upscaler = settings.get("Hires upscaler", "Latent")
    known = {name.lower(): name for name in server.upscalers}
    if upscaler.lower() not in known:
        notes.append(f"the upscaler {upscaler} is not installed here; Latent is used")
    try:
        found: dict[str, Any] = {"scale": float(settings["Hires upscale"])}
        found["upscaler"] = known.get(upscaler.lower(), "Latent")
        found["steps"] = int(settings["Hires steps"]) if "Hires steps" in settings else None
        found["strength"] = float(settings.get("Denoising strength", "0.7"))
    except ValueError:
        notes.append("the settings of the second pass are no numbers")
        return {}
    return {"hires": found}


def _named(text: str, rows: Iterable[dict[str, Any]], key: str) -> tuple[str | None, str]:
    """Return the row's name that a text means, and what follows it: `DPM++ 2M Karras` is DPM++ 2M, then Karras."""
    names = {alias.lower(): str(row[key]) for row in rows for alias in (row[key], *row["aliases"])}
    lowered = text.strip().lower()
    if lowered in names:
        return names[lowered], ""
    begins = [name for name in names if lowered.startswith(f"{name} ")]
    if not begins:
        return None, ""
    longest = max(begins, key=len)
    return names[longest], text.strip()[len(longest) + 1 :]


def _filled(body: FillBody) -> dict[str, Any]:
    name, _, number = body.name.rpartition(":")
    found = next((one for one in library() if one.name == name), None)
    if found is None or not number.isdecimal() or not 1 <= int(number) <= len(found.templates):
        raise ServeError(404, "not_found", f"there is no template {body.name!r}", hint="GET /api/v1/templates has all")
    template = found.templates[int(number) - 1]
    if unknown := [slot for slot in body.slots if slot not in template.slots]:
        raise bad_request(f"{body.name} has no slot {unknown[0][:80]!r}", hint=f"it has {', '.join(template.slots)}")
    if long := [slot for slot, words in body.slots.items() if len(words) > _LONGEST_SLOT]:
        raise bad_request(f"slot {long[0]}: {len(body.slots[long[0]])} characters; allowed are {_LONGEST_SLOT}")
    slots = {slot: plain_words(words.strip()) for slot, words in body.slots.items() if words.strip()}
    request = ImageRequest(prompt="", seed=body.seed)
    (drawn,) = draw_prompts(request, sets=[replace(found, templates=(template,))], slots=slots, form=body.form)
    return {"prompt": drawn.request.prompt, "negative": drawn.request.negative}


@cache
def _library() -> list[dict[str, Any]]:
    return [one.to_json() for one in library()]


def _completions(text: str, vocabulary: str, limit: int) -> list[dict[str, Any]]:
    wanted = key(text)
    found = [name for name in _names(vocabulary) if wanted in name]
    known = load_vocabulary(vocabulary)
    found.sort(key=lambda name: (not name.startswith(wanted), -(known.count(name) or 0), name))
    return [{"tag": name, "count": known.count(name)} for name in found[:limit]]


@lru_cache(maxsize=4)
def _names(vocabulary: str) -> tuple[str, ...]:
    return tuple(load_vocabulary(vocabulary).names())
