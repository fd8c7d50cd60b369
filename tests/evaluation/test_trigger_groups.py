"""A run of outfits is evaluated: each word is asked for on its own, and the report says what its images show."""

from __future__ import annotations

import random

import pytest

from bakehouse.core.events import result_of
from bakehouse.evaluation import Asked, Report, evaluate
from bakehouse.evaluation.evaluation_inputs import subject_concepts
from bakehouse.evaluation.html_report import make_page
from bakehouse.evaluation.trigger_groups import trigger_groups
from bakehouse.recipe import Recipe, scan_concepts
from bakehouse.recipe.compile_recipe_captions import compiled_images
from bakehouse.recipe.image_groups import with_declared_triggers
from tests.evaluation.conftest import PLACES, SquareGenerator, make_run, square

LOOKS = {"red-coat": ("red", "black"), "vest": ("green", "white"), "": ("violet", "orange")}
"""Body and hat of each group; no outfit: of the misc group."""


class Dresser(SquareGenerator):
    """Draws the outfit of a prompt's last word."""

    def generate(self, variant, prompts, settings):
        for prompt in prompts:
            rng = random.Random(prompt.seed)
            body, hat = ("blue", "yellow")
            if variant.weights is not None and "zwx" in prompt.prompt:
                worn = [word for word in LOOKS if word and word in prompt.prompt]
                body, hat = LOOKS[worn[-1] if worn else ""]
            yield square(body, hat, rng.choice(list(PLACES.values())), noise=prompt.seed)


@pytest.fixture
def wardrobe(tmp_path):
    """A run of a coat, a vest over the coat, and other clothes, with six photos each."""
    run = make_run(tmp_path, ["1 0 0"], images=6)
    concepts = []
    for word, look in LOOKS.items():
        folder = tmp_path / (word or "misc")
        folder.mkdir()
        for i in range(6):
            square(*look, list(PLACES.values())[i % 4], noise=i).save(folder / f"{i}.png")
            (folder / f"{i}.txt").write_text(f"person, {'green shirt' if not word else 'red coat'}, place {i}")
        over = {"over": "red-coat"} if word == "vest" else {}
        concepts.append({"folder": str(folder), "subject": "zwx person", **({"outfit": word} if word else {}), **over})
    recipe = Recipe.load(run.recipe).with_values({"kind": "outfits", "concepts": concepts})
    recipe, _ = with_declared_triggers(recipe)
    from bakehouse.recipe import recipe_to_toml

    run.recipe.write_text(recipe_to_toml(recipe))
    return run, recipe


def test_a_character_is_evaluated_once_whatever_it_wears(wardrobe):
    assert subject_concepts(wardrobe[1]) == [0]


def test_groups_are_images_of_the_same_triggers(wardrobe):
    _, recipe = wardrobe
    groups = trigger_groups(recipe, compiled_images(recipe, scan_concepts(recipe)).records)
    assert {g.word: (g.prompt, len(g.photos)) for g in groups} == {
        "red-coat": ("zwx person, red-coat", 6),
        "red-coat, vest": ("zwx person, red-coat, vest", 6),
        "zwx": ("zwx person", 6),
    }


def test_an_evaluation_asks_each_word_and_the_character_without_one(wardrobe, scorer):
    run, _ = wardrobe
    events = []
    report = result_of(evaluate(run, scorer=scorer, generator=Dresser(), changes={"weights": [1.0]}), events.append)
    assert report.words is not None
    assert {g.word: g.own.value for g in report.words.groups} == {"zwx": 1, "red-coat": 1, "red-coat, vest": 1}
    assert {e.words for e in events if isinstance(e, Asked)} == {g.prompt for g in report.words.groups}
    assert len(report.references) == 18, "the character is compared with all its images"
    assert Report.load(run).words == report.words
    page = make_page(report, run)
    assert "Each word on its own" in page and "zwx person, red-coat, vest" in page
    assert all((report.folder / path).is_file() for g in report.words.groups for path in g.pictures)


def test_a_word_that_gives_another_outfit_is_seen(wardrobe, scorer, monkeypatch):
    run, _ = wardrobe
    monkeypatch.setitem(LOOKS, "", LOOKS["red-coat"])
    report = result_of(evaluate(run, scorer=scorer, generator=Dresser(), changes={"weights": [1.0]}))
    plain = next(g for g in report.words.groups if g.word == "zwx")
    assert plain.own.value == 0 and plain.shows["red-coat"].value == 1
