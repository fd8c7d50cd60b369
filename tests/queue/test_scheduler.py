"""The scheduler with an executor that has no processes: order, failures, cancelling, stopping, events."""

from __future__ import annotations

import threading

import pytest

from bakehouse.core.errors import BakehouseError, UsageError
from bakehouse.core.events import Failed, Warned
from bakehouse.core.run_folder import Run
from bakehouse.queue.follow_events import follow_events
from bakehouse.queue.job_queue import JobQueue
from bakehouse.queue.scheduler import JobChanged, run_jobs
from tests.queue.fake_executor import FakeExecutor


def succeed(recipe, run, stop):
    return 0


def until_stopped(recipe, run, stop):
    """Runs until it is stopped, or until its run folder holds a file `go`."""
    (run / "began").touch()
    while not stop.wait(0.01):
        if (run / "go").exists():
            return 0
    return 1


@pytest.fixture
def background(queue):
    """Runs the queue in a thread; gives the list of its events, the event that stops it, and the thread."""
    threads = []

    def start(executor, devices=("auto",), **options):
        events, stop = [], threading.Event()
        work = run_jobs(queue, devices, executor=executor, stop=stop, **options)
        thread = threading.Thread(target=lambda: events.extend(work))
        threads.append((thread, stop))
        thread.start()
        return events, stop, thread

    yield start
    for thread, stop in threads:
        stop.set()
        thread.join(20)


def states(queue):
    return {j.name: j.state for j in queue.jobs()}


def test_jobs_run_in_order_and_a_failed_one_stops_no_other(queue, filled):
    order = []

    def train(recipe, run, stop):
        order.append(recipe.read_text())
        return 3 if "b" in order[-1] else 0

    filled("a", "b", "c")
    executor = FakeExecutor(train, log="Traceback\n\nno GPU\n")
    events = [(e.name, e.state) for e in run_jobs(queue, executor=executor) if isinstance(e, JobChanged)]
    assert events == [
        ("a", "running"),
        ("a", "done"),
        ("b", "running"),
        ("b", "failed"),
        ("c", "running"),
        ("c", "done"),
    ]
    assert order == ["# a\n", "# b\n", "# c\n"]
    assert queue.jobs()[1].error == "Traceback\nno GPU"


@pytest.mark.parametrize(("code", "error"), [(3, "ended with exit code 3"), (-9, "killed by signal 9")])
def test_a_failure_without_a_log_names_the_exit_code(queue, filled, code, error):
    filled("a")
    list(run_jobs(queue, executor=FakeExecutor(lambda *_: code)))
    assert queue.jobs()[0].error == error


def test_a_job_that_cannot_be_started_fails_with_the_reason(queue, filled):
    class Broken(FakeExecutor):
        def start(self, recipe, run, device):
            if run.name == "a":
                raise BakehouseError("the cluster is down")
            return super().start(recipe, run, device)

    filled("a", "b")
    list(run_jobs(queue, executor=Broken(succeed)))
    assert [(j.state, j.error) for j in queue.jobs()] == [("failed", "the cluster is down"), ("done", "")]


def test_a_running_job_is_cancelled_and_resumed(queue, filled, until, background):
    a, b = filled("a", "b")
    (queue.path.parent / "b").mkdir()
    (queue.path.parent / "b" / "go").touch()
    _, _, thread = background(FakeExecutor(until_stopped))
    until((queue.path.parent / "a" / "began").exists)
    assert queue.stop(a).halt
    thread.join(20)
    assert states(queue) == {"a": "stopped", "b": "done"}
    (queue.path.parent / "a" / "go").touch()
    queue.resume(a)
    list(run_jobs(queue, executor=FakeExecutor(until_stopped)))
    assert [queue.job(i).state for i in (a, b)] == ["done", "done"]


def test_a_scheduler_that_stops_ends_its_jobs_and_they_wait_again(queue, filled, until, background):
    filled("a", "b")
    events, stop, thread = background(FakeExecutor(until_stopped), watch=True)
    until((queue.path.parent / "a" / "began").exists)
    stop.set()
    thread.join(20)
    assert not thread.is_alive()
    assert states(queue) == {"a": "waiting", "b": "waiting"}
    assert [e.state for e in events] == ["running", "waiting"]


def test_a_closed_generator_ends_its_jobs(queue, filled):
    filled("a")
    work = run_jobs(queue, executor=FakeExecutor(until_stopped))
    assert next(work).state == "running"
    work.close()
    assert states(queue) == {"a": "waiting"}


def test_with_watch_a_job_that_is_added_later_is_run(queue, filled, until, background):
    background(FakeExecutor(succeed), watch=True)
    until(lambda: (queue.path.with_name("queue.jobs") / "auto").is_dir())
    filled("late")
    until(lambda: states(queue) == {"late": "done"})


def test_two_devices_run_two_jobs_at_a_time(queue, filled):
    both = threading.Barrier(2, timeout=20)
    filled("a", "b")
    executor = FakeExecutor(lambda *_: min(0, both.wait()))
    list(run_jobs(queue, ["cuda:0", "cuda:1"], executor=executor))
    assert {(j.state, j.device) for j in queue.jobs()} == {("done", "cuda:0"), ("done", "cuda:1")}
    assert sorted(device for _, device in executor.started) == ["cuda:0", "cuda:1"]


def test_a_device_has_one_scheduler_at_a_time(queue, filled, until, background):
    filled("a")
    background(FakeExecutor(until_stopped))
    until((queue.path.parent / "a" / "began").exists)
    with pytest.raises(BakehouseError, match="running the queue"):
        list(run_jobs(queue, executor=FakeExecutor(succeed)))


@pytest.mark.parametrize(("devices", "message"), [(["gpu"], "device 'gpu'"), (["cpu", "cpu"], "named twice")])
def test_devices_are_checked(queue, devices, message):
    with pytest.raises(UsageError, match=message):
        list(run_jobs(queue, devices, executor=FakeExecutor(succeed)))


def test_interrupted_jobs_are_resumed(queue, filled):
    filled("a")
    queue.claim_next("auto")
    first, *rest = run_jobs(queue, executor=FakeExecutor(succeed))
    assert isinstance(first, Warned) and "job 1 (a) was interrupted" in first.message
    assert [e.state for e in rest] == ["running", "done"]


def test_a_recipe_that_was_damaged_in_the_queue_is_not_trained(queue, filled):
    first, second = filled("a", "b")
    data = queue.path.read_bytes()
    queue.path.write_bytes(data.replace(b"# a\n", b"# \xff\n"))
    executor = FakeExecutor(succeed)
    failed, done = [e for e in run_jobs(queue, executor=executor) if e.state != "running"]
    assert (failed.job, failed.state, done.job, done.state) == (first, "failed", second, "done")
    assert "the recipe stored in" in failed.error and "add it again" in failed.error
    assert [name for name, _ in executor.started] == ["b"]


def test_an_error_of_the_queue_itself_reaches_the_caller(queue, filled, monkeypatch):
    filled("a")
    real = JobQueue.finish

    def fail(self, job, *args):
        real(self, job, "waiting")
        raise BakehouseError("the disk is full")

    monkeypatch.setattr(JobQueue, "finish", fail)
    with pytest.raises(BakehouseError, match="disk is full"):
        list(run_jobs(queue, executor=FakeExecutor(succeed)))


def test_the_events_of_a_job_are_followed_to_its_end(queue, filled, background):
    step = threading.Semaphore(0)

    def train(recipe, run, stop):
        for n in range(4):
            assert step.acquire(timeout=20)
            Run(run).append(Failed(step=n, error="", last_good=None))
        return 0

    (a,) = filled("a")
    background(FakeExecutor(train))
    steps = []
    step.release()
    for event in follow_events(queue, a, poll_seconds=0.01):
        steps.append(event.step)
        step.release()  # the next event is written only after this one was read
    assert steps == [0, 1, 2, 3]
    assert [e.step for e in follow_events(queue, a)] == [0, 1, 2, 3], "of a job that has ended, what there is"
