"""A training that the queue stops saves its step; the queue goes on from it."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path

import pytest

import bakehouse
from bakehouse.core.events import Finished, Started, Step
from bakehouse.core.run_folder import Run
from bakehouse.queue import LocalExecutor, run_jobs
from bakehouse.recipe import recipe_for_folder, recipe_to_toml

EXAMPLES = Path(bakehouse.__file__).parent / "assets" / "examples" / "mira"


@pytest.fixture
def job(queue, tmp_path, monkeypatch) -> int:
    """Two images for crumb; no state is due before the end."""
    monkeypatch.setenv("BAKEHOUSE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    photos = tmp_path / "photos"
    photos.mkdir()
    for name in ("01.png", "01.txt", "02.png", "02.txt"):
        shutil.copy(EXAMPLES / name, photos)
    settings = {
        "train.steps": 12, "train.batch": 1, "concepts.0.repeats": 50, "prior.source": "none", "sample.prompts": [],
        "adapter.rank": 2, "save.state_every_seconds": 3600, "optimizer.lr": 1e-3,
    }  # fmt: skip
    recipe = recipe_for_folder(photos, "zwx person", settings=settings)
    return queue.add("me", recipe_to_toml(recipe), tmp_path / "run").id


def test_a_stopped_training_is_resumed_where_it_was(queue, job, tmp_path, until):
    def history(kind):
        return [event for event in run.history() if isinstance(event, kind)]

    run = Run(tmp_path / "run")
    work = threading.Thread(target=lambda: list(run_jobs(queue, executor=LocalExecutor())))
    work.start()
    until(lambda: history(Step), 300)
    queue.stop(job)
    work.join(300)
    assert queue.job(job).state == "stopped"
    stopped = history(Step)[-1].step
    assert stopped < 12
    assert [path.name for path in run.states.iterdir()] == [f"step-{stopped:08d}"]
    log = (queue.path.with_name("queue.jobs") / f"{job:05d}.log").read_text()
    assert "stopped; run the same command again to resume" in log

    queue.resume(job)
    list(run_jobs(queue, executor=LocalExecutor()))
    assert (queue.job(job).state, queue.job(job).error) == ("done", "")
    assert [event.step for event in history(Started)] == [0, stopped]
    assert [event.step for event in history(Step)] == list(range(1, 13))
    assert history(Finished)
