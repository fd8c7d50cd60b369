"""The whole notebook in a kernel, as a user runs it: from photos to a picture and a link; killed in the middle; again.

The long test of the notebook.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from pathlib import Path

import nbformat
import pytest

from bakehouse.core.events import Started, Step
from bakehouse.core.run_folder import Run
from bakehouse.serve.tasks.command_process import CommandProcess
from tests.notebook.conftest import SETTINGS, press, said, words
from tools.write_notebook import NOTEBOOK

nbclient = pytest.importorskip("nbclient")
pytest.importorskip("ipykernel")
pytest.importorskip("fastapi", reason="the extra serve is not installed")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # of the kernel's client
]

ROOT = Path(__file__).parents[2]
PROBE = """\
import json
from tests.notebook.conftest import said, words
found = {name: [said(p), p._result.value.count("<img"), words(p._result)] for name, p in steps.panels.items()}
print(json.dumps(found))
"""
"""A cell that prints what each panel shows."""


class Session:
    """A kernel with the notebook; `answers` are injected after the cell of parameters, as papermill does it."""

    def __init__(self, folder, answers) -> None:
        self.notebook = nbformat.reads(NOTEBOOK.read_text("utf-8"), as_version=4)
        at = next(i for i, cell in enumerate(self.notebook.cells) if cell.get("id") == "answers")
        lines = "\n".join(f"{name} = {value!r}" for name, value in answers.items())
        self.notebook.cells.insert(at + 1, nbformat.v4.new_code_cell(lines))
        self.notebook.cells.append(nbformat.v4.new_code_cell(PROBE, id="probe"))
        resources = {"metadata": {"path": str(folder)}}
        self.client = nbclient.NotebookClient(self.notebook, timeout=900, kernel_name="python3", resources=resources)

    def run(self, until: str) -> None:
        """Run the cells up to one."""
        for number, cell in enumerate(self.notebook.cells):
            if cell.cell_type == "code":
                self.client.execute_cell(cell, number)
            if cell.get("id") == until:
                return

    def press(self, words: str) -> None:
        """Send what a browser sends when a button is pressed."""
        (model,) = [
            name for name, state in self.client.widget_state.items()
            if state.get("_model_name") == "ButtonModel" and state["description"] == words
        ]  # fmt: skip
        client = self.client.kc
        data = {"method": "custom", "content": {"event": "click"}}
        client.shell_channel.send(client.session.msg("comm_msg", {"comm_id": model, "data": data}))

    def outputs(self) -> list:
        return [output for cell in self.notebook.cells if cell.cell_type == "code" for output in cell.outputs]

    @property
    def kernel(self) -> int:
        return self.client.km.provisioner.process.pid


def wait_for(what, seconds=240.0):
    end = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < end
        time.sleep(0.02)
    return found


def test_the_notebook_goes_the_whole_way_and_on_after_a_kill(photos, tmp_path, open_steps, monkeypatch):
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
    answers = {"photos": str(photos), "subject": "zwx girl", "base": "crumb", "settings": SETTINGS}
    answers |= {"keep_in": str(tmp_path / "drive")}
    project = tmp_path / "bakehouse" / "me"
    project.mkdir(parents=True)
    (project / "answers.json").write_text('{"detect": false}')  # as chosen before; it takes half of an audit's time
    first = Session(tmp_path, answers)
    run, command = Run(project / "runs" / "run-1"), project / ".commands" / "train"
    with first.client.setup_kernel():
        first.run("train")
        assert not [o for o in first.outputs() if o.output_type in ("error", "stream")]
        assert (project / "recipe.toml").is_file(), (project / ".commands" / "plan" / "log").read_text()
        first.press("Train")
        wait_for(lambda: run.states.is_dir() and sum(isinstance(e, Step) for e in run.history()) >= 3)
        os.kill(first.kernel, signal.SIGKILL)
        training = int((command / "pid").read_text())
        os.killpg(training, signal.SIGSTOP)  # so that it does not end before it is looked at
    assert CommandProcess(command).holds_lock, "the training outlives the kernel"
    os.killpg(training, signal.SIGKILL)
    wait_for(lambda: not CommandProcess(command).holds_lock)
    stopped = max(e.step for e in run.history() if isinstance(e, Step))
    assert stopped < 16 and not run.list_weights()

    again = Session(tmp_path, answers | {"by_itself": True, "publish_to": "published", "person": "none"})
    with again.client.setup_kernel():
        again.run("probe")
    assert not [o for o in again.outputs() if o.output_type == "error"]
    (printed,) = [o.text for o in again.outputs() if o.output_type == "stream"]
    found = {name.removesuffix("Panel"): value for name, value in json.loads(printed).items()}

    assert found["Train"][0].startswith("trained: 16 steps")
    begins = [e.step for e in run.history() if isinstance(e, Started)]
    assert len(begins) == 2 and 0 < begins[1] <= stopped
    assert found["Judge"][1] == 1 and found["Judge"][2].endswith("report.html")
    assert found["Draw"][0].startswith("4 pictures in") and found["Draw"][1] == 4
    assert "is reached by this machine alone" in found["Share"][0]
    if "Publish anyway" not in found["Publish"][0]:  # what so short a training has learned is asked about first
        assert found["Publish"][0].startswith("published to published")
    without_a_token_nothing_is_published(open_steps, tmp_path)
    same_as_a_training_that_was_not_killed(run, tmp_path)
    comes_back_on_another_machine(open_steps, run, tmp_path / "drive")


def without_a_token_nothing_is_published(open_steps, tmp_path):
    steps = open_steps(name="me", folder=str(tmp_path / "bakehouse"))
    steps.publish("hub:me/zwx", "none")
    panel = steps.panels["PublishPanel"]
    panel.anyway.value = True  # whatever so short a training has learned
    assert press(panel.publish, panel).startswith("there is no token for the Hub create one with write permission")
    assert not panel.publish.disabled


def same_as_a_training_that_was_not_killed(run, tmp_path):
    import torch
    from safetensors.torch import load_file

    from bakehouse.recipe import Recipe
    from bakehouse.training import train

    list(train(Recipe.load(run.recipe).with_values({"save.mirror": str(tmp_path / "other")}), tmp_path / "run-1"))
    (name,) = [path.name for path in run.list_weights()]
    there, here = load_file(run.weights / name), load_file(tmp_path / "run-1" / "weights" / name)
    assert there.keys() == here.keys() and all(torch.equal(there[key], here[key]) for key in here)


def comes_back_on_another_machine(open_steps, run, drive):
    """Without the folder of projects, as on a new machine, everything is copied back, and the training is found."""
    project = run.folder.parents[1]
    CommandProcess(project / ".commands" / "serve").stop()
    before = {path.name: path.read_bytes() for path in (*run.list_weights(), *(project / "pictures").glob("*.png"))}
    shutil.rmtree(project.parent)
    steps = open_steps(name="me", folder=str(project.parent), keep_in=str(drive))
    steps.judge()
    steps.train()  # without a click
    panel = steps.panels["TrainPanel"]
    panel.wait()
    assert said(panel).startswith("trained: 16 steps") and "<svg" in panel.curve.value and "<img" in panel.samples.value
    assert "report.html" in words(steps.panels["JudgePanel"]._result)
    found = {path.name: path.read_bytes() for path in (*run.list_weights(), *(project / "pictures").glob("*.png"))}
    assert found == before
