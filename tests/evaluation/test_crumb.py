"""The whole line on the embedded base, with its own tagger for a judge."""

import shutil

import numpy as np
import pytest
import torch

from bakehouse.adapters import LoRA, inject, save_adapter
from bakehouse.core.events import result_of
from bakehouse.core.run_folder import Run
from bakehouse.data.open_image import open_image
from bakehouse.data.scan import scan
from bakehouse.evaluation import CrumbJudge, evaluate
from bakehouse.evaluation.metrics import self_similarity
from bakehouse.models import crumb_folder, load_model

EXAMPLES = crumb_folder().parent / "examples"


@pytest.fixture(scope="module")
def judge():
    return CrumbJudge.load()


def images(name):
    return [open_image(r.path) for r in scan(EXAMPLES / name).records]


def test_the_tagger_tells_a_subject_from_another(judge):
    mira, again, tobi = (judge.embed(images(n)) for n in ("mira", "mira-holdout", "tobi"))
    assert (mira @ again.T).mean() > (mira @ tobi.T).mean() + 0.05
    assert self_similarity(mira) > (mira @ tobi.T).mean() + 0.05


def test_the_tagger_finds_what_captions_say_of_place_and_framing(judge):
    records = scan(EXAMPLES / "mira").records
    scores = judge.prompt_scores(images("mira"), [r.captions[0] for r in records])
    assert np.nanmean(scores) > 0.75


def test_a_run_on_crumb_is_judged(tmp_path, judge):
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
    report = result_of(evaluate(run, judge=judge, changes=few, device="cpu"))
    assert report.pick.weights == "weights/zwx-person.safetensors"
    assert report.measures.startswith("the tagger")
    assert 0 <= report.base.prompt.value <= 1
    assert report.html.stat().st_size > 10_000
