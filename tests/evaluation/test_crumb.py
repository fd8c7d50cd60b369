"""The whole line on the embedded base, with its own tagger for a scorer."""

import shutil

import numpy as np
import pytest
import torch

from bakehouse.adapters import LoRA, inject, save_adapter
from bakehouse.core.events import result_of
from bakehouse.core.run_folder import Run
from bakehouse.data.open_image import open_image
from bakehouse.data.scan import scan
from bakehouse.evaluation import CrumbScorer, evaluate
from bakehouse.evaluation.evaluation_inputs import impostor_photos
from bakehouse.evaluation.likeness import fit_whitening
from bakehouse.evaluation.metrics import self_similarity, similarity
from bakehouse.models import crumb_folder, load_model
from bakehouse.recipe.recipe import ConceptSpec, Recipe

EXAMPLES = crumb_folder().parent / "examples"


@pytest.fixture(scope="module")
def scorer():
    return CrumbScorer.load()


def images(name):
    return [open_image(r.path) for r in scan(EXAMPLES / name).records]


def test_the_tagger_tells_a_subject_from_another(scorer):
    mira, again, tobi = (scorer.embed(images(n)) for n in ("mira", "mira-holdout", "tobi"))
    assert (mira @ again.T).mean() > (mira @ tobi.T).mean() + 0.05
    assert self_similarity(mira) > (mira @ tobi.T).mean() + 0.05


def test_photos_of_others_are_impostors_and_those_of_the_subject_are_none():
    def names(folder, kind="character", subject="zwx person"):
        records = scan(EXAMPLES / folder).records
        recipe = Recipe(concepts=(ConceptSpec(folder=EXAMPLES / folder, subject=subject),), kind=kind)
        return {i.name: i.one_subject for i in impostor_photos(recipe, 0, records, bundled=True)}

    assert names("mira") == {"example adventurer-style": False, "example tobi": True}
    assert names("tobi") == {"example adventurer-style": False, "example mira": True}
    assert "example adventurer-style" not in names("adventurer-style", "style", "hzn style")


def test_the_other_concepts_of_a_recipe_are_impostors():
    concepts = (
        ConceptSpec(folder=EXAMPLES / "mira", subject="zwx person"),
        ConceptSpec(folder=EXAMPLES / "tobi", subject="qvk person"),
    )
    found = impostor_photos(Recipe(concepts=concepts), 0, scan(EXAMPLES / "mira").records, bundled=False)
    assert [(i.name, i.one_subject) for i in found] == [("qvk person", True)]


def test_whitened_likeness_knows_a_subject_among_others(scorer):
    mira, tobi, styles = (scorer.embed(images(n)) for n in ("mira", "tobi", "adventurer-style"))
    whitening = fit_whitening([mira, tobi], styles)
    own = similarity(whitening(scorer.embed(images("mira-holdout"))), whitening(mira))
    others = similarity(whitening(scorer.embed(images("tobi-holdout"))), whitening(mira))
    assert own.min() > others.max() + 0.1


def test_the_tagger_finds_what_captions_say_of_place_and_framing(scorer):
    records = scan(EXAMPLES / "mira").records
    scores = scorer.prompt_scores(images("mira"), [r.captions[0] for r in records])
    assert np.nanmean(scores) > 0.75


def test_a_run_on_crumb_is_evaluated(tmp_path, scorer):
    photos = tmp_path / "photos"
    photos.mkdir()
    for path in sorted((EXAMPLES / "mira").glob("0[1-3].*")):
        shutil.copy(path, photos)
    run = Run(tmp_path / "run")
    run.weights.mkdir(parents=True)
    run.recipe.write_text(f'[[concepts]]\nfolder = "{photos.as_posix()}"\nsubject = "zwx person"\n')
    model = load_model("crumb")
    torch.manual_seed(0)
    adapter = inject(LoRA(rank=2), model.trainable_modules())
    for parameter in adapter.parameters():
        torch.nn.init.normal_(parameter, std=0.02)
    save_adapter(adapter, run.weights / "zwx-person.safetensors", {})
    few = {"images": 2, "steps": 2, "weights": [1.0]}
    report = result_of(evaluate(run, scorer=scorer, changes=few, device="cpu"))
    assert [c.weights for c in report.cells] == ["weights/zwx-person.safetensors"]
    assert report.pick.weights == "", "random weights are nobody"
    assert "lavender" in report.description
    assert {"example tobi", "example adventurer-style"} <= report.base.calibration.impostors.keys()
    assert report.measures.startswith("the tagger")
    assert 0 <= report.base.prompt.value <= 1
    assert report.html_path.stat().st_size > 10_000
