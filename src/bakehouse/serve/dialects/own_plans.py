"""Routes of plans and recipes, and of what a training can be made from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fastapi import Request, Response
from fastapi.responses import JSONResponse
from pydantic import Field

from bakehouse.core.bundled_models import BUNDLED_BASE
from bakehouse.core.errors import UsageError
from bakehouse.core.model_catalogue import locate_model, model_names, read_registry
from bakehouse.serve.dialects.own_answers import answers
from bakehouse.serve.dialects.own_datasets import Body
from bakehouse.serve.dialects.own_dialect import OWN, SHOWN
from bakehouse.serve.dialects.own_run_answers import PlanAnswer, PresetsAnswer
from bakehouse.serve.errors import ServeError, bad_request
from bakehouse.serve.guard.paths import relative_path
from bakehouse.serve.server import Server, server_of
from bakehouse.serve.tasks.task_result import without_paths

_MOST_TOML = 1 << 20


class PlanBody(Body):
    """What to plan or train: a dataset with a few words, or a recipe."""

    dataset: str | None = Field(None, description="A dataset, or a folder in one: `me`, `me/1_red`.")
    recipe: str | dict[str, Any] | None = Field(
        None, description="In place of a dataset: TOML or values. `concepts.folder` names a dataset."
    )
    subject: str | None = Field(None, description="Trigger and class word: `zwx person`.", max_length=500)
    kind: str | None = None
    base: str | None = Field(None, description="A model's name, or an id of the Hub.", max_length=500)
    settings: dict[str, Any] = Field(default_factory=dict, description="By dotted key: `adapter.rank`.")


@OWN.route("GET", "/api/v1/recipe/schema", "train", **SHOWN)
async def recipe_schema(request: Request) -> Response:
    """Return the JSON Schema of recipes."""
    return JSONResponse((await _schema(server_of(request)))["schema"])


@OWN.route("GET", "/api/v1/recipe/presets", "train", **answers(PresetsAnswer))
async def recipe_presets(request: Request) -> Response:
    """List the kinds of subjects, and base models that are there."""
    server = server_of(request)
    found = await _schema(server)
    kinds, default = found["kinds"], found["default_base"]
    return JSONResponse({"kinds": kinds, "default_base": default, "bases": _bases(server)})


@OWN.route("POST", "/api/v1/plans", "train", **answers(PlanAnswer))
async def make_plan(request: Request, body: PlanBody) -> Response:
    """Plan a training: every number with its reason, and the recipe. Trains nothing."""
    server = server_of(request)
    return JSONResponse(without_paths(server, await ask_planner(server, "plan", body)))


async def ask_planner(server: Server, do: str, body: PlanBody) -> dict[str, Any]:
    """Return what the helper process answers.

    Raises:
        ServeError: neither or both of a dataset and a recipe, or what cannot be planned (400).
    """
    if (body.dataset is None) == (body.recipe is None):
        raise bad_request("name a dataset or give a recipe, one of the two")
    if isinstance(body.recipe, str) and len(body.recipe) > _MOST_TOML:
        raise ServeError(413, "too_large", f"the recipe has more than {_MOST_TOML:,} characters")
    folder = None
    if body.dataset is not None:
        name = relative_path(body.dataset, "dataset")
        folder = str(server.datasets.folder(name.parts[0]).joinpath(*name.parts[1:]).resolve())
    values = body.model_dump(exclude={"dataset"})
    return await server.planner.ask(do, {**asked_by(server), **values, "folder": folder})


def asked_by(server: Server) -> dict[str, Any]:
    """Return what every question to the helper process holds: the server's folders and models."""
    models = {model.name: model.ref for model in server.engine.models}
    return {"roots": [str(server.datasets.root), str(server.runs.root)], "models": models}


async def _schema(server: Server) -> dict[str, Any]:
    if server.recipe_schema is None:
        server.recipe_schema = await server.planner.ask("schema", asked_by(server))
    return server.recipe_schema


def _bases(server: Server) -> list[dict[str, Any]]:
    """Return the base models that can be named, with where each is: `here`, or on the `hub`."""
    served = [model.name for model in server.engine.models if not model.adapters]
    fetched = [name for name in read_registry().fetched if "/" in name]
    here = {BUNDLED_BASE: "here", **dict.fromkeys([*served, *fetched], "here")}
    found = {**here, **{name: where for name in model_names() if (where := _where(name))}, **here}
    return [{"name": name, "served": name in served, "where": where} for name, where in found.items()]


def _where(name: str) -> str:
    try:
        place = locate_model(name, "base")
    except UsageError:  # of another kind, or not downloaded
        return ""
    return "" if place is None else "here" if Path(place).is_absolute() else "hub"
