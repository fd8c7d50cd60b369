"""The base's conventions in a plan: with their reason, only where the recipe is open, and written into it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bakehouse.core.model_catalogue import conventions
from bakehouse.core.model_catalogue.conventions import all_conventions
from bakehouse.recipe import Recipe, make_plan, plan_to_toml, recipe_for_folder
from bakehouse.recipe.class_image_list import ClassImage
from bakehouse.recipe.importers.build_recipe import Draft, recipe_from_draft

PONY = all_conventions()["pony-xl"]
ANIME = all_conventions()["sd1-anime"]


@pytest.fixture
def planned(photos, base):
    """Plans for a model of a family under a name of its own."""

    def make(family, name, scheduler=None, **settings):
        folder = Path(base(family, scheduler=scheduler))
        if name:
            folder = folder.rename(folder.with_name(name))
        values = {k.replace("__", "."): v for k, v in settings.items()}
        return make_plan(recipe_for_folder(photos, "zwx person", base=str(folder), settings=values))

    return make


def reasons(plan):
    return {d.key: d.reason for d in plan.decisions}


def test_a_known_base_gets_its_usual_settings(planned):
    plan = planned("sdxl", "ponyDiffusionV6XL", prior__source="captions")
    recipe, why = plan.recipe, reasons(plan)
    assert all(p.startswith("score_9, score_8_up, ") for p in recipe.sample.prompts)
    assert recipe.sample.prompts[0].endswith(", zwx person")
    assert recipe.prior.sampler == recipe.sample.sampler == recipe.evaluate.sampler == "euler a"
    assert recipe.evaluate.prompts == "tags"
    assert recipe.prior.quality == recipe.evaluate.quality == PONY.quality
    assert why["evaluate.quality"] == "usual for Pony Diffusion V6 XL (found by its name)"
    assert "usual for Pony Diffusion V6 XL" in why["sample.prompts"]
    assert {c.prompt for c in plan.class_images} == {f"{PONY.quality}, person, place {i}" for i in range(3)}
    assert not [w for w in plan.warnings if "does nothing" in w]


def test_clip_skip_and_negative_words_reach_class_images(planned):
    plan = planned("sd1", "anything-v5", prior__source="class", prior__images=2)
    assert plan.recipe.model.clip_skip == 2
    assert {(c.clip_skip, c.negative) for c in plan.class_images} == {(2, ANIME.negative)}
    assert plan.recipe.sample.negative == plan.recipe.evaluate.negative == ANIME.negative


def test_nothing_is_said_of_an_unknown_base_that_could_be_wrong(planned):
    plan = planned("sdxl", "my-own-mix")
    recipe = plan.recipe
    assert (recipe.sample.negative, recipe.prior.quality, recipe.evaluate.quality) == ("", "", "")
    assert recipe.evaluate.prompts == "sentences"
    assert not [d for d in plan.decisions if "usual for models" in d.reason]


def test_what_the_recipe_says_is_kept(planned):
    plan = planned(
        "sd1", "anything-v5", model__clip_skip=1, sample__prompts=["mine"], evaluate__quality="", evaluate__negative="",
        evaluate__prompts="sentences", sample__guidance=4.0, sample__sampler="ddim",
    )  # fmt: skip
    recipe = plan.recipe
    assert (recipe.model.clip_skip, recipe.sample.guidance, recipe.sample.sampler) == (1, 4.0, "ddim")
    assert (recipe.sample.prompts, recipe.sample.negative) == (("mine",), "")
    assert (recipe.evaluate.quality, recipe.evaluate.negative, recipe.evaluate.prompts) == ("", "", "sentences")
    without = planned("sd1", "", evaluate__guidance=1.0, model__conventions="sd1-anime").recipe
    assert (without.evaluate.negative, without.evaluate.quality) == ("", ANIME.quality), "at 1 it would do nothing"


def test_the_recipe_may_name_an_entry_or_none(planned):
    named = planned("sdxl", "my-own-mix", model__conventions="pony-xl")
    assert named.recipe.evaluate.quality == PONY.quality
    assert reasons(named)["evaluate.quality"] == "usual for Pony Diffusion V6 XL (named by model.conventions)"
    assert planned("sdxl", "pony", model__conventions="none").recipe.evaluate.quality == ""


def test_a_written_recipe_does_not_change_with_the_table(planned, tmp_path, monkeypatch):
    """A run keeps its recipe: a later version with other entries must not change what is trained or evaluated."""
    before = planned("sd1", "anything-v5", prior__source="captions")
    (tmp_path / "written.toml").write_text(plan_to_toml(before), "utf-8")
    other = {
        name: entry.model_copy(
            update={"guidance": 11.0, "quality": "other", "negative": "other", "clip_skip": 3, "sampler": "ddim"}
        )
        for name, entry in all_conventions().items()
    }
    monkeypatch.setattr(conventions, "all_conventions", lambda: other)
    after = make_plan(Recipe.load(tmp_path / "written.toml"))
    assert after.recipe.model_dump() == before.recipe.model_dump()
    assert after.class_images == before.class_images


def test_imported_settings_train_as_they_did(photos, tmp_path, base):
    """Another trainer takes nothing from a base's name: clip skip stays 1, class images get no words."""
    model = Path(base("sd1")).rename(tmp_path / "anything-v5")
    concepts = [{"folder": str(photos), "subject": "zwx person"}]
    draft = Draft({"model.base": str(model), "prior.source": "class"}, concepts)
    recipe = make_plan(recipe_from_draft(draft, trainer="x", title="X", sources=[]).recipe).recipe
    assert (recipe.model.clip_skip, recipe.prior.quality, recipe.prior.negative) == (1, "", "")
    assert recipe.evaluate.quality == ANIME.quality
    given = Draft({**draft.values, "model.clip_skip": 3, "prior.quality": "best"}, draft.concepts)
    kept = recipe_from_draft(given, trainer="x", title="X", sources=[]).recipe
    assert (kept.model.clip_skip, kept.prior.quality) == (3, "best")


def test_files_that_contradict_a_name_are_said(planned):
    plan = planned("sdxl", "noobai-vpred")
    (said,) = [w for w in plan.warnings if "predicts v_prediction" in w]
    assert "its files say that it predicts epsilon" in said and "model.prediction = 'v_prediction'" in said
    right = planned("sdxl", "noobai-vpred-2", scheduler={"prediction_type": "v_prediction"})
    assert not [w for w in right.warnings if "predicts v_prediction" in w]


def test_a_class_image_without_negative_words_is_what_it_was_before_there_were_any():
    """Its place in the cache, its noise and a run's digest are those of versions without the setting."""
    plain = ClassImage("person", 128, 128, 3, 8, 3.0, "dpm++ 2m")
    assert "negative" not in plain.to_json()
    assert ClassImage(**json.loads(json.dumps(plain.to_json()))) == plain
    other = ClassImage("person", 128, 128, 3, 8, 3.0, "dpm++ 2m", negative="blurry")
    assert other.key("m") != plain.key("m")
    assert plain.key("m") == KEY
    assert plain.noise_seed == NOISE


KEY, NOISE = "ab3416ec4ab4653ccb5930a6ffdd504f9f0603323adc154d1918a5b0fb05183a", 3269931821
