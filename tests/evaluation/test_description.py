import numpy as np
from PIL import Image

from bakehouse.evaluation import description as d

CAPTIONS = ["zwx person, smile, red hat, at the beach", "zwx person, sad, red hat, in the snow", "red hat, zwx person"]


def test_the_description_is_what_scorer_and_most_captions_say():
    assert d.common_tags(CAPTIONS, "zwx") == ["red hat"]
    assert d.describe(CAPTIONS, "zwx", said_by_scorer=["pink hair", "red hat"]) == "pink hair, red hat"
    assert d.describe(CAPTIONS, "zwx", left_out=lambda tag: "hat" in tag) == ""
    assert d.describe([], "zwx") == ""


def test_sentences_are_no_tags():
    assert d.common_tags(["a long sentence that tells what is to be seen"] * 3, "zwx") == []


def test_phrases_are_ranked_beside_the_class_alone():
    def prompt_scores(images, prompts):
        worth = {"dog": 0.2, "dog, furry": 0.4, "dog, collar": 0.3}
        return np.array([worth.get(prompt, 0.1) for prompt in prompts])

    photos = [Image.new("RGB", (8, 8))] * 3
    assert d.ranked_phrases(photos, "dog", prompt_scores) == ["furry", "collar"]
    assert d.ranked_phrases(photos, "dog", prompt_scores, most=1) == ["furry"]
    assert d.ranked_phrases([], "dog", prompt_scores) == []
