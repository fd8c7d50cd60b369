"""What the tests of the notebook share: its panels without a kernel, and what they say."""

from __future__ import annotations

import html
import os
import re
import shutil
import signal
from collections.abc import Iterator
from importlib import resources
from pathlib import Path

import pytest

from bakehouse.serve.tasks.command_process import CommandProcess

pytest.importorskip("ipywidgets", reason="the extra notebook is not installed")

EXAMPLES = Path(str(resources.files("bakehouse"))) / "assets" / "examples" / "mira"

SETTINGS = (
    "train.steps=16 train.batch=2 prior.source=none adapter.rank=2 save.state_every_seconds=0.3 sample.steps=2 "
    "'sample.prompts=[\"zwx girl\"]' evaluate.images=1 evaluate.steps=2 evaluate.checkpoints=1 evaluate.weights=[1.0]"
)
"""The smallest training that does everything."""


def words(widget) -> str:
    """The text of a place for HTML, without its style."""
    value = re.sub(r"<style>.*?</style>", "", widget.value, flags=re.DOTALL)
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", value)).split())


def said(panel) -> str:
    """The message of a panel."""
    return words(panel._message)


def press(button, panel) -> str:
    """Press a button, wait until the work is done, and return the panel's message."""
    assert not button.disabled
    button.click()
    panel.wait()
    return said(panel)


@pytest.fixture(autouse=True)
def _no_process_is_left(tmp_path: Path) -> Iterator[None]:
    """End the commands of the test that still run: they would outlive it."""
    yield
    for pid in tmp_path.rglob(".commands/*/pid"):
        if CommandProcess(pid.parent).holds_lock:
            os.killpg(int(pid.read_text()), signal.SIGKILL)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Five example images."""
    folder = tmp_path / "own photos"
    folder.mkdir()
    for number in range(1, 6):
        shutil.copy(EXAMPLES / f"{number:02d}.png", folder)
    return folder


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list:
    """What cells have displayed."""
    displayed: list = []
    monkeypatch.setattr("bakehouse.notebook.steps.display", displayed.append)
    monkeypatch.setattr("bakehouse.notebook.machine.display", displayed.append)
    return displayed


@pytest.fixture
def open_steps(tmp_path: Path, shown: list, monkeypatch: pytest.MonkeyPatch):
    """Opens a project in a folder of the test's own; the working folder is another, as a user's may be."""
    from bakehouse.notebook import open_project

    monkeypatch.chdir(tmp_path)

    def open_steps(**options):
        return open_project(**{"name": "mira", "folder": str(tmp_path / "projects"), **options})

    return open_steps
