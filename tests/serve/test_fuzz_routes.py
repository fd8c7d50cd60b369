"""The routes of the own API are asked for what their schema allows, and for what it does not: no answer is 500."""

from __future__ import annotations

import socket
import time

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings

schemathesis = pytest.importorskip("schemathesis")

EXAMPLES = {"positive": 1, "negative": 1}
"""Requests for each route: the whole table is asked in seconds."""
DRAWS = ("/api/v1/draw", "/api/v1/jobs")
"""What they are allowed to be asked would draw pictures of any size; the other tests do that."""


@pytest.mark.slow
@pytest.mark.parametrize("mode", list(schemathesis.GenerationMode), ids=lambda mode: mode.value)
def test_no_route_fails_whatever_it_is_asked(running, mode):
    asked, wrong = set(), []
    for found in schemathesis.openapi.from_dict(running.app.openapi()).get_all_operations():
        operation = found.ok()
        if mode.value == "positive" and operation.path in DRAWS and operation.method == "post":
            continue
        if mode.value == "negative" and "requestBody" not in operation.definition.raw:
            continue  # paths that lead out, and wrong queries: `test_datasets.py`

        @seed(1)
        @settings(
            max_examples=EXAMPLES[mode.value],
            deadline=None,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy(generation_mode=mode))
        def ask(case):
            plain = isinstance(case.body, dict | list | str | int | float | bool)
            path, began = case.formatted_path, time.monotonic()
            answer = running.client.request(
                case.method,
                path,
                params=dict(case.query or {}),
                json=case.body if plain else None,
                headers=running.headers("admin"),
            )
            asked.add((case.method, case.operation.path))
            if answer.status_code == 500 or time.monotonic() - began > 60:
                wrong.append((case.method, path, case.body, answer.status_code, answer.text[:200]))
            if answer.status_code >= 400 and answer.headers["content-type"] == "application/json":
                assert "error" in answer.json(), answer.text

        try:
            ask()
        except BaseException as e:  # a route without parameters has nothing that is not allowed
            if type(e).__name__ not in ("Unsatisfiable", "SkipTest", "Skipped"):
                raise
    assert not wrong, wrong
    assert len(asked) > 12


@pytest.mark.parametrize(
    ("sent", "answered"),
    [
        (b"GET /health HTTP/1.1\r\nHost: localhost\r\n" + b"X-A: b\r\n" * 20_000 + b"\r\n", b"400"),
        (b"POST /api/v1/draw HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2147483648\r\n\r\n", b"413"),
        (b"POST /api/v1/datasets/x/images HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9999999999\r\n\r\n", b"413"),
        (b"POST /api/v1/draw HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n{", b""),
        (b"GET /health HTTP/1.1\r\nHost: loc", b""),
        (b"\x16\x03\x01\x02\x00\x01\x00", b"400"),
    ],
    ids=["headers", "2 GB", "10 GB of images", "a slow body", "a slow head", "TLS"],
)
def test_odd_connections_keep_nobody_waiting(live, sent, answered):
    host, port = live.ready["url"].removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        connection.sendall(sent)
        if answered:
            assert connection.recv(64).startswith(b"HTTP/1.1 " + answered)
        assert live.request("GET", "/health").status_code == 200
