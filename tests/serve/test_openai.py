"""OpenAI's images API on the wire: generations, edits, streams, errors; and its own client, where it is installed."""

from __future__ import annotations

import io
import subprocess
import sys
from importlib.util import find_spec

import numpy as np
import pytest
from PIL import Image

from bakehouse.core.parse_json_toml_yaml import parse_json
from bakehouse.serve.store.tokens import Quota
from tests.serve.conftest import image_in, png

CAT = {"prompt": "a cat", "seed": 7, "steps": 4}


def test_a_picture_is_the_one_of_our_own_api(running):
    answer = running.post("/v1/images/generations", {**CAT, "model": "crumb", "n": 2, "size": "96x128"})
    assert answer.status_code == 200, answer.text
    found = answer.json()
    expected = running.post("/api/v1/draw", {**CAT, "count": 2, "width": 96, "height": 128}).json()["pictures"]
    for one, other in zip(found["data"], expected, strict=True):
        assert np.array_equal(np.asarray(image_in(one["b64_json"])), np.asarray(image_in(other["image"])))
    assert (found["size"], found["output_format"]) == ("96x128", "png")
    assert found["usage"]["input_tokens_details"]["text_tokens"] == 5


def events_of(stream):
    return [parse_json(line.removeprefix("data: ")) for line in stream.iter_lines() if line.startswith("data: ")]


def test_a_stream_has_previews_and_then_the_picture(running):
    body = {**CAT, "stream": True, "partial_images": 2, "output_format": "webp"}
    with running.client.stream("POST", "/v1/images/generations", json=body, headers=running.headers()) as stream:
        events = events_of(stream)
    kinds = [event["type"] for event in events]
    assert kinds == ["image_generation.partial_image"] * 2 + ["image_generation.completed"]
    assert [event["partial_image_index"] for event in events[:-1]] == [0, 1]
    assert image_in(events[-1]["b64_json"]).format == "WEBP"
    refused = running.post("/v1/images/generations", {**body, "size": "64x99999"})
    assert refused.status_code == 400


def test_a_stream_that_may_not_begin_has_a_status(running):
    token = running.new_token("streams", quota=Quota(pictures_per_month=1))
    body = {**CAT, "stream": True}
    with running.client.stream("POST", "/v1/images/generations", json=body, headers=running.headers(token)) as stream:
        assert events_of(stream)[-1]["type"] == "image_generation.completed"
    assert running.get("/api/v1/me", token).json()["used"]["pictures"] == 1
    assert running.post("/v1/images/generations", body, token).status_code == 429


def test_an_edit_changes_what_is_transparent_in_the_mask(running):
    mask = Image.new("RGBA", (128, 128), (0, 0, 0, 255))
    mask.paste((0, 0, 0, 0), (0, 0, 64, 128))
    buffer = io.BytesIO()
    mask.save(buffer, "PNG")
    files = {"image": ("red.png", png((128, 128)), "image/png"), "mask": ("mask.png", buffer.getvalue(), "image/png")}
    form = {"prompt": "a cat", "seed": "7", "steps": "4", "strength": "1"}
    answer = running.client.post("/v1/images/edits", files=files, data=form, headers=running.headers())
    assert answer.status_code == 200, answer.text
    pixels = np.asarray(image_in(answer.json()["data"][0]["b64_json"]).convert("RGB")).astype(int)
    changed = np.abs(pixels - (200, 30, 30)).max(2)
    assert changed[:, 80:].max() <= 8
    assert changed[:, :48].mean() > 20
    assert not list((running.folder / "uploads").iterdir())
    lonely = running.client.post("/v1/images/edits", data=form, headers=running.headers())
    assert lonely.status_code == 400


@pytest.mark.parametrize(
    ("fields", "status", "said"),
    [
        ({"size": "large"}, 400, "size = 'large'"),
        ({"response_format": "url"}, 400, "b64_json"),
        ({"model": "other"}, 404, "'other' is not served"),
        ({"unknown": 1}, 422, "unknown"),
        ({"n": 99}, 400, "pictures"),
    ],
)
def test_errors_have_openais_form(running, fields, status, said):
    answer = running.post("/v1/images/generations", {**CAT, **fields})
    assert answer.status_code == status
    assert set(answer.json()["error"]) == {"message", "type", "param", "code"}
    assert said in answer.json()["error"]["message"]


def test_models(running):
    assert [row["id"] for row in running.get("/v1/models").json()["data"]] == ["crumb"]


CLIENT = """
import base64, sys
import openai
url, token = sys.argv[1:]
client = openai.OpenAI(base_url=f"{url}/v1", api_key=token)
assert "crumb" in [model.id for model in client.models.list()]
made = client.images.generate(model="crumb", prompt="a cat", n=2, size="96x128", extra_body={"seed": 7, "steps": 2})
assert [base64.b64decode(one.b64_json)[:4] for one in made.data] == [b"\\x89PNG"] * 2
events = [e.type for e in client.images.generate(
    model="crumb", prompt="x", stream=True, partial_images=1, extra_body={"steps": 4})]
assert events == ["image_generation.partial_image", "image_generation.completed"], events
try:
    client.images.generate(model="other", prompt="x")
except openai.NotFoundError as e:
    assert "not served" in str(e)
print("done")
"""


@pytest.mark.skipif(find_spec("openai") is None, reason="OpenAI's client is not installed")
def test_openais_client_unmodified(live):
    arguments = [live.ready["url"], live.ready["token"]]
    done = subprocess.run([sys.executable, "-c", CLIENT, *arguments], capture_output=True, text=True, check=False)
    assert done.stdout == "done\n", done.stderr
