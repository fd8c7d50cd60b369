"""Routes of trainings: queued, watched, stopped, resumed, evaluated, and drawn with."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from fastapi import Query, Request, Response
from fastapi.responses import FileResponse, JSONResponse
from pydantic import Field

from bakehouse.core.errors import BakehouseError, UsageError
from bakehouse.core.files import read_json
from bakehouse.core.parse_json_toml_yaml import parse_toml
from bakehouse.queue.job_queue import Job
from bakehouse.serve.dialects.own_answers import TaskAnswer, answers
from bakehouse.serve.dialects.own_dataset_answers import DeletedRunAnswer
from bakehouse.serve.dialects.own_datasets import Body
from bakehouse.serve.dialects.own_dialect import OWN, SHOWN
from bakehouse.serve.dialects.own_plans import PlanBody, ask_planner
from bakehouse.serve.dialects.own_run_answers import (
    LossesAnswer,
    OfferedModelAnswer,
    RecipeAnswer,
    RemovedAnswer,
    ReportAnswer,
    RunAnswer,
    RunPlanAnswer,
    RunsAnswer,
    SamplesAnswer,
)
from bakehouse.serve.dialects.own_tasks import MOST_WAIT, start_task
from bakehouse.serve.dialects.server_sent_events import event_response, event_text
from bakehouse.serve.errors import ServeError, bad_request, not_found
from bakehouse.serve.guard.paths import check_name, file_inside
from bakehouse.serve.runs.losses import loss_columns
from bakehouse.serve.runs.run_events import EventStream, after
from bakehouse.serve.server import Server, server_of
from bakehouse.serve.tasks.task_result import without_paths
from bakehouse.serve.work.served_models import ModelToServe

_POLL_SECONDS = 0.3
_SAMPLE = re.compile(r"step-([0-9]+)-([0-9]+)\.png")
_SETTING = re.compile(r"[a-z_]+(\.[a-z_]+)*")
_REPORT_PAGE = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
    "img-src 'self' data:; frame-ancestors 'self'; sandbox allow-scripts"
}
"""A report has its style and script inside. In its sandbox the script reaches nothing of the server."""
_SHOWN_FILES = (".html", ".png", ".json")
_ENDED = ("stopped", "failed", "done")


class TrainBody(PlanBody):
    """A training."""

    name: str = Field("", description="Of the run. Default: from the subject.")


class MoveBody(Body):
    """A place in the queue."""

    place: int = Field(ge=1, description="1 is next.")


class EvaluateBody(Body):
    """Settings of an evaluation."""

    settings: dict[str, int | float | str | list[int | float]] = Field(
        default_factory=dict, description="Keys of `[evaluate]`."
    )


class ServeBody(Body):
    """How a run is served."""

    name: str = Field("", description="Of the model. Default: the run's.")
    weights: str = Field("", description="A file of the run. Default: what its evaluation picked, or the last.")


@OWN.route("POST", "/api/v1/runs", "train", **answers(RunAnswer, 201))
async def add_run(request: Request, body: TrainBody) -> Response:
    """Queue a training. What was accepted is trained, also if the server is killed."""
    server = server_of(request)
    if body.name:
        check_name(body.name, "run")
    asked = PlanBody(**body.model_dump(exclude={"name"}))
    prepared = await ask_planner(server, "prepare", asked)
    job = await asyncio.to_thread(server.runs.add, body.name, prepared["title"], prepared["toml"])
    row = await _row(server, job.run.name)
    return JSONResponse(row, 201, headers={"Location": f"/api/v1/runs/{job.run.name}"})


@OWN.route("GET", "/api/v1/runs", "read", **answers(RunsAnswer))
async def list_runs(request: Request) -> Response:
    """List all runs: waiting ones in their order, then the others, newest first."""
    server = server_of(request)

    def read() -> list[dict[str, Any]]:
        jobs = server.runs.jobs()
        return [run_row(server, name, server.runs.row(name, jobs)) for name in server.runs.names()]

    rows = await asyncio.to_thread(read)
    rows.sort(key=lambda row: (row["place"] is None, row["place"] or 0, -(row["added"] or 0)))
    return JSONResponse({"runs": rows, "problem": server.scheduler.problem})


@OWN.route("GET", "/api/v1/runs/{name}", "read", **answers(RunAnswer))
async def get_run(request: Request, name: str) -> Response:
    """Return how far a run is."""
    server = server_of(request)
    server.runs.run(name)
    return JSONResponse(await _row(server, name))


@OWN.route("GET", "/api/v1/runs/{name}/recipe", "train", **answers(RecipeAnswer))
async def get_recipe(request: Request, name: str) -> Response:
    """Return a run's recipe as TOML and as JSON."""
    server = server_of(request)
    run = server.runs.run(name)
    text = run.recipe.read_text("utf-8") if run.recipe.is_file() else server.runs.job(name).recipe
    shown = without_paths(server, {"toml": text, "recipe": parse_toml(text)})
    return JSONResponse(shown)


@OWN.route("PUT", "/api/v1/runs/{name}/recipe", "train", **answers(RunAnswer))
async def put_recipe(request: Request, name: str, body: PlanBody) -> Response:
    """Give a training that has not begun another recipe; its place in the queue stays."""
    server = server_of(request)
    job = await asyncio.to_thread(server.runs.job, name)
    _refuse_begun(name, job)
    prepared = await ask_planner(server, "prepare", body)
    try:
        await asyncio.to_thread(server.runs.queue.replace_recipe, job.id, prepared["toml"])
    except UsageError:  # it was begun meanwhile
        _refuse_begun(name, await asyncio.to_thread(server.runs.job, name))
        raise
    return JSONResponse(await _row(server, name))


@OWN.route("GET", "/api/v1/runs/{name}/plan", "train", **answers(RunPlanAnswer))
async def get_plan(request: Request, name: str) -> Response:
    """Return the plan that a run has begun with."""
    server = server_of(request)
    run = server.runs.run(name)
    if not run.plan.is_file():
        raise not_found(f"run {name!r} has not begun")
    return JSONResponse(without_paths(server, await asyncio.to_thread(read_json, run.plan)))


@OWN.route("GET", "/api/v1/runs/{name}/events", "read", **SHOWN)
async def run_events(request: Request, name: str, steps: int = Query(1, ge=1, le=1000)) -> Response:
    """Stream a run's events: all so far, or those after `Last-Event-ID`, and each new one until it has ended."""
    server = server_of(request)
    server.runs.run(name)
    return event_response(_events(server, name, request.headers.get("last-event-id", ""), steps))


@OWN.route("GET", "/api/v1/runs/{name}/losses", "read", **answers(LossesAnswer))
async def run_losses(request: Request, name: str, points: int = Query(500, ge=1, le=20_000)) -> Response:
    """Return the losses and learning rates as columns, means over equal spans of steps."""
    status = await asyncio.to_thread(server_of(request).runs.status, name)
    return JSONResponse(await asyncio.to_thread(loss_columns, list(status.losses), points))


@OWN.route("GET", "/api/v1/runs/{name}/samples", "train", **answers(SamplesAnswer))
async def list_samples(request: Request, name: str) -> Response:
    """List the sample images, with their step, epoch, number and prompt."""
    runs = server_of(request).runs
    run = runs.run(name)

    def read() -> list[dict[str, Any]]:
        epochs = {step.step: step.epoch for step in list(runs.status(name).losses)}
        prompts = _sample_prompts(run.recipe)
        found = [(match, path) for path in run.samples.glob("*.png") if (match := _SAMPLE.fullmatch(path.name))]
        rows = [
            {
                "step": int(match[1]),
                "epoch": epochs.get(int(match[1]), 0),
                "number": int(match[2]),
                "prompt": prompts[int(match[2])] if int(match[2]) < len(prompts) else "",
                "url": f"/api/v1/runs/{name}/samples/{path.name}",
            }
            for match, path in found
        ]
        return sorted(rows, key=lambda row: (row["step"], row["number"]))

    return JSONResponse({"samples": await asyncio.to_thread(read)})


@OWN.route("GET", "/api/v1/runs/{name}/samples/{file}", "train", **SHOWN)
async def get_sample(request: Request, name: str, file: str) -> Response:
    """Return a sample image."""
    return FileResponse(file_inside(server_of(request).runs.run(name).samples, file, "sample"))


@OWN.route("GET", "/api/v1/runs/{name}/weights/{file}", "train", **SHOWN)
async def get_weights(request: Request, name: str, file: str) -> Response:
    """Download the weights of an adapter."""
    path = file_inside(server_of(request).runs.run(name).weights, file, "file of weights")
    return FileResponse(path, filename=path.name, media_type="application/octet-stream")


@OWN.route("POST", "/api/v1/runs/{name}/stop", "train", **answers(RunAnswer))
async def stop_run(request: Request, name: str) -> Response:
    """Stop a training, or hold one that waits; `resume` goes on with it."""
    server = server_of(request)
    await asyncio.to_thread(server.runs.stop, name)
    return JSONResponse(await _row(server, name))


@OWN.route("POST", "/api/v1/runs/{name}/resume", "train", **answers(RunAnswer))
async def resume_run(request: Request, name: str) -> Response:
    """Queue a stopped or failed training again; it goes on from its newest state."""
    server = server_of(request)
    await asyncio.to_thread(server.runs.resume, name)
    return JSONResponse(await _row(server, name))


@OWN.route("POST", "/api/v1/runs/{name}/move", "train", **answers(RunAnswer))
async def move_run(request: Request, name: str, body: MoveBody) -> Response:
    """Move a waiting training to another place in the queue."""
    server = server_of(request)
    await asyncio.to_thread(lambda: server.runs.queue.move(server.runs.job(name).id, body.place))
    return JSONResponse(await _row(server, name))


@OWN.route("DELETE", "/api/v1/runs/{name}", "train", **answers(DeletedRunAnswer))
async def delete_run(request: Request, name: str) -> Response:
    """Move a run into the trash, from which it can be restored."""
    server = server_of(request)
    if name in server.store.served_runs.by_run():
        raise ServeError(409, "served", f"run {name!r} is served", hint="take its model away first")
    if server.tasks.is_busy(name):
        raise ServeError(409, "busy", f"a task works on run {name!r}", hint="wait until it has ended, or cancel it")
    return JSONResponse({"trash": await asyncio.to_thread(server.runs.delete, name)})


@OWN.route("POST", "/api/v1/runs/{name}/evaluate", "train", **answers(TaskAnswer, 202, 200))
async def evaluate_run(
    request: Request, name: str, body: EvaluateBody | None = None, wait: float = Query(0.0, ge=0, le=MOST_WAIT)
) -> Response:
    """Evaluate a run, as a task: scores of its checkpoints, a pick, a report. It waits while a training runs."""
    server = server_of(request)
    run = server.runs.run(name)
    if not run.list_weights():
        raise bad_request(f"run {name!r} has no weights yet", hint="wait until it has saved some")
    words: list[str] = []
    for key, value in (body or EvaluateBody()).settings.items():
        if not _SETTING.fullmatch(key) or key.rpartition(".")[2] == "holdout":
            raise bad_request(f"settings: {key[:80]!r} cannot be set here")
        words.append(f"--set={key}={value}")
    return await start_task(request, "evaluate", name, ("evaluate", str(run.folder), *words, "--json"), wait)


@OWN.route("GET", "/api/v1/runs/{name}/report", "train", **answers(ReportAnswer))
async def get_report(request: Request, name: str) -> Response:
    """Return the figures of a run's evaluation, and the files of its report."""
    server = server_of(request)
    run = server.runs.run(name)
    scores = run.report / "scores.json"
    if not scores.is_file():
        raise not_found(f"run {name!r} was not evaluated", hint="POST to /evaluate evaluates it")
    values = without_paths(server, await asyncio.to_thread(read_json, scores))
    found = [path for path in run.report.rglob("*") if path.suffix in _SHOWN_FILES]
    return JSONResponse({"scores": values, "files": sorted(path.relative_to(run.report).as_posix() for path in found)})


@OWN.route("GET", "/api/v1/runs/{name}/report/{file:path}", "train", **SHOWN)
async def get_report_file(request: Request, name: str, file: str) -> Response:
    """Return a file of a run's report: its page, or a picture."""
    found = file_inside(server_of(request).runs.run(name).report, file)
    return FileResponse(found, headers=_REPORT_PAGE if found.suffix == ".html" else None)


@OWN.route("POST", "/api/v1/runs/{name}/serve", "train", **answers(OfferedModelAnswer, 201))
async def serve_run(request: Request, name: str, body: ServeBody | None = None) -> Response:
    """Offer a run as a model that is drawn with, now and after restarts of the server."""
    server, body = server_of(request), body or ServeBody()
    run = server.runs.run(name)
    ref = run.folder
    if body.weights:
        ref = run.weights / body.weights
        if ref not in run.list_weights():
            raise not_found(f"run {name!r} has no weights {body.weights[:80]!r}")
    elif not run.list_weights():
        raise bad_request(f"run {name!r} has no weights yet", hint="wait until it has saved some")
    model = check_name(body.name or name, "model")
    taken = model in server.engine.models and model not in server.store.served_runs.all()
    if taken:
        raise ServeError(409, "exists", f"there is a model {model!r} already", hint="give it another name")
    await server.engine.add_model(ModelToServe(model, str(ref.resolve())))
    await asyncio.to_thread(server.store.served_runs.add, model, name, body.weights)
    return JSONResponse({"name": model, "run": name, "weights": body.weights or None}, 201)


@OWN.route("DELETE", "/api/v1/models/{name}", "train", **answers(RemovedAnswer))
async def remove_model(request: Request, name: str) -> Response:
    """Take away a model that a run was offered as; the run stays."""
    server = server_of(request)
    if name not in server.store.served_runs.all():
        server.engine.models.find(name)
        raise bad_request(f"model {name!r} was named when the server was started", hint="start it without the model")
    await asyncio.to_thread(server.store.served_runs.remove, name)
    server.engine.remove_model(name)
    return JSONResponse({"removed": name})


def run_row(server: Server, name: str, row: dict[str, Any]) -> dict[str, Any]:
    """Return what is known of a run, as answers show it."""
    waits = "the device: it is used by an evaluation" if row["place"] == 1 and server.tasks.uses_device else ""
    shown: dict[str, Any] = without_paths(server, row)
    return {**shown, "waits_for": waits, "served": server.store.served_runs.by_run().get(name)}


def _refuse_begun(name: str, job: Job) -> None:
    if job.started is not None or job.run.joinpath("recipe.toml").exists():
        raise ServeError(
            409, "begun", f"run {name!r} has begun: its recipe stays", hint="train again under another name"
        )


async def _row(server: Server, name: str) -> dict[str, Any]:
    return await asyncio.to_thread(lambda: run_row(server, name, server.runs.row(name)))


async def _events(server: Server, name: str, last_id: str, steps: int) -> AsyncIterator[str]:
    stream = EventStream(server.runs.run(name), steps)
    first, row_before = True, None
    while True:
        row = await _row(server, name)  # before the events: the last ones were written before the job ended
        events = await asyncio.to_thread(lambda: list(stream.read_new()))
        for event in after(events, last_id) if first else events:
            yield event_text(without_paths(server, event.values), event.name, event.id)
        first = False
        if row != row_before:
            yield event_text({"event": "state", "run": row}, "state")
            row_before = row
        if row["state"] in _ENDED:
            return
        await asyncio.sleep(_POLL_SECONDS)
        server.runs.run(name)


def _sample_prompts(recipe: Path) -> list[str]:
    try:
        prompts = parse_toml(recipe.read_text("utf-8")).get("sample", {}).get("prompts", [])
        return [str(prompt) for prompt in prompts]
    except (OSError, BakehouseError, ValueError, AttributeError):
        return []
