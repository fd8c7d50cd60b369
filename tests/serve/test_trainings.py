"""Trainings over HTTP: planned, queued, followed, found again after a kill of the server, and drawn with."""

from __future__ import annotations

import json
import re
import signal
import threading

import pytest

from bakehouse.core.events import Failed, Finished, Sampled, Started, Step
from bakehouse.core.parse_json_toml_yaml import parse_json
from bakehouse.core.run_folder import Run
from bakehouse.queue.job_queue import JobQueue
from bakehouse.serve.errors import ServeError
from bakehouse.serve.runs.losses import loss_columns
from bakehouse.serve.runs.run_events import EventStream, after
from bakehouse.serve.runs.run_status import RunStatuses
from bakehouse.serve.runs.runs import Runs
from bakehouse.serve.runs.scheduler import SharedDeviceExecutor, TrainingScheduler
from tests.serve.conftest import Served, png
from tests.serve.test_own import until

SHORT = {
    "dataset": "me",
    "subject": "zwx girl",
    "settings": {
        "train.steps": 36, "train.epochs": 1, "prior.source": "none", "sample.steps": 2, "adapter.rank": 2,
        "save.state_every_seconds": 0.5,
    },
}  # fmt: skip


def step(number: int, loss: float = 0.5, time: float | None = None) -> Step:
    return Step(
        time=number if time is None else time, step=number, epoch=1, loss=loss, subject_loss=loss,
        prior_loss=loss if number % 2 else None, rates={"unet": 1e-3}, images_per_s=1.0, memory=1,
    )  # fmt: skip


def write_dataset(folder):
    folder.mkdir(parents=True)
    for number in range(4):
        (folder / f"{number}.png").write_bytes(png((128, 128), (40 * number, 90, 200)))
    return folder


def events_of(text: str) -> list[tuple[str, dict]]:
    """The id and the values of each event of a stream."""
    found = []
    for block in filter(None, re.split(r"\n\n", text)):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
        if "data" in fields:
            found.append((fields.get("id", ""), parse_json(fields["data"])))
    return found


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A server with a training that was queued with another server, which was killed while it ran."""
    folder = tmp_path_factory.mktemp("trained")
    write_dataset(folder / "datasets" / "me")
    first = Served(folder)
    try:
        answer = first.request("POST", "/api/v1/runs", {**SHORT, "name": "one"})
        assert answer.status_code == 201, answer.text
        assert first.request("DELETE", "/api/v1/datasets/me").status_code == 409
        until(lambda: first.request("GET", "/api/v1/runs/one").json()["step"] >= 2, 240)
    finally:
        first.end(signal.SIGKILL)
    second = Served(folder)
    try:
        yield second
    finally:
        second.end(signal.SIGTERM)


def test_a_training_goes_on_without_its_server_and_is_found_again(trained):
    """Its process was not interrupted: the steps are there once, and it was started once."""
    events = events_of(trained.request("GET", "/api/v1/runs/one/events").text)
    kinds = [values["event"] for _, values in events]
    assert kinds[-1] == "state"
    assert events[-1][1]["run"]["state"] == "done", events[-1]
    assert [values["step"] for _, values in events if values["event"] == "step"] == list(range(1, 37))
    first = next(values for _, values in events if values["event"] == "started")
    assert first["step"] == 0
    ids = [name for name, _ in events if name]
    assert len(set(ids)) == len(ids)
    assert not [text for text in map(json.dumps, events) if str(trained.folder) in text]


def test_a_client_goes_on_where_it_was(trained):
    import requests

    headers = {"Authorization": f"Bearer {trained.ready['token']}"}
    url = trained.ready["url"] + "/api/v1/runs/one/events"
    ids = [name for name, _ in events_of(requests.get(url, headers=headers, timeout=60).text) if name]
    again = requests.get(url, headers={**headers, "Last-Event-ID": ids[-3]}, timeout=60)
    assert [name for name, _ in events_of(again.text) if name] == ids[-2:]
    lost = events_of(requests.get(url, headers={**headers, "Last-Event-ID": "3-0"}, timeout=60).text)
    assert lost[0][1] == {"event": "rewound", "all": True}
    assert [name for name, _ in lost if name] == ids


def test_a_runs_figures_and_files_are_there(trained):
    losses = trained.request("GET", "/api/v1/runs/one/losses?points=9").json()
    assert losses["step"] == list(range(4, 37, 4))
    assert len(losses["loss"]) == len(losses["rates"]["unet"]) == 9
    (row,) = trained.request("GET", "/api/v1/runs").json()["runs"]
    assert (row["state"], row["step"], row["subject"], row["base"]) == ("done", 36, "zwx girl", "crumb")
    samples = trained.request("GET", "/api/v1/runs/one/samples").json()["samples"]
    assert samples[0]["prompt"] == "zwx girl"
    assert trained.request("GET", samples[0]["url"]).content.startswith(b"\x89PNG")
    weights = trained.request("GET", f"/api/v1/runs/one/weights/{row['weights'][0]}")
    assert len(weights.content) > 1000
    recipe = trained.request("GET", "/api/v1/runs/one/recipe").json()
    assert recipe["recipe"]["concepts"][0]["folder"] == "datasets/me"
    again = trained.request("POST", "/api/v1/plans", {"recipe": recipe["toml"]}).json()
    assert again["steps"] == 36
    assert trained.request("GET", "/api/v1/runs/one/plan").json()["steps"] == 36


def test_a_run_is_drawn_with_until_it_is_taken_away(trained):
    assert trained.request("POST", "/api/v1/runs/one/serve", {"name": "crumb"}).status_code == 409
    assert trained.request("POST", "/api/v1/runs/one/serve", {"weights": "../x"}).status_code == 404
    assert trained.request("POST", "/api/v1/runs/one/serve", {"name": "zwx"}).status_code == 201
    names = [model["name"] for model in trained.request("GET", "/api/v1/models").json()["models"]]
    assert names == ["crumb", "zwx"]
    answer = trained.request("POST", "/api/v1/draw", {"model": "zwx", "prompt": "zwx girl", "steps": 1})
    assert "<lora" in answer.json()["pictures"][0]["infotext"] or "zwx" in answer.json()["pictures"][0]["infotext"]
    assert trained.request("DELETE", "/api/v1/runs/one").status_code == 409
    assert trained.request("DELETE", "/api/v1/models/crumb").status_code == 400
    assert trained.request("DELETE", "/api/v1/models/zwx").status_code == 200
    assert trained.request("POST", "/api/v1/draw", {"model": "zwx", "prompt": "x"}).status_code == 404
    for settings in ({"holdout": "/etc"}, {"images=1 --set x": 1}):
        answer = trained.request("POST", "/api/v1/runs/one/evaluate", {"settings": settings})
        assert answer.status_code == 400, answer.text


def test_an_evaluation_takes_lists(trained):
    trained.request("GET", "/api/v1/runs/one/events")  # ends with the training
    body = {"settings": {"weights": [0.5, 1], "images": 4}}
    made = trained.request("POST", "/api/v1/runs/one/evaluate", body)
    assert made.status_code == 202, made.text
    assert "--set=weights=[0.5, 1]" in made.json()["command"]
    assert trained.request("DELETE", f"/api/v1/tasks/{made.json()['id']}").status_code == 200
    for wrong in ([["a"]], [{"a": 1}], ["x"]):
        answer = trained.request("POST", "/api/v1/runs/one/evaluate", {"settings": {"weights": wrong}})
        assert answer.status_code in (400, 422), answer.text


def test_a_plan_gives_figures_reasons_and_the_recipe(trained):
    body = {"dataset": "me", "subject": "zwx girl", "settings": {"adapter.rank": 8}}
    plan = trained.request("POST", "/api/v1/plans", body).json()
    assert plan["summary"][0].startswith("4 images")
    assert plan["steps"] == plan["epochs"] * plan["steps_per_epoch"]
    assert all(row["reason"] for row in plan["decisions"])
    assert plan["asked"]["adapter"]["rank"] == plan["recipe"]["adapter"]["rank"] == 8
    assert 'folder = "me"' in plan["toml"]
    again = trained.request("POST", "/api/v1/plans", {"recipe": plan["toml"]}).json()
    assert again["recipe"] == plan["recipe"]
    schema = trained.request("GET", "/api/v1/recipe/schema").json()
    assert "concepts" in schema["properties"]
    assert "crumb" in [base["name"] for base in trained.request("GET", "/api/v1/recipe/presets").json()["bases"]]


CONCEPT = {"folder": "me", "subject": "zwx girl"}


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({}, "one of the two"),
        ({"dataset": "me", "recipe": {}}, "one of the two"),
        ({"dataset": "nobody"}, "no dataset 'nobody'"),
        ({"dataset": "me"}, "has no subject"),
        ({"dataset": "me/../../x"}, "not a path"),
        ({"dataset": "me", "subject": "zwx girl", "settings": {"adapter.rnak": 3}}, "adapter.rnak"),
        ({"recipe": "kind = "}, "not TOML"),
        ({"recipe": {"concepts": [{"folder": "/etc", "subject": "a b"}]}}, "leads out"),
        ({"recipe": {"concepts": [{"folder": "../..", "subject": "a b"}]}}, "leads out"),
        ({"recipe": {"concepts": [CONCEPT], "prior": {"source": "folder", "folder": "/etc"}}}, "leads out"),
        ({"recipe": {"concepts": [CONCEPT], "evaluate": {"holdout": "~/x"}}}, "does not exist"),
        ({"recipe": {"concepts": [CONCEPT], "adapter": {"start": "/x.safetensors"}}}, "leads out"),
        ({"recipe": {"concepts": [CONCEPT], "model": {"base": "/etc/passwd"}}}, "leads out"),
        ({"recipe": {"concepts": [CONCEPT], "model": {"base": "~/model.safetensors"}}}, "leads out"),
        ({"recipe": {"concepts": [CONCEPT], "model": {"vae": "../../vae"}}}, "leads out"),
    ],
)
def test_what_cannot_be_planned_says_why_and_trains_nothing(trained, body, said):
    for path in ("/api/v1/plans", "/api/v1/runs"):
        answer = trained.request("POST", path, body)
        assert answer.status_code in (400, 404), answer.text
        assert said in answer.text
        assert str(trained.folder) not in answer.text


def test_a_resumed_training_sends_what_replaces_events(tmp_path):
    run = Run(tmp_path)
    for event in (Started(time=1, run="x", step=0, steps=9, epochs=1, device="cpu"), step(1), step(2), step(3)):
        run.append(event)
    stream = EventStream(run)
    first = list(stream.read_new())
    assert [event.values.get("step") for event in first] == [0, 1, 2, 3]
    assert list(stream.read_new()) == []
    run.rewind(1)
    for event in (Started(time=9, run="x", step=1, steps=9, epochs=1, device="cpu"), step(2, 0.25, 9)):
        run.append(event)
    more = list(stream.read_new())
    assert [event.name for event in more] == ["rewound", "started", "step"]
    assert [event.name for event in after(list(EventStream(run).read_new()), first[1].id)] == ["started", "step"]
    assert after(list(EventStream(run).read_new()), first[3].id)[0].name == "rewound"
    with run.events.open("ab") as f:
        f.write(b'{"event": "st')  # a writer in the middle of a line
    assert list(stream.read_new()) == []


def test_the_status_of_a_run_follows_its_events(tmp_path):
    run, statuses = Run(tmp_path), RunStatuses()
    assert statuses.of(run).step == 0
    for event in (Started(run="x", step=0, steps=10, epochs=1, device="cpu"), step(1), step(2), step(3)):
        run.append(event)
    status = statuses.of(run)
    assert (status.step, status.steps, status.seconds_left) == (3, 10, 7.0)
    run.rewind(2)
    for event in (Started(run="x", step=2, steps=10, epochs=1, device="cpu"), step(3, 0.1), Sampled(step=3, path="a")):
        run.append(event)
    status = statuses.of(run)
    assert [one.loss for one in status.losses] == [0.5, 0.5, 0.1]
    assert status.samples == 1
    run.append(Failed(step=3, error="no memory", last_good=None))
    assert statuses.of(run).error == "no memory"
    run.append(Finished(step=10, seconds=1, weights="x"))
    assert statuses.of(run).is_finished
    columns = loss_columns(status.losses, 2)
    assert columns["step"] == [2, 3]
    assert columns["prior"] == [0.5, 0.1]


def test_names_of_runs_are_not_taken_twice(tmp_path):
    runs = Runs(tmp_path / "runs", JobQueue(tmp_path / "queue.db"))
    assert runs.add("", "zwx", "").run.name == "zwx"
    assert runs.add("", "zwx", "").run.name == "zwx-2"
    with pytest.raises(ServeError, match="already") as e:
        runs.add("zwx", "zwx", "")
    assert e.value.status == 409
    assert [runs.row(name)["place"] for name in runs.names()] == [1, 2]
    runs.queue.claim_next("auto")
    with pytest.raises(ServeError, match="being trained"):
        runs.delete("zwx")
    runs.delete("zwx-2")
    assert runs.names() == ["zwx"]


def test_a_training_waits_until_its_device_is_free(tmp_path, monkeypatch):
    free, stopping, started = threading.Event(), threading.Event(), []
    monkeypatch.setattr(
        "bakehouse.queue.executor.LocalExecutor.start", lambda self, *words: started.append(words) or "handle"
    )
    executor = SharedDeviceExecutor(tmp_path, free.is_set, stopping)
    thread = threading.Thread(target=executor.start, args=(tmp_path / "r.toml", tmp_path / "run", "auto"))
    thread.start()
    thread.join(0.3)
    assert not started
    free.set()
    thread.join(10)
    assert len(started) == 1


def test_another_process_that_runs_the_queue_is_named(tmp_path):
    from bakehouse.core.folder_lock import locked

    queue = JobQueue(tmp_path / "queue.db")
    scheduler = TrainingScheduler(queue, ["auto"], tmp_path)
    with locked(tmp_path / "queue.jobs" / "auto", "running the queue"):
        scheduler.start()
        until(lambda: scheduler.problem)
    assert scheduler.problem == "another process runs the queue"
    scheduler._stop.set()
