"""The whole line, as short as it can be."""

from __future__ import annotations

import json

import pytest

from bakehouse.cli.main import main
from bakehouse.recipe import Recipe

CHEAP = {
    "train.steps": "2",
    "optimizer.lr": "1e-9",  # so that what comes of it is known: the base
    "train.batch": "1",
    "adapter.text": "false",
    "prior.source": "none",
    "sample.prompts": "[]",
    "evaluate.images": "4",
    "evaluate.steps": "1",
    "evaluate.weights": "[1.0]",
}


def test_the_demo_goes_from_images_to_a_verdict(tmp_path, monkeypatch, capsys, one_level_of_errors):
    monkeypatch.chdir(tmp_path)
    words = ["demo", *(w for key, value in CHEAP.items() for w in ("--set", f"{key}={value}"))]
    with pytest.raises(SystemExit) as e:
        main(words)
    out, err = capsys.readouterr()
    assert not e.value.code, err
    scores = json.loads((tmp_path / "demo" / "run" / "report" / "scores.json").read_text())
    (cell,) = scores["cells"]
    assert cell["effect"]["value"] == pytest.approx(0, abs=0.05)
    assert scores["verdict"]["word"] == "nothing changed"
    assert "nothing changed" in out
    assert scores["pick"]["weights"] == ""
    assert "No checkpoint is picked" in out
    assert "generate with" not in out
    assert "report: demo/run/report/report.html" in out
    assert "time: plan " in out
    for made in ("mira/01.png", "mira-holdout/01.png", "recipe.toml", "run/report/report.html", "run/report/grid.png"):
        assert (tmp_path / "demo" / made).is_file(), made
    assert Recipe.load(tmp_path / "demo" / "recipe.toml").concepts[0].subject == "zwx person"

    # Again: nothing is trained or judged anew, and what a person changed stays.
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "demo" / "run" / "weights").iterdir()}
    with pytest.raises(SystemExit) as e:
        main(["demo", "--json"])
    assert not e.value.code
    assert {p: p.stat().st_mtime_ns for p in before} == before
