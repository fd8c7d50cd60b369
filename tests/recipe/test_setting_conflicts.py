"""Settings that work against each other are refused with their remedy, or said before anybody waits for the result."""

import json

import numpy as np
import pytest
from PIL import Image

from bakehouse.core.errors import Problems
from bakehouse.recipe import make_plan, recipe_for_folder

ZERO_TERMINAL = {"noise__zero_terminal_snr": True, "model__prediction": "v_prediction"}


@pytest.fixture
def recipe(tmp_path, tiny_folder):
    folder = tmp_path / "photos"
    folder.mkdir()
    for i in range(3):
        Image.fromarray(np.full((64, 64, 3), 40 * i, dtype=np.uint8)).save(folder / f"{i}.png")

    def make(**settings):
        changes = {"buckets.resolution": 64, "buckets.step": 16, "prior.source": "none", "sample.prompts": []}
        changes |= {key.replace("__", "."): value for key, value in settings.items()}
        return recipe_for_folder(folder, "zwx person", base=str(tiny_folder), settings=changes)

    make.folder = folder
    return make


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"optimizer__name": "lionn"}, r"did you mean 'lion'"),
        ({"optimizer__name": "came", "optimizer__args": {"weight_decy": 0.1}}, r"did you mean 'weight_decay'"),
        ({"optimizer__name": "adamw8bit", "train__device": "cpu"}, r"needs a CUDA device.*'adamw'"),
        (
            {"optimizer__name": "prodigy", "optimizer__lr": 1, "optimizer__text_lr": 0.5, "adapter__text": True},
            r"text_lr = 0\.5 differs from optimizer\.lr = 1.*set both to the same value",
        ),
        ({"optimizer__name": "AdamWScheduleFree", "train__ema": 0.99}, r"averages weights already"),
        ({"optimizer__name": "AdamWScheduleFree", "schedule__kind": "cosine"}, r"which needs no schedule"),
        ({"schedule__kind": "adafactor"}, r"needs optimizer\.name = 'adafactor'"),
        (
            {"optimizer__name": "adafactor", "optimizer__args": {"relative_step": True}, "schedule__kind": "cosine"},
            r"no effect with relative_step",
        ),
        (
            {"optimizer__name": "adafactor", "optimizer__args": {"relative_step": True}, "optimizer__lr": 1e-4},
            r"lr = 0\.0001 has no effect",
        ),
        ({"data__augment__random_crop": True}, r"random_crop = True would be the same.*variants = 4.*cache = 'none'"),
        ({"data__augment__color": 0.1, "data__augment__variants": 1}, r"color = 0\.1 would be the same at every step"),
        ({"data__augment__face_crop": [2, 4], "data__augment__variants": 4}, r"no face is marked in 0\.png, 1\.png"),
        ({"data__augment__zoom": 2.0}, r"does nothing without random_crop"),
    ],
    ids=str,
)
def test_what_cannot_be_meant_is_refused(recipe, settings, words):
    with pytest.raises(Problems, match=words):
        make_plan(recipe(**settings))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"noise__offset_adaptive": 0.1}, "noise.offset_adaptive = 0.1 does nothing without noise.offset"),
        ({"noise__offset": 0.05, "noise__pyramid_iterations": 6}, "shrinks the offset"),
        ({"noise__ip_random_strength": True}, "does nothing without noise.ip_gamma"),
        ({"loss__huber_c": 0.3}, "loss.huber_c = 0.3 does nothing"),
        ({"loss__weighting__kind": "debiased", "loss__weighting__gamma": 3}, "loss.weighting.gamma = 3.0 does nothing"),
        ({"noise__timesteps__std": 2.0}, "noise.timesteps.std = 2.0 does nothing"),
        ({"loss__kind": "huber", "loss__weighting__kind": "min_snr"}, "derived for squared errors"),
        ({**ZERO_TERMINAL, "loss__weighting__kind": "min_snr"}, "goes to 0 at the last timesteps"),
        ({**ZERO_TERMINAL, "noise__max_timestep": 900}, "leaves out the timesteps that are pure noise"),
        ({**ZERO_TERMINAL, "noise__offset": 0.05}, "too dark or too bright"),
        ({"optimizer__name": "prodigy", "optimizer__lr": 1e-4}, "1.0 is usual"),
        ({"optimizer__lr": 1.0}, "10,000 times adamw's usual"),
        ({"kind": "style", "data__augment__color": 0.1, "data__cache": "none"}, "part of a style"),
    ],
    ids=str,
)
def test_what_may_disappoint_is_said(recipe, settings, words):
    assert any(words in warning for warning in make_plan(recipe(**settings)).warnings)


def test_epochs_that_follow_from_the_steps_are_as_many_as_class_images_too_allow(recipe):
    plan = make_plan(recipe(train__steps=100, train__batch=2, prior__source="captions"))
    assert plan.class_images, "each class image makes its epoch longer"
    assert (plan.epochs - 1) * plan.steps_per_epoch < plan.steps == 100 <= plan.epochs * plan.steps_per_epoch
    assert not [warning for warning in plan.warnings if "train.epochs" in warning]


@pytest.mark.parametrize("kind", ["lora", "loha", "lokr", "ia3", "oft", "boft", "glora", "dylora", "diff", "full"])
@pytest.mark.parametrize("base", ["crumb", None])
def test_the_rate_that_the_plan_chooses_is_not_far_too_high(recipe, kind, base):
    settings = {"model__base": base} if base else {}
    said = make_plan(recipe(adapter={"kind": kind}, **settings)).warnings
    assert not [w for w in said if w.startswith("optimizer.lr")]


def test_plain_settings_are_not_warned_about(recipe):
    said = make_plan(recipe(loss__huber_c=0.1, noise__offset=0.0)).warnings
    assert not [w for w in said if "does nothing" in w]


@pytest.mark.parametrize(
    ("name", "args", "kind", "lr"),
    [
        ("lion", {}, "cosine", 3e-5),
        ("AdamWScheduleFree", {}, "constant", 1e-4),
        ("adafactor", {"relative_step": True}, "adafactor", 1.0),
        ("DAdaptation", {}, "annealed_cosine_with_restarts", 1.0),
    ],
)
def test_the_plan_gives_each_optimizer_its_rate_and_schedule(recipe, name, args, kind, lr):
    planned = make_plan(recipe(optimizer__name=name, optimizer__args=args)).recipe
    assert planned.schedule.kind == kind
    assert planned.optimizer.lr == pytest.approx(lr)
    # What a plan has written can be planned again.
    assert make_plan(planned).recipe == planned


def test_faces_are_found_in_metadata(recipe):
    rows = [{"file_name": f"{i}.png", "text": "zwx person", "face": [10, 10, 20, 20]} for i in range(3)]
    (recipe.folder / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
    make_plan(recipe(data__augment__face_crop=[2, 3], data__augment__variants=2))
