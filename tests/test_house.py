"""Rules for the whole code base: length of files, what prints and parses, cost of a start. Imports: `make lint`."""

from __future__ import annotations

import ast
import functools
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


CLI = SOURCE / "cli"


@functools.cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text("utf-8"))


def functions_of(path: Path) -> list[ast.FunctionDef]:
    return [node for node in ast.walk(parsed(path)) if isinstance(node, ast.FunctionDef)]


def prints(path: Path) -> bool:
    calls = [node.func for node in ast.walk(parsed(path)) if isinstance(node, ast.Call)]
    return any(isinstance(call, ast.Name) and call.id == "print" for call in calls)


def test_files_are_short():
    """Where one is too long, move a part with a name of its own to another file."""
    long = {}
    for path in FILES:
        limit = 200 if path.is_relative_to(CLI) and not path.is_relative_to(CLI / "render") else 500
        if (lines := len(path.read_text("utf-8").splitlines())) > limit:
            long[str(path.relative_to(SOURCE))] = f"{lines} lines, at most {limit}"
    assert not long


def test_commands_are_short():
    """A command, its options included, reads its arguments and calls another package: what is longer belongs there."""
    long = [
        f"{path.relative_to(SOURCE)}: {one.name}: {one.end_lineno - one.lineno + 1} lines"
        for path in FILES
        if path.is_relative_to(CLI)
        for one in functions_of(path)
        if one.end_lineno - one.lineno >= 60
    ]
    assert not long


def test_public_functions_have_docstrings():
    missing = [
        f"{path.relative_to(SOURCE)}: {node.name}"
        for path in FILES
        for node in parsed(path).body
        if isinstance(node, ast.FunctionDef)
        and not node.name.startswith("_")
        and len(node.body) > 1  # one statement needs no sentence
        and not ast.get_docstring(node)
    ]
    assert not missing


def test_only_the_command_line_prints():
    assert not [str(path.relative_to(SOURCE)) for path in FILES if "cli" not in path.parts and prints(path)]


def test_text_is_never_read_as_markup():
    """One file makes consoles, with markup off: file names and captions may hold brackets."""
    places = {
        p.name
        for p in FILES
        if any(w in p.read_text("utf-8") for w in (" Console(", "(Console)", "rich.markup", "from_markup"))
    }
    assert places == {"consoles.py"}


def test_text_cannot_control_the_terminal():
    """One file prints: it makes control characters of names and captions visible."""
    printing = {path.name for path in FILES if "cli" in path.parts and prints(path)}
    assert printing == {"safe_printing.py", "errors.py"}  # errors.py colours its line itself


def test_json_toml_and_yaml_are_parsed_in_one_file():
    """`core/parse_json_toml_yaml.py` turns whatever is wrong with JSON, TOML or YAML into one kind of error."""
    calls = ("json.loads(", "json.load(", "tomllib.load", "yaml.safe_load(")
    found = {
        path.name
        for path in FILES
        for line in path.read_text("utf-8").splitlines()
        if any(call in line for call in calls) and "json.loads(json.dumps(" not in line
    }
    assert found == {"parse_json_toml_yaml.py"}


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


def test_the_version_is_the_same_everywhere():
    import bakehouse

    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    assert project["project"]["version"] == bakehouse.__version__
    assert f"## {bakehouse.__version__}" in (ROOT / "CHANGELOG.md").read_text("utf-8")


def test_the_wheel_contains_models_presets_and_types():
    from hatchling.builders.wheel import WheelBuilder

    carried = {f.distribution_path for f in WheelBuilder(str(ROOT)).recurse_included_files()}
    assets = [p for p in (SOURCE / "assets").rglob("*") if p.is_file()]
    assert assets
    for path in [*assets, SOURCE / "py.typed", *SOURCE.rglob("*.toml")]:
        assert f"bakehouse/{path.relative_to(SOURCE).as_posix()}" in carried


def test_commands_have_the_names_of_the_specification():
    from bakehouse.cli.main import app

    names = [c.name or c.callback.__name__ for c in app.registered_commands]
    assert names == [
        *("demo", "plan", "train", "evaluate", "doctor", "dreambench", "generate", "prompt", "templates", "grid"),
        *("find-rate", "import", "publish", "serve"),
    ]
    groups = ["captions", "dataset", "models", "queue", "share", "tokens", "triggers", "weights"]
    assert [g.name for g in app.registered_groups] == groups
