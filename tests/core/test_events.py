import json

import pytest

from bakehouse.core.events import Event, Failed, Saved, Step
from bakehouse.core.run_folder import EventReader, Run

STEP = Step(
    step=3, epoch=1, loss=0.5, subject_loss=0.4, prior_loss=None, rates={"unet": 1e-4}, images_per_s=2.0, memory=7
)


@pytest.mark.parametrize(
    "torn", [b'{"event": "st', b'{"event": "st\n', b"\xff\xfe\x00junk", b"[1]\n", b"\n\n", b"9" * 50]
)
def test_events_survive_the_file_and_a_line_that_is_torn_or_junk(tmp_path, torn):
    run = Run(tmp_path)
    run.append(STEP)
    with run.events.open("ab") as f:
        f.write(torn)
    assert list(run.history()) == [STEP]
    run.append(STEP)
    assert list(run.history()) == [STEP, STEP], "what comes after it is read again"
    damaged = run.rewind(3)
    assert damaged == (0 if not torn.strip() else 1)
    assert list(run.history()) == [STEP, STEP]


def test_events_of_a_later_version_are_read():
    event = Event.from_json({"event": "failed", "time": 1.0, "step": 2, "error": "x", "last_good": None, "new": 1})
    assert event == Failed(time=1.0, step=2, error="x", last_good=None)


@pytest.mark.parametrize(
    "line",
    [
        {"event": "of_a_room_that_is_not_loaded", "step": 3, "time": 1.0},
        {"event": "saved", "step": 3, "time": 1.0},
        {"event": "saved", "step": 3, "epoch": 1, "path": None, "time": 1.0},
        {"event": ["saved"]},
    ],
)
def test_what_no_reader_knows_is_passed_over_and_kept(tmp_path, line):
    run = Run(tmp_path)
    saved = Saved(step=3, epoch=1, path="weights/a.safetensors")
    run.append(saved)
    with run.events.open("a") as f:
        f.write(json.dumps(line) + "\n")
    assert list(run.history()) == [saved]
    run.rewind(3)
    kept = [json.loads(text) for text in run.events.read_text().splitlines()]
    assert kept[1:] == ([line] if isinstance(line["event"], str) else [])
    run.rewind(2)
    assert run.events.read_text() == ""


def test_rewind_keeps_what_was_before(tmp_path):
    run = Run(tmp_path)
    for n in range(5):
        run.append(Failed(step=n, error="", last_good=None))
    run.rewind(2)
    assert [e.step for e in run.history()] == [0, 1, 2]


def test_what_a_kill_left_behind_is_swept_away(tmp_path):
    run = Run(tmp_path)
    (run.weights / ".a.safetensors.x1.part").parent.mkdir()
    (run.weights / ".a.safetensors.x1.part").write_bytes(b"")
    (run.states / ".step-00000003.part").mkdir(parents=True)
    (run.weights / "a.safetensors").write_bytes(b"whole")
    run.remove_partial_files()
    assert sorted(p.name for p in tmp_path.rglob("*") if p.is_file()) == ["a.safetensors"]
    assert list(run.states.iterdir()) == []


def test_new_events_are_read_while_the_file_grows_and_is_rewound(tmp_path):
    run = Run(tmp_path)
    reader = EventReader(run)

    def failed(*steps: int) -> None:
        for n in steps:
            run.append(Failed(step=n, error="", last_good=None))

    def new() -> list[int]:
        return [e.step for e in reader.read_new()]

    assert new() == []
    failed(0, 1)
    assert new() == [0, 1]
    failed(2, 3, 4)
    with run.events.open("ab") as f:
        f.write(b'{"event": "fai')
    assert new() == [2, 3, 4]
    assert new() == []
    run.rewind(1)
    failed(2)
    assert new() == [2], "lines that were kept are not read twice"
    run.rewind(1)
    failed(2, 3)
    assert new() == [2, 3]
