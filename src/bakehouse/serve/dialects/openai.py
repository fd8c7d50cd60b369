"""The images API of OpenAI, `/v1/images`: generations and edits, whole or as a stream with previews."""

from __future__ import annotations

import asyncio
import base64
import re
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

from fastapi import Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict
from starlette.datastructures import UploadFile

from bakehouse.generation.img2img_settings import FromImage, Inpaint
from bakehouse.generation.request import ImageRequest
from bakehouse.serve.dialects.saved_images import keep_uploads, save_bytes
from bakehouse.serve.dialects.server_sent_events import event_response, event_text
from bakehouse.serve.draw import charged_task, draw
from bakehouse.serve.errors import ServeError, bad_request
from bakehouse.serve.guard.rules import Dialect
from bakehouse.serve.server import server_of
from bakehouse.serve.work.draw_task import DrawTask
from bakehouse.serve.work.drawing import Drawing, ImageFormat, Picture

_SIZE = re.compile(r"(\d{1,5})x(\d{1,5})")
_TYPES = {401: "authentication_error", 403: "permission_error", 404: "invalid_request_error", 429: "rate_limit_error"}
_MOST_PREVIEWS = 3


def _error(request: Request, error: ServeError) -> Response:
    return JSONResponse(error_body(error), error.status)


def error_body(error: ServeError) -> dict[str, Any]:
    """Return an error as this API answers it."""
    kind = _TYPES.get(error.status, "invalid_request_error" if error.status < 500 else "server_error")
    return {"error": {"message": error.text, "type": kind, "param": None, "code": error.code}}


OPENAI = Dialect("openai", _error)


class ImagesBody(BaseModel):
    """`POST /v1/images/generations`. What OpenAI does not have comes at the top level, as `extra_body` sends it."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)
    prompt: str
    model: str | None = None
    n: int | None = 1
    size: str | None = None
    response_format: str | None = None
    output_format: str | None = None
    output_compression: int | None = None
    stream: bool | None = False
    partial_images: int | None = 0
    quality: str | None = None
    background: str | None = None
    moderation: str | None = None
    style: str | None = None
    user: str | None = None
    safety_identifier: str | None = None
    negative_prompt: str | None = None
    seed: int | None = None
    steps: int | None = None
    guidance: float | None = None
    sampler: str | None = None
    schedule: str | None = None
    strength: float | None = None

    def drawing(self, default_model: str, image: FromImage | None = None, inpaint: Inpaint | None = None) -> Drawing:
        """Return what the body asks for.

        Raises:
            ServeError: a size or format that is not possible.
            Problems: values out of range.
        """
        width, height = _size(self.size)
        previews = self.partial_images or 0
        if not 0 <= previews <= _MOST_PREVIEWS:
            raise bad_request(f"partial_images = {previews}: allowed are 0 to {_MOST_PREVIEWS}")
        if self.response_format not in (None, "b64_json"):
            raise bad_request(f"response_format = {self.response_format!r}: allowed is b64_json")
        if self.background not in (None, "auto", "opaque"):
            raise bad_request(f"background = {self.background!r}: allowed are auto and opaque")
        fields = {"sampler": self.sampler, "schedule": self.schedule, "guidance": self.guidance, "steps": self.steps}
        request = ImageRequest(
            prompt=self.prompt,
            negative=self.negative_prompt or "",
            width=width,
            height=height,
            seed=-1 if self.seed is None else self.seed,
            count=1 if self.n is None else self.n,
            image=image,
            inpaint=inpaint,
            **{name: value for name, value in fields.items() if value is not None},  # type: ignore[arg-type]
        )
        every = max(1, request.steps // (previews + 1)) if self.stream and previews else 0
        return Drawing(model=self.model or default_model, request=request, format=self._format(), preview_every=every)

    def _format(self) -> ImageFormat:
        kind = self.output_format or "png"
        if kind not in ("png", "jpeg", "webp"):
            raise bad_request(f"output_format = {kind!r}: allowed are png, jpeg and webp")
        quality = self.output_compression
        if quality is not None and not 1 <= quality <= 100:
            raise bad_request(f"output_compression = {quality}: allowed are 1 to 100")
        return ImageFormat(kind, quality)  # type: ignore[arg-type]


@OPENAI.route("GET", "/v1/models", "read")
async def models(request: Request) -> Response:
    """List the served models."""
    rows = [
        {"id": model.name, "object": "model", "created": 0, "owned_by": "bakehouse"}
        for model in server_of(request).engine.models
    ]
    return JSONResponse({"object": "list", "data": rows})


@OPENAI.route("POST", "/v1/images/generations", "draw")
async def generations(request: Request, body: ImagesBody) -> Response:
    """Draw pictures from words."""
    return await _answer(request, body, body.drawing(server_of(request).engine.models.default.name), "generation")


@OPENAI.route("POST", "/v1/images/edits", "draw")
async def edits(request: Request) -> Response:
    """Draw pictures from an image; with a mask only where the mask is transparent."""
    async with request.form(max_files=2, max_fields=40) as form:
        files = {name.removesuffix("[]"): file for name, file in form.items() if isinstance(file, UploadFile)}
        texts = {name: text for name, text in form.items() if isinstance(text, str)}
        if "image" not in files or set(files) - {"image", "mask"}:
            raise bad_request("send one `image`, and at most one `mask`")
        image = await save_bytes(request, await files["image"].read(), "image")
        mask = None if "mask" not in files else await save_bytes(request, await files["mask"].read(), "mask")
    body = _from_form(texts)
    begin = FromImage(image=image) if body.strength is None else FromImage(image=image, strength=body.strength)
    # Here transparent is drawn anew; in a request, what is opaque.
    inpaint = None if mask is None else Inpaint(mask=mask, invert=True)
    drawing = body.drawing(server_of(request).engine.models.default.name, begin, inpaint)
    return await _answer(request, body, drawing, "edit")


def _from_form(texts: dict[str, str]) -> ImagesBody:
    from fastapi.exceptions import RequestValidationError
    from pydantic import ValidationError

    try:
        return ImagesBody.model_validate(texts)
    except ValidationError as e:
        raise RequestValidationError(e.errors()) from e


async def _answer(request: Request, body: ImagesBody, drawing: Drawing, kind: str) -> Response:
    if body.stream:
        if drawing.request.count != 1:
            raise bad_request("n: a stream has one picture")
        stack = AsyncExitStack()
        # Entered before the answer begins: what is refused has a status of its own.
        task, _ = await stack.enter_async_context(charged_task(request, drawing, OPENAI.name))
        for file in keep_uploads(request):
            stack.callback(file.unlink, missing_ok=True)
        return event_response(_stream(stack, task, f"image_{kind}", previews=body.partial_images or 0))
    pictures = await draw(request, drawing, OPENAI.name)
    found = {"created": int(time.time()), **_facts(pictures[0]), "usage": _usage(drawing)}

    def answer() -> Response:
        return JSONResponse({**found, "data": [{"b64_json": _text(picture)} for picture in pictures]})

    return await asyncio.to_thread(answer)  # megabytes become text


async def _stream(stack: AsyncExitStack, task: DrawTask, name: str, *, previews: int) -> AsyncIterator[str]:
    """Yield at most `previews` previews, then the picture; an error ends the stream as an event of its own."""
    number = 0
    try:
        async with stack:
            async for event in task.events():
                if event["event"] == "preview" and number < previews:
                    kind = f"{name}.partial_image"
                    values = {"type": kind, "b64_json": event["png"], "partial_image_index": number}
                    yield event_text({**values, "created_at": int(time.time()), "output_format": "png"}, kind)
                    number += 1
            (picture,) = await task.wait()
            kind = f"{name}.completed"
            values = {"type": kind, "b64_json": _text(picture), "created_at": int(time.time())}
            yield event_text({**values, **_facts(picture), "usage": _usage(task.drawing)}, kind)
    except ServeError as e:
        yield event_text({"type": "error", **error_body(e)}, "error")


def _size(text: str | None) -> tuple[int | None, int | None]:
    """Return width and height of `WIDTHxHEIGHT`."""
    if text in (None, "auto"):
        return None, None
    found = _SIZE.fullmatch(str(text))
    if found is None:
        raise bad_request(f"size = {text!r}: allowed are auto and WIDTHxHEIGHT, such as 512x768")
    return int(found[1]), int(found[2])


def _text(picture: Picture) -> str:
    return base64.b64encode(picture.data).decode()


def _facts(picture: Picture) -> dict[str, Any]:
    return {
        "size": f"{picture.width}x{picture.height}",
        "quality": "auto",
        "background": "opaque",
        "output_format": picture.format.kind,
    }


def _usage(drawing: Drawing) -> dict[str, Any]:
    """Return what was used. There are no tokens of OpenAI's here: the characters of the prompts are counted."""
    details = {"text_tokens": drawing.characters, "image_tokens": 0}
    return {
        "input_tokens": drawing.characters,
        "output_tokens": 0,
        "total_tokens": drawing.characters,
        "input_tokens_details": details,
    }
