"""`bakehouse import`: a file to train from, a report, and the right exit code."""

from __future__ import annotations

import json
import tomllib

import pytest

from bakehouse.cli.main import main
from bakehouse.recipe import Recipe

SETTINGS = 'network_dim = 8\ntrain_data_dir = "pictures"\nlearning_rate = 1e-4\nlowram = true\n'


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """Runs the command beside some settings: exit code, standard output, standard error."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pictures" / "4_zwx person").mkdir(parents=True)
    (tmp_path / "config.toml").write_text(SETTINGS)
    (tmp_path / "typo.toml").write_text(SETTINGS + "network_apha = 2\n")

    def command(*words: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as e:
            main(["import", *words])
        said = capsys.readouterr()
        return int(e.value.code or 0), said.out, said.err

    return command


def test_a_recipe_is_written_and_every_key_reported(run, tmp_path):
    code, out, _ = run("config.toml", "-o", "me.toml")
    assert code == 0
    recipe = Recipe.load(tmp_path / "me.toml")
    assert (recipe.adapter.rank, recipe.optimizer.lr) == (8, 1e-4)
    text = (tmp_path / "me.toml").read_text("utf-8")
    assert 'folder = "pictures/4_zwx person" # train_data_dir: 4_zwx person' in text
    assert "rank = 8 # network_dim" in text
    assert "alpha = 1.0 # kohya's default of network_alpha" in text
    for word in ("network_dim", "adapter.rank", "lowram", "no effect here", "bakehouse plan me.toml"):
        assert word in out


def test_without_a_file_the_recipe_is_printed(run):
    code, out, err = run("config.toml")
    assert code == 0
    assert tomllib.loads(out)["adapter"]["rank"] == 8
    assert "3 set in the recipe, 1 no effect here" in err


def test_what_is_lost_is_a_warning_and_with_strict_an_error(run, tmp_path):
    code, _, err = run("typo.toml", "-o", "me.toml", "--quiet")
    assert code == 0
    assert "warning: network_apha = 2: not recognised: did you mean 'network_alpha'?" in err
    (tmp_path / "me.toml").unlink()
    code, _, err = run("typo.toml", "-o", "me.toml", "--strict")
    assert code == 2
    assert "network_apha" in err
    assert not (tmp_path / "me.toml").exists()
    assert run("config.toml", "-o", "me.toml", "--strict")[0] == 0


def test_json_says_what_became_of_every_key(run):
    code, out, err = run("typo.toml", "--json")
    document = json.loads(out)
    assert (code, err) == (0, "")
    assert document["from"] == "kohya"
    assert document["origins"]["adapter.rank"] == "network_dim"
    became = {entry["key"]: (entry["fate"], entry["lost"]) for entry in document["keys"]}
    assert became["network_apha"] == ("unknown", True)
    assert became["lowram"] == ("no effect", False)
    assert document["recipe"]["adapter"]["kind"] == "lora"


def test_images_and_subject_stand_in(run, tmp_path):
    (tmp_path / "preset.toml").write_text("network_dim = 8\n")
    code, _, err = run("preset.toml")
    assert code == 2
    assert "--images" in err
    code, out, _ = run("preset.toml", "--images", "pictures", "--subject", "zwx person", "--kind", "style")
    recipe = tomllib.loads(out)
    assert code == 0
    assert (recipe["kind"], recipe["concepts"][0]) == ("style", {"folder": "pictures", "subject": "zwx person"})


def test_the_owner_can_be_said(run, tmp_path):
    (tmp_path / "seed.toml").write_text("seed = 3\n")
    assert run("seed.toml", "--images", "pictures")[0] == 2
    assert run("seed.toml", "--images", "pictures", "--from", "kohya")[0] == 0
    assert run("seed.toml", "--images", "pictures", "--from", "koyha")[0] == 2
