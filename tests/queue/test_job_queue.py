"""The queue's file: order, claims, cancelling, damage."""

from __future__ import annotations

import sqlite3
import threading

import pytest

from bakehouse.core.errors import BakehouseError, UsageError
from bakehouse.queue.job_queue import JobQueue, default_path


def waiting(queue: JobQueue) -> list[str]:
    return [j.name for j in queue.jobs() if j.state == "waiting"]


def test_move_changes_the_order_of_the_waiting_jobs(queue, filled):
    _, b, c = filled("a", "b", "c")
    queue.move(c, 1)
    assert waiting(queue) == ["c", "a", "b"]
    queue.move(c, 99)
    queue.move(b, 2)
    assert waiting(queue) == ["a", "b", "c"]
    queue.stop(b)
    queue.move(c, 1)
    queue.resume(b)
    assert waiting(queue)[0] == "c"


def test_two_schedulers_never_claim_the_same_job(queue, filled):
    filled(*(f"job{i}" for i in range(30)))
    claimed: list[int] = []

    def claim() -> None:
        while (job := JobQueue(queue.path).claim_next("cpu")) is not None:
            claimed.append(job.id)

    threads = [threading.Thread(target=claim) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert sorted(claimed) == list(range(1, 31))


def test_orphans_wait_again_and_cancelled_ones_stay_stopped(queue, filled):
    a, b, c = filled("a", "b", "c")
    queue.claim_next("cpu")
    queue.claim_next("cpu")
    queue.claim_next("cuda:0")
    queue.stop(b)
    assert [j.name for j in queue.requeue_orphans("cpu")] == ["a", "b"]
    assert [queue.job(i).state for i in (a, b, c)] == ["waiting", "stopped", "running"]


def test_errors_name_the_job_its_state_and_what_is_allowed(queue, filled):
    (a,) = filled("a")
    with pytest.raises(UsageError, match=r"no job 7\n.*its jobs: 1"):
        queue.stop(7)
    with pytest.raises(UsageError, match=r"run folder .*a belongs to job 1 \(waiting\)"):
        queue.add("again", "", queue.path.parent / "a")
    queue.claim_next("cpu")
    with pytest.raises(UsageError, match="is running"):
        queue.remove(a)
    with pytest.raises(UsageError, match="is running; it must be waiting"):
        queue.move(a, 1)
    queue.finish(a, "done")
    with pytest.raises(UsageError, match="is done"):
        queue.resume(a)
    queue.remove(a)
    assert queue.jobs() == []
    queue.path.write_text("no database, but a long enough text to be read as one" * 20)
    with pytest.raises(BakehouseError, match="cannot be used"):
        queue.jobs()


def test_a_queue_of_an_earlier_version_is_read(queue, filled):
    filled("a")
    with sqlite3.connect(queue.path) as db:
        db.execute("ALTER TABLE jobs DROP COLUMN recipe_sha256")
    db.close()
    assert [(j.name, j.recipe) for j in queue.jobs()] == [("a", "# a\n")]
    filled("b")
    assert [j.is_intact for j in queue.jobs()] == [True, True]


def test_the_queue_is_kept_where_the_user_says(monkeypatch, tmp_path):
    monkeypatch.setenv("BAKEHOUSE_DATA", str(tmp_path))
    monkeypatch.delenv("BAKEHOUSE_QUEUE", raising=False)
    assert default_path() == tmp_path / "queue.db"
    monkeypatch.setenv("BAKEHOUSE_QUEUE", str(tmp_path / "mine.db"))
    assert default_path() == tmp_path / "mine.db"
