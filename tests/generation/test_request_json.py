"""Requests as JSON, and back."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from bakehouse.core.errors import Problems, UsageError
from bakehouse.generation import Extend, FromImage, Hires, ImageRequest, Inpaint
from bakehouse.generation.request_json import request_from_json, request_to_json, source_files

REQUESTS = (
    ImageRequest(prompt='a "cat"\n猫', seed_resize=(64, 96), clip_skip=2, eta=0.5, emphasis="no-norm"),
    ImageRequest(prompt="a", hires=Hires(scale=1.5, steps=3)),
    ImageRequest(
        prompt="a",
        image=FromImage(image="a.png", extend=Extend(left=8)),
        inpaint=Inpaint(mask="b.png", area="only masked"),
    ),
)


@pytest.mark.parametrize("request_", REQUESTS)
def test_a_request_is_read_back_as_it_was(request_: ImageRequest) -> None:
    assert request_from_json(json.loads(json.dumps(request_to_json(request_)))) == request_


def test_files_are_named_and_images_in_memory_refused() -> None:
    assert source_files(REQUESTS[2]) == [Path("a.png"), Path("b.png")]
    assert source_files(REQUESTS[0]) == []
    in_memory = ImageRequest(prompt="a", image=FromImage(image=Image.new("RGB", (8, 8))))
    with pytest.raises(UsageError, match=r"image is in memory \(Image\)"):
        request_to_json(in_memory)


def test_what_is_not_a_request_is_refused() -> None:
    with pytest.raises(TypeError, match="has no shininess"):
        request_from_json({"prompt": "a", "shininess": 3})
    with pytest.raises(Problems, match="steps = 0"):
        request_from_json({"prompt": "a", "steps": 0})
