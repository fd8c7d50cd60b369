"""Routes of blind tests: pairs of an evaluation's pictures, votes, and what they come to."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from fastapi import Query, Request, Response
from fastapi.responses import FileResponse, JSONResponse
from pydantic import Field

from bakehouse.serve.dialects.own_answers import answers
from bakehouse.serve.dialects.own_datasets import Body
from bakehouse.serve.dialects.own_dialect import OWN, SHOWN
from bakehouse.serve.dialects.own_run_answers import BlindPairsAnswer, BlindTestAnswer, RemovedAnswer, VoteAnswer
from bakehouse.serve.errors import not_found
from bakehouse.serve.runs.blind_test import BlindTest, Choice, Question
from bakehouse.serve.server import Server, server_of

_NAME = Field(max_length=300)
_SEED = Query(0, ge=0, le=2**32 - 1, description="Shuffles the pairs and their sides.")
_UNSEEN = {"Cache-Control": "private, no-store"}
_MOST_REFERENCES = 12
_SIDE = 512


class VoteBody(Body):
    """An answer to one pair."""

    question: Question
    first: str = _NAME
    second: str = _NAME
    seed: int = Field(ge=0, le=2**32 - 1, description="That the pair was shown with.")
    number: int = Field(ge=0, le=1_000_000)
    choice: Choice = Field(description="`same`: no difference that decides.")


@OWN.route("GET", "/api/v1/runs/{name}/blind-test", "train", **answers(BlindTestAnswer))
async def blind_test(request: Request, name: str) -> Response:
    """Return who can be compared, photos of the subject, and the results so far."""
    server = server_of(request)

    def read() -> dict[str, Any]:
        test = BlindTest.of(server.runs.run(name))
        photos = [number for number, path in enumerate(_references(server, test)) if path is not None]
        return {
            "contenders": test.contenders(),
            "held_out": test.scores["held_out"],
            "references": [f"/api/v1/runs/{name}/blind-test/photos/{n}" for n in photos[:_MOST_REFERENCES]],
            "results": test.results(),
        }

    return JSONResponse(await asyncio.to_thread(read))


@OWN.route("GET", "/api/v1/runs/{name}/blind-test/pairs", "train", **answers(BlindPairsAnswer))
async def blind_pairs(
    request: Request,
    name: str,
    question: Question,
    first: str = Query(max_length=300),
    second: str = Query(max_length=300),
    seed: int = _SEED,
) -> Response:
    """List the pairs of two contenders, shuffled; their pictures do not tell whose they are."""
    server = server_of(request)

    def read() -> list[dict[str, Any]]:
        test = BlindTest.of(server.runs.run(name))
        answered = test.answered(question)
        return [
            {"number": pair.number, "prompt": pair.prompt, "answered": frozenset(pair.pictures) in answered}
            for pair in test.pairs(first, second, seed)
        ]

    return JSONResponse({"pairs": await asyncio.to_thread(read)})


@OWN.route("GET", "/api/v1/runs/{name}/blind-test/pairs/{number}/{side}", "train", **SHOWN)
async def blind_picture(
    request: Request,
    name: str,
    number: int,
    side: str,
    first: str = Query(max_length=300),
    second: str = Query(max_length=300),
    seed: int = _SEED,
) -> Response:
    """Return the left or the right picture of a pair."""
    server = server_of(request)

    def find() -> Path:
        test = BlindTest.of(server.runs.run(name))
        return test.picture(test.pair(first, second, seed, number), side)

    return Response(await asyncio.to_thread(lambda: find().read_bytes()), media_type="image/webp", headers=_UNSEEN)


@OWN.route("GET", "/api/v1/runs/{name}/blind-test/photos/{number}", "train", **SHOWN)
async def blind_photo(request: Request, name: str, number: int) -> Response:
    """Return a photo of the subject that the evaluation compared with, as a small WebP."""
    server = server_of(request)
    photos = await asyncio.to_thread(lambda: _references(server, BlindTest.of(server.runs.run(name))))
    photo = photos[number] if 0 <= number < len(photos) else None
    if photo is None:
        raise not_found(f"there is no photo {number} of the subject")
    async with server.decoding:
        made = await asyncio.to_thread(server.thumbnails.path, photo, _SIDE)
    return FileResponse(made, media_type="image/webp")


@OWN.route("POST", "/api/v1/runs/{name}/blind-test/votes", "train", **answers(VoteAnswer, 201))
async def add_vote(request: Request, name: str, body: VoteBody) -> Response:
    """Answer a question about a pair, in place of an earlier answer."""
    server = server_of(request)

    def vote() -> str:
        test = BlindTest.of(server.runs.run(name))
        return test.vote(body.question, body.first, body.second, body.seed, body.number, body.choice)

    return JSONResponse({"id": await asyncio.to_thread(vote)}, 201)


@OWN.route("DELETE", "/api/v1/runs/{name}/blind-test/votes/{vote}", "train", **answers(RemovedAnswer))
async def remove_vote(request: Request, name: str, vote: str) -> Response:
    """Take back a vote."""
    server = server_of(request)
    await asyncio.to_thread(lambda: BlindTest.of(server.runs.run(name)).take_back(vote))
    return JSONResponse({"removed": vote})


def _references(server: Server, test: BlindTest) -> list[Path | None]:
    """Return the photos that the evaluation compared with; None for one that is gone or outside the datasets."""
    roots = (server.datasets.root.resolve(), server.runs.root.resolve())
    found = [Path(str(path)).resolve() for path in test.scores.get("references", [])]
    return [path if any(path.is_relative_to(root) for root in roots) and path.is_file() else None for path in found]
