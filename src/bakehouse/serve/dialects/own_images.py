"""Routes of the images of a dataset: uploaded, listed, shown, captioned, masked, moved and removed."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path
from typing import Any, Literal

from fastapi import Query, Request, Response
from fastapi.responses import FileResponse, JSONResponse
from pydantic import Field

from bakehouse.curation.journal import Step
from bakehouse.data.open_image import sniff
from bakehouse.serve.datasets import edits
from bakehouse.serve.datasets.image_list import ImageQuery, image_rows
from bakehouse.serve.datasets.receive import add_files, is_archive
from bakehouse.serve.dialects.own_answers import TaskAnswer, answers
from bakehouse.serve.dialects.own_dataset_answers import (
    CaptionsAnswer,
    DatasetTagsAnswer,
    ImagesAnswer,
    StepAnswer,
    TagChangesAnswer,
    UploadAnswer,
)
from bakehouse.serve.dialects.own_datasets import Body
from bakehouse.serve.dialects.own_dialect import OWN, SHOWN
from bakehouse.serve.dialects.own_tasks import start_task
from bakehouse.serve.errors import ServeError, bad_request, not_found
from bakehouse.serve.guard.multipart import ReceivedFile, received_files
from bakehouse.serve.guard.paths import file_inside
from bakehouse.serve.server import Server, server_of

_MASK_BYTES = 20 << 20
_UPLOADED = answers(UploadAnswer, 200, 422, others={202: TaskAnswer})
"""422: none of the files was added."""
_CACHED = {"Cache-Control": "private, max-age=31536000, immutable"}
_CHECKED = {"Cache-Control": "private, no-cache"}


class CaptionsBody(Body):
    """New captions by image; an empty text removes a caption."""

    captions: dict[str, str] = Field(max_length=20_000)
    was: dict[str, str | None] = Field(default_factory=dict, description="Refuse if a caption is no longer this.")


class TagsBody(Body):
    """A change of the tags of many captions."""

    paths: list[str] | None = Field(None, description="Images; left out: all.")
    add: list[str] = Field(default_factory=list)
    remove: list[str] = Field(default_factory=list)
    replace: dict[str, str] = Field(default_factory=dict)
    front: bool = Field(False, description="Add in front of the other tags.")
    preview: bool = Field(True, description="Say what would change; write nothing.")


class PathsBody(Body):
    """Images of a dataset."""

    paths: list[str] = Field(min_length=1, max_length=20_000)


class KeepBody(Body):
    """Two copies of one picture."""

    keep: str
    drop: str


class MoveBody(PathsBody):
    """Images, and the folder of the dataset to move them to."""

    folder: str = Field(description="`1_red`; empty: the dataset itself.")


@OWN.route("POST", "/api/v1/datasets/{name}/images", "train", **_UPLOADED)
async def upload_images(request: Request, name: str) -> Response:
    """Add images and captions, as one step. Multipart: files in parts `files`, and `folder` for a subfolder.

    A zip archive or a video is imported as a task, whose answer is 202.
    """
    server = server_of(request)
    server.datasets.folder(name)
    most = server.settings.limits.dataset_upload_bytes
    async with received_files(request, server.store.uploads, most_bytes=most) as received:
        archives = [file for file in received.files if is_archive(file)]
        if not received.files:
            raise bad_request("the request has no files", hint="curl -F files=@a.png")
        if archives:
            if len(received.files) > 1:
                raise bad_request("an archive or a video is sent alone", hint="send the other files in another request")
            return await _import(request, name, archives[0])
        index = server.datasets.index(name)
        uploaded = await asyncio.to_thread(add_files, index, received.files, received.fields.get("folder", ""))
    return JSONResponse(uploaded.to_json(), 200 if uploaded.added else 422)


@OWN.route("GET", "/api/v1/datasets/{name}/images", "train", **answers(ImagesAnswer))
async def list_images(
    request: Request,
    name: str,
    offset: int = Query(0, ge=0),
    limit: int = Query(200, ge=1, le=1000),
    q: str = "",
    tag: list[str] = Query(default_factory=list),  # noqa: B008 - FastAPI's way
    without_tag: list[str] = Query(default_factory=list),  # noqa: B008
    folder: str | None = None,
    finding: str | None = None,
    caption: Literal["yes", "no"] | None = None,
    mask: Literal["yes", "no"] | None = None,
    sort: Literal["name", "changed", "size"] = "name",
) -> Response:
    """List images with their captions; filters are combined. `q` is looked for in paths and captions."""
    server = server_of(request)
    query = ImageQuery(q, tuple(tag), tuple(without_tag), folder, finding, caption, mask, sort)

    def read() -> dict[str, Any]:
        return image_rows(server.datasets.index(name), query, _findings(server, name), offset=offset, limit=limit)

    return JSONResponse(await asyncio.to_thread(read))


@OWN.route("GET", "/api/v1/datasets/{name}/tags", "train", **answers(DatasetTagsAnswer))
async def list_tags(request: Request, name: str) -> Response:
    """List the tags of a dataset with the number of images that have each."""
    counts = await asyncio.to_thread(server_of(request).datasets.index(name).tags)
    rows = [{"tag": tag, "count": count} for tag, count in sorted(counts.items(), key=lambda one: (-one[1], one[0]))]
    return JSONResponse({"tags": rows})


@OWN.route("GET", "/api/v1/datasets/{name}/file/{path:path}", "train", **SHOWN)
async def get_image(request: Request, name: str, path: str) -> Response:
    """Return an image of a dataset as it is."""
    image = await _image(server_of(request), name, path)
    return FileResponse(image, headers=_CHECKED)


@OWN.route("GET", "/api/v1/datasets/{name}/thumbnail/{path:path}", "train", **SHOWN)
async def get_thumbnail(request: Request, name: str, path: str, size: int = 256, v: str = "") -> Response:
    """Return a small WebP of an image, at most `size` pixels a side. With `v` (anything) it may be cached for good."""
    server = server_of(request)
    image = await _image(server, name, path)
    tag = f'"{server.thumbnails.key(image, size)}"'
    headers = {**(_CACHED if v else _CHECKED), "ETag": tag}
    if request.headers.get("if-none-match") == tag:
        return Response(status_code=304, headers=headers)
    async with server.decoding:
        made = await asyncio.to_thread(server.thumbnails.path, image, size)
    return FileResponse(made, media_type="image/webp", headers=headers)


@OWN.route("PUT", "/api/v1/datasets/{name}/captions", "train", **answers(CaptionsAnswer))
async def put_captions(request: Request, name: str, body: CaptionsBody) -> Response:
    """Write captions, as one step."""
    index = server_of(request).datasets.index(name)
    step, changed = await asyncio.to_thread(edits.write_captions, index, body.captions, body.was)
    return JSONResponse({**_step(step), "changed": changed})


@OWN.route("POST", "/api/v1/datasets/{name}/captions/tags", "train", **answers(TagChangesAnswer))
async def change_tags(request: Request, name: str, body: TagsBody) -> Response:
    """Add, remove and replace tags in many captions, as one step; by default only a preview."""
    index = server_of(request).datasets.index(name)
    wanted = edits.TagChanges(tuple(body.add), tuple(body.remove), body.replace, body.front)

    def change() -> dict[str, Any]:
        found = edits.tag_changes(index, body.paths, wanted)
        step = None
        if not body.preview:
            texts = {one.path: one.after for one in found}
            step, _ = edits.write_captions(index, texts, {one.path: one.before for one in found}, "tags")
        return {"changes": [vars(one) for one in found], **_step(step)}

    return JSONResponse(await asyncio.to_thread(change))


@OWN.route("GET", "/api/v1/datasets/{name}/mask/{path:path}", "train", **SHOWN)
async def get_mask(request: Request, name: str, path: str) -> Response:
    """Return the mask of an image."""
    index = server_of(request).datasets.index(name)
    image = await asyncio.to_thread(edits.image_of, index, path)
    if image.mask is None:
        raise not_found(f"{path[:80]!r} has no mask")
    return FileResponse(image.mask, headers=_CHECKED)


@OWN.route("PUT", "/api/v1/datasets/{name}/mask/{path:path}", "train", **answers(StepAnswer))
async def put_mask(request: Request, name: str, path: str) -> Response:
    """Write the mask of an image, as one step. The body is a PNG in the image's shape: white is learned."""
    data = await request.body()
    if len(data) > _MASK_BYTES:
        raise ServeError(413, "too_large", f"the mask has {len(data):,} bytes; allowed are {_MASK_BYTES:,}")
    index = server_of(request).datasets.index(name)
    return JSONResponse(_step(await asyncio.to_thread(edits.write_mask, index, path, data)))


@OWN.route("DELETE", "/api/v1/datasets/{name}/mask/{path:path}", "train", **answers(StepAnswer))
async def delete_mask(request: Request, name: str, path: str) -> Response:
    """Remove the mask of an image, as one step."""
    index = server_of(request).datasets.index(name)
    return JSONResponse(_step(await asyncio.to_thread(edits.write_mask, index, path, None)))


@OWN.route("POST", "/api/v1/datasets/{name}/remove", "train", **answers(StepAnswer))
async def remove_images(request: Request, name: str, body: PathsBody) -> Response:
    """Remove images with their captions and masks, as one step that can be undone."""
    index = server_of(request).datasets.index(name)
    return JSONResponse(_step(await asyncio.to_thread(edits.remove_images, index, body.paths)))


@OWN.route("POST", "/api/v1/datasets/{name}/keep", "train", **answers(StepAnswer))
async def keep_one_copy(request: Request, name: str, body: KeepBody) -> Response:
    """Keep one of two copies, as one step: the other is removed, and its caption and mask fill what is missing."""
    index = server_of(request).datasets.index(name)
    return JSONResponse(_step(await asyncio.to_thread(edits.keep_one, index, body.keep, body.drop)))


@OWN.route("POST", "/api/v1/datasets/{name}/move", "train", **answers(StepAnswer))
async def move_images(request: Request, name: str, body: MoveBody) -> Response:
    """Move images with their captions and masks into a folder of the dataset, as one step."""
    index = server_of(request).datasets.index(name)
    return JSONResponse(_step(await asyncio.to_thread(edits.move_images, index, body.paths, body.folder)))


async def _import(request: Request, name: str, file: ReceivedFile) -> Response:
    """Import an archive or a video as a task; its file is kept until the task has ended."""
    server = server_of(request)
    kept = server.store.uploads / f"import-{file.path.parent.name}"
    target = kept / Path(file.name.replace("\\", "/")).name
    if target.name.startswith(".") or not target.name.isprintable() or len(target.name.encode()) > 200:
        raise bad_request(f"{target.name[:80]!r} cannot be the name of a file")
    await asyncio.to_thread(_keep, file.path, target)
    folder = server.datasets.folder(name)
    try:
        return await start_task(
            request, "import", name, ("dataset", "import", str(target), f"--out={folder}", "--json")
        )
    except ServeError:
        shutil.rmtree(kept, ignore_errors=True)
        raise


def _keep(file: Path, target: Path) -> None:
    target.parent.mkdir(parents=True)
    file.rename(target)


async def _image(server: Server, name: str, path: str) -> Path:
    """Return an image's file; other files of a dataset's folder are not there."""
    folder = server.datasets.folder(name)
    file = await asyncio.to_thread(file_inside, folder, path, "image")
    if not await asyncio.to_thread(sniff, file):
        raise not_found(f"there is no image {path[:80]!r}")
    return file


def _findings(server: Server, name: str) -> dict[str, list[str]]:
    """Return the ids of the last audit's findings by image."""
    found = next((one for one in server.store.tasks.newest(subject=name, kind="audit") if one.state == "done"), None)
    report = None if found is None else server.tasks.result(found)
    by_image: dict[str, list[str]] = {}
    for one in report["findings"] if isinstance(report, dict) else ():
        for file in one["files"]:
            by_image.setdefault(file, []).append(one["id"])
    return by_image


def _step(step: Step | None) -> dict[str, Any]:
    return {"step": None if step is None else step.number}
