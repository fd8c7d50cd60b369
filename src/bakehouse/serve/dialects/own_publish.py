"""Routes of publishing: what would be published of a run, publishing it, and what lies in the server's own folders."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import Query, Request, Response
from fastapi.responses import FileResponse, JSONResponse
from pydantic import Field

from bakehouse.core.hub_token import token_source
from bakehouse.serve.dialects.own_answers import TaskAnswer, answers
from bakehouse.serve.dialects.own_dataset_answers import TrashedAnswer
from bakehouse.serve.dialects.own_datasets import Body
from bakehouse.serve.dialects.own_dialect import OWN, SHOWN
from bakehouse.serve.dialects.own_sharing_answers import PublicationAnswer, PublicationsAnswer, PublishingAnswer
from bakehouse.serve.dialects.own_tasks import MOST_WAIT, start_task
from bakehouse.serve.errors import ServeError, bad_request, not_found
from bakehouse.serve.guard.destinations import STORAGES, destination
from bakehouse.serve.guard.paths import file_inside, folder_named
from bakehouse.serve.server import caller_of, server_of

_NO_CONTROL = r"^[^\x00-\x08\x0b-\x1f\x7f]*$"


class PublishBody(Body):
    """What of a run is published, where to, and how it is described."""

    to: str = Field(description="Name of a folder on the server, `hub:owner/name`, or a URL such as `s3://bucket/zwx`.")
    preview: bool = Field(False, description="Say what would be published, file by file; publish nothing.")
    accept: list[Annotated[str, Field(pattern=r"^[a-z][a-z-]{0,39}$")]] = Field(
        default_factory=list, max_length=20, description="Concerns to publish in spite of, as a preview names them."
    )
    person: Literal["real", "none"] | None = Field(
        None, description="Of a real person, who agrees to this, or of none. Needed if the subject is a person."
    )
    weights: str = Field("", description="A file of the run. Default: what its evaluation picked, or the last.")
    strength: float | None = Field(None, ge=-20, le=20, description="Strength to recommend.")
    title: str = Field("", max_length=200, pattern=_NO_CONTROL)
    author: str = Field("", max_length=200, pattern=_NO_CONTROL)
    about: str = Field("", max_length=4000, pattern=_NO_CONTROL, description="A paragraph for the card.")
    licence: str = Field("", max_length=64, pattern=r"^[\w.+ -]*$", description="By its id on the Hub.")
    base: str = Field("", max_length=200, pattern=r"^([\w.-]+/[\w.-]+)?$", description="Hub id of the base.")
    images: int = Field(6, ge=0, le=24, description="Images in the gallery.")
    public: bool = Field(False, description="Make a new repository of the Hub visible to all.")
    replace_card: bool = Field(False, description="Replace a card that was edited at the destination.")

    def words(self) -> list[str]:
        """Return the options of `bakehouse publish`, but for the destination."""
        texts = ("person", "weights", "strength", "title", "author", "about", "licence", "base", "images")
        given = [(name, getattr(self, name)) for name in texts]
        words = [f"--{name}={value}" for name, value in given if value not in (None, "")]
        words += [f"--accept={name}" for name in self.accept]
        words += [f"--{name.replace('_', '-')}" for name in ("public", "replace_card") if getattr(self, name)]
        return words


@OWN.route("GET", "/api/v1/publishing", "train", **answers(PublishingAnswer))
async def publishing(request: Request) -> Response:
    """Say where this server can publish to, and where its token for the Hub is from; the token is not told."""
    elsewhere = "admin" in caller_of(request).scopes
    source = await asyncio.to_thread(token_source)
    return JSONResponse({"hub_token": source, "elsewhere": elsewhere, "protocols": list(STORAGES)})


@OWN.route("POST", "/api/v1/runs/{name}/publish", "train", **answers(TaskAnswer, 202, 200))
async def publish_run(
    request: Request, name: str, body: PublishBody, wait: float = Query(0.0, ge=0, le=MOST_WAIT)
) -> Response:
    """Publish a run, or say what would be published, as a task."""
    server = server_of(request)
    run = server.runs.run(name)
    if not run.list_weights():
        raise bad_request(f"run {name!r} has no weights yet", hint="wait until it has saved some")
    if body.weights and body.weights not in [path.name for path in run.list_weights()]:
        raise not_found(f"run {name!r} has no weights {body.weights[:80]!r}")
    to = destination(body.to, server.published, caller_of(request))
    words = ("publish", str(run.folder), f"--to={to}", *body.words(), *(["--dry-run"] if body.preview else []))
    return await start_task(request, "publish-preview" if body.preview else "publish", name, (*words, "--json"), wait)


@OWN.route("GET", "/api/v1/published", "train", **answers(PublicationsAnswer))
async def list_published(request: Request) -> Response:
    """List the folders of this server that runs were published to."""
    root = server_of(request).published

    def read() -> list[dict[str, Any]]:
        found = [path for path in root.iterdir() if _is_publication(path)] if root.is_dir() else []
        return [_row(path) for path in sorted(found)]

    return JSONResponse({"published": await asyncio.to_thread(read)})


@OWN.route("GET", "/api/v1/published/{name}", "train", **answers(PublicationAnswer))
async def get_published(request: Request, name: str) -> Response:
    """List the files of a publication in a folder of this server."""
    folder = folder_named(server_of(request).published, name, "publication")
    return JSONResponse(await asyncio.to_thread(lambda: {**_row(folder), "list": _files(folder)}))


@OWN.route("GET", "/api/v1/published/{name}/{file:path}", "train", **SHOWN)
async def get_published_file(request: Request, name: str, file: str) -> Response:
    """Download a file of a publication."""
    folder = folder_named(server_of(request).published, name, "publication")
    found = file_inside(folder, file)
    return FileResponse(found, filename=found.name, media_type="application/octet-stream")


@OWN.route("DELETE", "/api/v1/published/{name}", "train", **answers(TrashedAnswer))
async def delete_published(request: Request, name: str) -> Response:
    """Move a publication into the trash, from which it can be restored."""
    server = server_of(request)
    folder = folder_named(server.published, name, "publication")
    if any(f"--to={folder}" in entry.arguments for entry in server.store.tasks.unfinished()):
        raise ServeError(409, "busy", f"{name!r} is being published", hint="wait until it has ended, or cancel it")
    return JSONResponse({"trash": vars(await asyncio.to_thread(server.published_trash.put, folder))})


def _is_publication(path: Path) -> bool:
    return path.is_dir() and not path.name.startswith(".")


def _files(folder: Path) -> list[dict[str, Any]]:
    found = sorted(path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("."))
    return [{"name": path.relative_to(folder).as_posix(), "bytes": path.stat().st_size} for path in found]


def _row(folder: Path) -> dict[str, Any]:
    files = _files(folder)
    changed = folder.stat().st_mtime
    return {"name": folder.name, "files": len(files), "bytes": sum(one["bytes"] for one in files), "changed": changed}
