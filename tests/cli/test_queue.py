"""`bakehouse queue`: what the user types and reads. No job is run here."""

from __future__ import annotations

import json

import pytest
from PIL import Image

from bakehouse.cli.main import main
from bakehouse.core.events import Started
from bakehouse.core.run_folder import Run
from bakehouse.evaluation import Scored
from bakehouse.queue.job_queue import JobQueue
from bakehouse.recipe import Recipe, recipe_for_folder, recipe_to_toml


@pytest.fixture
def said(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BAKEHOUSE_QUEUE", str(tmp_path / "queue.db"))
    photos = tmp_path / "photos"
    photos.mkdir()
    for i in range(3):
        Image.new("RGB", (128, 128), (80 * i, 0, 0)).save(photos / f"{i}.png")

    def say(*words: str, code: int = 0) -> tuple[str, str]:
        with pytest.raises(SystemExit) as e:
            main(["queue", *words])
        out, err = capsys.readouterr()
        assert (e.value.code or 0) == code, err
        return out, err

    return say


def test_a_folder_waits_with_the_recipe_it_had(said, tmp_path):
    out, _ = said("add", "photos", "--subject", "zwx person", "--set", "train.steps=7")
    assert out == f"added job 1 (zwx-person): 7 steps, run folder {tmp_path / 'runs' / 'zwx-person'}\n"
    (job,) = JobQueue(tmp_path / "queue.db").jobs()
    (tmp_path / "kept.toml").write_text(job.recipe)
    recipe = Recipe.load(tmp_path / "kept.toml")
    assert recipe.train.steps == 7
    assert recipe.concepts[0].folder == tmp_path / "photos"


def test_what_cannot_be_trained_does_not_wait(said):
    _, err = said("add", "photos", "--subject", "zwx person", "--set", "train.batch=0", code=2)
    assert "train.batch" in err
    _, err = said("list")
    assert "the queue is empty" in err


def test_the_list_tells_how_far_a_job_is(said, tmp_path):
    said("add", "photos", "--subject", "zwx person")
    run = Run(tmp_path / "runs" / "zwx-person")
    run.folder.mkdir(parents=True)
    run.append(Started(run="r", step=5, steps=40, epochs=2, device="cpu"))
    out, _ = said("list")
    assert "zwx-person" in out
    assert "waiting" in out
    assert "5/40" in out
    (row,) = json.loads(said("list", "--json")[0])
    assert (row["id"], row["state"], row["step"], row["steps"]) == (1, "waiting", 5, 40)


def test_events_of_judging_and_of_a_later_version_are_passed_over(said, tmp_path):
    said("add", "photos", "--subject", "zwx person")
    run = Run(tmp_path / "runs" / "zwx-person")
    run.folder.mkdir(parents=True)
    run.append(Started(run="r", step=5, steps=40, epochs=2, device="cpu"))
    run.append(Scored(epoch=1, weight=1.0, images=4, subject=0.1, prompt_kept=1.0, drift=0.0))
    with run.events.open("a") as f:
        f.write('{"event": "transcended", "time": 1.0, "step": "seven", "level": [1]}\n')
        f.write('{"event": "scored", "time": 1.0, "new": 1}\n')
        f.write('{"event": "step", "time": 1.0, "step": 6, "steps": 40, "new": {}}\n')
    out, _ = said("list")
    assert "/40" in out and "zwx-person" in out


def test_a_run_folder_that_is_queued_goes_on_in_itself(said, tmp_path):
    run = Run(tmp_path / "elsewhere" / "mine")
    run.folder.mkdir(parents=True)
    recipe = recipe_for_folder(tmp_path / "photos", "zwx person", settings={"train.steps": 3})
    run.recipe.write_text(recipe_to_toml(recipe))
    run.plan.write_text("{}")
    out, _ = said("add", str(run.folder))
    assert f"run folder {run.folder}" in out
    out, _ = said("add", str(run.recipe), "--run", "other")
    assert f"run folder {tmp_path / 'other'}" in out


def test_a_job_whose_history_nobody_can_read_is_one_line_of_the_list(said, tmp_path):
    """One written by packages that are not loaded here, one torn, one that is no text."""
    lines = [
        b'{"event": "scored_by_another_version", "step": 3, "drift": {"a": 1}}\n',
        b'{"event": "step", "step": 4\n',
        b"\xff\x00\n" * 3,
    ]
    for number, line in enumerate(lines):
        said("add", "photos", "--subject", f"{'abc'[number]} person")
        run = Run(tmp_path / "runs" / f"{'abc'[number]}-person")
        run.folder.mkdir(parents=True)
        run.append(Started(run="r", step=5 + number, steps=40, epochs=2, device="cpu"))
        with run.events.open("ab") as f:
            f.write(line)
    out, _ = said("list")
    assert [f"{5 + number}/40" in out for number in range(3)] == [True] * 3
    assert [row["step"] for row in json.loads(said("list", "--json")[0])] == [5, 6, 7]


def test_jobs_are_held_back_moved_and_removed(said):
    for name in ("a", "b"):
        said("add", "photos", "--subject", f"{name} person")
    assert said("move", "2", "1")[0] == "job 2 (b-person) is at position 1\n"
    assert said("stop", "2")[0] == "job 2 (b-person): stopped; resume it with: bakehouse queue resume 2\n"
    assert said("resume", "2")[0] == "job 2 (b-person) is waiting\n"
    assert said("remove", "1")[0] == "removed job 1 from the queue\n"
    assert "its jobs: 2" in said("stop", "1", code=2)[1]
