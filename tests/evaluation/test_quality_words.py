"""Quality and negative words of an evaluation: images are made with them, scores and old caches do not know them."""

from __future__ import annotations

import contextlib

import pytest

from bakehouse.core.files import key_of
from bakehouse.evaluation.evaluation_inputs import generation_settings
from bakehouse.evaluation.image_cache import AdapterVariant, GenerationSettings, ImageCache, PipelineImageGenerator
from bakehouse.evaluation.prompt_set import EvalPrompt
from bakehouse.evaluation.training_evaluator import TrainingImageGenerator
from bakehouse.recipe import Recipe

PROMPT = EvalPrompt("subject", "zwx person, beach", "person, beach", 7)
PLAIN = GenerationSettings(10, 3.0, size=128)
WORDED = GenerationSettings(10, 3.0, size=128, quality="{prompt}, masterpiece", negative="blurry")


class Keyed:
    """A generator with nothing but a key."""

    def key(self, variant):
        return "weights"


def path(settings, tmp_path):
    return ImageCache(tmp_path, Keyed(), settings).path(AdapterVariant(), PROMPT)


def test_images_of_versions_without_such_words_are_found_again(tmp_path):
    parts = (10, 3.0, "dpm++ 2m", 128, PROMPT.prompt, PROMPT.seed)
    assert path(PLAIN, tmp_path).stem == key_of("picture 1", "weights", *parts)[:24]
    assert path(WORDED, tmp_path) != path(PLAIN, tmp_path)
    assert GenerationSettings(**vars(PLAIN)) == PLAIN


def test_the_pipeline_gets_the_words(monkeypatch):
    requests = []

    class Pipeline:
        @contextlib.contextmanager
        def adapter_strengths(self, *strengths):
            yield

        def generate(self, given):
            requests.extend(given)
            return iter(())

    generator = PipelineImageGenerator(source=None)
    monkeypatch.setattr(generator, "_open", lambda variant: Pipeline())
    assert not list(generator.generate(AdapterVariant(), [PROMPT], WORDED))
    assert [(r.prompt, r.negative, r.seed) for r in requests] == [("zwx person, beach, masterpiece", "blurry", 7)]


def test_the_model_in_training_gets_the_words():
    generator, asked = TrainingImageGenerator(Recipe.parse({"concepts": [{"folder": "x"}]})), []
    generator.model = lambda prompts, *, base=False: asked.extend(prompts) or iter(())
    generator.generate(AdapterVariant(), [PROMPT], WORDED)
    assert [(p.prompt, p.negative, p.width) for p in asked] == [("zwx person, beach, masterpiece", "blurry", 128)]


@pytest.mark.parametrize("key", ["quality", "negative", "sampler", "guidance"])
def test_the_recipe_decides_them(key):
    value = 4.0 if key == "guidance" else "euler"
    recipe = Recipe.parse({"concepts": [{"folder": "x"}], "evaluate": {key: value}})
    assert getattr(generation_settings(recipe, recipe.evaluate), key) == value
