"""Datasets over HTTP: uploads, lists, captions, masks, tags, undo, the trash, and paths that lead out."""

from __future__ import annotations

import io
import json
import re
import zipfile
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from bakehouse.core.bundled_models import BUNDLED_BASE_FOLDER
from bakehouse.core.model_catalogue.installed_models import UserModel, edit_registry
from bakehouse.curation.apply_and_undo import read_history
from bakehouse.serve.datasets.edits import TagChanges
from bakehouse.serve.datasets.folders import without_server_paths
from bakehouse.serve.datasets.image_index import DatasetIndex
from bakehouse.serve.dialects import own_images
from bakehouse.serve.errors import ServeError
from bakehouse.serve.guard.paths import file_inside, relative_path
from bakehouse.serve.tasks.operations import OPERATIONS, operation_arguments, operation_of
from tests.serve.conftest import png
from tests.serve.test_guard import bomb

MULTIPART = "multipart/form-data; boundary=x"


def part(name: str, data: bytes) -> tuple[str, tuple[str, bytes, str]]:
    return "files", (name, data, "application/octet-stream")


class Dataset:
    """A dataset of the running server, as a client sees it."""

    def __init__(self, running, name: str) -> None:
        self.running, self.url = running, f"/api/v1/datasets/{name}"
        self.folder = running.server.datasets.root / name
        assert running.post("/api/v1/datasets", {"name": name}, "train").status_code == 201

    def get(self, path: str = "", status: int = 200):
        answer = self.running.get(self.url + path, "train")
        assert answer.status_code == status, answer.text
        return answer

    def send(self, method: str, path: str, body=None, status: int = 200, **options):
        answer = self.running.client.request(
            method, self.url + path, json=body, headers=self.running.headers("train"), **options
        )
        assert answer.status_code == status, answer.text
        return answer.json()

    def upload(self, *files, status: int = 200, **fields):
        return self.send("POST", "/images", status=status, files=list(files), data=fields)

    def names(self, query: str = "") -> list[str]:
        return [image["path"] for image in self.get(f"/images{query}").json()["images"]]

    def bytes(self) -> dict[str, bytes]:
        files = [p for p in self.folder.rglob("*") if p.is_file() and ".bakehouse" not in p.parts]
        return {p.relative_to(self.folder).as_posix(): p.read_bytes() for p in files}


@pytest.fixture
def dataset(running, request):
    return Dataset(running, re.sub(r"\W+", "-", request.node.name)[-60:].strip("-_"))


@pytest.fixture
def filled(dataset):
    dataset.upload(
        part("a2.png", png(color=(9, 9, 200))), part("a10.png", png((96, 64))), part("a2.txt", b"1girl, Red_Hair")
    )
    return dataset


def test_uploads_are_one_step_and_what_cannot_be_used_is_refused_by_name(dataset):
    said = dataset.upload(
        part("photos/one.png", png()),
        part("photos/one.txt", "a caf\u00e9".encode()),
        part("../../two.jpg", png((32, 32), (1, 2, 3))),
        part("no-image.png", b"<html>"),
        part("bomb.png", bomb(60000, 60000)),
        part("stray.txt", b"words"),
        part("empty.png", b""),
    )
    assert said["added"] == ["one.png", "two.jpg", "one.txt"]
    assert {row["name"] for row in said["refused"]} == {"no-image.png", "bomb.png", "stray.txt", "empty.png"}
    assert all(row["why"] and str(dataset.folder) not in row["why"] for row in said["refused"])
    assert said["step"] == 1
    (first, _) = dataset.get("/images").json()["images"]
    assert (first["width"], first["height"], first["caption"]) == (64, 64, "a caf\u00e9")
    assert not list((dataset.running.folder / "uploads").iterdir())
    again = dataset.upload(part("one-more-time.png", png()), status=422)
    assert again["refused"][0]["why"] == "it is there already, as one.png"
    assert dataset.upload(part("ONE.png", png(color=(0, 0, 0))), folder="sub/deep")["added"] == ["sub/deep/ONE.png"]
    assert dataset.upload(part("one.webp", png(color=(0, 0, 1))))["added"] == ["one-2.webp"]
    assert dataset.upload(part("one.txt", b"new"))["added"] == ["one.txt"]
    dataset.send("POST", "/undo")
    assert dataset.bytes()["one.txt"] == "a caf\u00e9".encode()


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"", "multipart/form-data; boundary=x"),
        (
            b"--x\r\nContent-Disposition: form-data; name=files; filename=a.png\r\n\r\nhalf",
            "multipart/form-data; boundary=x",
        ),
        (b"not multipart at all", "multipart/form-data; boundary=x"),
        (b"{}", "application/json"),
        (b"--x--\r\n", "multipart/form-data; boundary=x"),
    ],
    ids=["empty", "cut short", "other", "json", "no files"],
)
def test_a_request_that_is_no_upload_changes_nothing(dataset, content, kind):
    headers = {**dataset.running.headers("train"), "Content-Type": kind}
    answer = dataset.running.client.post(f"{dataset.url}/images", content=content, headers=headers)
    assert answer.status_code == 400, answer.text
    assert dataset.bytes() == {}
    assert not list((dataset.running.folder / "uploads").iterdir())


def test_images_are_listed_in_pages_and_filtered(filled):
    assert filled.names() == ["a2.png", "a10.png"]
    page = filled.get("/images?offset=1&limit=1").json()
    assert (page["total"], [image["path"] for image in page["images"]]) == (2, ["a10.png"])
    assert filled.names("?tag=red hair") == filled.names("?q=GIRL") == filled.names("?caption=yes") == ["a2.png"]
    assert filled.names("?without_tag=1girl") == filled.names("?mask=no&caption=no") == ["a10.png"]
    (filled.folder / "a10.txt").write_text("1girl, hat")  # by another program
    assert filled.get("/tags").json()["tags"][0] == {"tag": "1girl", "count": 2}


def test_a_thumbnail_of_an_image_that_goes_meanwhile_is_not_found(filled, monkeypatch, tmp_path):
    async def gone(server, name, path):
        return tmp_path / path

    monkeypatch.setattr(own_images, "_image", gone)
    assert "a10.png was removed" in filled.get("/thumbnail/a10.png?size=64", 404).text


def test_thumbnails_are_small_and_known_again(filled):
    answer = filled.get("/thumbnail/a10.png?size=64")
    assert Image.open(io.BytesIO(answer.content)).size == (64, 43)
    headers = {**filled.running.headers("train"), "If-None-Match": answer.headers["etag"]}
    assert filled.running.client.get(f"{filled.url}/thumbnail/a10.png?size=64", headers=headers).status_code == 304
    filled.get("/thumbnail/a10.png?size=65", 400)
    assert filled.get("/file/a10.png").content == png((96, 64))


def test_captions_are_written_as_steps_unless_they_changed_meanwhile(filled):
    before = filled.bytes()
    said = filled.send("PUT", "/captions", {"captions": {"a10.png": "hat", "a2.png": ""}, "was": {"a10.png": None}})
    assert said["changed"] == ["a10.png", "a2.png"]
    assert filled.bytes().get("a2.txt") is None
    assert filled.bytes()["a10.txt"] == b"hat\n"
    filled.send("PUT", "/captions", {"captions": {"a10.png": "x"}, "was": {"a10.png": "cap"}}, 409)
    filled.send("PUT", "/captions", {"captions": {"../a2.png": "x"}}, 404)
    filled.send("POST", "/undo")
    assert filled.bytes() == before


def test_tags_of_many_captions_are_changed_after_a_preview(filled):
    wanted = {"add": ["zwx"], "remove": ["red hair"], "replace": {"1girl": "girl"}, "front": True}
    shown = filled.send("POST", "/captions/tags", wanted)
    assert shown["step"] is None
    assert filled.bytes()["a2.txt"] == b"1girl, Red_Hair"
    done = filled.send("POST", "/captions/tags", {**wanted, "preview": False})
    assert done["changes"] == shown["changes"]
    assert [one["after"] for one in done["changes"]] == ["zwx, girl", "zwx"]
    assert filled.bytes()["a2.txt"] == b"zwx, girl\n"


@pytest.mark.parametrize(
    ("changes", "before", "after"),
    [
        (TagChanges(add=("a", "B")), "b, c", "b, c, a"),
        (TagChanges(remove=("red hair",)), "a, Red_Hair ||| d", "a ||| d"),
        (TagChanges(replace={"a": "b"}), "a, b, c\nsecond, a", "b, c\nsecond, a"),
        (TagChanges(add=("x",)), "", "x"),
    ],
)
def test_tag_changes(changes, before, after):
    assert changes.applied_to(before) == after
    assert changes.applied_to(after) == after


def test_masks_images_and_folders_go_together(filled):
    before = filled.bytes()
    mask = io.BytesIO()
    Image.new("L", (96, 64), 255).save(mask, "PNG")
    filled.send("PUT", "/mask/a10.png", content=mask.getvalue())
    assert filled.names("?mask=yes") == ["a10.png"]
    filled.send("PUT", "/mask/a2.png", content=mask.getvalue(), status=400)  # of another shape
    filled.send("PUT", "/mask/a2.png", content=b"GIF89a", status=400)
    filled.send("POST", "/move", {"paths": ["a10.png", "a2.png"], "folder": "1_red"})
    assert sorted(filled.bytes()) == ["1_red/a10.mask.png", "1_red/a10.png", "1_red/a2.png", "1_red/a2.txt"]
    filled.send("POST", "/remove", {"paths": ["1_red/a2.png"]})
    assert sorted(filled.bytes()) == ["1_red/a10.mask.png", "1_red/a10.png"]
    for _ in range(3):
        filled.send("POST", "/undo")
    assert filled.bytes() == before
    assert [row["state"] for row in filled.get("/history").json()["steps"]] == ["done", *["undone"] * 3]


def test_a_deleted_dataset_comes_back_from_the_trash(filled):
    before = filled.bytes()
    trash = filled.send("DELETE", "")["trash"]
    filled.get("", 404)
    other = filled.running.post("/api/v1/datasets", {"name": trash["name"]}, "train")
    assert other.status_code == 201
    assert filled.running.post(f"/api/v1/trash/{trash['id']}/restore", token="train").status_code == 409
    filled.send("PATCH", "", {"name": "renamed-" + trash["name"][:20]})
    assert filled.running.post(f"/api/v1/trash/{trash['id']}/restore", token="train").status_code == 200
    assert filled.bytes() == before
    assert read_history(filled.folder)
    last = filled.send("DELETE", "")["trash"]
    assert filled.running.delete(f"/api/v1/trash/{last['id']}", "train").status_code == 200
    assert last["id"] not in filled.running.get("/api/v1/trash", "train").text


@pytest.mark.parametrize("name", ["", ".", "..", "../x", "a/b", "masks", "Mask", ".bakehouse", "con", "x" * 65, "a b"])
def test_names_that_no_folder_may_have_are_refused(running, name):
    assert running.post("/api/v1/datasets", {"name": name}, "train").status_code == 400


@pytest.mark.parametrize("text", ["", "/etc/passwd", "../a", "a/../b", "a//b", ".bakehouse/x", "a\\b", "c:x", "a\0"])
def test_paths_that_lead_out_are_refused(text):
    with pytest.raises(ServeError) as e:
        relative_path(text)
    assert e.value.status == 400


def test_links_do_not_lead_out(tmp_path):
    (tmp_path / "secret.png").write_bytes(png())
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.png").symlink_to(tmp_path / "secret.png")
    with pytest.raises(ServeError) as e:
        file_inside(tmp_path / "in", "a.png")
    assert e.value.status == 404


def test_other_files_of_a_folder_are_not_shown(filled):
    (filled.folder / "page.html").write_text("<script>")
    for path in ("page.html", "a2.txt", ".bakehouse/steps", "%2e%2e/serve.db"):
        answer = filled.running.get(f"{filled.url}/file/{path}", "train")
        assert answer.status_code in (400, 404), path


def test_an_audit_names_operations_that_fix_what_it_finds(running):
    """One dataset through the commands: audit, its fix sent back as it is, undo; no path of the server is told."""
    dataset = Dataset(running, "audited")
    files = [part(f"{i}.png", png((128 + 32 * (i % 2), 128), (i, 80, 30))) for i in range(3)]
    dataset.upload(*files)
    (dataset.folder / "Thumbs.txt").write_text("a caption without an image")
    (dataset.folder / "broken.png").write_bytes(png()[:40])
    task = dataset.send("POST", "/audit?wait=60", {"faces": False, "text": False})
    assert task["state"] == "done", task
    assert str(running.folder) not in json.dumps(task)
    fixes = {one["id"]: one["fix"] for one in task["result"]["findings"] if one["fix"]}
    fix = next(one for one in fixes.values() if one["operation"] == "dataset tidy")
    assert fix["command"].startswith("bakehouse dataset tidy datasets/audited")
    before = dataset.bytes()
    wanted = {"operation": fix["operation"], "arguments": fix["arguments"]}
    shown = dataset.send("POST", "/operations?wait=60", {**wanted, "preview": True})
    assert shown["result"]["proposals"][0]["path"] == "broken.png"
    assert dataset.bytes() == before
    assert not dataset.get("/audit").json()["stale"]
    done = dataset.send("POST", "/operations?wait=60", wanted)
    assert done["result"]["changes"][0]["path"] == "broken.png"
    assert "broken.png" not in dataset.bytes()
    assert dataset.get("/audit").json()["stale"]
    events = running.get(f"/api/v1/tasks/{done['id']}/events", "train").text
    assert events.startswith("event: done\n")
    dataset.send("POST", "/undo")
    assert dataset.bytes() == before


def test_mend_all_never_takes_the_bundled_tagger_for_another_base(running, tmp_path, monkeypatch):
    """What the page's button does: every finding's operation, sent back as it is."""
    monkeypatch.setenv("BAKEHOUSE_DATA", str(tmp_path))
    dataset = Dataset(running, "untagged")
    dataset.upload(*(part(f"{i}.png", png((128, 128), (i, 80, 30))) for i in range(3)))

    def missing_captions(base: str) -> dict[str, Any]:
        task = dataset.send("POST", "/audit?wait=60", {"base": base, "faces": False, "text": False})
        assert task["state"] == "done", task
        (found,) = [one for one in task["result"]["findings"] if one["id"] == "C01"]
        return found

    found = missing_captions("sdxl")
    assert found["fix"] is None
    assert "bakehouse models fetch wd-vit-v3" in found["advice"] and str(running.folder) not in found["advice"]
    with edit_registry() as registry:  # a copy of the bundled one, which needs no other package
        registry.own["mine"] = UserModel(kind="tagger", where=str(BUNDLED_BASE_FOLDER.parent / "crumb-tagger"))
    fix = missing_captions("sdxl")["fix"]
    assert (fix["operation"], fix["arguments"]) == ("captions tag", ["--tagger", "mine"])
    wanted = {"operation": fix["operation"], "arguments": fix["arguments"]}
    assert dataset.send("POST", "/operations?wait=60", wanted)["state"] == "done"
    (step,) = [one for one in read_history(dataset.folder) if one.operation == "tag"]
    assert step.settings["taggers"] == ["mine"]
    dataset.send("POST", "/undo")
    assert missing_captions("crumb")["fix"]["arguments"] == ["--tagger", "crumb"]


def test_a_dataset_that_is_being_changed_is_busy(filled):
    from bakehouse.core.folder_lock import locked

    with locked(filled.folder / ".bakehouse", "dataset trim"):
        answer = filled.running.client.put(
            f"{filled.url}/captions", json={"captions": {"a2.png": "x"}}, headers=filled.running.headers("train")
        )
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "busy")
    assert str(filled.folder) not in answer.text


def test_a_task_that_waits_or_runs_is_canceled(dataset):
    dataset.upload(part("a.png", png()))
    tasks = [dataset.send("POST", "/audit", {}, 202) for _ in range(2)]
    for task in reversed(tasks):
        answer = dataset.running.delete(f"/api/v1/tasks/{task['id']}", "train")
        assert answer.json()["state"] == "canceled", answer.text
    assert not dataset.running.server.tasks.is_busy(dataset.folder.name)
    assert not dataset.running.server.tasks._processes


def test_an_archive_is_imported_and_forgotten(dataset):
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("set/one.png", png())
        file.writestr("set/one.txt", "hat")
    task = dataset.upload(part("holiday.zip", archive.getvalue()), status=202)
    done = dataset.running.server.tasks
    ended = dataset.running.client.portal.call(done.wait, task["id"], 60.0)
    assert ended.state == "done", ended.error
    assert dataset.names() == ["set/one.png"]
    assert not list((dataset.running.folder / "uploads").iterdir())


@pytest.mark.parametrize(
    ("name", "arguments", "said"),
    [
        ("dataset undo", [], "unknown"),
        ("dataset trim", ["--out", "/tmp/x"], "--out"),
        ("dataset trim", ["--preview=/tmp/x"], "--preview"),
        ("dataset trim", ["--fuzz"], "needs a value"),
        ("dataset trim", ["--fuzz", "--out"], "not a number"),
        ("dataset upscale", ["--model", "../../x.pth"], "not the name"),
        ("dataset upscale", ["--model", "/x"], "not the name"),
        ("dataset dedupe", ["--crops", "all"], "list, drop, ignore"),
        ("dataset drop", ["--kind", "style"], "ids of findings"),
        ("dataset tidy", ["/etc"], "not an option"),
        ("captions edit", ["--add=a\0b"], "NUL"),
    ],
)
def test_operations_take_listed_options_alone(name, arguments, said):
    with pytest.raises(ServeError, match=said) as e:
        operation_arguments(name, arguments, Path("/data/me"), preview=False)
    assert e.value.status == 400


def test_values_stay_with_their_options(tmp_path):
    words = operation_arguments("dataset drop", ["B05", "--subject", "--json x", "--faces"], tmp_path, preview=True)
    assert words == ("dataset", "drop", str(tmp_path), "B05", "--subject=--json x", "--faces", "--dry-run", "--json")
    found = operation_of(f"bakehouse dataset drop '{tmp_path}' B05 --kind style", tmp_path)
    assert found == {"operation": "dataset drop", "arguments": ["B05", "--kind", "style"]}
    assert operation_of(f"bakehouse train {tmp_path}", tmp_path) is None
    assert operation_of("bakehouse dataset tidy /elsewhere", tmp_path) is None


def test_listed_options_are_those_of_the_command_line():
    import typer

    from bakehouse.cli.main import app

    root = typer.main.get_command(app)
    for name, operation in OPERATIONS.items():
        group, command = name.split()
        found = root.commands[group].commands[command]
        known = {option: p for p in found.params for option in (*p.opts, *p.secondary_opts)}
        for option, takes in operation.options.items():
            assert option in known, f"{name} {option}"
            assert getattr(known[option], "is_flag", False) == (takes == "flag"), f"{name} {option}"
        assert found.help.splitlines()[0].startswith(operation.help.partition(". ")[0].rstrip("."))


def test_the_servers_paths_are_not_told():
    root = Path("/srv/data/datasets")
    assert without_server_paths("cannot read /srv/data/datasets/me/a.png", root) == "cannot read datasets/me/a.png"
    assert without_server_paths("/srv/data/datasets-old/x", root) == "/srv/data/datasets-old/x"


def test_an_unchanged_dataset_is_not_listed_again(tmp_path, monkeypatch):
    for number in range(3):
        (tmp_path / f"{number}.png").write_bytes(png((8, 8), (number, 0, 0)))
    index = DatasetIndex(tmp_path)
    monkeypatch.setattr("bakehouse.serve.datasets.image_index._UNSURE_SECONDS", -1.0)
    assert len(index.refresh()) == 3
    monkeypatch.setattr(DatasetIndex, "_listed", lambda self: pytest.fail("it was listed again"))
    assert len(index.refresh()) == 3


def test_one_of_two_copies_is_kept_with_what_the_other_knew(dataset):
    dataset.upload(part("a.png", png((64, 48))), part("b.png", png((128, 96))), part("b.txt", b"1girl, smile"))
    assert dataset.send("PUT", "/mask/b.png", content=png((64, 48), (255, 255, 255)))["step"] == 2
    before = dataset.bytes()
    assert dataset.send("POST", "/keep", {"keep": "a.png", "drop": "b.png"})["step"] == 3
    (row,) = dataset.get("/images").json()["images"]
    assert (row["path"], row["caption"], row["mask"]) == ("a.png", "1girl, smile", True)
    dataset.send("POST", "/undo", {})
    assert dataset.bytes() == before
    assert dataset.send("POST", "/keep", {"keep": "b.png", "drop": "a.png"})["step"] == 4
    assert dataset.names() == ["b.png"]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"keep": "a2.png", "drop": "a2.png"}, 400), ({"keep": "a2.png", "drop": "../x.png"}, 404),
        ({"keep": "no.png", "drop": "a2.png"}, 404), ({"keep": "a2.png"}, 422),
    ],
)  # fmt: skip
def test_copies_that_are_not_there_are_refused(filled, body, status):
    before = filled.bytes()
    filled.send("POST", "/keep", body, status=status)
    assert filled.bytes() == before
