"""Base models over HTTP: listed with licence, size and conventions; fetched from the Hub, canceled, removed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.publish.hub_server import Repo, running_hub
from tests.serve.conftest import served_beside
from tests.serve.test_own import until

REPO = "someone/tiny"
CARD = b"---\nlicense: creativeml-openrail-m\n---\n# Tiny\n"
WEIGHTS = "unet/diffusion_pytorch_model.safetensors"


@pytest.fixture(scope="module")
def hub():
    with running_hub() as server:
        yield server
        server.released.set()


@pytest.fixture(scope="module")
def here(hub, tiny_folder, tmp_path_factory):
    """A server of its own data, cache and Hub."""
    folder = tmp_path_factory.mktemp("bases")
    files = [path for path in sorted(Path(tiny_folder).rglob("*")) if path.is_file()]
    hub.repos[REPO] = Repo(private=False, files={path.relative_to(tiny_folder).as_posix(): b"" for path in files})
    hub.repos[REPO].files = {path.relative_to(tiny_folder).as_posix(): path.read_bytes() for path in files}
    hub.repos[REPO].files |= {"README.md": CARD, "vae/diffusion_pytorch_model.fp16.safetensors": b"not wanted"}
    hub.repos[REPO].lfs = {name for name in hub.repos[REPO].files if name.endswith(".safetensors")}
    hub.repos["someone/words"] = Repo(private=False, files={"README.md": CARD, "config.json": b"{}"})
    with served_beside(hub, folder) as served:
        yield served
    assert os.environ["HF_HUB_OFFLINE"] == "1"


def base(here, name):
    found = here.request("GET", "/api/v1/bases").json()["bases"]
    return next((one for one in found if one["name"] == name), None)


def test_bases_say_what_they_are(here):
    crumb, sdxl = base(here, "crumb"), base(here, "sdxl")
    assert crumb["is_here"] and crumb["served"] and crumb["origin"] == "package" and crumb["removes"] == ""
    assert crumb["licence"] == "Apache-2.0" and 20e6 < crumb["bytes"] < 100e6
    assert not sdxl["is_here"] and sdxl["licence"] == "CreativeML OpenRAIL++-M" and sdxl["family"] == "sdxl"
    assert sdxl["page"].startswith("https://huggingface.co/")
    assert sdxl["conventions"]["resolution"] == 1024 and sdxl["conventions"]["prompts"] == "sentences"
    assert str(here.folder) not in here.request("GET", "/api/v1/bases").text
    answer = here.request("GET", "/api/v1/models").json()
    assert answer["models"][0]["run"] is None and answer["models"][0]["bytes"] > 20e6
    assert answer["memory"][0]["device"] == "cpu" and answer["memory"][0]["budget"] > 0


def test_a_base_is_fetched_canceled_fetched_again_and_removed(here, hub):
    hub.held.add(WEIGHTS)
    task = here.request("POST", "/api/v1/bases", {"name": REPO}).json()
    assert (task["kind"], task["subject"], task["command"]) == ("fetch", REPO, f"bakehouse models fetch {REPO} --json")
    place = f"/api/v1/tasks/{task['id']}"
    until(lambda: any(WEIGHTS in line and line.startswith("GET") for line in hub.log), 60)
    assert here.request("DELETE", place).json()["state"] == "canceled"
    assert not base(here, REPO)["is_here"]  # its settings are there, and no weights
    hub.released.set()
    done = here.request("POST", "/api/v1/bases?wait=60", {"name": REPO}).json()
    assert done["state"] == "done", done
    assert done["result"] == [{"name": REPO, "licence": "creativeml-openrail-m", "revision": "0" * 40}]
    found = base(here, REPO)
    wanted = sum(len(content) for name, content in hub.repos[REPO].files.items() if "fp16" not in name)
    assert found["is_here"] and found["removes"] == "files" and found["bytes"] == wanted
    assert (found["family"], found["licence"], found["origin"]) == ("sd1", "creativeml-openrail-m", "hub")
    presets = here.request("GET", "/api/v1/recipe/presets").json()["bases"]
    assert {"name": REPO, "served": False, "where": "here"} in presets
    gone = here.request("DELETE", f"/api/v1/bases/{REPO}?wait=60").json()
    assert gone["state"] == "done" and gone["result"]["freed"] > wanted * 0.9 and base(here, REPO) is None


@pytest.mark.parametrize(
    ("name", "status", "message"),
    [
        ("../x", 400, "is not the name of a base model"),
        ("--help", 400, "is not the name of a base model"),
        ("a/b/c", 400, "is not the name of a base model"),
        ("sd15x", 404, "no base model 'sd15x' in the catalogue"),
        ("u2netp", 400, "is no base model"),
    ],
)
def test_other_names_are_refused(here, name, status, message):
    answer = here.request("POST", "/api/v1/bases", {"name": name})
    assert answer.status_code == status and message in answer.json()["error"]["message"], answer.text


def test_what_is_no_base_on_the_hub_says_so(here):
    done = here.request("POST", "/api/v1/bases?wait=60", {"name": "someone/words"}).json()
    assert done["state"] == "failed" and "no model_index.json" in done["error"], done
    assert base(here, "someone/words") is None


def test_what_is_used_or_not_ours_is_not_removed(here):
    assert here.request("DELETE", "/api/v1/bases/crumb").status_code == 404
    assert here.request("DELETE", "/api/v1/bases/sdxl").status_code == 404
    assert here.request("DELETE", "/api/v1/bases/..%2Fx").status_code == 400
