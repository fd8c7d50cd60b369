"""The API of AUTOMATIC1111's webui, `/sdapi/v1`: pictures, progress, interruption."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from typing import Any

from fastapi import Request, Response
from fastapi.responses import JSONResponse

from bakehouse import __version__
from bakehouse.serve.dialects.a1111_body import ImageToImageBody, TextToImageBody, Translator, model_title
from bakehouse.serve.dialects.saved_images import save_text
from bakehouse.serve.draw import charged_task, wait_or_leave
from bakehouse.serve.errors import ServeError
from bakehouse.serve.guard.rules import Dialect
from bakehouse.serve.server import caller_of, server_of
from bakehouse.serve.work.draw_task import DrawTask
from bakehouse.serve.work.drawing import Drawing, Picture


def answer_error(request: Request, error: ServeError) -> Response:
    """Return an error as this API answers it."""
    body = {"error": error.code, "detail": error.text, "body": "", "errors": error.text}
    return JSONResponse(body, error.status)


A1111 = Dialect("a1111", answer_error)


@A1111.route("POST", "/sdapi/v1/txt2img", "draw")
async def txt2img(request: Request, body: TextToImageBody) -> Response:
    """Draw pictures from words."""
    return await _draw(request, body)


@A1111.route("POST", "/sdapi/v1/img2img", "draw")
async def img2img(request: Request, body: ImageToImageBody) -> Response:
    """Draw pictures from an image, or a part of one anew."""
    return await _draw(request, body)


@A1111.route("GET", "/sdapi/v1/progress", "read")
async def progress(request: Request, skip_current_image: bool = False) -> Response:
    """Tell how far the caller's pictures are."""
    tasks = active_tasks(request)
    task = tasks[0] if tasks else None
    seconds = 0.0 if task is None or task.began is None else time.monotonic() - task.began
    share = 0.0 if task is None else task.progress
    return JSONResponse(
        {
            "progress": share,
            "eta_relative": seconds * (1 - share) / share if share else 0.0,
            "state": {
                "skipped": False,
                "interrupted": task is not None and task.was_interrupted,
                "stopping_generation": False,
                "job": "" if task is None else task.id,
                "job_count": 0 if task is None else task.total,
                "job_timestamp": time.strftime("%Y%m%d%H%M%S", time.localtime(time.time() - seconds)),
                "job_no": 0 if task is None else len(task.pictures),
                "sampling_step": 0 if task is None else task.step,
                "sampling_steps": 0 if task is None else task.steps,
            },
            "current_image": None if task is None or skip_current_image else task.preview,
            "textinfo": None if task is None or task.state != "waiting" else "Waiting...",
        }
    )


@A1111.route("POST", "/internal/progress", "read")
async def internal_progress(request: Request, body: dict[str, Any]) -> Response:
    """Tell how far the picture with the caller's own `force_task_id` is."""
    label = str(body.get("id_task", ""))
    tasks = [task for task in server_of(request).engine.tasks.values() if task.caller == caller_of(request).key]
    task = next((task for task in reversed(tasks) if task.label == label and label), None)
    preview = None
    if task is not None and task.preview is not None and body.get("live_preview", True):
        preview = f"data:image/png;base64,{task.preview}"
    return JSONResponse(
        {
            "active": task is not None and task.state == "running",
            "queued": task is not None and task.state == "waiting",
            "completed": task is not None and task.has_ended,
            "progress": None if task is None else task.progress,
            "eta": None,
            "live_preview": preview,
            "id_live_preview": -1 if task is None else task.step,
            "textinfo": None,
        }
    )


@A1111.route("GET", "/internal/pending-tasks", "read")
async def pending_tasks(request: Request) -> Response:
    """List the caller's tasks that wait."""
    waiting = [task.label or task.id for task in active_tasks(request) if task.state == "waiting"]
    return JSONResponse({"size": len(waiting), "tasks": waiting})


@A1111.route("POST", "/sdapi/v1/interrupt", "draw")
async def interrupt(request: Request) -> Response:
    """Stop the caller's pictures within a step; those that are finished are delivered."""
    for task in active_tasks(request):
        task.interrupt()
    return JSONResponse({})


@A1111.route("POST", "/sdapi/v1/skip", "draw")
async def skip(request: Request) -> Response:
    """Give up the caller's pictures that are being drawn, and go on with its next."""
    engine = server_of(request).engine
    for task in active_tasks(request):
        task.skip(engine.running_of(task))
    return JSONResponse({})


def active_tasks(request: Request) -> list[DrawTask]:
    """Return the caller's tasks that run or wait, the oldest first."""
    tasks = server_of(request).engine.tasks.values()
    return [task for task in tasks if task.caller == caller_of(request).key and not task.has_ended]


def translator(request: Request) -> Translator:
    """Return what translates the caller's requests."""
    server = server_of(request)
    facts = server.engine.facts()
    return Translator(
        models=server.engine.models,
        options=server.store.options.of(caller_of(request).key),
        samplers=facts["samplers"],
        schedules=facts["schedules"],
        hashes=server.engine.hashes,
        save=lambda text, name: save_text(request, text, name),
    )


async def _draw(request: Request, body: TextToImageBody) -> Response:
    drawing = await translator(request).drawing(body)
    async with charged_task(request, drawing, A1111.name) as (task, _):
        task.label = body.force_task_id
        pictures = await wait_or_leave(request, task)
    echoed = body.model_dump(exclude={"init_images", "mask"})  # A1111 leaves images out, too
    info = json.dumps(_info(request, task.drawing, pictures, body))
    sent = pictures if body.send_images is not False else []

    def answer() -> Response:
        images = [base64.b64encode(picture.data).decode() for picture in sent]
        return JSONResponse({"images": images, "parameters": echoed, "info": info})

    return await asyncio.to_thread(answer)  # megabytes become text


def _info(request: Request, drawing: Drawing, pictures: list[Picture], body: TextToImageBody) -> dict[str, Any]:
    """Return what A1111 calls `info`: the settings of the pictures, the first one's where there is one value."""
    asked, count = drawing.request, len(pictures)
    facts = pictures[0].facts if pictures else {}
    engine = server_of(request).engine
    model = engine.models.find(drawing.model)
    seeds = [picture.seed for picture in pictures]
    subseeds = [picture.facts["variation_seed"] for picture in pictures]
    return {
        "prompt": asked.prompt,
        "all_prompts": [asked.prompt] * count,
        "negative_prompt": asked.negative,
        "all_negative_prompts": [asked.negative] * count,
        "seed": asked.seed,
        "all_seeds": seeds,
        "subseed": asked.variation_seed,
        "all_subseeds": subseeds,
        "subseed_strength": asked.variation_strength,
        "width": pictures[0].width if pictures else asked.width,
        "height": pictures[0].height if pictures else asked.height,
        "sampler_name": asked.sampler,
        "cfg_scale": asked.guidance,
        "steps": asked.steps,
        "batch_size": body.batch_size or 1,
        "restore_faces": False,
        "face_restoration_model": None,
        "sd_model_name": model.name,
        "sd_model_hash": facts.get("model_hash"),
        "sd_model_title": model_title(model, engine.hashes),
        "sd_vae_name": None,
        "sd_vae_hash": None,
        "seed_resize_from_w": asked.seed_resize[0] if asked.seed_resize else -1,
        "seed_resize_from_h": asked.seed_resize[1] if asked.seed_resize else -1,
        "denoising_strength": asked.image.strength if asked.image else asked.hires.strength if asked.hires else None,
        "extra_generation_params": {"Schedule type": facts.get("schedule")},
        "index_of_first_image": 0,
        "infotexts": [picture.infotext for picture in pictures],
        "styles": [],
        "job_timestamp": time.strftime("%Y%m%d%H%M%S"),
        "clip_skip": facts.get("clip_skip", 1),
        "is_using_inpainting_conditioning": False,
        "version": f"bakehouse {__version__}",
    }
