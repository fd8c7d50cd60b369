"""The Inference API on the wire, in both modes, and huggingface_hub's own client, unmodified."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from importlib.util import find_spec

import numpy as np
import pytest
from PIL import Image

from bakehouse.serve.store.tokens import Quota
from tests.serve.conftest import image_in, png, png_text, start
from tests.serve.test_own import until

PARAMETERS = {"num_inference_steps": 3, "seed": 7, "negative_prompt": "blur", "guidance_scale": 5}
BODY = {"inputs": "a cat", "parameters": PARAMETERS}


def image_of(answer) -> Image.Image:
    assert answer.status_code == 200, answer.text
    return Image.open(io.BytesIO(answer.content))


@pytest.mark.parametrize("path", ["/models/crumb", "/hf-inference/models/crumb", "/pipeline/text-to-image/crumb"])
def test_words_become_the_same_picture_by_every_address(running, path):
    answer = running.post(path, BODY, headers={"Accept": "image/png"})
    own = {"prompt": "a cat", "steps": 3, "seed": 7, "negative": "blur", "guidance": 5}
    (expected,) = running.post("/api/v1/draw", own).json()["pictures"]
    assert np.array_equal(np.asarray(image_of(answer)), np.asarray(image_in(expected["image"])))
    assert answer.headers["x-compute-characters"] == "5"
    assert float(answer.headers["x-compute-time"]) >= 0


@pytest.mark.parametrize(
    ("accept", "kind"),
    [("*/*", "JPEG"), ("image/png", "PNG"), ("image/webp, image/png", "WEBP"), ("image/jpeg", "JPEG")],
)
def test_the_format_is_what_the_caller_accepts(running, accept, kind):
    assert image_of(running.post("/models/crumb", BODY, headers={"Accept": accept})).format == kind


def test_a_body_that_is_not_json_is_the_prompt(running):
    answer = running.client.post("/models/crumb", headers=running.headers(), content="a cat")
    assert image_of(answer).size == (128, 128)


def test_an_image_is_sent_raw_or_as_base64(running):
    raw = running.client.post("/models/crumb", headers=running.headers(), content=png((128, 128)))
    parameters = {"prompt": "a cat", "strength": 0.2, "num_inference_steps": 10, "seed": 1}
    text = running.post("/models/crumb", {"inputs": png_text((128, 128)), "parameters": parameters})
    for answer in (raw, text):
        assert image_of(answer).size == (128, 128)
        assert answer.headers["x-compute-images"] == "1"
    mean = np.asarray(image_of(text).convert("RGB"), float).mean((0, 1))
    assert mean[0] > mean[1] + 40
    assert not list((running.folder / "uploads").iterdir())


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        ({}, 400, "`inputs` is missing"),
        ({"inputs": "x", "parameters": {"strenght": 1}}, 400, "received `strenght`"),
        ({"inputs": "x", "parameters": {"width": "wide"}}, 400, "`width`"),
        ({"inputs": "x", "parameters": {"num_inference_steps": 9999}}, 400, "9999"),
        ({"inputs": "x", "parameters": {"scheduler": "Nothing"}}, 400, "Nothing"),
    ],
)
def test_errors_are_objects_with_text(running, body, status, said):
    answer = running.post("/models/crumb", body)
    assert answer.status_code == status
    assert said in answer.json()["error"]


def test_unknown_models_and_tokens(running):
    assert running.post("/models/other", BODY).status_code == 404
    answer = running.client.post("/models/crumb", headers={"Authorization": "Bearer hf_wrong"}, json=BODY)
    assert answer.status_code == 401
    assert isinstance(answer.json()["error"], str)


def test_status_and_lists(running):
    running.post("/models/crumb", BODY)
    assert running.get("/status/crumb").json()["loaded"] is True
    assert running.get("/models/crumb/health").status_code == 200
    assert running.get("/models/crumb/info").json()["task"] == "text-to-image"
    assert running.get("/framework/diffusers").json() == [{"model_id": "crumb", "task": "text-to-image"}]
    assert running.get("/api/models/crumb").json()["inferenceProviderMapping"]["hf-inference"]["providerId"] == "crumb"


def test_equal_requests_with_a_seed_are_answered_from_the_cache(running):
    body = {"inputs": "cached", "parameters": {**PARAMETERS, "seed": 99}}
    first, second = (running.post("/models/crumb", body) for _ in range(2))
    assert second.headers["x-compute-type"] == "cache"
    assert first.content == second.content
    again = running.post("/models/crumb", body, headers={"x-use-cache": "false"})
    assert again.headers["x-compute-type"] == "cpu"
    unseeded = {"inputs": "cached", "parameters": {"num_inference_steps": 1}}
    kinds = [running.post("/models/crumb", unseeded).headers["x-compute-type"] for _ in range(2)]
    assert kinds == ["cpu", "cpu"]


def test_a_used_up_quota_is_told_as_the_client_reads_it(running):
    token = running.new_token("few characters", quota=Quota(characters_per_month=12))
    body = {**BODY, "options": {"use_cache": False}}
    assert running.post("/models/crumb", body, token).status_code == 200
    answer = running.post("/models/crumb", body, token)
    assert answer.status_code == 429
    if find_spec("huggingface_hub.utils._http"):
        from huggingface_hub.utils._http import parse_ratelimit_headers

        found = parse_ratelimit_headers(answer.headers)
        assert (found.resource_type, found.remaining, found.limit) == ("characters", 0, 12)


@pytest.fixture
def early(tmp_path):
    yield from start(tmp_path, hf_2023=True, quota=Quota(characters_per_month=20))


def test_the_mode_of_2023(early):
    """503 with an estimate while the model loads, equal prompts from the cache, idle unloading, a quota."""
    body, waits = {"inputs": "a cat", "parameters": {"num_inference_steps": 1}}, {"x-wait-for-model": "true"}
    cold = early.post("/models/crumb", body)
    assert cold.status_code == 503
    assert cold.json()["error"] == "Model crumb is currently loading"
    assert cold.json()["estimated_time"] >= 1
    assert int(cold.headers["retry-after"]) >= 1
    assert early.get("/api/v1/me").json()["used"]["characters"] == 0
    assert early.post("/models/crumb", body, headers=waits).status_code == 200
    until(lambda: early.get("/status/crumb").json()["state"] == "Loaded")
    assert early.post("/models/crumb", body).headers["x-compute-type"] == "cache"
    assert early.get("/api/v1/me").json()["used"]["characters"] == 5
    early.server.engine._seats[0].residency.idle_seconds = 0.01
    until(lambda: early.get("/status/crumb").json()["state"] == "Loadable")
    assert early.post("/models/crumb", {**body, "inputs": "x" * 16}, headers=waits).status_code == 429


CLIENT = """
import sys
from huggingface_hub import InferenceClient
url, token, picture = sys.argv[1:]
client = InferenceClient(model=f"{url}/models/crumb", token=token, timeout=120)
made = client.text_to_image("a cat", negative_prompt="blur", height=96, width=128, num_inference_steps=2, seed=3)
assert made.size == (128, 96), made.size
again = client.image_to_image(open(picture, "rb").read(), prompt="a cat", num_inference_steps=2, strength=0.5)
assert again.size == (128, 128), again.size
try:
    client.text_to_image("a cat", num_inference_steps=9999)
except Exception as e:
    assert "9999" in str(e), e
else:
    raise AssertionError("an error was expected")
print("done")
"""


def test_huggingface_hubs_client_unmodified(live, tmp_path):
    pytest.importorskip("huggingface_hub")
    (tmp_path / "red.png").write_bytes(png((128, 128)))
    arguments = [live.ready["url"], live.ready["token"], str(tmp_path / "red.png")]
    online = {**os.environ, "HF_HUB_OFFLINE": "0"}  # it takes every address for the Hub's
    command = [sys.executable, "-c", CLIENT, *arguments]
    done = subprocess.run(command, env=online, capture_output=True, text=True, check=False)
    assert done.stdout == "done\n", done.stderr
