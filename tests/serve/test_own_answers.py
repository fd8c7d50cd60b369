"""OpenAPI describes the answers of the own API; `check_described` reads every answer of the tests by its model."""

from __future__ import annotations

import json

import pytest
from pydantic import ValidationError

from tests.serve.conftest import check_described

DESCRIBED = {
    "/api/v1/me": "MeAnswer",
    "/api/v1/models": "ModelsAnswer",
    "/api/v1/options": "OptionsAnswer",
    "/api/v1/jobs": "JobsAnswer",
    "/api/v1/pictures": "PicturesAnswer",
    "/api/v1/usage": "UsageAnswer",
    "/api/v1/tokens": "TokensAnswer",
    "/api/v1/tasks": "TasksAnswer",
    "/api/v1/datasets": "DatasetsAnswer",
    "/api/v1/operations": "OperationsAnswer",
    "/api/v1/trash": "TrashAnswer",
    "/api/v1/runs": "RunsAnswer",
    "/api/v1/recipe/presets": "PresetsAnswer",
    "/api/v1/templates": "TemplatesAnswer",
}


FILES = {
    "GET /pictures/{picture_id}",
    "GET /usage.csv",
    "GET /usage.html",
    "GET /runs/{name}/blind-test/pairs/{number}/{side}",
    "GET /runs/{name}/blind-test/photos/{number}",
    "GET /datasets/{name}/candidates/{run}/{key}/{file}",
    "GET /datasets/{name}/file/{path}",
    "GET /datasets/{name}/thumbnail/{path}",
    "GET /datasets/{name}/mask/{path}",
    "GET /published/{name}/{file}",
    "GET /runs/{name}/samples/{file}",
    "GET /runs/{name}/weights/{file}",
    "GET /runs/{name}/report/{file}",
}
STREAMS = {"GET /jobs/{job_id}/events", "GET /runs/{name}/events", "GET /tasks/{task_id}/events"}


@pytest.mark.parametrize("path", DESCRIBED)
def test_openapi_describes_what_is_answered(running, path):
    described = running.app.openapi()["paths"][path]["get"]["responses"]["200"]["content"]["application/json"]
    assert described["schema"]["$ref"].rpartition("/")[2] == DESCRIBED[path]
    assert running.get(path, "admin").status_code == 200  # read by its model


def test_a_session_and_a_token_are_answered_as_described(running):
    made = running.post("/api/v1/tokens", {"name": "described", "quota": {"concurrent": 2}}, "admin")
    assert made.status_code == 201
    assert running.post("/api/v1/session", {"token": made.json()["token"]}).status_code == 200
    assert running.delete("/api/v1/session").status_code == 200
    running.client.cookies.clear()
    assert running.delete("/api/v1/tokens/described", "admin").status_code == 200


@pytest.mark.parametrize("wrong", [{"name": "x"}, {"name": "x", "scopes": [], "quota": {}, "used": {}, "more": 1}])
def test_an_answer_that_is_not_as_described_is_found(running, wrong):
    with pytest.raises(ValidationError):
        check_described("GET", "/api/v1/me", 200, "application/json", lambda: json.dumps(wrong).encode())


def test_every_answer_in_json_is_described(running):
    """What is not described is a file, a stream of events, or a schema of its own."""
    undescribed = {
        f"{method.upper()} {path.removeprefix('/api/v1')}"
        for path, methods in running.app.openapi()["paths"].items()
        for method, route in methods.items()
        for status, answer in route["responses"].items()
        if status.startswith("2") and "$ref" not in answer["content"]["application/json"]["schema"]
    }
    assert undescribed == FILES | STREAMS | {"GET /recipe/schema"}
