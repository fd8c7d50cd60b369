"""A recipe that declares triggers: captions in memory, what is kept in front, refused, and said of class images."""

from __future__ import annotations

import pytest
from PIL import Image

from bakehouse.core.errors import Problems
from bakehouse.recipe import Recipe, make_plan, recipe_to_toml


@pytest.fixture
def recipe(tmp_path):
    """Twelve images of one outfit and eight of the rest; the function lays triggers and settings over them."""
    for folder, count, clothes in (("red", 12, "red dress"), ("misc", 8, "blue jeans")):
        (tmp_path / folder).mkdir()
        for i in range(count):
            Image.new("RGB", (128, 128), (i, 0, count)).save(tmp_path / folder / f"{i:02d}.png")
            (tmp_path / folder / f"{i:02d}.txt").write_text(f"person, blue eyes, {clothes}, pose {i}\n")

    def made(*triggers, **settings):
        concepts = [{"folder": str(tmp_path / f), "subject": "zwx person"} for f in ("red", "misc")]
        return Recipe.parse({"concepts": concepts, "triggers": triggers, **settings})

    return made


CHARACTER = {"word": "zwx", "class_word": "person"}
OUTFIT = {"word": "redfit", "kind": "outfit", "folders": ["red"]}


def captions(plan):
    return [i.record.captions for i in plan.subject_images]


def test_captions_are_compiled_and_no_file_is_changed(recipe, tmp_path):
    before = (tmp_path / "red" / "03.txt").read_bytes()
    plan = make_plan(recipe(CHARACTER, OUTFIT))
    assert captions(plan)[3] == ("zwx person, redfit, pose 3",)
    assert captions(plan)[12] == ("zwx person, blue jeans, pose 0",)
    assert (tmp_path / "red" / "03.txt").read_bytes() == before


def test_a_strategy_is_one_word(recipe):
    fluid = recipe({**CHARACTER, "strategy": "fluid"}, OUTFIT)
    assert captions(make_plan(fluid))[3] == ("zwx person, redfit, blue eyes, pose 3",)


def test_class_images_hold_no_trigger(recipe):
    plan = make_plan(recipe(CHARACTER, OUTFIT))
    prompts = {c.prompt for c in plan.class_images}
    assert "person, pose 3" in prompts and not any("redfit" in p or "zwx" in p for p in prompts)


def test_triggers_stay_in_front_of_what_is_shuffled(recipe):
    same = make_plan(recipe(CHARACTER, captions={"shuffle": True}))
    assert same.recipe.captions.keep_tokens == 1
    differ = make_plan(recipe(CHARACTER, OUTFIT, captions={"shuffle": True}))
    assert differ.recipe.captions.keep_tokens_separator == "|||"
    assert captions(differ)[0] == ("zwx person, redfit ||| pose 0",)
    assert captions(differ)[12] == ("zwx person ||| blue jeans, pose 0",)
    assert not any("|" in c.prompt for c in differ.class_images)


def test_a_plan_made_of_a_plan_is_the_same(recipe):
    first = make_plan(recipe(CHARACTER, OUTFIT, captions={"shuffle": True}))
    second = make_plan(first.recipe)
    assert captions(second) == captions(first) and second.recipe == first.recipe


def test_what_cannot_be_told_apart_is_refused_with_both_ways_out(recipe):
    everywhere = {**OUTFIT, "folders": []}
    with pytest.raises(Problems, match="'zwx' and 'redfit'") as e:
        make_plan(recipe(CHARACTER, everywhere))
    assert "share = 0.5" in str(e.value) and "also_without = true" in str(e.value)
    make_plan(recipe(CHARACTER, {**everywhere, "also_without": True}))


def test_wrong_declarations_name_their_key(recipe):
    with pytest.raises(Problems) as e:
        recipe({"word": "zwx", "strateggy": "fluid"}, {"word": "b", "folders": "red"})
    assert "triggers.0.strateggy" in str(e.value) and "did you mean 'strategy'" in str(e.value)
    with pytest.raises(Problems, match="declared twice"):
        recipe(CHARACTER, CHARACTER)


def test_a_recipe_is_read_as_it_was_written(recipe, tmp_path):
    made = recipe(CHARACTER, {**OUTFIT, "keeps": ["@headwear"], "share": 0.5})
    (tmp_path / "me.toml").write_text(recipe_to_toml(made))
    assert Recipe.load(tmp_path / "me.toml").triggers == made.triggers
