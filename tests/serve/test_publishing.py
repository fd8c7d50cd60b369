"""Publishing over HTTP: a preview file by file, the server's own folders, the Hub, and what is refused."""

from __future__ import annotations

import shutil

import pytest

from bakehouse.serve.store.store import open_store
from tests.doctor.conftest import write_adapter as write_adapter
from tests.publish.conftest import NAME, base_folder, learned_run, make_run  # noqa: F401
from tests.publish.hub_server import TOKEN, running_hub
from tests.serve.conftest import served_beside

pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")
ASKED = {"to": "zwx", "person": "none", "images": 2}


@pytest.fixture(scope="module")
def hub():
    with running_hub() as server:
        yield server


@pytest.fixture(scope="module")
def here(hub, learned_run, tmp_path_factory):  # noqa: F811
    """A server with an evaluated run, whose owner has a token for the Hub in the environment."""
    folder = tmp_path_factory.mktemp("publishing")
    shutil.copytree(learned_run.folder, folder / "runs" / "zwx")
    shutil.copytree(learned_run.folder, folder / "runs" / "raw")
    shutil.rmtree(folder / "runs" / "raw" / "report")
    with open_store(folder) as store:
        trainer = store.tokens.add("trainer", frozenset({"train"}))[1]
        owner = store.tokens.add("owner", frozenset({"admin"}))[1]
    with served_beside(hub, folder) as served:
        served.ready["token"], served.trainer = owner, trainer
        yield served


def publish(here, run="zwx", **asked):
    answer = here.request("POST", f"/api/v1/runs/{run}/publish?wait=60", {**ASKED, **asked})
    return answer.json()


def test_a_preview_says_what_is_then_published_to_a_folder_of_the_server(here):
    shown = publish(here, preview=True)
    assert shown["state"] == "done", shown
    found = shown["result"]
    assert {one["state"] for one in found["files"]} == {"new"} and found["where"] == "published/zwx"
    assert found["concerns"] == [] and found["licence"] == "creativeml-openrail-m" and "zwx person" in found["card"]
    for name, source in found["sources"].items():
        kind, _, file = source.partition("/")
        assert name.startswith("images/")
        shown = here.request("GET", f"/api/v1/runs/zwx/{kind}/{file}")
        assert shown.status_code == 200 and shown.headers["content-type"].startswith("image/")
    assert here.request("GET", "/api/v1/published").json() == {"published": []}
    done = publish(here)
    assert done["state"] == "done" and done["result"]["where"] == "published/zwx", done
    listed = here.request("GET", "/api/v1/published/zwx").json()
    assert {(one["name"], one["bytes"]) for one in listed["list"]} == {
        (one["name"], one["bytes"]) for one in found["files"]
    }
    card = here.request("GET", "/api/v1/published/zwx/README.md")
    assert card.text == found["card"] and card.headers["content-disposition"].startswith("attachment")
    assert here.request("GET", "/api/v1/published/zwx/..%2F..%2Fserve.db").status_code in (400, 404)
    gone = here.request("DELETE", "/api/v1/published/zwx").json()["trash"]
    assert here.request("GET", "/api/v1/published").json() == {"published": []}
    assert here.request("POST", f"/api/v1/trash/{gone['id']}/restore").status_code == 200
    assert len(here.request("GET", "/api/v1/published").json()["published"]) == 1


def test_a_run_goes_to_the_hub_in_private_with_the_owners_token(here, hub):
    assert here.request("GET", "/api/v1/publishing").json()["hub_token"] == "the environment variable HF_TOKEN"
    done = publish(here, "raw", to="hub:me/zwx", accept=["not-evaluated"])
    assert done["state"] == "done" and done["result"]["where"] == f"{hub.url}/me/zwx", done
    assert hub.repos["me/zwx"].private and NAME in hub.repos["me/zwx"].files
    place = f"/api/v1/tasks/{done['id']}"
    texts = [here.request("GET", path).text for path in (place, "/api/v1/tasks", "/api/v1/publishing")]
    assert not [text for text in texts if TOKEN in text]
    written = [path for path in here.folder.rglob("*") if path.is_file() and TOKEN.encode() in path.read_bytes()]
    assert not written


def test_what_was_not_accepted_is_not_published(here):
    refused = publish(here, "raw", to="raw", accept=["copies"])
    assert refused["state"] == "failed" and "was not evaluated" in refused["error"], refused
    assert not (here.folder / "published" / "raw").exists()


@pytest.mark.parametrize(
    ("asked", "status", "message"),
    [
        ({"to": "../x"}, 400, "cannot be the name of a folder"),
        ({"to": "/etc/x"}, 400, "cannot be the name of a folder"),
        ({"to": "file:///etc"}, 400, "nothing is published to 'file'"),
        ({"to": "memory://x/y"}, 400, "nothing is published to 'memory'"),
        ({"to": "s3://b::file:///etc"}, 400, "nothing is published to 's3'"),
        ({"to": "http://127.0.0.1:9/x"}, 400, "nothing is published to 'http'"),
        ({"to": "sftp://me:secret@host/x"}, 400, "holds a password"),
        ({"to": "sftp:///etc/x"}, 400, "names no bucket or host"),
        ({"to": "hub:me"}, 400, "no repository of the Hub"),
        ({"weights": "../x"}, 404, "has no weights"),
        ({"accept": ["--yes"]}, 422, "accept"),
        ({"author": "a\x00b"}, 422, "author"),
        ({"licence": "x --yes\n"}, 422, "licence"),
        ({"base": "/etc/passwd"}, 422, "base"),
        ({"strength": 99}, 422, "strength"),
        ({"yes": True}, 422, "yes"),
    ],
)
def test_what_may_not_be_asked_is_refused(here, asked, status, message):
    answer = here.request("POST", "/api/v1/runs/zwx/publish", {**ASKED, **asked})
    assert answer.status_code == status and message in answer.json()["error"]["message"], answer.text
    assert "secret" not in answer.text


def test_elsewhere_only_the_owner_publishes(here):
    owner, here.ready["token"] = here.ready["token"], here.trainer
    try:
        assert here.request("GET", "/api/v1/publishing").json()["elsewhere"] is False
        for to in ("hub:me/zwx", "s3://bucket/zwx"):
            answer = here.request("POST", "/api/v1/runs/zwx/publish", {**ASKED, "to": to})
            assert answer.status_code == 403 and "needs the scope admin" in answer.json()["error"]["message"]
    finally:
        here.ready["token"] = owner
