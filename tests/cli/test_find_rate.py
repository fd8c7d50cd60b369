"""`bakehouse find-rate` from the keyboard."""

import functools
import json

import pytest

from bakehouse.cli import main as door
from bakehouse.recipe import Recipe, recipe_to_toml
from bakehouse.training.lr_finder import range_test, suggestion
from bakehouse.training.lr_finder.validation_loss import ValidationSet


def run(*words):
    with pytest.raises(SystemExit) as e:
        door.main([str(w) for w in words])
    return e.value.code or 0


@pytest.fixture
def written(tmp_path, tiny_folder):
    from PIL import Image

    from bakehouse.recipe import recipe_for_folder

    photos = tmp_path / "photos"
    photos.mkdir()
    for i in range(3):
        Image.new("RGB", (64, 64), (80 * i, 200, 30)).save(photos / f"{i}.png")
    quick = {"buckets.resolution": 64, "train.batch": 1, "prior.source": "none", "noise.min_timestep": 600}
    quick |= {"adapter.targets": "full", "adapter.rank": 8, "adapter.alpha": 4}
    recipe = recipe_for_folder(photos, "zwx person", base=str(tiny_folder), settings=quick)
    path = tmp_path / "me.toml"
    path.write_text(recipe_to_toml(recipe))
    return path


@pytest.fixture(autouse=True)
def _few_samples(monkeypatch):
    monkeypatch.setattr(range_test, "ValidationSet", functools.partial(ValidationSet, samples=3))


RAMP = ("--steps", 16, "--low", 1e-3, "--high", 30)


def test_the_rate_is_said_drawn_and_written(written, capsys):
    out, figure = written.with_name("better.toml"), written.with_name("rate.svg")
    assert run("find-rate", written, *RAMP, "-o", out, "--figure", figure) == 0
    said = capsys.readouterr().out
    recipe = Recipe.load(out)
    assert f"optimizer.lr = {recipe.optimizer.lr:g}, optimizer.text_lr = {recipe.optimizer.text_lr:g}" in said
    assert "█" in said
    assert "from a range test" in out.read_text()
    assert figure.read_text().startswith("<svg")
    assert run("train", out, "--dry-run", "--quiet") == 0


def test_json_is_one_event_a_line(written, capsys):
    assert run("find-rate", written, *RAMP, "--json") == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert lines[-1]["event"] == "ratefound"
    readings = [line for line in lines if line["event"] == "ratemeasured"]
    assert {"lr", "subject", "drift"} <= readings[0].keys()
    trough = lines[-1]["trough"]
    assert lines[-1]["lr"] == pytest.approx(trough / suggestion.safety_factor(lines[-1]["steps"]), rel=0.06)


def test_an_optimizer_that_finds_its_rate_is_told(written, capsys):
    assert run("find-rate", written, "--set", "optimizer.name=prodigy") == 2
    assert "finds its learning rate itself" in capsys.readouterr().err
