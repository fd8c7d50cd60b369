from bakehouse.core.events import Event, Failed, Step
from bakehouse.core.run import Run


def test_events_survive_the_file_and_a_line_cut_off_by_a_kill(tmp_path):
    run = Run(tmp_path)
    step = Step(
        step=3, epoch=1, loss=0.5, subject_loss=0.4, prior_loss=None, rates={"unet": 1e-4}, images_per_s=2.0, memory=7
    )
    run.append(step)
    with run.events.open("a") as f:
        f.write('{"event": "st')
    assert list(run.history()) == [step]


def test_events_of_a_later_version_are_read():
    event = Event.from_json({"event": "failed", "time": 1.0, "step": 2, "error": "x", "last_good": None, "new": 1})
    assert event == Failed(time=1.0, step=2, error="x", last_good=None)


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
    (run.checkpoints / ".step-00000003.part").mkdir(parents=True)
    (run.weights / "a.safetensors").write_bytes(b"whole")
    run.sweep()
    assert sorted(p.name for p in tmp_path.rglob("*") if p.is_file()) == ["a.safetensors"]
    assert list(run.checkpoints.iterdir()) == []
