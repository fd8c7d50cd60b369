"""Each panel and each of its buttons, without a kernel, with the real commands behind them."""

from __future__ import annotations

import datetime
import io
import shutil
import sys
import threading
import zipfile

import pytest

from tests.notebook.conftest import EXAMPLES, press, said, words


def uploaded(*files: tuple[str, bytes]):
    """What ipywidgets 8 gives for chosen files."""
    now = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    rest = {"type": "", "size": 1, "last_modified": now}
    return tuple({"name": name, "content": memoryview(content), **rest} for name, content in files)


def zipped(*files: tuple[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, content in files:
            archive.writestr(name, content)
    return stream.getvalue()


def one(number: int) -> bytes:
    return (EXAMPLES / f"{number:02d}.png").read_bytes()


# --- photos -----------------------------------------------------------------------------------------------------------


def test_photos_come_from_a_folder_by_upload_and_from_a_zip(open_steps, photos):
    steps = open_steps()
    steps.photos(str(photos))
    panel = steps.panels["PhotosPanel"]
    assert said(panel).startswith("5 photos added")
    assert words(panel._result) == "5 photos" and panel._result.value.count("<img") == 5
    assert "bakehouse dataset import" in words(panel._commands)

    archive = zipped(("c.png", one(7)))
    panel.upload.value = uploaded(("../../a b.png", one(6)), ("notes.txt", b"zwx girl"), ("more.zip", archive))
    panel.wait()
    assert said(panel).startswith("2 photos added")
    names = {path.name for path in steps.project.images()}
    assert names == {*(f"{n:02d}.png" for n in range(1, 6)), "a-b.png", "c.png"}
    assert panel.upload.value == ()
    assert not (steps.project.folder / "inbox").exists()
    assert sorted(path.name for path in photos.iterdir()) == [f"{n:02d}.png" for n in range(1, 6)]

    panel.path.value = str(photos)
    assert press(panel.add, panel) == "no new photos: all of them are there already"


def test_files_chosen_with_the_widgets_of_colab_are_taken(open_steps):
    from bakehouse.notebook.panels.photos import _files

    assert list(_files({"a.png": {"metadata": {}, "content": b"1"}})) == [("a.png", b"1")]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: None, "no folder or zip is named write its path, or choose files"),
        (lambda path: path / "missing", "{path} does not exist pass folders, zip and tar archives, videos, images"),
        (lambda path: path / "empty", "{path} has no images; it holds nothing formats: png"),
        (lambda path: path / "wrong.zip", "cannot import {path}: unknown format supported: folders, zip"),
    ],
)
def test_photos_that_are_none_are_one_message(open_steps, tmp_path, make, message):
    (tmp_path / "empty").mkdir()
    (tmp_path / "wrong.zip").write_bytes(b"no zip")
    steps = open_steps()
    steps.photos()
    panel = steps.panels["PhotosPanel"]
    path = make(tmp_path)
    panel.path.value = str(path or "")
    assert press(panel.add, panel).startswith(message.format(path=path))
    assert "bh-error" in panel._message.value and "Traceback" not in panel._message.value
    assert not panel.add.disabled


def test_panels_before_their_time_say_what_is_missing(open_steps):
    steps = open_steps(by_itself=True)
    steps.photos()
    steps.mend("crumb")
    steps.subject()
    steps.plan()
    steps.train()
    steps.judge()
    steps.draw()
    steps.publish("published", "none")
    steps.share()
    found = {name.removesuffix("Panel"): said(panel) for name, panel in steps.panels.items()}
    untrained = "nothing is trained yet press Train in the panel Training"
    assert found == {
        "Photos": "there are no photos yet choose files, or name a folder or zip, and run all again",
        "Mend": "there are no photos yet add some in the panel Photos",
        "Subject": "the subject has no name yet fill in subject in the settings above: zwx person",
        "Plan": "photos and a name are needed first; then press Plan",
        "Train": "there are no photos yet add some in the panel Photos",
        "Judge": untrained,
        "Draw": "the prompt is empty write what to draw, with the trigger in it",
        "Publish": untrained,
        "Share": untrained,
    }


# --- mend -------------------------------------------------------------------------------------------------------------


def test_what_is_wrong_is_shown_previewed_mended_and_taken_back(open_steps, photos):
    for number in range(1, 6):
        shutil.copy(EXAMPLES / f"{number:02d}.txt", photos)
    for kind in ("png", "txt"):
        shutil.copy(photos / f"01.{kind}", photos / f"again.{kind}")
    steps = open_steps()
    steps.photos(str(photos))
    steps.project.answer(detect=False)

    def contents():
        return {path.name: path.read_bytes() for path in steps.project.images()}

    before = contents()
    steps.mend("crumb")
    panel = steps.panels["MendPanel"]
    assert panel.undo.description == "Undo" and not panel.detect.value
    assert "can mend some of it" in said(panel)
    assert "mended by: bakehouse dataset dedupe" in words(panel._result)
    assert press(panel.preview, panel) == "nothing was changed"
    assert "again.png" in words(panel._result) or "01.png" in words(panel._result)
    assert "--dry-run" in words(panel._commands)
    assert contents() == before

    assert "changed the photos" in press(panel.mend, panel)
    assert len(contents()) == 5
    assert panel.undo.description == "Undo dedupe"
    assert press(panel.undo, panel) == "dedupe is undone: the photos are as they were before it"
    assert contents() == before, "and the photos that were added stay"
    panel.detect.value = True
    assert steps.project.answers.detect
    assert press(panel.undo, panel) == "there is nothing to undo"


@pytest.mark.parametrize(("base", "tags"), [("crumb", True), ("sd15", False)])
def test_captions_are_written_for_a_base_whose_tagger_is_here(open_steps, photos, monkeypatch, tmp_path, base, tags):
    monkeypatch.setenv("BAKEHOUSE_DATA", str(tmp_path / "data"))
    steps = open_steps()
    steps.photos(str(photos))
    steps.project.answer(detect=False)
    steps.mend(base)
    shown = words(steps.panels["MendPanel"]._result)
    assert "missing caption" in shown
    assert ("mended by: bakehouse captions tag" in shown) == tags
    assert ("bakehouse models fetch wd-vit-v3" in shown) == (not tags)


# --- name, plan -------------------------------------------------------------------------------------------------------


def test_the_name_gives_a_trigger_and_the_plan_is_in_plain_words(open_steps, photos):
    steps = open_steps()
    steps.photos(str(photos))
    steps.subject(base="crumb")
    steps.plan()
    subject, plan = steps.panels["SubjectPanel"], steps.panels["PlanPanel"]
    assert "are needed" in press(subject.save, subject)
    subject.name.value = "Mirá"
    assert subject.trigger.value == "mrx"
    subject.kind.value = "Animal"
    assert subject.class_word.value == "animal"
    subject.class_word.value = "girl"
    assert press(subject.save, subject) == "saved: in prompts it is “mrx girl”; crumb learns it"

    plan.most.value = "40"
    plan.settings.value = "adapter.rank"
    assert press(plan.plan, plan).startswith("'adapter.rank' is no setting")
    plan.settings.value = "adapter.rank='3"
    assert "No closing quotation close the quote" in press(plan.plan, plan)
    plan.settings.value = "adapter.rank=3"
    assert "needs at least 8, better 20" in press(plan.plan, plan)
    shown = words(plan._result)
    assert shown.startswith("takes about ") and " 40 " in shown and "adapter.alpha" in shown
    assert "rank = 3" in (steps.project.folder / "recipe.toml").read_text()
    assert steps.project.is_planned

    again = open_steps()
    again.subject()
    again.plan()
    assert said(again.panels["SubjectPanel"]) == "saved: in prompts it is “mrx girl”; crumb learns it"
    assert again.panels["SubjectPanel"].class_word.value == "girl"
    assert (again.panels["PlanPanel"].most.value, again.panels["PlanPanel"].settings.value) == ("40", "adapter.rank=3")


# --- where things are kept --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": ".hidden"}, "the project '.hidden' cannot name a folder: it begins with a dot"),
        ({"name": "con"}, "the project 'con' cannot name a folder: Windows reserves this name"),
        ({"keep_in": "nosuch://place"}, "nosuch://place/mira: 'nosuch' is not a protocol that fsspec knows"),
        ({"keep_in": "drive"}, "a Google Drive is mounted on Colab alone name a folder or a URL"),
    ],
)
def test_places_that_are_none_are_one_message(open_steps, shown, options, message):
    steps = open_steps(**options)
    assert words(shown[-1]).startswith(message)
    steps.photos()
    assert words(shown[-1]) == "there is no project run the cell Where things are kept first; it says why"


def test_a_project_is_copied_and_comes_back_on_another_machine(open_steps, photos, tmp_path, shown):
    from bakehouse.core.file_store import open_store
    from bakehouse.curation.apply_and_undo import read_history

    steps = open_steps(keep_in="memory://kept")
    steps.photos(str(photos))
    steps.project.answer(subject="zwx girl")
    steps.project.keep()
    before = {path.name: (path.read_bytes(), round(path.stat().st_mtime, 3)) for path in steps.project.images()}
    shutil.rmtree(steps.project.folder)

    again = open_steps(keep_in="memory://kept")
    assert "It was copied back from there" in words(shown[-1])
    assert {p.name: (p.read_bytes(), round(p.stat().st_mtime, 3)) for p in again.project.images()} == before
    assert again.project.answers.subject == "zwx girl"
    assert [step.operation for step in read_history(again.project.photos)] == ["import"]

    store = open_store("memory://kept/mira")
    store.remove("photos.tar")
    shutil.rmtree(again.project.folder)
    assert open_steps(keep_in="memory://kept").project is None
    assert words(shown[-1]).startswith("memory://kept/mira lists photos.tar, and does not have it")
    open_store("memory://").remove("kept")


# --- machine ----------------------------------------------------------------------------------------------------------


def test_the_machine_is_described(shown, tmp_path, monkeypatch):
    from bakehouse.notebook import machine

    monkeypatch.setenv("PATH", str(tmp_path))
    machine.show_machine()
    assert "There is no GPU" in words(shown[-1]) or "Apple" in words(shown[-1])
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho 'Tesla T4, 15360'\n")
    program.chmod(0o755)
    machine.show_machine()
    assert words(shown[-1]).endswith("is installed. GPU: Tesla T4, 15 GB.")
    program.write_text("#!/bin/sh\nexit 9\n")
    assert machine.gpus() == []


@pytest.fixture
def colab(tmp_path, monkeypatch):
    """A package as Colab brings it; the drive is a folder."""
    package = tmp_path / "site" / "google" / "colab"
    package.mkdir(parents=True)
    (package.parent / "__init__.py").touch()
    (package / "__init__.py").touch()
    (package / "drive.py").write_text(
        "import pathlib\ndef mount(where): pathlib.Path(where, 'MyDrive').mkdir(parents=True)\n"
    )
    (package / "output.py").write_text("def eval_js(code): return 'https://' + code[-6:-1] + '-colab.example/'\n")
    monkeypatch.syspath_prepend(str(package.parents[1]))
    monkeypatch.setattr("bakehouse.notebook.machine.DRIVE", tmp_path / "drive")
    for name in ("google", "google.colab", "google.colab.drive", "google.colab.output"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    yield package
    for name in ("google", "google.colab", "google.colab.drive", "google.colab.output"):
        sys.modules.pop(name, None)


def test_on_colab_the_copy_is_on_the_drive(open_steps, colab, shown, tmp_path):
    steps = open_steps()
    assert steps.project.mirror == str(tmp_path / "drive" / "MyDrive" / "bakehouse" / "mira" / "runs")
    steps = open_steps(keep_in="nowhere")
    assert steps.project.mirror is None
    assert "No copy is kept elsewhere" in words(shown[-1])
    (colab / "drive.py").write_text("def mount(where): raise ValueError('mount failed')\n")
    sys.modules.pop("google.colab.drive")
    assert open_steps().project is None
    assert words(shown[-1]).startswith("Google Drive was not mounted: mount failed run the cell again and allow it")


def test_on_colab_the_server_is_reached_by_colabs_own_address(open_steps, colab, monkeypatch):
    from bakehouse.core.errors import BakehouseError
    from bakehouse.notebook import server
    from bakehouse.notebook.machine import public_address

    assert public_address(54321) == "https://54321-colab.example"
    steps = open_steps(keep_in="nowhere")
    weights = steps.project.run.weights
    weights.mkdir(parents=True)
    (weights / "zwx.safetensors").touch()
    asked = []

    def refused(name, arguments):
        asked.extend(arguments)
        raise BakehouseError("not here")

    monkeypatch.setattr(steps.project.commands, "start", refused)
    with pytest.raises(BakehouseError, match="not here"):
        server.DrawServer(steps.project).start(lambda *_: None)
    port = asked[asked.index("--port") + 1]
    assert asked[asked.index("--allow-host") + 1] == f"{port}-colab.example"
    assert asked[asked.index("--allow-origin") + 1] == f"https://{port}-colab.example"
    (colab / "output.py").write_text("def eval_js(code): return None\n")
    sys.modules.pop("google.colab.output")
    with pytest.raises(BakehouseError, match="Colab gave no address for port 54321"):
        public_address(54321)


# --- errors -----------------------------------------------------------------------------------------------------------


def test_an_unexpected_error_is_a_message_and_the_buttons_work_again(open_steps):
    steps = open_steps()
    steps.photos()
    panel = steps.panels["PhotosPanel"]

    def broken() -> None:
        raise ZeroDivisionError("a <b>bug</b>")

    panel.work(broken)
    panel.wait()
    assert said(panel).startswith("Unexpected error: ZeroDivisionError: a <b>bug</b> This is a bug in bakehouse")
    assert not panel.add.disabled


def test_what_is_at_work_goes_on_alone(open_steps):
    steps = open_steps()
    steps.photos()
    panel, done, go_on = steps.panels["PhotosPanel"], [], threading.Event()

    def slow() -> None:
        assert go_on.wait(60)
        done.append("first")

    panel.work(slow)
    assert panel.add.disabled
    panel.work(lambda: done.append("second"))
    go_on.set()
    panel.wait()
    assert done == ["first"] and not panel.add.disabled
