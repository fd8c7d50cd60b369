"""The whole line, as short as it can be."""

from __future__ import annotations

import pytest

from bakehouse.cli.main import main
from bakehouse.recipe import Recipe

CHEAP = {
    "train.steps": "2",
    "train.batch": "1",
    "adapter.text": "false",
    "prior.source": "none",
    "sample.prompts": "[]",
    "evaluate.images": "4",
    "evaluate.steps": "1",
    "evaluate.weights": "[1.0]",
}


def test_the_demo_goes_from_images_to_a_verdict(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words = ["demo", *(w for key, value in CHEAP.items() for w in ("--set", f"{key}={value}"))]
    with pytest.raises(SystemExit) as e:
        main(words)
    out, err = capsys.readouterr()
    assert not e.value.code, err
    assert "nothing changed" in out or "undertrained" in out  # two steps teach nothing
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
