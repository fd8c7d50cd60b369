"""`bakehouse doctor` as a user types it: output, JSON, exit codes, and one clear message for each wrong input."""

from __future__ import annotations

import json
import runpy
import shutil

import pytest
from PIL import Image

from bakehouse.cli.main import main
from tests.doctor.conftest import changed
from tests.doctor.conftest import new_run as new_run
from tests.doctor.conftest import write_adapter as write_adapter
from tests.pages import ROOT


@pytest.fixture
def typed(capsys, monkeypatch, tmp_path):
    """Types a command; gives its exit code, its output and its messages."""
    monkeypatch.chdir(tmp_path)

    def run(*words: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as e:
            main(["doctor", *map(str, words)])
        out, err = capsys.readouterr()
        return int(e.value.code or 0), out, err

    return run


def test_a_healthy_run(typed, new_run):
    run = new_run()
    code, out, _ = typed(run.folder)
    assert code == 0
    assert out.splitlines()[0] == "" and "healthy:" in out
    assert "C06  'zwx' is in the captions of 8 of 8 images" in out
    assert f"run `bakehouse evaluate {run.folder}`" in " ".join(out.split())
    assert out.splitlines()[-1].startswith(f"{run.folder}: healthy (")
    assert typed(run.recipe)[1] == out
    code, out, _ = typed(run.folder, "--quiet")
    assert (code, len(out.splitlines())) == (0, 1)


def test_a_problem_has_its_figures_and_its_command(typed, new_run):
    run = new_run(settings={"optimizer.lr": 1e-2})
    code, out, _ = typed(run.folder)
    assert code == 0
    lines = out.splitlines()
    assert lines[0] == "C03  warning: a learning rate far off"
    assert lines[1].strip() == "optimizer.lr = 0.01, the plan's for adamw is 0.0001: 100 times as high"
    assert lines[2].strip() == (
        f"bakehouse train {run.folder}/recipe.toml --run {run.folder}-2 --set optimizer.lr=0.0001"
    )
    assert "1 warning" in lines[-1]
    assert typed(run.folder, "--strict")[0] == 1


def test_json_is_the_whole_report(typed, new_run):
    run = new_run(stop_at=3, failure="step 3: the loss is not a number: the text encoder overflows")
    code, out, _ = typed(run.folder, "--json")
    report = json.loads(out)
    assert (code, report["exit_code"], report["healthy"]) == (1, 1, False)
    first = report["findings"][0]
    assert (first["id"], first["result"], first["title"]) == ("C01", "error", "the loss is not a number")
    assert {"healthy", "undecided"} < {f["result"] for f in report["findings"]}
    assert report["skipped"]["D01"].startswith(f"{run.folder} was not evaluated yet")


def test_two_files(typed, write_adapter, tmp_path):
    a = write_adapter(tmp_path / "a.safetensors")
    b = changed(a, lambda k, t: -t if k.endswith("lora_up.weight") else t, tmp_path / "b.safetensors")
    code, out, _ = typed(a, b)
    assert code == 0
    assert "warning: adapters that undo each other" in out and "cosine -1.00" in out
    assert "warning: adapters with the same trigger" in out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["gone"], "gone does not exist"),
        (["empty"], "empty is an empty folder"),
        (["photos"], "photos is a folder of images, not a run or an adapter"),
        (["other"], "other is not a run or an adapter: it contains notes.md"),
        (["model"], "model is a full model, not an adapter or a run"),
        (["me.toml"], "me.toml is a recipe that was not trained yet"),
        (["notes.txt"], "notes.txt is not a weights file"),
        (["single.safetensors"], "single.safetensors is not an adapter but an SD 1.x model"),
        (["a.safetensors", "a.safetensors"], "a.safetensors is named twice"),
        (["a.safetensors", "run"], "run is a run; several paths must all be adapter files"),
        (["a.safetensors", "--base", "gone"], "model 'gone': no such file or folder"),
        (["a.safetensors", "--program", "Photoshop"], "--program Photoshop: not a measured program"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_input_is_one_clear_message(typed, write_adapter, tiny_folder, tmp_path, words, said):
    write_adapter(tmp_path / "a.safetensors")
    for name in ("empty", "photos", "other", "run"):
        (tmp_path / name).mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "photos" / "1.png")
    (tmp_path / "other" / "notes.md").write_text("hello")
    (tmp_path / "run" / "recipe.toml").write_text('[[concepts]]\nfolder = "photos"\nsubject = "zwx person"\n')
    (tmp_path / "me.toml").write_text('[[concepts]]\nfolder = "photos"\n')
    (tmp_path / "notes.txt").write_text("hello")
    if "model" in words:
        shutil.copytree(tiny_folder, tmp_path / "model")
    if "single.safetensors" in words:
        from bakehouse.weights.convert_base import convert_base

        convert_base(str(tiny_folder), tmp_path / "single.safetensors")
    code, _, err = typed(*words)
    assert code == 2, err
    assert said in " ".join(err.split())
    assert "Traceback" not in err and err.count("error:") == 1


def test_a_damaged_file_is_named(typed, write_adapter, tmp_path):
    path = write_adapter(tmp_path / "a.safetensors")
    path.write_bytes(path.read_bytes()[:-100])
    code, _, err = typed(path)
    assert code == 1 and "a.safetensors" in err and err.count("error:") == 1


def test_a_run_without_weights_or_events_is_examined_as_far_as_it_goes(typed, new_run):
    run = new_run()
    shutil.rmtree(run.weights)
    run.events.unlink()
    code, out, _ = typed(run.folder)
    assert code == 0
    assert "the training was never started" in out
    assert "has no weights yet" in " ".join(out.split())


def test_the_tables_of_the_page_are_up_to_date():
    page = runpy.run_path(str(ROOT / "tools" / "write_doctor_docs.py"))["page"]
    text = (ROOT / "docs" / "doctor.md").read_text("utf-8")
    assert page(text) == text, "run `make docs`"
