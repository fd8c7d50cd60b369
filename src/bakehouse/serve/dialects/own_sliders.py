"""The route of sliders: the range that a training has found, its images from end to end, and how to draw like them."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any

from fastapi import Request, Response
from fastapi.responses import JSONResponse

from bakehouse.core.errors import BakehouseError
from bakehouse.core.files import read_json
from bakehouse.core.parse_json_toml_yaml import parse_toml
from bakehouse.core.run_folder import Run
from bakehouse.serve.dialects.own_answers import answers
from bakehouse.serve.dialects.own_dialect import OWN
from bakehouse.serve.dialects.own_run_answers import SliderAnswer
from bakehouse.serve.errors import bad_request, not_found
from bakehouse.serve.server import server_of

_IMAGE = re.compile(r"(-?[0-9.]+)-([0-9]+)\.png")
_DRAWN_LIKE = ("steps", "guidance", "sampler", "seed", "negative")
"""Settings of samples with which the images of the range are drawn."""


@OWN.route("GET", "/api/v1/runs/{name}/slider", "train", **answers(SliderAnswer))
async def get_slider(request: Request, name: str) -> Response:
    """Return a slider's prompts and range, and for each strength where its images lie and their addresses."""
    run = server_of(request).runs.run(name)
    return JSONResponse(await asyncio.to_thread(_slider, name, run))


def _slider(name: str, run: Run) -> dict[str, Any]:
    recipe = _recipe(run.recipe)
    if recipe.get("kind") != "slider":
        raise bad_request(f"run {name!r} is no slider")
    if not (run.report / "slider.json").is_file():
        raise not_found(f"the range of slider {name!r} is not known yet", hint="it is measured when the training ends")
    found = read_json(run.report / "slider.json")
    images = _images(name, run.report / "slider")
    sample = recipe.get("sample", {})
    sizes = recipe.get("slider", {}).get("sizes") or [[]]
    return {
        "name": name,
        "prompts": recipe.get("slider", {}).get("prompts", []),
        "keep": recipe.get("slider", {}).get("keep", []),
        "low": found["low"],
        "high": found["high"],
        "preferred": found["preferred"],
        "places": [{**place, "images": images.get(float(place["strength"]), [])} for place in found["places"]],
        "strip": f"/api/v1/runs/{name}/report/slider.png",
        "sample": {**{key: sample.get(key) for key in _DRAWN_LIKE}, "size": sizes[0]},
    }


def _recipe(path: Path) -> dict[str, Any]:
    try:
        return parse_toml(path.read_text("utf-8"))
    except (OSError, BakehouseError, ValueError):  # it waits, or its file was edited to something else
        return {}


def _images(name: str, folder: Path) -> dict[float, list[str]]:
    """Return the addresses of the images of each strength, in the order of their seeds."""
    found: dict[float, list[tuple[int, str]]] = {}
    for path in folder.glob("*.png"):
        if match := _IMAGE.fullmatch(path.name):
            address = f"/api/v1/runs/{name}/report/slider/{path.name}"
            found.setdefault(float(match[1]), []).append((int(match[2]), address))
    return {strength: [address for _, address in sorted(images)] for strength, images in found.items()}
