"""The queue: order, stops, restarts; and one that really trains."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from bakehouse.core.errors import BakehouseError, UsageError
from bakehouse.queue import scheduler
from bakehouse.queue.job_queue import JobQueue, default_path
from bakehouse.queue.scheduler import JobChanged, environment, work


@pytest.fixture
def queue(tmp_path: Path) -> JobQueue:
    return JobQueue(tmp_path / "queue.db")


def filled(queue: JobQueue, *names: str) -> list[int]:
    return [queue.add(name, f"# {name}\n", queue.path.parent / name).id for name in names]


def waiting(queue: JobQueue) -> list[str]:
    return [j.name for j in queue.jobs() if j.state == "waiting"]


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch):
    """Lets every job's process run this Python code; `run` and `recipe` are its arguments."""

    def use(code: str) -> None:
        head = "import sys, time, pathlib; recipe, run = map(pathlib.Path, sys.argv[1:])\nrun.mkdir(exist_ok=True)\n"
        monkeypatch.setattr(
            scheduler, "command", lambda recipe, run: [sys.executable, "-c", head + code, str(recipe), str(run)]
        )

    return use


def until(true, seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)


def test_jobs_run_in_their_order_and_a_failure_stops_nobody(queue, script):
    script("text = recipe.read_text(); (run / '../order').open('a').write(text); sys.exit('no' if 'b' in text else 0)")
    filled(queue, "a", "b", "c")
    events = [(e.name, e.state) for e in work(queue) if isinstance(e, JobChanged)]
    assert events == [
        ("a", "running"),
        ("a", "done"),
        ("b", "running"),
        ("b", "failed"),
        ("c", "running"),
        ("c", "done"),
    ]
    assert (queue.path.parent / "order").read_text() == "# a\n# b\n# c\n"
    assert queue.jobs()[1].error == "no"


def test_move_changes_the_order_of_those_that_wait(queue):
    _, b, c = filled(queue, "a", "b", "c")
    queue.move(c, 1)
    assert waiting(queue) == ["c", "a", "b"]
    queue.move(c, 99)
    queue.move(b, 2)
    assert waiting(queue) == ["a", "b", "c"]
    queue.stop(b)
    queue.move(c, 1)
    queue.resume(b)
    assert waiting(queue)[0] == "c"


def test_two_workers_never_get_the_same_job(queue):
    filled(queue, *(f"job{i}" for i in range(30)))
    taken: list[int] = []

    def take() -> None:
        while (job := JobQueue(queue.path).take("cpu")) is not None:
            taken.append(job.id)

    threads = [threading.Thread(target=take) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert sorted(taken) == list(range(1, 31))


def test_a_running_job_stops_when_asked_and_goes_on_later(queue, script):
    script("(run / 'began').touch()\nwhile not (run / 'go').exists(): time.sleep(0.02)")
    a, b = filled(queue, "a", "b")
    folder = queue.path.parent / "a"
    thread = threading.Thread(target=lambda: list(work(queue)))
    thread.start()
    until((folder / "began").exists)
    (queue.path.parent / "b").mkdir()
    (queue.path.parent / "b" / "go").touch()
    assert queue.stop(a).halt
    thread.join(20)
    assert [(j.name, j.state) for j in queue.jobs()] == [("a", "stopped"), ("b", "done")]
    (folder / "go").touch()
    queue.resume(a)
    list(work(queue))
    assert queue.job(a).state == "done"
    assert queue.job(b).state == "done"


def test_a_killed_worker_loses_no_job(queue, tmp_path):
    filled(queue, "a")
    code = (
        "import sys\nfrom pathlib import Path\n"
        "from bakehouse.queue import scheduler\nfrom bakehouse.queue.job_queue import JobQueue\n"
        "scheduler.command = lambda recipe, run: [sys.executable, '-c', 'import time; time.sleep(2)']\n"
        "list(scheduler.work(JobQueue(Path(sys.argv[1]))))"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(queue.path)])
    until(lambda: queue.jobs()[0].state == "running")
    with pytest.raises(BakehouseError, match="queue"):
        list(work(queue))
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert queue.jobs()[0].state == "running"
    (lost,) = queue.reclaim("auto")
    assert lost.name == "a"
    assert waiting(queue) == ["a"]


def test_two_devices_work_side_by_side(queue, script):
    script("(run / '../' / (run.name + '-on')).touch()\nwhile len(list(run.parent.glob('*-on'))) < 2: time.sleep(0.02)")
    filled(queue, "a", "b")
    list(work(queue, ["cuda:0", "cuda:1"]))
    assert {(j.state, j.device) for j in queue.jobs()} == {("done", "cuda:0"), ("done", "cuda:1")}


def test_a_device_is_what_its_process_sees(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,7")
    assert environment("cuda:1")["CUDA_VISIBLE_DEVICES"] == "7"
    assert environment("cpu")["CUDA_VISIBLE_DEVICES"] == ""
    assert environment("auto")["CUDA_VISIBLE_DEVICES"] == "4,7"
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    assert environment("cuda:1")["CUDA_VISIBLE_DEVICES"] == "1"


@pytest.mark.parametrize(("devices", "says"), [(["gpu"], "'gpu' is no device"), (["cpu", "cpu"], "named twice")])
def test_devices_are_checked(queue, devices, says):
    with pytest.raises(UsageError, match=says):
        list(work(queue, devices))


def test_what_cannot_be_done_is_said(queue):
    (a,) = filled(queue, "a")
    with pytest.raises(UsageError, match="no job 7"):
        queue.stop(7)
    with pytest.raises(UsageError, match="has the run folder"):
        queue.add("again", "", queue.path.parent / "a")
    queue.take("cpu")
    with pytest.raises(UsageError, match="is running"):
        queue.remove(a)
    with pytest.raises(UsageError, match="is running; this is for jobs that are waiting"):
        queue.move(a, 1)
    queue.end(a, "done")
    with pytest.raises(UsageError, match="is done"):
        queue.resume(a)
    queue.remove(a)
    assert queue.jobs() == []
    queue.path.write_text("no database, but a long enough text to be read as one" * 20)
    with pytest.raises(BakehouseError, match="cannot be used"):
        queue.jobs()


def test_a_recipe_that_was_damaged_in_the_queue_is_not_trained(queue, script):
    script("(run / 'began').touch()")
    first, second = filled(queue, "a", "b")
    data = queue.path.read_bytes()
    queue.path.write_bytes(data.replace(b"# a\n", b"# \xff\n"))
    failed, done = [e for e in work(queue) if isinstance(e, JobChanged) and e.state != "running"]
    assert (failed.job, failed.state, done.job, done.state) == (first, "failed", second, "done")
    assert "its recipe in" in failed.error and "add it again" in failed.error
    assert not (queue.path.parent / "a" / "began").exists()


def test_a_queue_of_an_earlier_version_is_read(queue, script):
    script("")
    filled(queue, "a")
    with sqlite3.connect(queue.path) as db:
        db.execute("ALTER TABLE jobs DROP COLUMN recipe_sha256")
    db.close()
    assert [e.state for e in work(queue) if isinstance(e, JobChanged)] == ["running", "done"]
    filled(queue, "b")
    assert [j.is_whole for j in queue.jobs()] == [True, True]


def test_the_queue_lives_where_the_user_says(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    monkeypatch.delenv("BAKEHOUSE_QUEUE", raising=False)
    assert default_path() == tmp_path / "bakehouse" / "queue.db"
    monkeypatch.setenv("BAKEHOUSE_QUEUE", str(tmp_path / "mine.db"))
    assert default_path() == tmp_path / "mine.db"
