"""The subjects that crumb has never seen: what their captions say, and their files."""

from __future__ import annotations

import io
import random
from typing import Any

import numpy as np
import pytest
from PIL import Image

from bakehouse.data.crumb_attributes import Vocabulary
from tools.crumb.lab_subjects import UNKNOWN, Row, table
from tools.crumb.subjects import SHIPPED, SUBJECTS, Subject, known_attributes, look_alikes, smallest_png
from tools.crumb.words import CONCEPTS, PEOPLE, vocabulary


@pytest.fixture(scope="module")
def words() -> Vocabulary:
    raw = vocabulary()
    groups = {name: tuple(values) for name, values in raw.pop("groups").items()}
    return Vocabulary(groups, tuple(raw.pop("judged")), raw)


@pytest.mark.parametrize("subject", SUBJECTS, ids=lambda s: s.name)
def test_captions_say_what_varies_and_nothing_of_its_own(subject: Subject, words: Vocabulary) -> None:
    shots = [subject.figure(i, random.Random(i)) for i in range(18)]
    said = [words.atoms_of_prompt(", ".join((subject.phrase, *shot.tags))) for shot in shots]
    own = set(known_attributes(subject)) - {"class"}
    assert not any(own & set(atoms) for atoms in said)
    assert all(
        tag in PEOPLE["words"]["eyes"] + PEOPLE["words"]["expression"] for shot in shots for tag in shot.tags
    ) or (subject.kind == "style")


def test_every_subject_has_words_of_its_own() -> None:
    assert len({s.trigger for s in SUBJECTS}) == len({s.name for s in SUBJECTS}) == len(SUBJECTS) == 12
    assert set(SHIPPED) <= {s.name for s in SUBJECTS}


@pytest.mark.parametrize("subject", SUBJECTS, ids=lambda s: s.name)
def test_no_subject_is_of_the_training_world(subject: Subject) -> None:
    line = subject.figure(0, random.Random(0)).line
    if line["maker"] == "icon":
        concept = next(c for c in CONCEPTS["concepts"] if c["name"] == line["concept"])
        assert concept["heldout"] or CONCEPTS["styles"][line["set"]]["heldout"]
    elif line["maker"] == "dicebear":
        assert line["style"] in {"adventurer", "micah", "miniavs"}
    else:
        held_out = {*PEOPLE["heldout"]["hair"], *PEOPLE["heldout"]["cloth"]}
        assert held_out & {line["wishes"]["hair"], line["wishes"]["cloth"]}


@pytest.mark.parametrize("subject", [s for s in SUBJECTS if s.kind != "style"], ids=lambda s: s.name)
def test_a_look_alike_is_never_the_subject(subject: Subject) -> None:
    def look(line: dict[str, Any]) -> dict[str, Any]:
        own = dict(line.get("wishes") or line.get("options") or line)
        return {k: v for k, v in own.items() if k not in {"expression", "eyes", "mouth", "turn", "mirror"}}

    rng = random.Random(0)
    own = look(subject.figure(0, rng).line)
    found = look_alikes(subject, rng)
    assert len(found) >= 8
    assert all(look(line) != own for line in found)


def test_a_png_is_what_was_drawn() -> None:
    rng = np.random.default_rng(0)
    for pixels in (np.zeros((8, 6, 3), np.uint8), rng.integers(0, 256, (9, 5, 3), np.uint8)):
        with Image.open(io.BytesIO(smallest_png(Image.fromarray(pixels)))) as image:
            assert image.mode == "RGB"
            np.testing.assert_array_equal(np.asarray(image), pixels)


def test_the_table_shows_unknown_figures_as_dashes() -> None:
    row = Row("juno", "base", "", 0.25, 0.3, UNKNOWN, UNKNOWN, 0.0)
    assert table([row]).splitlines()[2] == "| juno | base | - | 25% | 0.30 | - | - | 0% | - | - |"
