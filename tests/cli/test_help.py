"""Help texts: every command and option has one, in plain and complete sentences that fit on a line of a list."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
import typer

from bakehouse.cli.commands import ORDER
from bakehouse.cli.help_panels import ORDER as PANELS
from bakehouse.cli.help_panels import panel_of
from bakehouse.cli.main import app

IDIOMS = (
    r"mends?\b", r"bak(e|es|ed|ing)\b", r"shall\b", r"goes on", r"go on\b", r"of which", r"nobody", r"somebody",
    r"come again", r"left out:", r"made of\b", r"says?\b", r"said\b", r"tells?\b", r"looks? at",
    r"pictures?\b", r"so many", r"what becomes of", r"take (it )?back", r"judges?\b", r"shel(f|ves)\b", r"asked for",
)  # fmt: skip
"""Words that a reader of other programs' help does not expect; `quoted` values are exempt."""


def commands(group: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield " ".join((*path, name)), command
            yield from commands(command, (*path, name))
        else:
            yield " ".join((*path, name)), command


ROOT = typer.main.get_command(app)
COMMANDS = dict([("bakehouse", ROOT), *commands(ROOT)])


def texts(command: Any) -> Iterator[tuple[str, str]]:
    yield "the command", command.help or ""
    for parameter in command.params:
        yield parameter.name, parameter.help or ""


@pytest.mark.parametrize("name", COMMANDS)
def test_every_help_text_is_a_plain_sentence(name):
    for what, text in texts(COMMANDS[name]):
        where = f"{name}, {what}: {text!r}"
        assert len(text.split()) >= 2, where
        assert text[0].isupper(), where
        assert text.rstrip().endswith("."), where
        unquoted = re.sub(r"`[^`]*`", "", text)
        found = [idiom for idiom in IDIOMS if re.search(rf"\b{idiom}", unquoted, re.IGNORECASE)]
        assert not found, where


@pytest.mark.parametrize("name", [name for name, command in COMMANDS.items() if hasattr(command, "commands")])
def test_each_command_of_a_list_fits_on_its_line(name):
    group = COMMANDS[name]
    width = 80 - 6 - max(map(len, group.commands))
    for command in group.commands.values():
        short = command.get_short_help_str(limit=width)
        assert short and not short.endswith("..."), f"{name} {command.name}: {short}"


def test_commands_are_listed_in_their_order_of_use():
    listed = ROOT.list_commands(typer.Context(ROOT))
    assert listed == [*ORDER]
    assert listed.index("plan") < listed.index("train") < listed.index("evaluate") < listed.index("generate")


LONG = ("plan", "train", "generate", "grid")
"""Commands whose options are listed in groups."""


@pytest.mark.parametrize("name", LONG)
def test_every_option_of_a_long_list_is_in_a_group(name):
    context = typer.Context(COMMANDS[name])
    ungrouped = [
        p.name
        for p in COMMANDS[name].get_params(context)
        if p.param_type_name == "option" and panel_of(p) not in PANELS
    ]
    assert not ungrouped, f"give these a rich_help_panel of cli/help_panels.py: {ungrouped}"


@pytest.mark.parametrize("name", LONG)
def test_groups_list_each_option_once_and_in_order(name):
    command = COMMANDS[name]
    help_text = command.get_help(typer.Context(command, info_name=name, terminal_width=100))
    titles = [line[:-1] for line in help_text.splitlines() if re.fullmatch(r"\S.*:", line)]
    assert [title for title in titles if title != "Arguments"] == [title for title in PANELS if title in titles]
    for parameter in command.params:
        if parameter.param_type_name == "option":
            entry = rf"(?m)^  (-\w, )?{re.escape(max(parameter.opts, key=len))}(?![\w-])"
            assert len(re.findall(entry, help_text)) == 1, parameter.name
