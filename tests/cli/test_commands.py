"""Commands as a user types them, on real files and the built-in base model."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from PIL import Image

from bakehouse.cli.main import main
from bakehouse.core.errors import BakehouseError
from bakehouse.core.events import Event

CHEAP = [
    *("--set", "train.steps=2"),
    *("--set", "train.batch=1"),
    *("--set", "prior.source=none"),
    *("--set", "sample.prompts=[]"),
    *("--set", "adapter.text=false"),
]


@pytest.fixture(autouse=True)
def workdir(tmp_path, monkeypatch):
    """A working folder with four images and their captions."""
    photos = tmp_path / "photos"
    photos.mkdir()
    for i in range(4):
        Image.new("RGB", (128, 128), (60 * i, 90, 120)).save(photos / f"{i}.png")
        (photos / f"{i}.txt").write_text("zwx person, smile")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BAKEHOUSE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("BAKEHOUSE_DATA", str(tmp_path / "data"))
    return tmp_path


@pytest.fixture
def typed(capsys):
    """Run a command; return its exit code, standard output and standard error."""

    def run(*words: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as e:
            main(list(words))
        out, err = capsys.readouterr()
        return int(e.value.code or 0), out, err

    return run


def test_version(typed):
    assert typed("--version") == (0, "bakehouse 0.1.0\n", "")


def test_a_misspelt_command_gets_a_suggestion(typed):
    code, out, err = typed("trian", "photos")
    assert (code, out) == (2, "")
    assert "'trian'" in err
    assert "'train'" in err


def test_a_misspelt_option_gets_a_suggestion(typed):
    code, _, err = typed("train", "photos", "--subjct", "zwx person")
    assert code == 2
    assert "--subject" in err


def test_a_folder_needs_a_subject(typed):
    code, out, err = typed("plan", "photos")
    assert (code, out) == (2, "")
    assert err.startswith("error: photos has no subject\n")
    assert '--subject "zwx person"' in err


def test_wrong_keys_are_reported_together(typed):
    code, _, err = typed(
        "plan", "photos", "--subject", "zwx person", "--set", "adapter.rnak=3", "--set", "train.batch=0"
    )
    assert code == 2
    assert "did you mean 'rank'?" in err
    assert "train.batch = 0" in err


def test_a_missing_recipe(typed):
    code, _, err = typed("train", "nothing.toml")
    assert code == 2
    assert "nothing.toml does not exist" in err


@pytest.mark.parametrize(
    ("error", "code"), [(BakehouseError("the disk is full", hint="free some"), 1), (KeyError("x"), 1)]
)
def test_no_traceback_unless_asked(typed, monkeypatch, error, code):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr("bakehouse.cli.load_recipe.read_recipe", fail)
    got, out, err = typed("plan", "photos")
    assert (got, out) == (code, "")
    assert "Traceback" not in err
    assert "free some" in err or "--debug" in err
    with pytest.raises(type(error)):
        main(["plan", "photos", "--debug"])
    monkeypatch.setenv("BAKEHOUSE_DEBUG", "1")
    with pytest.raises(type(error)):
        main(["plan", "photos"])


@pytest.mark.parametrize(
    ("command", "said"), [("train", "stopped; run the same command again to resume"), ("plan", "stopped")]
)
def test_ctrl_c(typed, monkeypatch, command, said):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("bakehouse.cli.load_recipe.read_recipe", interrupted)
    code, out, err = typed(command, "photos")
    assert (code, out) == (130, "")
    assert err.strip().endswith(said)


def test_errors_are_red_in_a_terminal_unless_colors_are_off(typed, monkeypatch):
    assert "\x1b[31m" not in typed("plan", "photos")[2]
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr("bakehouse.cli.render.errors.sys.stderr", sys.stderr)
    assert "\x1b[31merror:" in typed("plan", "photos")[2]
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[31m" not in typed("plan", "photos")[2]


def test_plan_shows_reasons_and_writes_a_recipe(typed, workdir):
    code, out, err = typed("plan", "photos", "--subject", "zwx person", "-o", "me.toml")
    assert code == 0
    assert "adapter.rank" in out
    assert "128 x 128" in out
    assert "4 images" in out and " epochs" in out
    assert "bakehouse triggers probe zwx --base crumb" in out
    assert "warning:" in err  # four images are few
    written = (workdir / "me.toml").read_text()
    assert 'folder = "photos"' in written
    assert "# " in written
    code, out, _ = typed("plan", "me.toml", "--quiet")
    assert code == 0 and "probe" not in out


def test_plan_as_json_is_one_document(typed):
    code, out, _ = typed(
        "plan", "photos", "--subject", "zwx person", "--kind", "pose", "--set", "adapter.rank=3", "--json"
    )
    plan = json.loads(out)
    assert code == 0
    assert plan["recipe"]["adapter"]["rank"] == 3
    assert plan["recipe"]["kind"] == "pose"
    assert all(d["reason"] for d in plan["decisions"])


def test_a_dry_run_leaves_nothing_behind(typed, workdir):
    code, out, _ = typed("train", "photos", "--subject", "zwx person", "--dry-run")
    assert code == 0
    assert "steps" in out
    assert not (workdir / "runs").exists()


def test_train_resumes_and_refuses_another_recipe(typed, workdir):
    words = ("train", "photos", "--subject", "zwx person", *CHEAP)
    code, out, err = typed(*words)
    assert code == 0, err
    assert "runs/zwx-person" in out
    assert "2 steps" in err
    weights = list((workdir / "runs" / "zwx-person" / "weights").glob("*.safetensors"))
    assert weights

    before = {p: p.read_bytes() for p in weights}
    code, _, err = typed(*words, "--quiet")
    assert code == 0, err
    assert {p: p.read_bytes() for p in weights} == before

    code, _, err = typed(*words, "--set", "seed=5")
    assert code == 2
    assert "seed" in err
    assert "--run" in err

    # A run folder is a recipe too: training it resumes it.
    assert typed("train", "runs/zwx-person")[0] == 0
    assert [p.name for p in (workdir / "runs").iterdir()] == ["zwx-person"]

    code, out, err = typed("generate", "runs/zwx-person", "zwx person", "--steps", "1", "--seed", "3", "--json")
    assert code == 0, err
    assert json.loads(out)[0]["seed"] == 3

    code, out, err = typed("grid", "runs/zwx-person", "--x", "weight=0,1", "--steps", "1")
    assert code == 0, err
    assert all(Path(line).is_file() for line in out.splitlines()) and len(out.splitlines()) == 2


def test_train_as_json_is_a_line_for_each_event(typed):
    code, out, err = typed("train", "photos", "--subject", "zwx person", "--run", "r", "--json", *CHEAP)
    assert code == 0, err
    events = [Event.from_json(json.loads(line)) for line in out.splitlines()]
    assert [type(e).__name__ for e in events][-1] == "Finished"
    assert err == ""


def test_generate_prints_paths_and_never_overwrites(typed, workdir):
    words = ("generate", "crumb", "a person", "-n", "2", "--seed", "7", "--steps", "1", "-o", "out")
    assert typed(*words)[1].split() == ["out/00001-7.png", "out/00002-8.png"]
    assert typed(*words)[1].split() == ["out/00003-7.png", "out/00004-8.png"]
    assert (workdir / "out" / "00001-7.png").read_bytes() == (workdir / "out" / "00003-7.png").read_bytes()


def test_a_weight_needs_an_adapter(typed):
    code, _, err = typed("generate", "crumb", "a person", "--weight", "0.5")
    assert code == 2
    assert "adapter" in err


def test_a_grid_of_no_run_needs_a_prompt(typed):
    code, _, err = typed("grid", "crumb", "--x", "seed=1,2")
    assert code == 2
    assert "--prompt" in err


def test_models_list(typed):
    assert "crumb" in typed("models", "list")[1]
    rows = json.loads(typed("models", "list", "--json")[1])
    assert rows[0]["name"] == "crumb"
    assert len(rows[0]["sha256"]) == 64
    assert {"kind", "bytes", "licence", "path", "source"} <= set(rows[0])


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shells_can_complete(monkeypatch, capsys, shell):
    monkeypatch.setenv("_BAKEHOUSE_COMPLETE", f"complete_{shell}")
    monkeypatch.setenv("COMP_WORDS", "bakehouse tr")
    monkeypatch.setenv("COMP_CWORD", "1")
    monkeypatch.setenv("_TYPER_COMPLETE_ARGS", "bakehouse tr")
    monkeypatch.setenv("_TYPER_COMPLETE_FISH_ACTION", "get-args")
    with pytest.raises(SystemExit):
        main([])
    assert "train" in capsys.readouterr().out


@pytest.mark.parametrize("option", ["--seed", "--precision"])
def test_a_wrong_option_is_named_with_its_value(typed, option):
    code, _, err = typed("generate", "crumb", "x", option, "many")
    assert code == 2
    assert option in err and "'many'" in err
