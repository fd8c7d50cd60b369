"""Routes of base models: which there are, fetching them from the Hub, and removing what was fetched."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any

from fastapi import Query, Request, Response
from fastapi.responses import JSONResponse
from pydantic import Field

from bakehouse.core.errors import BakehouseError
from bakehouse.core.model_catalogue import catalogue, read_registry
from bakehouse.core.parse_json_toml_yaml import parse_toml
from bakehouse.serve.dialects.own_answers import TaskAnswer, answers
from bakehouse.serve.dialects.own_datasets import Body
from bakehouse.serve.dialects.own_dialect import OWN
from bakehouse.serve.dialects.own_plans import asked_by
from bakehouse.serve.dialects.own_run_answers import BasesAnswer
from bakehouse.serve.dialects.own_tasks import MOST_WAIT, start_task
from bakehouse.serve.errors import ServeError, bad_request, not_found
from bakehouse.serve.server import Server, server_of
from bakehouse.serve.tasks.task_result import without_paths

_NAME = re.compile(r"[A-Za-z0-9][\w.+-]{0,95}(/[A-Za-z0-9][\w.+-]{0,95})?", re.ASCII)
_WAIT = Query(0.0, ge=0, le=MOST_WAIT, description="Seconds to hold the connection for a task that may end soon.")


class FetchBody(Body):
    """A base model to fetch."""

    name: str = Field(description="A name of the catalogue, or an id of the Hub: `owner/name`.")


@OWN.route("GET", "/api/v1/bases", "train", **answers(BasesAnswer))
async def list_bases(request: Request) -> Response:
    """List the base models that can be trained on, here or to be fetched, with licence, size and what each likes."""
    server = server_of(request)
    found = await server.planner.ask("bases", asked_by(server))
    served = {str(model.facts.get("base", "")) for model in server.engine.models}
    rows = [{**base, "served": base["name"] in served} for base in found["bases"]]
    return JSONResponse({"bases": without_paths(server, rows)})


@OWN.route("POST", "/api/v1/bases", "train", **answers(TaskAnswer, 202, 200))
async def fetch_base(request: Request, body: FetchBody, wait: float = _WAIT) -> Response:
    """Fetch a base model from the Hub, as a task. One that was canceled goes on where it was."""
    name = _checked(body.name)
    entry = catalogue().get(name)
    if entry is None and "/" not in name:
        raise not_found(f"there is no base model {name!r} in the catalogue", hint="an id of the Hub is owner/name")
    if entry is not None and entry.kind != "base":
        raise bad_request(f"{name!r} is no base model but for {entry.kind}", hint=f"bakehouse models fetch {name}")
    return await start_task(request, "fetch", name, ("models", "fetch", name, "--json"), wait)


@OWN.route("DELETE", "/api/v1/bases/{name:path}", "train", **answers(TaskAnswer, 202, 200))
async def remove_base(request: Request, name: str, wait: float = _WAIT) -> Response:
    """Remove a base model, as a task: its files if they were fetched by bakehouse, else its name alone."""
    server, name = server_of(request), _checked(name)
    registry = read_registry()
    own, fetched = registry.own.get(name), registry.fetched.get(name)
    if own is None and fetched is None:
        raise not_found(f"base model {name!r} was not fetched by bakehouse, so it is not removed by it")
    kind = own.kind if own is not None else catalogue()[name].kind if name in catalogue() else "base"
    if kind != "base":
        raise bad_request(f"{name!r} is no base model but for {kind}")
    place = Path(own.where if own is not None else fetched.folder if fetched is not None else "")
    user = await asyncio.to_thread(_user, server, name, place)
    if user:
        raise ServeError(409, "busy", f"base model {name!r} is used by {user}", hint="stop or remove that first")
    files = ["--files"] if fetched is not None and own is None and not fetched.shared else []
    return await start_task(request, "remove-base", name, ("models", "remove", name, *files, "--json"), wait)


def _checked(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise bad_request(f"{name[:80]!r} is not the name of a base model", hint="such as sd15, or owner/name")
    return name


def _user(server: Server, name: str, place: Path) -> str:
    """Return what uses a base: a served model, or a training that waits or runs; empty if nothing does."""
    for model in server.engine.models:
        if str(model.facts.get("base", "")) == name or model.file.is_relative_to(place):
            return f"the served model {model.name!r}"
    for run, job in server.runs.jobs().items():
        if job.state in ("waiting", "running") and _base_of(job.recipe) in (name, str(place)):
            return f"the training {run!r}"
    return ""


def _base_of(recipe: str) -> str:
    try:
        model: Any = parse_toml(recipe).get("model", {})
        return str(model.get("base", ""))
    except (BakehouseError, ValueError, AttributeError):
        return ""
