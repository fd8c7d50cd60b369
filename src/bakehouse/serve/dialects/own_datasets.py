"""Routes of datasets as a whole: made, listed, audited, changed by commands, undone, deleted and restored."""

from __future__ import annotations

import asyncio
from typing import Any, Literal

from fastapi import Query, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field

from bakehouse.curation.apply_and_undo import read_history, undo
from bakehouse.curation.journal import Step
from bakehouse.serve.datasets.trash import Trash, Trashed
from bakehouse.serve.dialects.own_answers import TaskAnswer, answers
from bakehouse.serve.dialects.own_dataset_answers import (
    AuditAnswer,
    DatasetAnswer,
    DatasetRow,
    DatasetsAnswer,
    DeletedForGoodAnswer,
    HistoryAnswer,
    OperationsAnswer,
    RestoredAnswer,
    TrashAnswer,
    TrashedAnswer,
    UndoneAnswer,
)
from bakehouse.serve.dialects.own_dialect import OWN
from bakehouse.serve.dialects.own_tasks import MOST_WAIT, start_task
from bakehouse.serve.errors import ServeError, not_found
from bakehouse.serve.server import Server, server_of
from bakehouse.serve.tasks.operations import KINDS, OPERATIONS, audit_arguments, operation_arguments
from bakehouse.serve.tasks.task_result import shown_result, shown_text

_WAIT = Query(0.0, ge=0, le=MOST_WAIT, description="Seconds to hold the connection for a task that may end soon.")


class Body(BaseModel):
    """A JSON body; unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class NameBody(Body):
    """A dataset's name."""

    name: str


class UndoBody(Body):
    """How a step is undone."""

    keep_edits: bool = Field(False, description="Move aside files that were edited after the step.")


class AuditBody(Body):
    """How the images will be used; what is left out is as in `bakehouse dataset audit`."""

    kind: Literal[KINDS] | None = None  # type: ignore[valid-type]
    subject: str | None = None
    base: str | None = None
    resolution: int | None = None
    batch: int | None = None
    vocabulary: str | None = None
    faces: bool | None = None
    text: bool | None = None


class OperationBody(Body):
    """A command on a dataset."""

    operation: str = Field(description="As `GET /api/v1/operations` lists them: `dataset dedupe`.")
    arguments: list[str] = Field(default_factory=list, description="Options as on the command line.")
    preview: bool = Field(False, description="Say what would be done; change nothing.")


@OWN.route("GET", "/api/v1/datasets", "train", **answers(DatasetsAnswer))
async def list_datasets(request: Request) -> Response:
    """List the datasets."""
    datasets = server_of(request).datasets
    rows = await asyncio.to_thread(lambda: [datasets.row(name) for name in datasets.names()])
    return JSONResponse({"datasets": rows})


@OWN.route("POST", "/api/v1/datasets", "train", **answers(DatasetRow, 201))
async def create_dataset(request: Request, body: NameBody) -> Response:
    """Make an empty dataset."""
    datasets = server_of(request).datasets
    await asyncio.to_thread(datasets.create, body.name)
    row = await asyncio.to_thread(datasets.row, body.name)
    return JSONResponse(row, 201, headers={"Location": f"/api/v1/datasets/{body.name}"})


@OWN.route("GET", "/api/v1/datasets/{name}", "train", **answers(DatasetAnswer))
async def get_dataset(request: Request, name: str) -> Response:
    """Return what is known of a dataset, and its folders."""
    datasets = server_of(request).datasets

    def read() -> dict[str, Any]:
        counts: dict[str, int] = {}
        for image in datasets.index(name).refresh():
            counts[image.folder] = counts.get(image.folder, 0) + 1
        folders = [{"path": path, "images": count} for path, count in counts.items()]
        return {**datasets.row(name), "folders": folders}

    return JSONResponse(await asyncio.to_thread(read))


@OWN.route("PATCH", "/api/v1/datasets/{name}", "train", **answers(DatasetRow))
async def rename_dataset(request: Request, name: str, body: NameBody) -> Response:
    """Give a dataset another name."""
    server = server_of(request)
    _refuse_used(server, name)
    await asyncio.to_thread(server.datasets.rename, name, body.name)
    return JSONResponse(await asyncio.to_thread(server.datasets.row, body.name))


@OWN.route("DELETE", "/api/v1/datasets/{name}", "train", **answers(TrashedAnswer))
async def delete_dataset(request: Request, name: str) -> Response:
    """Move a dataset into the trash, from which it can be restored."""
    server = server_of(request)
    server.datasets.folder(name)
    _refuse_used(server, name)
    return JSONResponse({"trash": await asyncio.to_thread(server.datasets.delete, name)})


@OWN.route("GET", "/api/v1/datasets/{name}/history", "train", **answers(HistoryAnswer))
async def dataset_history(request: Request, name: str) -> Response:
    """List the steps that changed a dataset, oldest first."""
    server = server_of(request)
    steps = await asyncio.to_thread(read_history, server.datasets.folder(name))
    return JSONResponse({"steps": [step_row(server, step) for step in steps]})


@OWN.route("POST", "/api/v1/datasets/{name}/undo", "train", **answers(UndoneAnswer))
async def undo_step(request: Request, name: str, body: UndoBody | None = None) -> Response:
    """Undo the last step; contents and dates of files are restored."""
    server = server_of(request)
    folder = server.datasets.folder(name)
    taken = await asyncio.to_thread(undo, folder, keep_edits=bool(body and body.keep_edits))
    return JSONResponse({"undone": step_row(server, taken)})


@OWN.route("POST", "/api/v1/datasets/{name}/audit", "train", **answers(TaskAnswer, 202, 200))
async def audit_dataset(request: Request, name: str, body: AuditBody | None = None, wait: float = _WAIT) -> Response:
    """Check a dataset, as a task. Its findings name the operation that fixes each."""
    folder = server_of(request).datasets.folder(name)
    options = (body or AuditBody()).model_dump()
    return await start_task(request, "audit", name, audit_arguments(options, folder), wait)


@OWN.route("GET", "/api/v1/datasets/{name}/audit", "train", **answers(AuditAnswer))
async def last_audit(request: Request, name: str) -> Response:
    """Return the last audit of a dataset, and whether the dataset was changed since."""
    server = server_of(request)
    server.datasets.folder(name)
    found = next((one for one in server.store.tasks.newest(subject=name, kind="audit") if one.state == "done"), None)
    report = None if found is None else await asyncio.to_thread(shown_result, server, found)
    if found is None or report is None:
        raise not_found(f"dataset {name!r} was not audited", hint="POST to the same address audits it")
    row = await asyncio.to_thread(server.datasets.row, name)
    changed = max([row["changed"], *(step.time for step in read_history(server.datasets.folder(name)))])
    return JSONResponse({"report": report, "stale": changed > found.added, "time": found.ended, "task": found.id})


@OWN.route("GET", "/api/v1/operations", "train", **answers(OperationsAnswer))
async def list_operations(request: Request) -> Response:
    """List the commands that may be run on datasets, with their options."""
    return JSONResponse({"operations": [one.to_json(name) for name, one in OPERATIONS.items()]})


@OWN.route("POST", "/api/v1/datasets/{name}/operations", "train", **answers(TaskAnswer, 202, 200))
async def run_operation(request: Request, name: str, body: OperationBody, wait: float = _WAIT) -> Response:
    """Run a command on a dataset, as a task: one step that can be undone, or a preview that changes nothing."""
    folder = server_of(request).datasets.folder(name)
    words = operation_arguments(body.operation, body.arguments, folder, preview=body.preview)
    return await start_task(request, "preview" if body.preview else "operation", name, words, wait)


@OWN.route("POST", "/api/v1/datasets/{name}/explain", "train", **answers(TaskAnswer, 202, 200))
async def explain_triggers(request: Request, name: str, wait: float = _WAIT) -> Response:
    """Say what each trigger of a dataset will learn, as a task."""
    folder = server_of(request).datasets.folder(name)
    return await start_task(request, "explain", name, ("triggers", "explain", str(folder), "--json"), wait)


@OWN.route("GET", "/api/v1/trash", "train", **answers(TrashAnswer))
async def list_trash(request: Request) -> Response:
    """List deleted datasets, runs and publications, newest first."""
    found = await asyncio.to_thread(lambda: [one for trash in _trashes(request) for one in trash.all()])
    return JSONResponse({"trash": [vars(one) for one in sorted(found, key=lambda one: -one.deleted)]})


@OWN.route("POST", "/api/v1/trash/{entry}/restore", "train", **answers(RestoredAnswer))
async def restore(request: Request, entry: str) -> Response:
    """Restore a deleted dataset, run or publication."""
    trash, found = _trashed(request, entry)
    await asyncio.to_thread(trash.restore, found)
    return JSONResponse({"restored": vars(found)})


@OWN.route("DELETE", "/api/v1/trash/{entry}", "train", **answers(DeletedForGoodAnswer))
async def delete_for_good(request: Request, entry: str) -> Response:
    """Delete a dataset, run or publication for good."""
    trash, found = _trashed(request, entry)
    await asyncio.to_thread(trash.delete, found)
    return JSONResponse({"deleted": vars(found)})


def step_row(server: Server, step: Step) -> dict[str, Any]:
    """Return a step of a dataset's journal as lists show it."""
    return {
        "number": step.number,
        "operation": step.operation,
        "settings": {name: shown_text(server, str(value)) for name, value in step.settings.items()},
        "state": step.state,
        "time": step.time,
        "changes": len(step.changes),
    }


def _refuse_used(server: Server, name: str) -> None:
    if server.tasks.is_busy(name):
        raise ServeError(409, "busy", f"a task works on dataset {name!r}", hint="wait until it has ended, or cancel it")
    if users := server.runs.using(server.datasets.folder(name)):
        raise ServeError(
            409, "busy", f"dataset {name!r} is used by the training {users[0]!r}", hint="stop or remove that first"
        )


def _trashes(request: Request) -> tuple[Trash, ...]:
    server = server_of(request)
    return server.datasets.trash, server.runs.trash, server.published_trash


def _trashed(request: Request, entry: str) -> tuple[Trash, Trashed]:
    for trash in _trashes(request):
        if found := trash.find(entry):
            return trash, found
    raise not_found(f"the trash has no {entry[:80]!r}")
