"""Jobs as processes on this machine."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from bakehouse.core.errors import BakehouseError, UsageError
from bakehouse.queue import executor as executors
from bakehouse.queue.executor import LocalExecutor, environment
from bakehouse.queue.scheduler import run_jobs


class ScriptExecutor(LocalExecutor):
    """Runs Python code instead of a training; `recipe` and `run` are its arguments."""

    def __init__(self, code: str) -> None:
        self.code = code

    def command(self, recipe, run):
        head = "import sys, time, pathlib; recipe, run = map(pathlib.Path, sys.argv[1:])\nrun.mkdir(exist_ok=True)\n"
        return [sys.executable, "-c", head + self.code, str(recipe), str(run)]


def test_a_job_is_the_train_command(tmp_path):
    words = LocalExecutor().command(tmp_path / "r.toml", tmp_path / "run")
    assert words[1:4] == ["-m", "bakehouse", "train"]
    assert words[4:] == [str(tmp_path / "r.toml"), "--run", str(tmp_path / "run"), "--quiet"]


def test_processes_get_their_recipe_and_report_how_they_ended(queue, filled):
    filled("a", "b", "c")
    code = "sys.exit({'# a\\n': 0, '# b\\n': 'no memory'}.get(recipe.read_text(), 7))"
    list(run_jobs(queue, executor=ScriptExecutor(code)))
    found = [(j.state, j.error) for j in queue.jobs()]
    assert found == [("done", ""), ("failed", "no memory"), ("failed", "ended with exit code 7")]
    assert (queue.path.with_name("queue.jobs") / "00002.log").read_text() == "no memory\n"


@pytest.mark.parametrize("obeys", [True, False])
def test_a_process_is_terminated_and_killed_if_it_does_not_obey(tmp_path, monkeypatch, until, obeys):
    monkeypatch.setattr(executors, "TERMINATE_SECONDS", 20.0 if obeys else 0.2)
    ignore = "" if obeys else "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
    executor = ScriptExecutor(ignore + "(run / 'began').touch()\ntime.sleep(60)")
    handle = executor.start(tmp_path / "r.toml", tmp_path / "run", "cpu")
    until((tmp_path / "run" / "began").exists)
    assert handle.poll() is None
    handle.terminate()
    assert handle.poll() == -(signal.SIGTERM if obeys else signal.SIGKILL)


def test_a_killed_scheduler_loses_no_job(queue, filled, until):
    filled("a")
    code = (
        "import sys\nfrom pathlib import Path\n"
        "from bakehouse.queue import JobQueue, LocalExecutor, run_jobs\n"
        "class Sleep(LocalExecutor):\n"
        "    def command(self, recipe, run): return [sys.executable, '-c', 'import time; time.sleep(2)']\n"
        "list(run_jobs(JobQueue(Path(sys.argv[1])), executor=Sleep()))"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(queue.path)])
    until(lambda: queue.jobs()[0].state == "running")
    with pytest.raises(BakehouseError, match="running the queue"):
        list(run_jobs(queue))
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert queue.jobs()[0].state == "running"
    (lost,) = queue.requeue_orphans("auto")
    assert (lost.name, queue.jobs()[0].state) == ("a", "waiting")


def test_a_device_is_the_only_one_that_its_process_sees(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,7")
    assert environment("cuda:1")["CUDA_VISIBLE_DEVICES"] == "7"
    assert environment("cpu")["CUDA_VISIBLE_DEVICES"] == ""
    assert environment("auto")["CUDA_VISIBLE_DEVICES"] == "4,7"
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    assert environment("cuda:1")["CUDA_VISIBLE_DEVICES"] == "1"


@pytest.mark.parametrize("device", ["gpu", "cuda:x", "cpu:0", ""])
def test_unknown_devices_are_refused(device):
    with pytest.raises(UsageError, match=rf"unknown device '{device}'\n.*cuda:0"):
        LocalExecutor().check_device(device)
