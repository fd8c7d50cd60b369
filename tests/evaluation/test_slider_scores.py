"""The evaluation of a slider: the asked attribute follows the strength, others stay, and the report says which."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from bakehouse.core.errors import UsageError
from bakehouse.core.events import result_of
from bakehouse.core.files import write_json, write_text
from bakehouse.core.run_folder import Run
from bakehouse.evaluation import CrumbScorer, SliderScored, evaluate, evaluate_slider
from bakehouse.evaluation.slider_scores import judge, rank_correlation
from bakehouse.recipe import Recipe, recipe_for_slider, recipe_to_toml
from tests.evaluation.conftest import SquareScorer, square

STRENGTHS = (-2.0, -1.0, 0.0, 1.0, 2.0)


class HatScorer(SquareScorer):
    """The prompts ask for the hat's brightness; body and background are the others."""

    def between(self, images, positive, negative):
        return np.asarray([np.asarray(i.convert("L"))[12, 16] / 255 for i in images], dtype=np.float32)

    def requested_attributes(self, prompt):
        return {"hat": prompt.split()[0]}

    def is_reliable(self, group):
        return group != "hat"


@pytest.fixture
def run(tmp_path):
    """A finished slider whose images are squares; `body` is the body's color at each strength."""

    def make(levels, body="red"):
        folder = Run(tmp_path / "run")
        recipe = recipe_for_slider("hat", "bright hat", "dark hat", settings={"slider.images": 2})
        write_text(folder.recipe, recipe_to_toml(recipe))
        places = [{"strength": s, "position": s / 10, "health": 1.0} for s in STRENGTHS]
        write_json(folder.report / "slider.json", {"low": -2.0, "high": 2.0, "preferred": 2.0, "places": places})
        (folder.report / "slider").mkdir(parents=True, exist_ok=True)
        for strength, level in zip(STRENGTHS, levels, strict=True):
            for number in range(2):
                image = square(body if strength >= 0 else "red", "green", "blue")
                image.paste((level, level, level), (8, 8, 24, 16))
                image.save(folder.report / "slider" / f"{strength:g}-{number}.png")
        Image.new("RGB", (320, 64)).save(folder.report / "slider.png")
        return folder

    return make


def scored(folder):
    events = []
    result_of(evaluate_slider(folder, Recipe.load(folder.recipe), HatScorer()), events.append)
    (found,) = [e for e in events if isinstance(e, SliderScored)]
    return found


def test_an_attribute_that_follows(run):
    folder = run((10, 60, 110, 160, 210))
    found = scored(folder)
    assert (found.correlation, found.others, found.verdict) == (pytest.approx(1), 0, "follows")
    page = (folder.report / "report.html").read_text("utf-8")
    assert "Strengths from -2 to 2." in page
    assert "bright hat" in page
    assert json.loads((folder.report / "scores.json").read_text("utf-8"))["correlation"] == pytest.approx(1)


def test_an_attribute_that_does_not_follow(run):
    found = scored(run((210, 10, 110, 60, 20)))
    assert found.verdict == "does not follow"
    assert "does not rise with the strength" in found.reason


def test_others_that_change_are_said(run):
    found = scored(run((10, 60, 110, 160, 210), body="black"))
    # Below 0 the body has another color than at 0, above the same; the background never changes.
    assert found.others == pytest.approx(100 * 0.5 * 0.5)
    assert found.verdict == "changes more than it should"
    assert "slider.keep" in found.reason


def test_a_run_that_is_not_finished_is_refused(tmp_path):
    folder = Run(tmp_path / "run")
    write_text(folder.recipe, recipe_to_toml(recipe_for_slider("a", "b", "c")))
    with pytest.raises(UsageError, match="finish it"):
        result_of(evaluate_slider(folder, Recipe.load(folder.recipe), HatScorer()))
    with pytest.raises(UsageError, match="this run is a slider"):
        result_of(evaluate(folder))


def test_rank_correlation():
    assert rank_correlation([1, 2, 3], [1, 8, 9]) == pytest.approx(1)
    assert rank_correlation([1, 2, 3], [9, 8, 1]) == pytest.approx(-1)
    assert rank_correlation([1, 2, 3, 4], [1, 2, 2, 4]) == pytest.approx(0.9487, abs=1e-4)  # scipy.stats.spearmanr
    assert rank_correlation([1, 2, 3], [5, 5, 5]) == 0


def test_the_verdict():
    assert judge(0, 0, 1, 0)[0] == "does not follow"
    assert judge(-1, 1, 0.95, None)[0] == "follows"
    assert judge(-1, 1, 0.95, 12)[0] == "changes more than it should"


def test_the_bundled_tagger_tells_ends_apart():
    scorer = CrumbScorer.load()
    image = Image.new("RGB", (128, 128), "white")
    prompts = "person, long hair", "person, short hair"
    there, back = (scorer.between([image], [a], [b])[0] for a, b in (prompts, prompts[::-1]))
    assert there == pytest.approx(-back, abs=1e-6)
    assert np.isnan(scorer.between([image], ["person"], ["person"])[0])
