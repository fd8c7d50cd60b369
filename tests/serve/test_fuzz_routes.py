"""The routes of the own API are asked for what their schema allows, and for what it does not: no answer is 500."""

from __future__ import annotations

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
