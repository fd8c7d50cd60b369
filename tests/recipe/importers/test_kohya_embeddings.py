"""Textual inversion as kohya's scripts and the kohya_ss GUI write it becomes a recipe of an embedding."""

from __future__ import annotations

import json

import pytest

WORDS = 'token_string = "zwx"\ninit_word = "person"\nnum_vectors_per_token = 4\nlearning_rate = 5e-4\n'
HEAD = f'train_data_dir = "img"\nmax_train_steps = 900\n{WORDS}'


def facts(recipe):
    spec = recipe.embedding
    return recipe.kind, recipe.adapter.kind, spec.vectors, spec.init, spec.lr, recipe.optimizer.lr


@pytest.mark.parametrize(
    ("text", "name"),
    [
        (HEAD, "settings.toml"),
        (
            "accelerate launch train_textual_inversion.py --train_data_dir img --max_train_steps 900 "
            "--token_string zwx --init_word person --num_vectors_per_token 4 --learning_rate 5e-4",
            "go.sh",
        ),
        (
            "python sdxl_train_textual_inversion.py --train_data_dir img --max_train_steps 900 --token_string zwx "
            "--init_word person --num_vectors_per_token 4 --learning_rate 5e-4",
            "go.sh",
        ),
    ],
    ids=["config file", "command line", "command line of SDXL"],
)
def test_a_training_of_kohyas(imported, text, name):
    made = imported(text, name)
    assert facts(made.recipe) == ("embedding", "none", 4, "person", 5e-4, None)
    assert made.recipe.train.steps == 900
    assert {(c.trigger_word, c.subject) for c in made.recipe.concepts} == {
        ("zwx", "zwx hzn hat"),
        ("zwx", "zwx person"),
    }
    assert not made.lost


def test_what_is_left_out_has_kohyas_defaults(imported):
    made = imported('train_data_dir = "img"\ntoken_string = "qvk"\n')
    assert facts(made.recipe) == ("embedding", "none", 1, None, 2e-6, None)


def test_the_word_of_a_dataset_file(bench, imported):
    (bench / "data.toml").write_text('[[datasets]]\n[[datasets.subsets]]\nimage_dir = "img/10_zwx person"\n')
    made = imported(f'dataset_config = "data.toml"\n{WORDS}'.replace("zwx", "qvk"))
    (concept,) = made.recipe.concepts
    assert (concept.trigger_word, concept.subject) == ("qvk", "qvk zwx person")


def test_templates_and_earlier_weights_are_said(imported, lost):
    made = imported(f'{HEAD}use_object_template = true\nweights = "old.pt"\nsave_model_as = "pt"\n')
    assert set(lost(made)) == {"use_object_template", "weights"}
    assert "prefix" not in made.recipe.captions.model_fields_set, "the plan puts the word in front"
    assert imported(HEAD).recipe.captions.prefix == ""


def test_seventeen_vectors_are_named(imported, lost):
    made = imported(HEAD.replace("= 4", "= 17"))
    assert "embedding.vectors is not set" in lost(made)["num_vectors_per_token"]


def test_other_trainings_pass_over_them(imported, statuses):
    made = imported(f'{HEAD}script = "train_network.py"\nnetwork_dim = 4\n')
    assert (made.recipe.kind, made.recipe.adapter.kind, made.recipe.embedding.vectors) == ("character", "lora", None)
    assert {statuses(made)[name] for name in ("token_string", "init_word", "num_vectors_per_token")} == {"no effect"}


def test_the_guis_tab(imported, lost):
    saved = {
        "pretrained_model_name_or_path": "runwayml/stable-diffusion-v1-5", "train_data_dir": "img", "sdxl": False,
        "token_string": "zwx", "init_word": "person", "num_vectors_per_token": 8, "template": "style template",
        "learning_rate": 1e-3, "max_train_steps": 900, "max_resolution": "512,512", "epoch": 1,
    }  # fmt: skip
    made = imported(json.dumps(saved), "gui.json")
    assert made.trainer == "kohya-gui"
    assert facts(made.recipe) == ("embedding", "none", 8, "person", 1e-3, None)
    assert set(lost(made)) == {"template"}
