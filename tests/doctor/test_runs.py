"""Each problem of a training is made on purpose and named; a healthy run is called healthy."""

from __future__ import annotations

import math
import shlex

import pytest

from bakehouse.cli.main import main
from bakehouse.core.files import read_checked, write_checked
from bakehouse.doctor import CHECKS, Limits
from bakehouse.recipe import Recipe, make_plan
from tests.doctor.conftest import found, look


def only(report, check: str):
    (finding,) = [f for f in report.findings if f.id == check]
    return finding


def settings_of(command: str) -> dict[str, str]:
    """The --set options of a command."""
    words = shlex.split(command)
    return dict(words[i + 1].split("=", 1) for i, word in enumerate(words) if word == "--set")


def test_a_healthy_run_is_called_healthy_with_its_figures(new_run):
    run = new_run()
    report = look(run)
    assert report.is_healthy and report.problems == ()
    assert report.exit_code(strict=True) == 0
    plan = make_plan(Recipe.load(run.recipe))
    assert only(report, "C01").why == f"all {plan.steps:,} losses are finite"
    assert only(report, "C02").why == f"finished after {plan.steps:,} steps"
    assert only(report, "C03").why == "optimizer.lr = 0.0001, the plan's for adamw is 0.0001"
    assert only(report, "C04").why == "loss of the subject 0.2 in the first 120 steps, 0.12 in the last"
    assert only(report, "C06").why == "'zwx' is in the captions of 8 of 8 images"
    # What only images tell is not called healthy: the command that makes them is named.
    assert {"D01", "D02", "D03", "D04", "D05", "D06"} <= report.skipped.keys()
    assert f"bakehouse evaluate {run.folder}" in report.skipped["D01"]


NOT_A_NUMBER = "step 37: the loss is not a number: the network overflows: optimizer.lr = 0.003 is too high"


def test_a_loss_that_is_not_a_number(new_run):
    report = look(new_run(stop_at=37, failure=NOT_A_NUMBER, settings={"optimizer.lr": 3e-3, "optimizer.text_lr": 3e-3}))
    finding = only(report, "C01")
    assert finding.result == "error" and report.exit_code() == 1
    assert finding.why.startswith("step 37 of 600: step 37: the loss is not a number") and "last losses" in finding.why
    assert settings_of(finding.fix) == {"optimizer.lr": "0.001", "optimizer.text_lr": "0.001"}
    assert found(report, "C02") == {}


def test_a_loss_of_nan_in_the_events(new_run):
    report = look(new_run(losses=lambda i, steps: math.nan if i > 30 else 0.1, stop_at=40))
    assert "10 of 40 losses are NaN or infinite, first at step 31" in only(report, "C01").why


def test_half_precision_is_named_where_it_is_the_cause(new_run):
    failure = "step 3: the loss is not a number: the network overflows in this precision: set train.precision = 'bf16'"
    finding = only(look(new_run(stop_at=3, failure=failure)), "C01")
    assert settings_of(finding.fix) == {"train.precision": "fp32"}


def test_a_training_that_was_cut_off_or_failed(new_run):
    run = new_run(stop_at=250)
    finding = only(look(run), "C02")
    assert (finding.result, finding.why) == ("warning", "step 250 of 600, and not finished")
    assert finding.fix == f"bakehouse train {run.folder}/recipe.toml"


def test_a_failure_is_told_with_its_cause(new_run):
    finding = only(look(new_run(stop_at=250, failure="no space left on the disk")), "C02")
    assert finding.result == "error"
    assert finding.why == "it failed after step 250 of 600: no space left on the disk"


@pytest.mark.parametrize(("lr", "key"), [(4.1e-4, "high"), (2.4e-5, "low"), (3.9e-4, ""), (2.6e-5, "")])
def test_a_learning_rate_far_off(new_run, lr, key):
    finding = only(look(new_run(settings={"optimizer.lr": lr})), "C03")
    assert finding.key == key and finding.result == ("warning" if key else "healthy")
    assert f"optimizer.lr = {lr:g}, the plan's for adamw is 0.0001" in finding.why
    if key:
        assert settings_of(finding.fix) == {"optimizer.lr": "0.0001"}


def test_a_loss_that_rises(new_run):
    finding = only(look(new_run(losses=lambda i, steps: 0.1 + 0.1 * i / steps + 0.01 * (i % 3))), "C04")
    assert finding.result == "warning" and "higher" in finding.why and finding.heuristic
    assert settings_of(finding.fix)["optimizer.lr"] == "5e-05"


def test_a_noisy_loss_is_no_rise(new_run):
    finding = only(look(new_run(losses=lambda i, steps: 0.1 + 3 * (i % 7 == 0) + 0.03 * (i > steps / 2))), "C04")
    assert finding.result == "healthy"


def test_too_few_images_shown(new_run):
    report = look(new_run(settings={"train.epochs": 2}))
    finding = only(report, "C05")
    assert (finding.result, finding.key) == ("warning", "few")
    assert finding.why == "1,200 images shown, the plan of these 8 images shows 4,800: 25 % of it"
    assert settings_of(finding.fix) == {"train.epochs": "8"}


def test_too_many_images_shown(new_run):
    report = look(new_run(settings={"train.epochs": 24}))
    assert only(report, "C05").key == "many" and settings_of(only(report, "C05").fix) == {"train.epochs": "8"}


def test_a_run_that_never_saw_its_trigger(new_run):
    run = new_run(captions=lambda i: f"a hat, place {i}", settings={"captions.prefix": ""})
    finding = only(look(run), "C06")
    assert finding.result == "error"
    assert finding.why.startswith("'zwx' is in the captions of 0 of 8 images; a caption without it: 'a hat, place 0'")
    assert finding.fix.startswith("bakehouse captions edit ") and "--add 'zwx person'" in finding.fix
    with pytest.raises(SystemExit) as e:
        main(shlex.split(finding.fix)[1:])
    assert not e.value.code
    assert "zwx person" in (run.folder.parent.parent / "photos" / "0.txt").read_text()


def test_a_trigger_in_few_captions(new_run):
    few = look(new_run(captions=lambda i: f"zwx person, place {i}" if i < 3 else f"place {i}"))
    assert only(few, "C06").result == "warning"
    assert "in the captions of 3 of 8 images" in only(few, "C06").why


def test_a_trigger_that_the_plan_adds_counts(new_run):
    assert only(look(new_run(captions=lambda i: f"place {i}")), "C06").result == "healthy"


def test_captions_that_are_all_alike(new_run):
    finding = only(look(new_run(captions=lambda i: "zwx person, hat")), "C07")
    assert finding.result == "warning"
    assert finding.why.startswith("8 of 8 captions say 'hat': what the images share")
    assert finding.fix.startswith("bakehouse captions tag ")


def test_one_caption_for_all_is_what_dreambooth_has(new_run):
    settings = {"adapter.kind": "lora", "prior.source": "none"}
    report = look(new_run(captions=lambda i: "zwx person", kind="dreambooth", settings=settings))
    assert only(report, "C07").result == "healthy"
    missing = only(report, "C08")
    assert (missing.result, missing.key) == ("warning", "source")
    assert settings_of(missing.fix) == {"prior.source": "class"}


def test_class_images_that_were_never_shown(new_run):
    report = look(new_run(settings={"prior.source": "class", "prior.images": 4}))
    finding = only(report, "C08")
    assert finding.result == "error" and "prior.source = 'class', but 0 steps of" in finding.why


def test_class_images_that_were_shown(new_run):
    report = look(new_run(settings={"prior.source": "class", "prior.images": 4}, prior=True))
    assert only(report, "C08").result == "healthy"


def test_a_damaged_or_missing_record_of_the_inputs_is_named(new_run):
    run = new_run()
    write_checked(run.inputs, {**read_checked(run.inputs), "version": 99})
    report = look(run)
    assert "format version 99" in report.skipped["C06"] and "format version 99" in report.skipped["C03"]
    run.inputs.unlink()
    assert "inputs.json is missing" in look(run).skipped["C07"]


def test_a_base_that_is_gone_leaves_the_other_checks(new_run, tmp_path):
    run = new_run()
    text = run.recipe.read_text("utf-8")
    base = Recipe.load(run.recipe).model.base
    run.recipe.write_text(text.replace(base, str(tmp_path / "gone")), "utf-8")
    inputs = read_checked(run.inputs)
    inputs["recipe"]["model"]["base"] = str(tmp_path / "gone")
    write_checked(run.inputs, inputs)
    report = look(run)
    assert "gone" in report.skipped["A04"] and "gone" in report.skipped["C03"]
    assert only(report, "A01").result == only(report, "C06").result == "healthy"


def test_every_check_has_an_id_a_reason_and_a_remedy():
    ids = [check.id for check in CHECKS]
    assert ids == sorted(set(ids))
    for check in CHECKS:
        assert check.fix or check.advice, check.id
        assert "{" not in check.threshold_text(Limits()), check.id
