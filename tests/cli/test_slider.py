"""A slider on the command line: from words or another trainer's YAML to a plan and a run."""

from __future__ import annotations

import json

import pytest
from PIL import Image

from bakehouse.cli.main import main
from bakehouse.recipe import Recipe

SMILE = ("--target", "person", "--positive", "person, big smile", "--negative", "person, sad")
QUICK = (
    "slider.steps=3", "slider.points=2", "slider.images=1", "slider.strengths=[1.0]", "slider.sizes=[[64, 64]]",
    "train.batch=1", "train.steps=2", "train.epochs=1", "sample.steps=1", "sample.at_start=false",
)  # fmt: skip


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)

    def command(*words: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as e:
            main([str(w) for w in words])
        said = capsys.readouterr()
        return int(e.value.code or 0), said.out, " ".join(said.err.split())

    return command


def test_a_plan_from_words(run, tmp_path):
    code, out, err = run("plan", "--kind", "slider", *SMILE, "--keep", "hair, skin", "-o", "me.toml")
    assert code == 0, err
    recipe = Recipe.load(tmp_path / "me.toml")
    (prompt,) = recipe.slider.prompts
    assert (recipe.kind, recipe.slider.keep, recipe.concepts) == ("slider", ("hair", "skin"), ())
    assert (prompt.target, *prompt.ends) == ("person", "person, big smile", "person, sad", "person")
    assert "1 pair of prompts, no images" in out
    assert "Buckets" not in out


def test_a_plan_as_json(run):
    code, out, _ = run("plan", *SMILE, "--json")
    plan = json.loads(out)
    assert code == 0
    assert plan["images"] == []
    assert plan["steps"] == plan["recipe"]["train"]["steps"]
    assert plan["steps_per_epoch"] * plan["epochs"] >= plan["steps"]


def test_training_from_words_and_again(run, tmp_path, tiny_folder):
    settings = [word for setting in QUICK for word in ("--set", setting)]
    words = ("train", *SMILE, "--base", tiny_folder, *settings, "--run", "run")
    code, out, err = run(*words)
    assert code == 0, err
    assert "slider.png" in out
    assert (tmp_path / "run" / "report" / "slider.png").is_file()
    assert (tmp_path / "run" / "weights" / "person-big-smile.safetensors").is_file()
    assert run(*words)[0] == 0
    assert run("train", "run", *("--run", "run"))[0] == 0


def test_lecos_yaml_is_trained_as_it_is(run, tmp_path, tiny_folder):
    (tmp_path / "prompts.yaml").write_text(
        "- target: person\n  positive: person, big smile\n  unconditional: person\n  resolution: 64\n"
    )
    (tmp_path / "leco.yaml").write_text(
        f"prompts_file: prompts.yaml\npretrained_model: {{name_or_path: {tiny_folder}}}\n"
        "network: {rank: 2, flavour: 1}\ntrain: {precision: float32, iterations: 2, max_denoising_steps: 3}\n"
        "save: {name: leco}\nlogging: {}\nother: {}\n"
    )
    settings = [w for s in ("slider.images=1", "slider.strengths=[1.0]", "sample.prompts=[]") for w in ("--set", s)]
    code, _, err = run("train", "leco.yaml", *settings)
    assert code == 0, err
    assert "network.flavour" in err
    assert (tmp_path / "runs" / "leco" / "weights" / "leco.safetensors").is_file()


WRONG = {
    ("plan",): "RECIPE|FOLDER is missing",
    ("plan", "--kind", "slider"): "a slider needs --target",
    ("plan", "--target", "person"): "a slider needs --positive",
    ("plan", *SMILE, "--kind", "style"): "not --kind style",
    ("plan", *SMILE, "--subject", "zwx person"): "a slider has --target",
    ("plan", "photos", *SMILE): "leave one of them out",
    ("plan", "photos", "--kind", "slider"): "photos is a folder of images",
    ("plan", *SMILE, "--set", "train.precision=fp16"): "end in NaN",
    ("plan", "--target", "person", "--positive", "a", "--negative", "a"): "there is no difference to learn",
    ("plan", *SMILE, "--set", "slider.kepe=[]"): "did you mean",
}


@pytest.mark.parametrize("words", WRONG, ids=lambda w: " ".join(w)[:40])
def test_what_is_wrong_is_said(run, tmp_path, words):
    (tmp_path / "photos").mkdir()
    code, _, err = run(*words)
    assert code == 2
    assert WRONG[words] in err


def test_other_kinds_have_no_slider(run, tmp_path):
    (tmp_path / "me.toml").write_text('[slider]\nkeep = ["a"]\n[[concepts]]\nfolder = "x"\nsubject = "zwx person"\n')
    code, _, err = run("plan", "me.toml")
    assert code == 2
    assert "slider: is only for kind = 'slider', and this recipe has kind = 'character'" in err


def test_a_range_test_is_refused(run, tmp_path):
    run("plan", *SMILE, "-o", "me.toml", "-q")
    code, _, err = run("find-rate", "me.toml")
    assert code == 2
    assert "a slider is trained without" in err


def test_the_images_of_a_slider_are_audited(run, tmp_path):
    for end in ("smile", "frown"):
        (tmp_path / end).mkdir()
        for i in range(4):
            Image.effect_noise((128, 128), 30 + i).convert("RGB").save(tmp_path / end / f"{i}.png")
    ends = ("--positive-images", "smile", "--negative-images", "frown")
    assert run("plan", *SMILE, *ends, "-o", "me.toml")[0] == 0
    code, out, err = run("dataset", "audit", "smile", "--recipe", "me.toml", "--no-faces", "--no-text")
    assert code in (0, 1), err
    assert "4 images" in out
