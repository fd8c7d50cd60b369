"""`bakehouse triggers explain` and `probe`, and `bakehouse captions compile`, as they are typed."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from PIL import Image

from bakehouse.cli.main import main

TWO = """
[[triggers]]
word = "zwx"
class_word = "person"

[[triggers]]
word = "redfit"
kind = "outfit"
folders = ["red"]
"""


@pytest.fixture
def folder(tmp_path):
    for name, count, clothes in (("3_red", 12, "red dress"), ("2_misc", 9, "blue jeans")):
        (tmp_path / "set" / name).mkdir(parents=True)
        for i in range(count):
            Image.new("RGB", (8, 8), (i, 0, count)).save(tmp_path / "set" / name / f"{i:02d}.png")
            (tmp_path / "set" / name / f"{i:02d}.txt").write_text(f"person, blue eyes, {clothes}, pose {i}\n")
    (tmp_path / "set" / "triggers.toml").write_text(TWO)
    return tmp_path / "set"


PAGE = (Path(__file__).parents[2] / "docs" / "triggers.md").read_text("utf-8")


def typed(*words):
    with pytest.raises(SystemExit) as e:
        main([str(w) for w in words])
    return e.value.code or 0


def test_a_folder_is_explained_with_its_repeats(folder, capsys):
    assert typed("triggers", "explain", folder) == 0
    out = capsys.readouterr().out
    assert "zwx" in out and "red dress 100%" in out and "54 exposures per epoch" in out
    assert typed("triggers", "explain", folder, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert [t["shows"] for t in told["triggers"]] == [54, 36]
    assert told["triggers"][1]["absorbs"][0]["what"] == "red dress"


def test_what_cannot_be_told_apart_is_exit_code_one(folder, capsys):
    (folder / "triggers.toml").write_text(TWO.replace('["red"]', "[]"))
    assert typed("triggers", "explain", folder) == 1
    out = capsys.readouterr().out
    assert "error D02" in out and "1. split" in out and "2. train" in out
    assert typed("triggers", "explain", folder, "--json") == 1
    assert json.loads(capsys.readouterr().out)["findings"][0]["remedies"][1]["shows"] == 54


def test_a_recipe_is_explained_even_where_its_plan_refuses(folder, tmp_path, capsys):
    recipe = tmp_path / "me.toml"
    recipe.write_text(f'[[concepts]]\nfolder = "set"\nsubject = "zwx person"\nrepeats = 2\n{TWO}')
    assert typed("triggers", "explain", recipe) == 0
    assert "42 exposures per epoch" in capsys.readouterr().out
    recipe.write_text(recipe.read_text().replace('["red"]', "[]"))
    assert typed("triggers", "explain", recipe) == 1
    assert typed("plan", recipe) == 2
    assert "also_without" in capsys.readouterr().err


def test_a_recipe_without_triggers_says_so(tmp_path, folder, capsys):
    (tmp_path / "me.toml").write_text('[[concepts]]\nfolder = "set"\nsubject = "zwx person"\n')
    assert typed("triggers", "explain", tmp_path / "me.toml") == 2
    assert "declares no triggers" in capsys.readouterr().err


def test_compile_and_undo(folder, capsys):
    assert typed("captions", "compile", folder, "--dry-run") == 0
    assert "red dress" in capsys.readouterr().out
    assert not list(folder.rglob("*.tags"))
    assert typed("captions", "compile", folder) == 0
    assert (folder / "3_red" / "04.txt").read_text() == "zwx person, redfit, pose 4\n"
    assert "dataset undo" in capsys.readouterr().out
    assert typed("triggers", "explain", folder, "--quiet") == 0
    assert typed("dataset", "undo", folder) == 0
    assert (folder / "3_red" / "04.txt").read_text() == "person, blue eyes, red dress, pose 4\n"


def test_the_pages_commands_run_on_its_own_triggers(tmp_path, monkeypatch, capsys):
    photos = tmp_path / "photos"
    photos.mkdir()
    for i in range(20):
        worn = "teal overalls" if i < 12 else "red hoodie"
        Image.new("RGB", (8, 8), (i, 0, 0)).save(photos / f"{i:02d}.png")
        (photos / f"{i:02d}.txt").write_text(f"person, blue eyes, eyepatch, white hat, {worn}, pose {i}\n")
    (photos / "triggers.toml").write_text(re.search(r"```toml\n(.*?)```", PAGE, re.DOTALL)[1])
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"<!-- not run: tests/cli/test_triggers.py runs .+? -->\n```console\n(.*?)```", PAGE, re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines()]
    assert len(lines) == 4
    for line in lines:
        assert typed(*line.split()[1:]) == 0, line
    assert (photos / "03.txt").read_text() == "zwx person, teal-work, white hat, pose 3\n"
    assert (photos / "03.tags").read_text() == "person, blue eyes, eyepatch, white hat, teal overalls, pose 3\n"


QUICK = ("--noises", "1", "--rare", "4", "--known", "4")


def test_a_probe_says_which_words_are_free_and_exits_with_one_for_those_that_are_not(capsys):
    assert typed("triggers", "probe", "zwx", "beach", *QUICK) == 1
    out = capsys.readouterr().out
    assert "'zwx' is free: it shifts crumb" in out and "'beach' is known: crumb was trained on it" in out
    assert "of a known word's" in out and "free words to use instead: " in out
    assert typed("triggers", "probe", "zwx", *QUICK, "--quiet") == 0
    assert capsys.readouterr().out.splitlines() == [line for line in out.splitlines() if line.startswith("'zwx'")]


def test_a_probe_of_any_base_draws_its_sheet_and_tells_programs(tiny_folder, tmp_path, capsys):
    sheet = tmp_path / "sheet.png"
    words = ("beach", "--base", tiny_folder, "--class", "robot", "--vocabulary", "crumb", "--draw", sheet)
    assert typed("triggers", "probe", *words, "--images", "2", *QUICK, "--json") == 1
    told = json.loads(capsys.readouterr().out)
    assert told["readings"][0]["verdict"] == "known"
    assert told["class_word"] == "robot"
    assert told["looks"][0]["word"] == "beach"
    with Image.open(sheet) as drawn:
        assert drawn.format == "PNG"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("zwx, person",), "comma"),
        (("zwx", "--noises", "0"), "noises = 0"),
        (("zwx", "--base", "nowhere"), "'nowhere' does not exist"),
        (("zwx", "--draw", "sheet.jpeg"), "sheet.png"),
        (("zwx", "--vocabulary", "nowhere"), "nowhere"),
    ],
)
def test_a_probe_that_cannot_be_meant(words, said, capsys):
    assert typed("triggers", "probe", *words) == 2
    assert said in capsys.readouterr().err
