"""The house's own rules: who may import whom, how long a file may be, what a start may cost."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "src" / "bakehouse"
FILES = sorted(p for p in SOURCE.rglob("*.py"))
HEAVY = {"torch", "diffusers", "transformers", "accelerate", "numpy", "PIL", "pydantic", "huggingface_hub", "rich"}


def loaded_by(*command: str) -> set[str]:
    """Top-level modules that a fresh interpreter has loaded at the end of `command`."""
    spy = "import atexit, sys; atexit.register(lambda: print(*{m.split('.')[0] for m in sys.modules}, file=sys.stderr))"
    code = f"{spy}\n{command[0]}"
    done = subprocess.run([sys.executable, "-c", code, *command[1:]], capture_output=True, text=True, check=True)
    return set(done.stderr.split())


def test_the_rooms_stand_on_each_other():
    done = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache"],
        cwd=ROOT, capture_output=True, text=True, env={**os.environ, "NO_COLOR": "1"}, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(SOURCE)))
def test_a_file_is_read_in_one_sitting(path):
    commands = path.is_relative_to(SOURCE / "cli") and not path.is_relative_to(SOURCE / "cli" / "render")
    limit = 60 if commands else 500  # what draws on the terminal is no command
    lines = len(path.read_text("utf-8").splitlines())
    assert lines <= limit, f"{lines} lines, at most {limit}: which room or file is missing?"


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(SOURCE)))
def test_what_is_public_says_what_it_does(path):
    tree = ast.parse(path.read_text("utf-8"))
    silent = [
        node.name
        for node in tree.body
        if isinstance(node, ast.FunctionDef)
        and not node.name.startswith("_")
        and len(node.body) > 1  # a name that says it all needs no sentence
        and not ast.get_docstring(node)
    ]
    assert not silent


@pytest.mark.parametrize("path", [p for p in FILES if "cli" not in p.parts], ids=lambda p: str(p.relative_to(SOURCE)))
def test_only_the_command_line_prints(path):
    calls = [n.func for n in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(n, ast.Call)]
    assert not [c for c in calls if isinstance(c, ast.Name) and c.id == "print"]


def test_text_on_the_terminal_is_never_read_as_markup():
    """One place makes consoles, with markup off: what users wrote holds brackets."""
    places = {
        p.name
        for p in FILES
        if any(w in p.read_text("utf-8") for w in (" Console(", "(Console)", "rich.markup", "from_markup"))
    }
    assert places == {"consoles.py"}


def test_text_on_the_terminal_cannot_steer_it():
    """One place prints: it makes control characters of names and captions visible."""
    printing = {
        path.name
        for path in FILES
        if "cli" in path.parts
        for n in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(n, ast.Call) and isinstance(n.func, ast.Name) and n.func.id == "print"
    }
    assert printing == {"printing.py", "errors.py"}  # errors.py colours its line itself


def test_documents_are_parsed_in_one_place():
    """`core/json_toml_yaml.py` turns whatever is wrong with JSON, TOML or YAML into one kind of error."""
    calls = ("json.loads(", "json.load(", "tomllib.load", "yaml.safe_load(")
    found = {
        path.name
        for path in FILES
        for line in path.read_text("utf-8").splitlines()
        if any(call in line for call in calls) and "json.loads(json.dumps(" not in line
    }
    assert found == {"json_toml_yaml.py"}


def test_import_bakehouse_is_instant():
    assert not loaded_by("import bakehouse") & (HEAVY | {"typer"})


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["train", "--help"], ["models", "--help"]])
def test_help_loads_nothing_heavy(arguments):
    code = "import sys; from bakehouse.cli.main import main; main(sys.argv[1:])"
    typers_own = set() if arguments[0].startswith("--") else {"pydantic"}
    assert not loaded_by(code, *arguments) & (HEAVY - typers_own)


def test_every_public_name_is_found():
    import bakehouse

    for name in dir(bakehouse):
        assert getattr(bakehouse, name) is not None
    with pytest.raises(AttributeError, match="bake_a_cake"):
        _ = bakehouse.bake_a_cake


def test_the_version_is_said_once():
    import bakehouse

    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    assert project["project"]["version"] == bakehouse.__version__
    assert f"## {bakehouse.__version__}" in (ROOT / "CHANGELOG.md").read_text("utf-8")


def test_the_wheel_carries_models_presets_and_types():
    from hatchling.builders.wheel import WheelBuilder

    carried = {f.distribution_path for f in WheelBuilder(str(ROOT)).recurse_included_files()}
    assets = [p for p in (SOURCE / "assets").rglob("*") if p.is_file()]
    assert assets
    for path in [*assets, SOURCE / "py.typed", *SOURCE.rglob("*.toml")]:
        assert f"bakehouse/{path.relative_to(SOURCE).as_posix()}" in carried


def test_commands_carry_the_names_of_the_contract():
    from bakehouse.cli.main import app

    names = [c.name or c.callback.__name__ for c in app.registered_commands]
    assert names == ["demo", "plan", "train", "evaluate", "generate", "grid", "find-rate", "import"]
    assert [g.name for g in app.registered_groups] == ["captions", "dataset", "models", "queue", "triggers", "weights"]
