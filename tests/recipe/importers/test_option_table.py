"""The tables are whole: no option of kohya's is missing, every target exists, and the page says the same."""

from __future__ import annotations

import json
import re
import runpy
import typing
from pathlib import Path

import pytest
from pydantic import BaseModel

from bakehouse.recipe import Recipe
from bakehouse.recipe.importers import (
    STATUS_WORDS,
    ai_toolkit,
    diffusers_scripts,
    easy_scripts,
    kohya_gui,
    onetrainer,
)
from bakehouse.recipe.importers.kohya_network import ALGORITHMS, MODULES, NETWORK_ARGS, PRESETS, kinds
from bakehouse.recipe.importers.kohya_options import GROUPS, KOHYA

ROOT = Path(__file__).parents[3]
HELP = Path(__file__).with_name("kohya_options.txt")
"""What kohya's argument parsers say: name, type and default, one a line."""
TABLES = {
    "kohya": KOHYA,
    "network_args": NETWORK_ARGS,
    "gui": kohya_gui.OWN,
    "easy": easy_scripts.OWN,
    "diffusers": diffusers_scripts.OPTIONS,
    "onetrainer": onetrainer.OPTIONS,
    "ai-toolkit": ai_toolkit.OPTIONS,
}


def listed() -> dict[str, str]:
    return {line.split()[0]: line.split()[1] for line in _lines()}


def _lines() -> list[str]:
    return [line for line in HELP.read_text("utf-8").splitlines() if line and not line.startswith("#")]


def test_defaults_are_kohyas():
    """A key at its default is worth no line, and what is not given is taken to be at it."""
    by_network = {"network_dim": 4}  # None there; networks.lora makes 4 of it
    for name, _, default in (line.split(maxsplit=2) for line in _lines()):
        if default == "-":
            continue
        theirs = by_network.get(name, json.loads(default))
        assert (KOHYA[name].default or False) == (theirs or False), name


def test_no_option_of_kohyas_is_missing():
    missing = sorted(set(listed()) - set(KOHYA))
    assert not missing
    assert len(listed()) >= 193  # as many as kohya's own --help lists


def test_no_argument_of_lycoris_is_missing():
    """What its `create_network` asks for, its algorithms and its presets, as installed here."""
    import inspect

    from lycoris import kohya
    from lycoris.config import BUILTIN_PRESET_CONFIGS
    from lycoris.wrapper import deprecated_arg_dict, network_module_dict

    asked = set(re.findall(r'kwargs\.get\(\s*"(\w+)"', inspect.getsource(kohya.create_network)))
    assert len(asked) > 20
    assert not sorted((asked | set(deprecated_arg_dict)) - set(NETWORK_ARGS))
    assert not sorted(set(BUILTIN_PRESET_CONFIGS) - set(PRESETS))
    page = (ROOT / "docs" / "coming-from-kohya.md").read_text("utf-8")
    assert not [algo for algo in network_module_dict if algo not in ALGORITHMS and f"algo={algo}" not in page]


def test_types_are_kohyas():
    wide = {"any": {"text", "list"}, "float": {"float", "int"}, "path": {"text"}}
    for name, kind in listed().items():
        ours = KOHYA[name].kind
        assert kind == ours or kind in wide.get(ours, set()), name


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)
def test_every_target_is_a_key_of_the_recipe(table):
    wrong = [(o.name, key) for o in table.values() for key in o.sets if not known(Recipe, key.split("."))]
    assert not wrong


def known(spec: type[BaseModel], path: list[str]) -> bool:
    field = spec.model_fields.get(path[0])
    if field is None or len(path) == 1:
        return field is not None
    return any(known(inner, path[1:]) for inner in specs(field.annotation))


def specs(annotation):
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in typing.get_args(annotation):
        yield from specs(inner)


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)
def test_what_is_not_taken_has_a_reason(table):
    assert not [o.name for o in table.values() if o.status != "set" and not o.how]
    assert {o.status for o in table.values()} <= set(STATUS_WORDS)


def test_commands_that_are_named_exist():
    from bakehouse.cli.main import app

    names = {c.name or c.callback.__name__ for c in app.registered_commands} | {g.name for g in app.registered_groups}
    said = [o.how for table in TABLES.values() for o in table.values()]
    said.append((ROOT / "docs" / "coming-from-kohya.md").read_text("utf-8"))
    assert {word for text in said for word in re.findall(r"`bakehouse (\w+)", text)} <= names


def test_algorithms_and_samplers_exist_here():
    from bakehouse.models.samplers import SAMPLERS as OURS
    from bakehouse.recipe.sample_prompt import KOHYA_SAMPLERS

    assert set(ALGORITHMS.values()) | set(MODULES.values()) <= set(kinds())
    assert set(KOHYA_SAMPLERS.values()) <= set(OURS)


def test_the_page_says_what_the_tables_say():
    page = runpy.run_path(str(ROOT / "tools" / "write_import_docs.py"))["page"]
    text = (ROOT / "docs" / "coming-from-kohya.md").read_text("utf-8")
    assert page(text) == text, "run `make docs`"
    for options in GROUPS.values():
        for name in options:
            assert f"`{name}`" in text


MODULE = {"network_module": '"networks.dylora"'}
SAMPLES = {
    "flag": "true",
    "int": "3",
    "float": "0.5",
    "text": '"fp16"',
    "path": '"a.safetensors"',
    "list": "[1e-5]",
    "any": '"2,4"',
}


@pytest.mark.parametrize("name", sorted(listed()))
def test_no_option_is_passed_over_in_silence(imported, name):
    """Each option of kohya's alone is in the report, and the recipe still loads."""
    if name in ("config_file", "dataset_config"):
        pytest.skip("names another file")
    if name == "train_inpainting":
        pytest.skip("is refused: see test_kohya_others.py")
    extra = "" if name == "train_data_dir" else 'train_data_dir = "img"\n'
    value = MODULE.get(name, SAMPLES[KOHYA[name].kind])
    made = imported(f"{extra}network_dim = 4\n{'' if name == 'network_dim' else f'{name} = {value}'}\n")
    assert any(note.key == name for note in made.notes)
