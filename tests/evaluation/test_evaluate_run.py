import json
from itertools import pairwise

import pytest
from PIL import Image

from bakehouse.core.errors import UsageError
from bakehouse.core.events import Progress, Saved, Warned, result_of
from bakehouse.core.files import read_json
from bakehouse.evaluation import Evaluated, Report, Scored, checkpoints, evaluate

from .conftest import HERO, PLACES, square

LEARNING = ["0.1 0 0", "0.5 0 0", "0.9 0 0", "1 0.1 0.1", "1 0.5 0.4"]


def finish(work):
    events = []
    found = result_of(work, events.append)
    return events, found


def test_the_checkpoint_that_learned_without_harm_is_picked(new_run, scorer, generator):
    run = new_run(LEARNING)
    events, report = finish(evaluate(run, scorer=scorer, generator=generator))
    assert (report.pick.epoch, report.pick.strength) == (3, 1.0)
    assert report.verdict.outcome == "learned"
    assert report.subject_attributes == {"body": HERO[0], "hat": HERO[1]}
    assert report.picked.images == 24
    assert read_json(run.report / "pick.json")["weights"] == "weights/zwx-person-000003.safetensors"
    assert (run.report / "grid.png").is_file()
    last = events[-1]
    assert isinstance(last, Evaluated)
    assert last.why == report.pick.why


def test_progress_counts_every_image_once(new_run, scorer, generator):
    events, _ = finish(evaluate(new_run(LEARNING), scorer=scorer, generator=generator))
    counts = [e for e in events if isinstance(e, Progress)]
    assert counts[-1].done == counts[-1].total == generator.generated
    assert all(a.done <= b.done for a, b in pairwise(counts))
    assert len([e for e in events if isinstance(e, Scored)]) == 15 + 3


def test_few_images_first_then_more_for_the_best(new_run, scorer, generator):
    _, report = finish(evaluate(new_run(LEARNING), scorer=scorer, generator=generator, changes={"images": 12}))
    assert sorted({c.images for c in report.cells}) == [6, 12]
    assert len([c for c in report.cells if c.images == 12]) == 3


def test_a_second_run_generates_and_scores_nothing_again(new_run, scorer, generator):
    run = new_run(LEARNING[:3])
    _, first = finish(evaluate(run, scorer=scorer, generator=generator))
    before = (run.report / "scores.json").read_text()
    generated, scored = generator.generated, scorer.scored
    _, second = finish(evaluate(run, scorer=scorer, generator=generator))
    assert generator.generated == generated
    assert scorer.scored == scored
    assert (run.report / "scores.json").read_text() == before
    assert second == first


def test_a_run_that_was_evaluated_in_training_or_by_a_later_version_is_evaluated_again(new_run, scorer, generator):
    run = new_run(LEARNING[:2])
    run.append(Scored(epoch=1, weight=1.0, images=4, subject=0.1, prompt_kept=1.0, drift=0.0))
    with run.events.open("a") as f:
        f.write('{"event": "transcended", "time": 1.0, "step": "seven"}\n{"event": "step", "time": 1.0, "new": 1}\n')
    _, report = finish(evaluate(run, scorer=scorer, generator=generator))
    assert report.html_path.is_file() and len(report.cells) == 6


def test_cut_off_it_goes_on_where_it_was(new_run, scorer, generator):
    run = new_run(LEARNING[:3])
    generator.fail_after = 70
    with pytest.raises(RuntimeError, match="lights"):
        finish(evaluate(run, scorer=scorer, generator=generator))
    generator.fail_after = None
    events, _ = finish(evaluate(run, scorer=scorer, generator=generator))
    assert generator.generated == [e for e in events if isinstance(e, Progress)][-1].total


def test_a_damaged_image_is_generated_again_with_a_warning(new_run, scorer, generator):
    run = new_run(LEARNING[:2])
    finish(evaluate(run, scorer=scorer, generator=generator))
    kept = sorted((run.report / "cache" / "pictures").glob("*.webp"))
    whole, generated = {p: p.read_bytes() for p in kept}, generator.generated
    Image.new("RGB", (32, 32), "red").save(kept[0], format="WEBP")  # opens well, and is another image
    kept[1].write_bytes(whole[kept[1]][:-40])
    kept[2].unlink()
    events, _ = finish(evaluate(run, scorer=scorer, generator=generator))
    said = " ".join(e.message for e in events if isinstance(e, Warned) and "damaged" in e.message)
    assert [path.name in said for path in kept[:4]] == [True, True, False, False]
    assert generator.generated == generated + 3
    assert {p: p.read_bytes() for p in kept} == whole
    events, _ = finish(evaluate(run, scorer=scorer, generator=generator))
    assert not [e for e in events if isinstance(e, Warned) and "damaged" in e.message]


def test_other_settings_are_other_images(new_run, scorer, generator):
    run = new_run(["0.9 0 0"])
    finish(evaluate(run, scorer=scorer, generator=generator, changes={"images": 4, "weights": [1.0]}))
    generated = generator.generated
    finish(evaluate(run, scorer=scorer, generator=generator, changes={"images": 4, "weights": [1.0], "guidance": 5.0}))
    assert generator.generated == 2 * generated


def test_the_report_can_be_read_again(new_run, scorer, generator):
    run = new_run(LEARNING[:2])
    _, report = finish(evaluate(run, scorer=scorer, generator=generator, changes={"images": 8}))
    assert Report.load(run) == report
    assert report.image_path(report.picked, "subject", 0).is_file()
    assert report.image_path(None, "class", 0).is_file()
    assert report.image_path(None, "subject", 0) is None
    json.loads((run.report / "scores.json").read_text())


def test_not_evaluated_yet(new_run):
    with pytest.raises(UsageError, match="not evaluated yet"):
        Report.load(new_run(["1 0 0"]))


@pytest.mark.parametrize(
    ("learned", "word"),
    [
        (["0 0 0", "0 0 0"], "nothing changed"),
        (["0.1 0 0", "0.3 0 0"], "undertrained"),
        (["0.1 0 0", "0.5 0 0"], "not decided"),
        (["1 0.9 0.9", "1 1 1"], "overtrained"),
    ],
)
def test_verdicts(new_run, scorer, generator, learned, word):
    _, report = finish(evaluate(new_run(learned), scorer=scorer, generator=generator, changes={"weights": [1.0]}))
    assert report.verdict.outcome == word


def test_held_out_images_are_compared_with(new_run, scorer, generator, tmp_path):
    run = new_run(["0.9 0 0"])
    few = {"images": 4, "weights": [1.0]}
    events, report = finish(evaluate(run, scorer=scorer, generator=generator, changes=few))
    assert not report.held_out
    assert any(isinstance(e, Warned) and "held-out" in e.message for e in events)
    beside = tmp_path / "photos-holdout"
    beside.mkdir()
    for i, color in enumerate(PLACES.values()):
        square(*HERO, color).save(beside / f"{i}.png")
    events, report = finish(evaluate(run, scorer=scorer, generator=generator, changes=few))
    assert report.held_out
    assert not any(isinstance(e, Warned) for e in events)


def test_one_training_image_is_enough_to_go_on(new_run, scorer, generator, tmp_path):
    run = new_run(["0.9 0 0"])
    for path in list((tmp_path / "photos").glob("*.png"))[1:]:
        path.unlink()
    _, report = finish(evaluate(run, scorer=scorer, generator=generator, changes={"images": 4, "weights": [1.0]}))
    assert report.picked.fidelity.value > 0.5, "the attributes alone say it"
    assert Report.load(run).pick == report.pick


def test_an_example_names_its_own_attributes(new_run, scorer, generator, tmp_path):
    run = new_run(["0.9 0 0"])
    (tmp_path / "photos" / "example.json").write_text('{"attributes": {"hat": "orange"}}')
    _, report = finish(evaluate(run, scorer=scorer, generator=generator, changes={"images": 4, "weights": [1.0]}))
    assert report.subject_attributes == {"hat": "orange"}


def test_checkpoints_are_spread_and_the_last_is_among_them(new_run):
    run = new_run(["1 0 0"] * 8)
    assert [c.number for c in checkpoints(run, 5)] == [2, 3, 5, 6, 8]
    assert [c.number for c in checkpoints(run, 1)] == [8]
    assert [c.number for c in checkpoints(run, 99)] == [1, 2, 3, 4, 5, 6, 7, 8]


def test_a_run_that_saved_by_steps_is_evaluated_by_steps(new_run, scorer, generator):
    run = new_run(["0.9 0 0"])
    (run.weights / "zwx-person-step00000005.safetensors").write_text("0.2 0 0")
    run.append(Saved(step=5, epoch=1, path="weights/zwx-person-step00000005.safetensors"))
    assert [(c.number, c.unit) for c in checkpoints(run, 5)] == [(5, "step"), (10, "step")]
    _, report = finish(evaluate(run, scorer=scorer, generator=generator, changes={"images": 4, "weights": [1.0]}))
    assert report.pick.why.startswith("Step 10 at strength 1")
    assert "epoch" not in report.pick.why


def test_a_run_without_weights(new_run, scorer, generator):
    with pytest.raises(UsageError, match="no weights"):
        finish(evaluate(new_run([]), scorer=scorer, generator=generator))


def test_a_concept_that_is_not_there(new_run, scorer, generator):
    with pytest.raises(UsageError, match="concept = 1: the recipe has 1"):
        finish(evaluate(new_run(["1 0 0"]), scorer=scorer, generator=generator, concept=1))


def test_the_room_is_cheap_to_enter():
    import subprocess
    import sys

    code = "import sys, bakehouse.evaluation as e; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_images_of_another_prediction_are_other_images():
    from bakehouse.evaluation.image_cache import AdapterVariant, PipelineImageGenerator
    from bakehouse.generation import ModelSource

    said = ({}, {"prediction": "v_prediction"}, {"prediction": "v_prediction", "zero_terminal_snr": True}, {"vae": "x"})
    keys = {PipelineImageGenerator(ModelSource("crumb", **more)).key(AdapterVariant()) for more in said}
    assert len(keys) == len(said)
