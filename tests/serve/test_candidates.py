"""`dataset extend` over HTTP: drawn images are listed, seen, answered, added as a step, and undone."""

from __future__ import annotations

import shutil

import pytest

from bakehouse.synthesis.candidates import Candidate, Candidates, write_accept
from tests.serve.conftest import png

RUN = "draws-for-a-set"
PROMPTS = ("zwx person, portrait", "zwx person, from afar", "zwx person, at the beach", "zwx person, at night")


def lay_out(running, dataset: str = "drawn-for", run: str = RUN, key: str = "1f0c2a9b") -> Candidates:
    """Write what `bakehouse dataset extend` writes in a run: three images that passed, and one that did not."""
    folder = running.server.runs.root / run
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "recipe.toml").write_text("")
    items = tuple(
        Candidate(f"{i:03}-0.png", prompt, "person", i, 0.5, 0.3, "a.png", "it is broken" if i == 3 else "")
        for i, prompt in enumerate(PROMPTS)
    )
    root = str((running.server.datasets.root / dataset).resolve())
    found = Candidates(folder / "extend" / key, root, "weights/a.safetensors", 1.0, {}, items)
    found.save()
    for i, one in enumerate(items):
        found.path(one).parent.mkdir(exist_ok=True)
        found.path(one).write_bytes(png((64, 64), (40 * i, 90, 160)))
        if one.passed:
            found.caption_path(one).write_text(f"{one.prompt}\n")
    write_accept(found)
    return found


@pytest.fixture(scope="module")
def server(running):
    assert running.post("/api/v1/datasets", {"name": "drawn-for"}, "train").status_code == 201
    (running.server.datasets.root / "drawn-for/a.png").write_bytes(png())
    yield running
    shutil.rmtree(running.server.runs.root / RUN, ignore_errors=True)


URL = "/api/v1/datasets/drawn-for/candidates"


def states(running) -> dict[str, str]:
    found = running.get(URL, "train").json()["sets"]
    return {one["name"]: one["state"] for one in found[0]["candidates"]}


def test_drawn_images_are_accepted_refused_and_undone(server):
    lay_out(server)
    found = server.get(URL, "train").json()["sets"]
    assert [one["state"] for one in found[0]["candidates"]] == ["waiting"] * 3
    assert found[0]["candidates"][0]["nearest"] == "a.png" and found[0]["run"] == RUN
    assert found[0]["dropped"] == [{"name": "003-0.png", "prompt": PROMPTS[3], "reason": "it is broken"}]
    assert server.get(f"{URL}/{RUN}/1f0c2a9b/000-0.png", "train").headers["content-type"] == "image/png"

    body = {"accepted": ["000-0.png"], "refused": ["001-0.png"], "captions": {"000-0.png": "zwx person,  smile"}}
    assert server.post(f"{URL}/{RUN}/1f0c2a9b/accept", body, "train").json() == {"step": 1}
    assert states(server) == {"000-0.png": "added", "001-0.png": "refused", "002-0.png": "waiting"}
    folder = server.server.datasets.root / "drawn-for"
    assert (folder / "drawn-1f0c2a9b-000-0.txt").read_text() == "zwx person, smile\n"

    assert server.post("/api/v1/datasets/drawn-for/undo", {}, "train").status_code == 200
    assert states(server)["000-0.png"] == "waiting"
    again = {"accepted": ["001-0.png"]}
    assert server.post(f"{URL}/{RUN}/1f0c2a9b/accept", again, "train").json()["step"] == 2
    assert states(server) == {"000-0.png": "waiting", "001-0.png": "added", "002-0.png": "waiting"}


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({"accepted": ["../../a.png"]}, "no drawn image"),
        ({"accepted": ["003-0.png"]}, "no drawn image"),
        ({"accepted": ["002-0.png"], "refused": ["002-0.png"]}, "accepted and refused"),
        ({"accepted": ["002-0.png"], "captions": {"002-0.png": " "}}, "is empty"),
    ],
    ids=["a path", "dropped", "both", "no caption"],
)
def test_answers_that_cannot_be_are_refused(server, body, says):
    lay_out(server, key="aaaaaaaa")
    answer = server.post(f"{URL}/{RUN}/aaaaaaaa/accept", body, "train")
    assert answer.status_code == 400 and says in answer.json()["error"]["message"]
    assert not list((server.server.datasets.root / "drawn-for").glob("drawn-aaaaaaaa*"))


@pytest.mark.parametrize(
    "path", ["RUN/..%2f..%2fweights/000-0.png", "none/1f0c2a9b/000-0.png", "RUN/1f0c2a9b/candidates.json",
             "RUN/1f0c2a9b/..%2f..%2frecipe.toml", "RUN/bbbbbbbb/000-0.png"],
)  # fmt: skip
def test_nothing_else_of_a_run_is_shown(server, path):
    lay_out(server)
    lay_out(server, dataset="other", key="bbbbbbbb")
    assert server.get(f"{URL}/{path.replace('RUN', RUN)}", "train").status_code == 404


def test_who_may_draw_alone_sees_no_candidates(server):
    assert server.get(URL, "draw").status_code == 403
    assert server.post("/api/v1/datasets/drawn-for/extend", {"run": RUN}, "draw").status_code == 403


def test_a_run_that_was_not_evaluated_does_not_extend(server):
    lay_out(server)
    assert server.post("/api/v1/datasets/drawn-for/extend", {"run": "nobody"}, "train").status_code == 404
    assert server.post("/api/v1/datasets/drawn-for/extend", {"run": RUN, "count": 0}, "train").status_code == 422
    task = server.post("/api/v1/datasets/drawn-for/extend?wait=60", {"run": RUN, "count": 2}, "train").json()
    assert task["state"] == "failed" and str(server.folder) not in task["error"]
