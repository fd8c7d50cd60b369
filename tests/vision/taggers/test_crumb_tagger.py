"""The embedded tagger knows the example subjects, the same in any size and batch, and refuses files that do not fit."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bakehouse.core.errors import BakehouseError
from bakehouse.data.crumb_attributes import ASSETS, FOLDER
from bakehouse.vision.taggers import CrumbTagger, TagResult, prompt_accuracy

SUBJECTS = ("mira", "tobi")


@pytest.fixture(scope="module")
def tagger() -> CrumbTagger:
    return CrumbTagger.load()


def pictures(name: str) -> list[Image.Image]:
    images = []
    for path in sorted((ASSETS / "examples" / name).glob("*.png")):
        with Image.open(path) as image:
            images.append(image.convert("RGB"))
    return images


@pytest.fixture(scope="module")
def seen(tagger: CrumbTagger) -> dict[str, TagResult]:
    return {name: tagger(pictures(name)) for name in SUBJECTS}


@pytest.mark.parametrize("name", SUBJECTS)
def test_the_look_of_a_subject_it_never_saw_composed_like_this(seen: dict[str, TagResult], name: str) -> None:
    look = json.loads((ASSETS / "examples" / name / "example.json").read_text())["attributes"]
    right = [ok for i in range(len(seen[name])) for ok in prompt_accuracy(seen[name], i, look).values()]
    assert np.mean(right) >= 0.9


@pytest.mark.parametrize("name", SUBJECTS)
def test_backgrounds_and_framings_of_the_captions(seen: dict[str, TagResult], name: str) -> None:
    result, right = seen[name], []
    for i, path in enumerate(sorted((ASSETS / "examples" / name).glob("*.txt"))):
        asked = result.vocabulary.atoms_of_prompt(path.read_text())
        there = prompt_accuracy(result, i, asked)
        right += [there["background"], there["framing"]]
    assert np.mean(right) >= 0.9


def test_subjects_are_nearer_to_themselves_than_to_each_other(seen: dict[str, TagResult]) -> None:
    a, b = (seen[name].embeddings for name in SUBJECTS)
    np.testing.assert_allclose(np.linalg.norm(a, axis=1), 1, atol=1e-4)
    assert (a @ a.T).mean() > (a @ b.T).mean()
    assert (b @ b.T).mean() > (a @ b.T).mean()


def test_probabilities_sum_to_one_and_do_not_depend_on_the_batch(tagger: CrumbTagger) -> None:
    images = pictures("mira-holdout")
    whole, single = tagger(images), tagger(images, batch_size=1)
    for group, p in whole.probs.items():
        assert p.shape == (len(images), len(tagger.vocabulary.groups[group]))
        np.testing.assert_allclose(p.sum(1), 1, atol=1e-4)
        np.testing.assert_allclose(p, single.probs[group], atol=1e-4)


def test_no_images_give_an_empty_result(tagger: CrumbTagger) -> None:
    assert len(tagger([])) == 0


def test_tags_are_in_the_words_of_captions(seen: dict[str, TagResult]) -> None:
    tags = seen["mira"].tags(0)
    assert "person" in tags
    assert all(seen["mira"].vocabulary.atoms(t) for t in tags)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(BakehouseError, match=r"vocabulary\.json"):
        CrumbTagger.load(tmp_path)


def test_weights_of_another_shape_are_refused(tmp_path: Path) -> None:
    shutil.copytree(FOLDER, tmp_path / "tagger")
    path = tmp_path / "tagger" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"embed": 7}))
    with pytest.raises(BakehouseError, match=r"model\.safetensors does not match"):
        CrumbTagger.load(tmp_path / "tagger")
