"""Routes of `dataset extend`: images that a run draws for a dataset, laid before a person, accepted or not."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fastapi import Query, Request, Response
from fastapi.responses import FileResponse, JSONResponse
from pydantic import Field

from bakehouse.core.errors import BakehouseError
from bakehouse.core.files import write_text
from bakehouse.curation.operation import apply_operation
from bakehouse.data.captions import read_caption
from bakehouse.serve.dialects.own_answers import TaskAnswer, answers
from bakehouse.serve.dialects.own_dataset_answers import CandidatesAnswer, StepAnswer
from bakehouse.serve.dialects.own_datasets import Body
from bakehouse.serve.dialects.own_dialect import OWN, SHOWN
from bakehouse.serve.dialects.own_tasks import MOST_WAIT, start_task
from bakehouse.serve.errors import ServeError, bad_request, not_found
from bakehouse.serve.guard.paths import file_inside, folder_named
from bakehouse.serve.server import Server, server_of
from bakehouse.synthesis.accept import AddDrawn, name_in_dataset
from bakehouse.synthesis.candidates import ACCEPT, FOLDER, Candidate, Candidates, read_accept, write_accept

_CACHED = {"Cache-Control": "private, max-age=31536000, immutable"}
"""A drawn image is never written again under its name."""


class ExtendBody(Body):
    """What is drawn for a dataset; what is left out is as in `bakehouse dataset extend`."""

    run: str = Field(description="An evaluated run of the subject.")
    count: int | None = Field(None, ge=1, le=1000)
    tries: int = Field(4, ge=1, le=50)
    seed: int = Field(0, ge=0, le=2**31)
    least_fidelity: float | None = Field(None, ge=-2, le=1)


class AnswersBody(Body):
    """Answers to drawn images; those that are not named wait on."""

    accepted: list[str] = Field(default_factory=list, max_length=1000, description="Names of images to add.")
    refused: list[str] = Field(default_factory=list, max_length=1000, description="Names of images not to add.")
    captions: dict[str, str] = Field(default_factory=dict, max_length=1000, description="Other captions, by name.")


@OWN.route("POST", "/api/v1/datasets/{name}/extend", "train", **answers(TaskAnswer, 202, 200))
async def extend_dataset(
    request: Request, name: str, body: ExtendBody, wait: float = Query(0.0, ge=0, le=MOST_WAIT)
) -> Response:
    """Draw images that a dataset lacks, as a task; nothing is added. It waits while a training runs."""
    server = server_of(request)
    folder, run = server.datasets.folder(name), server.runs.run(body.run)
    words = [f"--tries={body.tries}", f"--seed={body.seed}"]
    words += [] if body.count is None else [f"--count={body.count}"]
    words += [] if body.least_fidelity is None else [f"--least-fidelity={body.least_fidelity}"]
    return await start_task(
        request, "extend", name, ("dataset", "extend", str(run.folder), str(folder), *words, "--json"), wait
    )


@OWN.route("GET", "/api/v1/datasets/{name}/candidates", "train", **answers(CandidatesAnswer))
async def list_candidates(request: Request, name: str) -> Response:
    """List the drawn images that wait for an answer, of all runs; those that were dropped come with the reason."""
    server = server_of(request)
    folder = server.datasets.folder(name)

    def read() -> list[dict[str, Any]]:
        there = [image.path for image in server.datasets.index(name).refresh()]
        return [_row(run, found, there) for run, found in _all_of(server, folder)]

    return JSONResponse({"sets": await asyncio.to_thread(read)})


@OWN.route("GET", "/api/v1/datasets/{name}/candidates/{run}/{key}/{file}", "train", **SHOWN)
async def get_candidate(request: Request, name: str, run: str, key: str, file: str) -> Response:
    """Return a drawn image."""
    found = await asyncio.to_thread(_find, server_of(request), name, run, key)
    if file not in {candidate.name for candidate in found.items}:
        raise not_found(f"there is no drawn image {file[:80]!r}")
    return FileResponse(await asyncio.to_thread(file_inside, found.path(found.items[0]).parent, file), headers=_CACHED)


@OWN.route("POST", "/api/v1/datasets/{name}/candidates/{run}/{key}/accept", "train", **answers(StepAnswer))
async def accept_candidates(request: Request, name: str, run: str, key: str, body: AnswersBody) -> Response:
    """Add the accepted images with their captions, as one step, and keep the refusals in accept.txt."""
    server = server_of(request)

    def add() -> dict[str, Any]:
        found = _find(server, name, run, key)
        known = {candidate.name: candidate for candidate in found.passed}
        accepted, refused = dict.fromkeys(body.accepted), dict.fromkeys(body.refused)
        if unknown := [one for one in (*accepted, *refused, *body.captions) if one not in known]:
            raise bad_request(f"there is no drawn image {unknown[0][:80]!r} to answer", hint="the list has their names")
        if both := [one for one in accepted if one in refused]:
            raise bad_request(f"{both[0]} is accepted and refused", hint="give one answer to each image")
        for one, text in body.captions.items():
            if not text.strip():
                raise bad_request(f"the caption of {one} is empty", hint="leave it out to keep its own")
            write_text(found.caption_path(known[one]), f"{' '.join(text.split())}\n")
        write_accept(found, yes=(known.keys() - _refused(found) - refused.keys()) | accepted.keys())
        step = None
        if accepted:
            extend = AddDrawn(candidates=found.folder.resolve(), accepted=tuple(accepted))
            step = apply_operation(server.datasets.folder(name), extend)
        return {"step": None if step is None else step.number}

    return JSONResponse(await asyncio.to_thread(add))


def _all_of(server: Server, dataset: Path) -> list[tuple[str, Candidates]]:
    """Return the drawn images for a dataset, with the names of their runs; what is damaged is not there."""
    found = []
    for run in server.runs.names():
        for record in sorted((server.runs.root / run / FOLDER).glob("*/candidates.json")):
            try:
                candidates = Candidates.load(record.parent)
            except BakehouseError:
                continue
            if Path(candidates.dataset) == dataset.resolve():
                found.append((run, candidates))
    return found


def _find(server: Server, name: str, run: str, key: str) -> Candidates:
    dataset = server.datasets.folder(name)
    place = folder_named(server.runs.run(run).folder / FOLDER, key, "set of drawn images")
    found = Candidates.load(place)
    if Path(found.dataset) != dataset.resolve():
        raise ServeError(404, "not_found", f"{key} was not drawn for the dataset {name!r}")
    return found


def _refused(found: Candidates) -> set[str]:
    """Return the names of the images that accept.txt says no to; it says yes to what has no answer."""
    yes = {one.name for one in read_accept(found.folder / ACCEPT, found)} if (found.folder / ACCEPT).is_file() else None
    return set() if yes is None else {one.name for one in found.passed} - yes


def _row(run: str, found: Candidates, there: Sequence[str]) -> dict[str, Any]:
    refused = _refused(found)
    return {
        "run": run,
        "key": found.folder.name,
        "weights": found.weights,
        "strength": found.strength,
        "candidates": [_shown(found, one, there, refused) for one in found.passed],
        "dropped": [
            {"name": one.name, "prompt": one.prompt, "reason": one.reason} for one in found.items if one.reason
        ],
    }


def _shown(found: Candidates, candidate: Candidate, there: Sequence[str], refused: set[str]) -> dict[str, Any]:
    caption = found.caption_path(candidate)
    lines = read_caption(caption).lines if caption.is_file() else [candidate.prompt]
    is_there = str(name_in_dataset(found.folder, candidate)) in there
    return {
        "name": candidate.name,
        "state": "added" if is_there else "refused" if candidate.name in refused else "waiting",
        "prompt": candidate.prompt,
        "caption": "\n".join(lines),
        "fidelity": candidate.fidelity,
        "prompt_score": candidate.prompt_score,
        "nearest": next((path for path in there if path.rpartition("/")[2] == candidate.nearest), None),
    }
