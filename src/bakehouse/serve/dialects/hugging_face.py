"""The Hugging Face Inference API: the classic form, the router's form, and how it behaved in early 2023 (`--hf-2023`).

A cold model holds the connection while it loads. In `hf-2023` mode, or when the caller says that it will not wait, the
answer is 503 with `estimated_time`, as clients of that time expect.
"""

from __future__ import annotations

import json
import time
from typing import Any

from fastapi import Request, Response
from fastapi.responses import JSONResponse

from bakehouse.core.parse_json_toml_yaml import parse_json
from bakehouse.generation.img2img_settings import FromImage
from bakehouse.generation.request import ImageRequest
from bakehouse.serve.dialects.saved_images import save_bytes, save_text
from bakehouse.serve.draw import check_drawing, draw
from bakehouse.serve.errors import ServeError, bad_request
from bakehouse.serve.guard.rules import Dialect
from bakehouse.serve.server import caller_of, server_of
from bakehouse.serve.work.drawing import Drawing, ImageFormat, ImageKind, Picture
from bakehouse.serve.work.served_models import ServedModel

_TASKS = ("text-to-image", "image-to-image")
_KINDS: tuple[ImageKind, ...] = ("jpeg", "png", "webp")
_TRUE = ("1", "true", "yes")
_NAMES = {
    "negative_prompt": "negative",
    "width": "width",
    "height": "height",
    "num_inference_steps": "steps",
    "guidance_scale": "guidance",
    "guidance_rescale": "guidance_rescale",
    "scheduler": "sampler",
    "sampler": "sampler",
    "schedule": "schedule",
    "seed": "seed",
    "clip_skip": "clip_skip",
    "eta": "eta",
}
"""Parameters of the API, diffusers' names, and what they are in a request."""
_FROM_IMAGE = ("prompt", "strength", "target_size")
_WHOLE = ("width", "height", "steps", "seed", "clip_skip")
_TEXT = ("negative", "sampler", "schedule")


def _error(request: Request, error: ServeError) -> Response:
    """Return an object whose `error` is text: what every version of the clients can read."""
    body: dict[str, Any] = {"error": error.text}
    if error.estimated_time is not None:
        body["estimated_time"] = round(error.estimated_time, 1)
    return JSONResponse(body, error.status, headers={"X-Error-Message": _header(error.text)})


HUGGING_FACE = Dialect("hf", _error)


async def health(request: Request, model: str) -> Response:
    """Answer 200 while pictures of the model can be asked for."""
    server_of(request).engine.models.find(model)
    return Response(status_code=200 if server_of(request).engine.is_ready else 503)


async def info(request: Request, model: str) -> Response:
    """Return what `get_endpoint_info` shows."""
    found = server_of(request).engine.models.find(model)
    return JSONResponse({"model_id": found.name, "task": "text-to-image", "framework": "diffusers"})


async def status(request: Request, model: str) -> Response:
    """Tell whether a model is loaded."""
    engine = server_of(request).engine
    found = engine.models.find(model)
    state = engine.state(found)
    kind = "gpu" if str(engine.facts()["device"]).startswith("cuda") else "cpu"
    return JSONResponse(
        {
            "loaded": state == "warm",
            "state": "Loaded" if state == "warm" else "Loadable",
            "compute_type": {kind: {}} if kind == "gpu" else "cpu",
            "framework": "diffusers",
        }
    )


async def deployed(request: Request) -> Response:
    """List the served models, as `list_deployed_models` asks for them."""
    models = server_of(request).engine.models
    return JSONResponse([{"model_id": model.name, "task": "text-to-image"} for model in models])


async def hub_model(request: Request, model: str) -> Response:
    """Return what clients ask the Hub about a model before they send a request."""
    found = server_of(request).engine.models.find(model)
    mapping = {"hf-inference": {"status": "live", "providerId": found.name, "task": "text-to-image"}}
    body = {"id": found.name, "pipeline_tag": "text-to-image", "library_name": "diffusers", "inference": "warm"}
    return JSONResponse({**body, "inferenceProviderMapping": mapping})


async def infer(request: Request, model: str) -> Response:
    """Draw one picture: from words, or from the image that is sent."""
    data = await request.body()
    return await _infer(request, model, data, is_image=_is_image(request, data))


async def text_to_image(request: Request, model: str) -> Response:
    """Draw one picture from words."""
    return await _infer(request, model, await request.body(), is_image=False)


async def image_to_image(request: Request, model: str) -> Response:
    """Draw one picture from an image."""
    data = await request.body()
    return await _infer(request, model, data, is_image=_is_image(request, data), from_image=True)


for _prefix in ("", "/hf-inference"):
    for _name, _handler in (("health", health), ("info", info)):  # before the greedy {model:path}
        HUGGING_FACE.route("GET", f"{_prefix}/models/{{model:path}}/{_name}", "read")(_handler)
    HUGGING_FACE.route("POST", f"{_prefix}/models/{{model:path}}", "draw")(infer)
HUGGING_FACE.route("POST", "/pipeline/text-to-image/{model:path}", "draw")(text_to_image)
HUGGING_FACE.route("POST", "/pipeline/image-to-image/{model:path}", "draw")(image_to_image)
HUGGING_FACE.route("GET", "/status/{model:path}", "read")(status)
HUGGING_FACE.route("GET", "/framework/diffusers", "read")(deployed)
HUGGING_FACE.route("GET", "/api/models/{model:path}", "read")(hub_model)


async def _infer(request: Request, name: str, data: bytes, *, is_image: bool, from_image: bool = False) -> Response:
    server = server_of(request)
    model = server.engine.models.find(request.headers.get("lora") or name)
    body = {"inputs": ""} if is_image else _body(data)
    parameters = body.get("parameters") or {}
    if not isinstance(parameters, dict):
        raise bad_request("`parameters` must be an object")
    options = body.get("options") or {}
    image = await _image(request, body, data if is_image else None, from_image or "strength" in parameters)
    drawing = Drawing(
        model=model.name, request=_request(str(body["inputs"]), parameters, image), format=_format(request)
    )
    key = None
    if _use_cache(request, options, drawing):
        key = server.cache.key(drawing)
        if (kept := server.cache.find(key)) is not None:
            check_drawing(request, drawing)
            return await _answer(request, drawing, kept[0], "cache", 0.0)
    _load_or_refuse(request, model, options)
    began = time.perf_counter()
    pictures = await draw(request, drawing, HUGGING_FACE.name)
    server.cache.keep(key, pictures)
    kind = "gpu" if str(server.engine.facts()["device"]).startswith("cuda") else "cpu"
    return await _answer(request, drawing, pictures[0], kind, time.perf_counter() - began)


def _is_image(request: Request, data: bytes) -> bool:
    """Whether the body is an image: clients do not always say so."""
    if request.headers.get("content-type", "").startswith("image/"):
        return True
    heads = (b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"BM", b"II*\0", b"MM\0*")
    return data.startswith(heads) or (data[:4] == b"RIFF" and data[8:12] == b"WEBP")


def _body(data: bytes) -> dict[str, Any]:
    """Return the JSON object of a body; what is not JSON is the prompt itself.

    Raises:
        ServeError: no prompt (400).
    """
    try:
        body = parse_json(data)
    except json.JSONDecodeError:
        try:
            return {"inputs": data.decode()}
        except UnicodeDecodeError as e:
            raise bad_request("the body is neither JSON, nor text, nor an image") from e
    if not isinstance(body, dict):
        return {"inputs": data.decode("utf-8", "replace")}
    if not isinstance(body.get("inputs", body.get("image")), str):
        raise bad_request("`inputs` is missing: send the prompt as text")
    return {**body, "inputs": body.get("inputs", body.get("image"))}


async def _image(request: Request, body: dict[str, Any], data: bytes | None, wanted: bool) -> FromImage | None:
    """Return the image to begin from: the body itself, or base64 in `inputs`."""
    parameters = body.get("parameters") or {}
    if data is not None:
        return FromImage(image=await save_bytes(request, data, "inputs"))
    if not wanted and "prompt" not in parameters:
        return None
    path = await save_text(request, str(body["inputs"]), "inputs")
    strength = parameters.get("strength")
    if strength is not None and (isinstance(strength, bool) or not isinstance(strength, int | float)):
        raise bad_request(f"`strength` = {strength!r}: must be a number from 0 to 1")
    return FromImage(image=path) if strength is None else FromImage(image=path, strength=float(strength))


def _request(inputs: str, parameters: dict[str, Any], image: FromImage | None) -> ImageRequest:
    """Return what the parameters ask for.

    Raises:
        ServeError: an unknown parameter, or one of another type (400).
        Problems: values out of range.
    """
    prompt = inputs if image is None else str(parameters.get("prompt") or "")
    fields: dict[str, Any] = {"prompt": prompt, "image": image}
    allowed = (*_NAMES, *(_FROM_IMAGE if image is not None else ()))
    for name, value in parameters.items():
        if value is None or (name in _FROM_IMAGE and image is not None):
            continue
        if name not in _NAMES:
            raise bad_request(f"msg: received `{name}` in `parameters`, which is unknown; known: {', '.join(allowed)}")
        fields[_NAMES[name]] = _typed(name, _NAMES[name], value)
    size = parameters.get("target_size")
    if image is not None and isinstance(size, dict):
        fields |= {side: _typed(side, side, size[side]) for side in ("width", "height") if size.get(side) is not None}
    return ImageRequest(**fields)


def _typed(name: str, field: str, value: Any) -> Any:
    if field in _TEXT and isinstance(value, list):
        value = ", ".join(map(str, value))  # negative_prompt was a list for a while
    whole = isinstance(value, int) and not isinstance(value, bool)
    if field in _TEXT and not isinstance(value, str):
        raise bad_request(f"msg: `{name}` = {value!r}: must be text")
    if field in _WHOLE and not whole and not (isinstance(value, float) and value.is_integer()):
        raise bad_request(f"msg: `{name}` = {value!r}: must be a whole number")
    if field not in (*_TEXT, *_WHOLE) and not whole and not isinstance(value, float):
        raise bad_request(f"msg: `{name}` = {value!r}: must be a number")
    return int(value) if field in _WHOLE else value


def _format(request: Request) -> ImageFormat:
    """Return the first format that the caller accepts; JPEG for `*/*`, as the Inference API has it."""
    accepted = request.headers.get("accept", "").lower()
    named = [(accepted.find(kind), kind) for kind in _KINDS if kind in accepted]
    return ImageFormat(min(named)[1] if named else "jpeg")


def _said(request: Request, options: Any, option: str, header: str) -> bool | None:
    """Return what a caller says by an option of the body or by a header; None: nothing."""
    value = options.get(option) if isinstance(options, dict) else None
    if value is None:
        value = request.headers.get(header)
    return None if value is None else str(value).lower() in _TRUE


def _use_cache(request: Request, options: Any, drawing: Drawing) -> bool:
    """Whether an equal request may be answered with the same picture.

    In `hf-2023` mode always, as it was there; else only where the seed makes the picture the same anyway.
    """
    said = _said(request, options, "use_cache", "x-use-cache")
    return said is not False and (server_of(request).settings.hf_2023 or drawing.request.seed != -1)


def _load_or_refuse(request: Request, model: ServedModel, options: Any) -> None:
    """Begin to load a cold model; refuse if the caller does not wait for it.

    Raises:
        ServeError: the model is loading (503).
    """
    server = server_of(request)
    if server.engine.state(model) in ("warm", "failed"):  # what it failed of is told by drawing with it
        return
    wait = _said(request, options, "wait_for_model", "x-wait-for-model")
    if wait if wait is not None else not server.settings.hf_2023:
        return
    server.engine.begin_loading(model)
    seconds = max(1.0, server.engine.estimated_time(model))
    raise ServeError(
        503, "loading", f"Model {model.name} is currently loading", estimated_time=seconds, retry_after=seconds
    )


async def _answer(request: Request, drawing: Drawing, picture: Picture, compute: str, seconds: float) -> Response:
    headers = {"x-compute-type": compute, "x-compute-time": f"{seconds:.3f}", "x-seed": str(picture.seed)}
    if drawing.request.image is None:
        headers["x-compute-characters"] = str(len(drawing.request.prompt))
    else:
        headers["x-compute-images"] = "1"
    headers["access-control-expose-headers"] = "x-compute-type, x-compute-time"
    headers |= await server_of(request).quotas.headers(caller_of(request))
    return Response(picture.data, media_type=picture.format.media_type, headers=headers)


def _header(text: str) -> str:
    """Return text that a header can hold."""
    return " ".join(text.split()).encode("ascii", "replace").decode()[:500]
