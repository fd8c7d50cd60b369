"""What `benchmarks.regions` asks for, and how it tells the halves of a picture."""

from __future__ import annotations

import numpy as np
from PIL import Image

from bakehouse.generation import ImageRequest
from benchmarks.regions import Subject, measure, requests

RED, BLUE, GRAY = (255, 0, 0), (0, 0, 255), (128, 128, 128)


class ColorScorer:
    """The mean color as an embedding."""

    def embed(self, images):
        rows = np.stack([np.asarray(image, dtype=np.float64).mean(axis=(0, 1)) + 1 for image in images])
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def picture(left, right) -> Image.Image:
    image = Image.new("RGB", (20, 10), left)
    image.paste(right, (10, 0, 20, 10))
    return image


def subject(phrase: str, color) -> Subject:
    return Subject(phrase, phrase.split()[-1], 0.8, tuple(Image.new("RGB", (8, 8), color) for _ in range(3)))


def test_a_half_is_its_subject_only_if_it_is_nearer_to_it_than_to_the_other_and_to_nobody():
    pictures = [picture(RED, BLUE), picture(BLUE, RED), picture(RED, RED), picture(GRAY, BLUE)]
    two = subject("zwx person", RED), subject("qvk person", BLUE)
    found = measure({"way": pictures}, two, [Image.new("RGB", (8, 8), GRAY)], ColorScorer())
    assert (found["way"].left.value, found["way"].right.value, found["way"].both.value) == (0.5, 0.5, 0.25)
    assert found["the photos"].both.value == 1 and found["way"].both.n == 4


def test_every_way_asks_for_both_subjects_with_the_same_seeds():
    two = subject("zwx person", RED), subject("qvk person", BLUE)
    common = ImageRequest(prompt="two persons, portrait", seed=3, count=4)
    asked = requests(two, "portrait", common)
    assert all((one.seed, one.count) == (3, 4) for one in asked.values())
    assert asked["one prompt"].regions is None and asked["one prompt"].prompt.count("<lora:") == 2
    shared, own = asked["regions, shared adapters"], asked["regions"]
    assert shared.prompt.count("<lora:") == 2 and "<lora" not in own.prompt
    assert [str(one) for one in own.regions.regions] == [
        "left: zwx person, portrait <lora:left:0.8>",
        "right: qvk person, portrait <lora:right:0.8>",
    ]
