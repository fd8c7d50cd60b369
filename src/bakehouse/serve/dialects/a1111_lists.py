"""The API of AUTOMATIC1111's webui: lists, options, and what works on finished images."""

from __future__ import annotations

import asyncio
import base64
from pathlib import Path
from typing import Any

from fastapi import Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from bakehouse.data.open_image import image_size
from bakehouse.generation.infotext import Infotext, read_text
from bakehouse.serve.dialects.a1111 import answer_error, translator
from bakehouse.serve.dialects.a1111_body import DEFAULT_OPTIONS, check_options, model_title
from bakehouse.serve.dialects.saved_images import save_text
from bakehouse.serve.errors import ServeError
from bakehouse.serve.guard.rules import Dialect
from bakehouse.serve.server import caller_of, server_of

LISTS = Dialect("a1111", answer_error)
_EMPTY_LISTS = ("sd-vae", "prompt-styles", "hypernetworks", "face-restorers", "script-info", "extensions")
"""What bakehouse does not have."""
_REFRESHED = ("checkpoints", "vae", "embeddings", "loras")


@LISTS.route("GET", "/sdapi/v1/options", "read")
async def get_options(request: Request) -> Response:
    """Return the caller's options."""
    return JSONResponse(_options(request))


@LISTS.route("POST", "/sdapi/v1/options", "draw")
async def set_options(request: Request, body: dict[str, Any]) -> Response:
    """Save options of the caller; they hold for its later requests."""
    current = _options(request)
    changed = {name: value for name, value in body.items() if name not in current or current[name] != value}
    values = check_options(changed)  # clients send back all that they were given
    if "sd_model_checkpoint" in values:
        values["sd_model_checkpoint"] = translator(request).find_model(values["sd_model_checkpoint"]).name
    await asyncio.to_thread(server_of(request).store.options.save, caller_of(request).key, values)
    return JSONResponse({})


@LISTS.route("GET", "/sdapi/v1/sd-models", "read")
async def sd_models(request: Request) -> Response:
    """List the served models. Hashes are known once a model was loaded."""
    engine = server_of(request).engine
    rows = [
        {
            "title": model_title(model, engine.hashes),
            "model_name": model.name,
            "hash": engine.hashes.get(model.name),
            "sha256": None,
            "filename": model.file.name,  # where files are is nobody's business
            "config": None,
        }
        for model in engine.models
    ]
    return JSONResponse(rows)


@LISTS.route("GET", "/sdapi/v1/samplers", "read")
async def samplers(request: Request) -> Response:
    """List the samplers."""
    rows = [row for row in server_of(request).engine.facts()["samplers"] if row["a1111"]]
    return JSONResponse(
        [{"name": r["name"], "aliases": r["aliases"], "options": {"scheduler": r["automatic"].lower()}} for r in rows]
    )


@LISTS.route("GET", "/sdapi/v1/schedulers", "read")
async def schedulers(request: Request) -> Response:
    """List the sigma schedules."""
    rows = [
        {
            "name": (row["aliases"] or [row["label"].lower()])[0],
            "label": row["label"],
            "aliases": row["aliases"],
            "default_rho": {"Karras": 7.0, "Polyexponential": 1.0}.get(row["label"], -1),
            "need_inner_model": row["label"] in ("SGM Uniform", "Simple", "Normal", "DDIM", "Beta"),
        }
        for row in server_of(request).engine.facts()["schedules"]
        if row["label"] != "Trailing"
    ]
    return JSONResponse(rows)


@LISTS.route("GET", "/sdapi/v1/upscalers", "read")
async def upscalers(request: Request) -> Response:
    """List what enlarges finished images."""
    rows = [row for row in server_of(request).engine.facts()["upscalers"] if not row["latent"]]
    empty = {"model_name": None, "model_path": None, "model_url": None}
    scales = [{"name": row["name"], **empty, "scale": 4} for row in rows]
    return JSONResponse([{"name": "None", **empty, "scale": 4}, *scales])


@LISTS.route("GET", "/sdapi/v1/latent-upscale-modes", "read")
async def latent_upscale_modes(request: Request) -> Response:
    """List what enlarges latents in a second pass."""
    rows = server_of(request).engine.facts()["upscalers"]
    return JSONResponse([{"name": row["name"]} for row in rows if row["latent"]])


@LISTS.route("GET", "/sdapi/v1/loras", "read")
async def loras(request: Request) -> Response:
    """List the adapters that prompts may name."""
    found = await server_of(request).engine.prompt_files()
    return JSONResponse(found["loras"])


@LISTS.route("GET", "/sdapi/v1/embeddings", "read")
async def embeddings(request: Request) -> Response:
    """List the textual inversions that prompts may name."""
    found = await server_of(request).engine.prompt_files()
    facts = {"step": None, "sd_checkpoint": None, "sd_checkpoint_name": None}
    return JSONResponse({"loaded": dict.fromkeys(found["embeddings"], facts), "skipped": {}})


@LISTS.route("GET", "/sdapi/v1/scripts", "read")
async def scripts() -> Response:
    """List the scripts: there are none."""
    return JSONResponse({"txt2img": [], "img2img": []})


@LISTS.route("GET", "/sdapi/v1/cmd-flags", "read")
async def cmd_flags() -> Response:
    """Return the flags of the webui's command line: there are none."""
    return JSONResponse({})


@LISTS.route("GET", "/sdapi/v1/memory", "read")
async def memory(request: Request) -> Response:
    """Return the memory of the first device."""
    engine = server_of(request).engine
    found = await engine.memory()
    used = {"free": found["free"], "used": found["total"] - found["free"], "total": found["total"]}
    if str(engine.facts()["device"]).startswith("cuda"):
        return JSONResponse({"ram": {"error": "unavailable"}, "cuda": {"system": used}})
    return JSONResponse({"ram": used, "cuda": {"error": "unavailable"}})


class ExtraBody(BaseModel):
    """`POST /sdapi/v1/extra-single-image`."""

    image: str = ""
    resize_mode: int = 0
    upscaling_resize: float = 2
    upscaling_resize_w: int = 512
    upscaling_resize_h: int = 512
    upscaling_crop: bool = True
    upscaler_1: str = "None"
    upscaler_2: str = "None"
    extras_upscaler_2_visibility: float = 0
    gfpgan_visibility: float = 0
    codeformer_visibility: float = 0


@LISTS.route("POST", "/sdapi/v1/extra-single-image", "draw")
async def extra_single_image(request: Request, body: ExtraBody) -> Response:
    """Enlarge a finished image."""
    server = server_of(request)
    for name in ("gfpgan_visibility", "codeformer_visibility", "extras_upscaler_2_visibility"):
        if getattr(body, name):
            raise ServeError(422, "unsupported", f"{name} = {getattr(body, name)} is not possible here")
    allowed = ["None", *(row["name"] for row in server.engine.facts()["upscalers"] if not row["latent"])]
    if body.upscaler_1 not in allowed:
        message = f"upscaler_1 = {body.upscaler_1!r} is unknown"
        raise ServeError(422, "unsupported", message, hint=f"possible: {', '.join(allowed)}")
    path = await save_text(request, body.image, "image")
    size = _enlarged(await asyncio.to_thread(image_size, path), body)
    limits = server.settings.limits
    if max(size) > limits.side * 2 or size[0] * size[1] > limits.pixels * 4 or min(size) < 1:
        raise ServeError(422, "over_limit", f"{size[0]}x{size[1]} pixels are not possible on this server")
    if body.upscaler_1 == "None":
        data = await server.engine.enlarge(str(path), "Lanczos", await asyncio.to_thread(image_size, path))
    else:
        data = await server.engine.enlarge(str(path), body.upscaler_1, size)
    return JSONResponse({"html_info": "", "image": base64.b64encode(data).decode()})


def _enlarged(size: tuple[int, int], body: ExtraBody) -> tuple[int, int]:
    """Return the size of the result: a factor, or as large as fits into a width and height."""
    width, height = size
    if body.resize_mode == 0:
        return round(width * body.upscaling_resize), round(height * body.upscaling_resize)
    if body.upscaling_crop and width * body.upscaling_resize_h != height * body.upscaling_resize_w:
        raise ServeError(
            422,
            "unsupported",
            f"upscaling_crop: the image is {width}x{height}, which is another shape than the size asked for",
            hint="crop the image before, or send upscaling_crop: false",
        )
    scale = min(body.upscaling_resize_w / width, body.upscaling_resize_h / height)
    return round(width * scale), round(height * scale)


class ImageOnlyBody(BaseModel):
    """A body with an image."""

    image: str = ""
    model: str = "clip"


@LISTS.route("POST", "/sdapi/v1/png-info", "read")
async def png_info(request: Request, body: ImageOnlyBody) -> Response:
    """Return the infotext of an image."""
    path = await save_text(request, body.image, "image")
    text = await asyncio.to_thread(read_text, path)
    if text is None:
        return JSONResponse({"info": "", "items": {}, "parameters": {}})
    found = Infotext.parse(text)
    settings: dict[str, str] = dict(found.settings)
    if "Size" in settings:
        settings["Size-1"], _, settings["Size-2"] = settings["Size"].partition("x")
    parameters = {"Prompt": found.prompt, "Negative prompt": found.negative, **settings}
    return JSONResponse({"info": text, "items": {"parameters": text}, "parameters": parameters})


@LISTS.route("POST", "/sdapi/v1/interrogate", "draw")
async def interrogate(request: Request, body: ImageOnlyBody) -> Response:
    """Return tags of an image, by the tagger that comes with bakehouse."""
    if body.model not in ("clip", "deepdanbooru"):
        raise ServeError(404, "HTTPException", "Model not found")
    path: Path = await save_text(request, body.image, "image")
    return JSONResponse({"caption": await server_of(request).engine.tag(str(path))})


async def _empty_list() -> Response:
    return JSONResponse([])


async def _nothing_to_refresh() -> Response:
    """What is served is decided at the start."""
    return JSONResponse({})


for _name in _EMPTY_LISTS:
    LISTS.route("GET", f"/sdapi/v1/{_name}", "read")(_empty_list)
for _name in _REFRESHED:
    LISTS.route("POST", f"/sdapi/v1/refresh-{_name}", "read")(_nothing_to_refresh)


def _options(request: Request) -> dict[str, Any]:
    engine = server_of(request).engine
    saved = server_of(request).store.options.of(caller_of(request).key)
    values = {**DEFAULT_OPTIONS, **saved}
    model = translator(request).find_model(saved.get("sd_model_checkpoint"))
    values["sd_model_checkpoint"] = model_title(model, engine.hashes)
    values["CLIP_stop_at_last_layers"] = values["CLIP_stop_at_last_layers"] or model.facts.get("clip_skip", 1)
    return values
