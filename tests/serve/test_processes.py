"""Processes: the server imports no torch, outlives its workers, and goes on where a killed one has stopped."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading

import pytest

from bakehouse.cli.main import main
from bakehouse.core.parse_json_toml_yaml import parse_json
from tests.serve.conftest import Served
from tests.serve.test_own import CAT, until

NO_TORCH = """
import asyncio, sys
from pathlib import Path
from bakehouse.serve.app import make_app
from bakehouse.serve.settings import ServeSettings
from bakehouse.serve.start import open_to
from bakehouse.serve.work.served_models import ModelToServe
settings = ServeSettings(models=(ModelToServe("crumb", "crumb"),), folder=Path(sys.argv[1]))
assert list(open_to(settings))
import requests, bakehouse.serve.continue_jobs, bakehouse.serve.work.engine
print([name for name in ("torch", "diffusers", "transformers") if name in sys.modules])
"""


def test_the_process_that_speaks_http_never_imports_torch(tmp_path):
    done = subprocess.run([sys.executable, "-c", NO_TORCH, tmp_path], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_nor_while_it_draws(running):
    """The libraries are in this process through the tests; those of the server do not ask for them."""
    served = [name for name in sys.modules if name.startswith("bakehouse.serve")]
    worker = ("worker", "worker_models", "worker_facts")
    inside = (*(f"bakehouse.serve.work.{name}" for name in worker), "bakehouse.serve.runs.planner")
    assert not set(inside) & set(served)


def test_a_killed_worker_loses_its_pictures_alone_and_says_so(running):
    engine = running.server.engine
    running.post("/api/v1/draw", {**CAT, "steps": 1})
    answers = {}

    def ask(name: str, token: str, **fields) -> threading.Thread:
        def post() -> None:
            answers[name] = running.post("/api/v1/draw", {**CAT, **fields}, token)

        thread = threading.Thread(target=post)
        thread.start()
        return thread

    token = running.new_token("loses")
    lost = ask("lost", token, steps=150, width=256)
    until(lambda: any(task.step > 0 and task.drawing.request.width == 256 for task in engine.tasks.values()))
    waiting = ask("waiting", "draw", steps=1)
    until(lambda: engine.waiting)
    before = engine.devices()[0]
    os.kill(before["pid"], signal.SIGKILL)
    assert running.client.get("/health").status_code == 200
    lost.join()
    waiting.join()
    assert answers["lost"].status_code == 500
    error = answers["lost"].json()["error"]
    assert error["code"] == "worker_lost"
    assert "SIGKILL" in error["message"]
    assert "sent again" in error["hint"]
    assert running.get("/api/v1/me", token).json()["used"]["pictures"] == 0
    assert answers["waiting"].status_code == 200
    after = engine.devices()[0]
    assert after["restarts"] == before["restarts"] + 1
    assert after["pid"] != before["pid"]


def test_a_killed_server_finishes_what_it_has_accepted_when_it_is_back(tmp_path):
    first = Served(tmp_path)
    try:
        answer = first.request("POST", "/api/v1/jobs", {**CAT, "count": 6, "steps": 12})
        assert answer.status_code == 202
        job = answer.json()["id"]
    finally:
        first.end(signal.SIGKILL)
    second = Served(tmp_path)
    try:
        # The token of a session ends with it, and its jobs are the next session's.
        found = until(lambda: (got := second.request("GET", f"/api/v1/jobs/{job}").json())["state"] == "done" and got)
        assert [one["seed"] for one in found["pictures"]] == list(range(7, 13))
        (row,) = second.request("GET", "/api/v1/usage").json()["usage"]
        assert (row["status"], row["pictures"]) == ("done", 6)
    finally:
        code, errors = second.end(signal.SIGTERM)
    assert code == 0
    lines = [parse_json(line) for line in errors.splitlines() if line.startswith("{")]
    assert any(line["message"] == "request" and line["path"] == f"/api/v1/jobs/{job}" for line in lines)
    assert CAT["prompt"] not in errors
    assert str(second.ready["token"]) not in errors


@pytest.fixture
def said(tmp_path, capsys):
    def say(*words: str, code: int = 0) -> tuple[str, str]:
        with pytest.raises(SystemExit) as e:
            main([*words, "--data", str(tmp_path / "data")])
        out, err = capsys.readouterr()
        assert (e.value.code or 0) == code, err
        return out, err

    return say


def test_tokens_are_made_listed_and_revoked(said):
    out, err = said("tokens", "add", "laptop", "--pictures", "100")
    text = out.strip()
    assert text.startswith("bh_")
    assert "laptop" in err
    assert text not in err
    (row,) = json.loads(said("tokens", "list", "--json")[0])
    assert (row["name"], row["scopes"], row["quota"]["pictures_per_month"]) == ("laptop", ["draw"], 100)
    assert text not in said("tokens", "list")[0]
    said("tokens", "revoke", "laptop")
    assert "revoked" in said("tokens", "list")[0]
    assert "allowed are read, draw, train, admin" in said("tokens", "add", "x", "--scope", "all", code=2)[1]
    assert said("tokens", "usage")[0].startswith("id,time,")


def test_what_would_be_open_to_whom_is_shown_without_a_start(said):
    said("tokens", "add", "watcher", "--scope", "read")
    out, _ = said("serve", "--check", "--json")
    rows = {(row["method"], row["path"]): row for row in json.loads(out)["routes"]}
    assert rows["GET", "/health"]["callers"] == ["everybody"]
    assert rows["GET", "/api/v1/models"]["callers"] == ["watcher"]
    assert rows["POST", "/api/v1/draw"]["callers"] == []
    assert "this machine alone" in said("serve", "--check")[1]
    assert "anonymous" in said("serve", "--check", "--anonymous", "draw")[0]


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--host", "0.0.0.0"], "bakehouse tokens add"),
        (["--port", "99999"], "--port 99999"),
        (["crumb", "crumb"], "two models have the name 'crumb'"),
        (["--queue", "0"], "--queue 0"),
        (["--loras", "nowhere"], "--loras nowhere"),
        (["a/b/c=crumb"], "cannot be the name"),
    ],
)
def test_a_server_that_cannot_start_says_why(said, options, named):
    assert named in said("serve", *options, "--check", code=2)[1]


def test_pickles_are_not_served(said, tmp_path):
    (tmp_path / "model.ckpt").write_bytes(b"PK\x03\x04")
    _, err = said("serve", str(tmp_path / "model.ckpt"), "--port", "0", "--device", "cpu", code=2)
    assert "model.ckpt is a pickle" in err
    assert "Traceback" not in err


def test_answers_are_sent_at_once():
    """Nagle's algorithm would hold back the body of an answer for 40 ms on a connection that is kept open."""
    from bakehouse.serve.settings import ServeSettings
    from bakehouse.serve.start import _listen

    with _listen(ServeSettings(models=(), port=0)) as listening:
        listening.listen()
        with socket.create_connection(listening.getsockname()):
            connection, _ = listening.accept()
        with connection:
            assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
