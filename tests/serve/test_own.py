"""bakehouse's own API, with a real worker: drawing, jobs, events, quotas, cancellation, batches."""

from __future__ import annotations

import base64
import io
import threading
import time

import numpy as np
import pytest
from PIL import Image

from bakehouse.core.parse_json_toml_yaml import parse_json
from bakehouse.generation import ImageRequest, Pipeline
from bakehouse.generation.infotext import Infotext
from bakehouse.serve.store.tokens import Quota
from tests.serve.conftest import image_in, png_text

CAT = {"prompt": "a cat", "steps": 3, "seed": 7}


def drawn(running, **fields):
    answer = running.post("/api/v1/draw", {**CAT, **fields})
    assert answer.status_code == 200, answer.text
    return answer.json()["pictures"]


def until(condition, seconds=60.0):
    """Wait for what another thread or process brings about."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if value := condition():
            return value
        time.sleep(0.01)
    raise AssertionError("it did not happen")


@pytest.fixture(scope="module")
def reference():
    """What the pipeline itself draws."""
    with Pipeline.open("crumb", device="cpu") as pipeline:
        yield lambda *requests: [made.image for made in pipeline.generate(requests, batch=1)]


def test_the_pictures_are_the_pipelines_own(running, reference):
    first, second = drawn(running, count=2, width=96, height=128)
    expected = reference(ImageRequest(**CAT, count=2, width=96, height=128))
    for picture, image in zip((first, second), expected, strict=True):
        assert np.abs(np.asarray(image_in(picture["image"]), int) - np.asarray(image, int)).max() <= 1
    assert [first["seed"], second["seed"]] == [7, 8]
    assert Infotext.parse(first["infotext"]).get("Size") == "96x128"


def test_pictures_of_a_batch_equal_those_drawn_alone(running, reference):
    """Requests of several callers that wait together share a batch."""
    before = running.server.engine.batches
    answers: dict[int, list] = {}

    def ask(number: int) -> None:
        token = "draw" if number % 2 else "other"
        answer = running.post("/api/v1/draw", {**CAT, "prompt": f"a dog {number}", "seed": number}, token)
        answers[number] = answer.json()["pictures"]

    long = threading.Thread(target=lambda: running.post("/api/v1/draw", {**CAT, "steps": 40}))
    threads = [threading.Thread(target=ask, args=[number]) for number in range(4)]
    for thread in (long, *threads):
        thread.start()
    for thread in (long, *threads):
        thread.join()
    expected = reference(*(ImageRequest(**{**CAT, "prompt": f"a dog {n}", "seed": n}) for n in range(4)))
    for number, image in enumerate(expected):
        (picture,) = answers[number]
        assert np.abs(np.asarray(image_in(picture["image"]), int) - np.asarray(image, int)).max() <= 1
    assert running.server.engine.batches - before < 5


def test_the_first_picture_alone_is_the_answer_if_an_image_is_accepted(running):
    answer = running.post("/api/v1/draw", {**CAT, "format": {"kind": "webp"}}, headers={"Accept": "image/webp"})
    assert answer.headers["content-type"] == "image/webp"
    assert Image.open(io.BytesIO(answer.content)).size == (128, 128)


def test_an_image_is_begun_from_and_forgotten(running):
    (picture,) = drawn(running, image={"data": png_text((128, 128)), "strength": 0.3})
    mean = np.asarray(image_in(picture["image"]).convert("RGB"), float).mean((0, 1))
    assert mean[0] > mean[1] + 40  # red, as what it began from
    mask = Image.new("L", (128, 128), 0)
    mask.paste(255, (0, 0, 64, 128))
    buffer = io.BytesIO()
    mask.save(buffer, "PNG")
    text = base64.b64encode(buffer.getvalue()).decode()
    (picture,) = drawn(running, image={"data": png_text((128, 128))}, inpaint={"mask": text, "blur": 0})
    right = np.asarray(image_in(picture["image"]).convert("RGB"))[:, 70:]
    assert np.abs(right.astype(int) - (200, 30, 30)).max() <= 8
    assert not list((running.folder / "uploads").iterdir())


def test_an_image_that_is_cut_short_is_the_callers_fault(running):
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8))
    buffer = io.BytesIO()
    noise.save(buffer, "PNG")
    text = base64.b64encode(buffer.getvalue()[:-4000]).decode()
    answer = running.post("/api/v1/draw", {**CAT, "image": {"data": text}})
    assert answer.status_code == 400
    assert "an image cannot be used" in answer.json()["error"]["message"]
    assert str(running.folder) not in answer.text


@pytest.mark.parametrize(
    ("fields", "status", "said"),
    [
        ({"model": "crum"}, 404, "did you mean 'crumb'"),
        ({"width": 100}, 400, "multiple of 8"),
        ({"sampler": "eulr"}, 400, "sampler = 'eulr'"),
        ({"steps": 0}, 400, "steps = 0"),
        ({"steps": 9999}, 400, "steps = 9999"),
        ({"stpes": 3}, 422, "stpes"),
        ({"guidance": "much"}, 422, "guidance"),
        ({"image": {"data": "%%%"}}, 400, "image.data is not base64"),
        ({"hires": {"upscaler": "/etc/passwd"}}, 400, "unknown"),
    ],
)
def test_what_cannot_be_drawn_is_said_by_name(running, fields, status, said):
    answer = running.post("/api/v1/draw", {**CAT, **fields})
    assert answer.status_code == status
    error = answer.json()["error"]
    assert said in error["message"] + error["hint"]
    assert str(running.folder) not in answer.text


def test_a_job_tells_its_story_and_keeps_its_pictures(running):
    answer = running.post("/api/v1/jobs", {**CAT, "count": 2, "preview_every": 1})
    assert answer.status_code == 202
    job = answer.json()["id"]
    with running.client.stream("GET", f"/api/v1/jobs/{job}/events", headers=running.headers()) as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        lines = list(stream.iter_lines())
    events = [parse_json(line.removeprefix("data: ")) for line in lines if line.startswith("data: ")]
    kinds = [event["event"] for event in events]
    assert kinds[-1] == "done"
    assert kinds.count("picture") == 2
    assert {"step", "preview"} <= set(kinds)
    pictures = events[-1]["job"]["pictures"]
    assert [one["seed"] for one in pictures] == [7, 8]
    file = running.get(pictures[1]["url"])
    assert file.headers["content-type"] == "image/png"
    assert Image.open(io.BytesIO(file.content)).size == (128, 128)
    assert running.get(f"/api/v1/jobs/{job}").json()["state"] == "done"
    assert running.delete(pictures[1]["url"]).status_code == 200
    assert running.get(pictures[1]["url"]).status_code == 404


def test_a_caller_sees_its_own_jobs_and_pictures_alone(running):
    job = running.post("/api/v1/jobs", CAT).json()["id"]
    until(lambda: running.get(f"/api/v1/jobs/{job}").json()["state"] == "done")
    (picture,) = running.get(f"/api/v1/jobs/{job}").json()["pictures"]
    for path in (f"/api/v1/jobs/{job}", f"/api/v1/jobs/{job}/events", picture["url"]):
        assert running.get(path, "other").status_code == 404
        assert running.get(path, "admin").status_code == 200
    assert running.delete(picture["url"], "other").status_code == 404
    assert picture["id"] not in running.get("/api/v1/pictures", "other").text
    assert picture["id"] in running.get("/api/v1/pictures", "admin").text


@pytest.mark.parametrize("name", ["../../serve.db", "..%2F..%2Fserve.db", "%2Fetc%2Fpasswd"])
def test_a_picture_is_found_by_its_id_and_not_by_a_path(running, name):
    assert running.get(f"/api/v1/pictures/{name}", "admin").status_code == 404


def test_a_canceled_job_stops_within_a_step_and_is_refunded(running):
    token = running.new_token("cancels", quota=Quota(pictures_per_month=20))
    job = running.post("/api/v1/jobs", {**CAT, "steps": 150, "count": 2}, token).json()["id"]
    until(lambda: running.get(f"/api/v1/jobs/{job}", token).json()["progress"] > 0)
    assert running.get("/api/v1/me", token).json()["used"]["pictures"] == 2
    answer = running.delete(f"/api/v1/jobs/{job}", token)
    assert answer.json()["state"] == "canceled"
    began = time.monotonic()
    drawn(running, steps=1)
    assert time.monotonic() - began < 5
    assert running.get("/api/v1/me", token).json()["used"]["pictures"] == 0


def test_quotas_are_reserved_and_told_and_failures_cost_nothing(running):
    token = running.new_token("small", quota=Quota(pictures_per_month=3, characters_per_month=1000))
    assert running.post("/api/v1/draw", {**CAT, "count": 2}, token).status_code == 200
    failed = running.post("/api/v1/draw", {**CAT, "width": 100}, token)
    assert failed.status_code == 400
    answer = running.post("/api/v1/draw", {**CAT, "count": 2}, token)
    assert answer.status_code == 429
    assert answer.json()["error"]["message"] == "2 of 3 pictures of this month are used"
    assert int(answer.headers["retry-after"]) > 0
    assert answer.headers["ratelimit"].startswith('"pictures";r=0;t=')
    assert answer.headers["ratelimit-policy"] == '"fixed window";"pictures";q=3;w=2592000'
    last = running.post("/api/v1/draw", CAT, token)
    assert last.status_code == 200
    assert last.headers["ratelimit"].startswith('"pictures";r=0;')
    rows = running.get("/api/v1/usage", token).json()["usage"]
    assert [(row["status"], row["pictures"]) for row in rows] == [("done", 2), ("refunded", 0), ("done", 1)]
    assert running.get("/api/v1/usage.csv", token).text.count("\n") == 4
    page = running.get("/api/v1/usage.html", "admin")
    assert page.headers["content-type"].startswith("text/html")
    assert f"<td>{rows[0]['token']}</td>" in page.text
    assert running.get("/api/v1/usage.html", token).status_code == 403
    assert running.get("/api/v1/usage.html?month=x", "admin").status_code == 400


def test_requests_a_minute_are_limited(running):
    token = running.new_token("slow", quota=Quota(requests_per_minute=1))
    assert running.post("/api/v1/draw", {}, token).status_code == 422
    answer = running.post("/api/v1/draw", {}, token)
    assert answer.status_code == 429
    assert 0 < int(answer.headers["retry-after"]) <= 60


def test_requests_at_once_are_limited(running):
    token = running.new_token("one", quota=Quota(concurrent=1))
    first = threading.Thread(target=lambda: running.post("/api/v1/draw", {**CAT, "steps": 60}, token))
    first.start()
    until(lambda: running.get("/api/v1/me", token).json()["used"]["pictures"] == 1)
    assert running.post("/api/v1/draw", CAT, token).status_code == 429
    first.join()
    assert running.post("/api/v1/draw", CAT, token).status_code == 200


def test_a_queue_that_is_full_says_so(running):
    held = [running.post("/api/v1/jobs", {**CAT, "steps": 150, "count": 16}) for _ in range(4)]
    busy = [answer for answer in held if answer.status_code == 503]
    assert busy
    assert "busy" in busy[0].json()["error"]["message"]
    assert int(busy[0].headers["retry-after"]) >= 1
    for answer in held:
        if answer.status_code == 202:
            running.delete(f"/api/v1/jobs/{answer.json()['id']}")


def test_the_api_describes_itself(running):
    described = running.client.get("/api/v1/openapi.json").json()
    assert set(described["paths"]) >= {"/api/v1/draw", "/api/v1/jobs", "/api/v1/jobs/{job_id}/events"}
    assert "guidance_rescale" in described["components"]["schemas"]["DrawBody"]["properties"]
    options = running.get("/api/v1/options").json()
    assert "DPM++ 2M" in options["samplers"]
    assert options["limits"]["steps"] == 150
    (model,) = running.get("/api/v1/models").json()["models"]
    assert (model["name"], model["native_size"]) == ("crumb", 128)


def test_the_body_holds_every_field_of_a_request():
    from dataclasses import fields

    from bakehouse.serve.dialects.own_body import DrawBody

    asked = {field.name for field in fields(ImageRequest)}
    assert asked <= set(DrawBody.model_fields), "a request's new field is missing in the API"
    plain = DrawBody(prompt="x")
    for field in fields(ImageRequest):
        if field.name != "prompt":
            assert getattr(plain, field.name) == field.default, field.name


def test_regions_have_areas_or_masks(running):
    left = {"area": "left", "prompt": "person, red hoodie"}
    all_of_it = {"mask": png_text((64, 64), (255, 255, 255)), "prompt": "person, blue hoodie"}
    asked = {"steps": 2, "width": 64, "height": 64}
    (plain,), (regional,) = drawn(running, **asked), drawn(running, **asked, regions={"regions": [left, all_of_it]})
    assert plain["image"] != regional["image"]
    refused = running.post("/api/v1/draw", {**CAT, "regions": {"regions": [{"area": "middle", "prompt": "x"}]}})
    assert refused.status_code == 400
    assert "middle" in refused.text


def test_metrics_count_and_name_no_caller(running):
    text = running.get("/metrics", "admin").text
    assert 'bakehouse_requests_total{dialect="own",status="200"}' in text
    assert "bakehouse_queue_pictures" in text
    assert "bh_" not in text


def test_an_image_that_is_begun_from_counts_for_the_limits(running):
    """Without a size the picture gets the image's own."""
    large = png_text((2600, 40))
    for path in ("/api/v1/draw", "/api/v1/jobs"):
        answer = running.post(path, {**CAT, "image": {"data": large}})
        assert answer.status_code == 400 and "2,600" in answer.json()["error"]["message"]
    long = {**CAT, "width": 2000, "image": {"data": png_text((40, 200))}}
    assert "10,000" in running.post("/api/v1/draw", long).json()["error"]["message"]
