"""Write the tables of docs/coming-from-kohya.md from the importers' options: `python -m tools.write_import_docs`."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from bakehouse.recipe.importers import (
    STATUS_WORDS,
    Status,
    diffusers_scripts,
    easy_scripts,
    kohya_gui,
    leco,
    onetrainer,
)
from bakehouse.recipe.importers import ai_toolkit as ai
from bakehouse.recipe.importers.kohya_gui_options import TYPES
from bakehouse.recipe.importers.kohya_network import ALGORITHMS, MODULES, NETWORK_ARGS
from bakehouse.recipe.importers.kohya_options import GROUPS, KOHYA
from bakehouse.recipe.importers.option_table import Option
from bakehouse.recipe.sample_prompt import KOHYA_SAMPLERS

PAGE = Path(__file__).parent.parent / "docs" / "coming-from-kohya.md"
_PART = re.compile(r"(<!-- table: (\w+), written by `make docs` -->\n).*?(<!-- end of table -->)", re.DOTALL)


def page(text: str) -> str:
    """Return the page with its tables rewritten."""
    return _PART.sub(lambda m: f"{m[1]}\n{''.join(TABLES[m[2]]())}{m[3]}", text)


def _kohya() -> Iterator[str]:
    for title, options in GROUPS.items():
        yield f"### {title}\n\n"
        yield from _options(options)
    yield "### Options that set nothing in a recipe\n\n"
    yield from _options({k: o for k, o in KOHYA.items() if o.status != "set"})


def _options(options: Mapping[str, Option]) -> Iterator[str]:
    """One row for each option that sets something; then one for each reason why others do not."""
    if rows := [o for o in options.values() if o.status == "set"]:
        yield "| option | value | sets | |\n|---|---|---|---|\n"
        for option in rows:
            keys = ", ".join(f"`{key}`" for key in option.sets)
            yield f"| `{option.name}` | {_VALUES[option.kind]} | {keys} | {_prose(option.how)} |\n"
        yield "\n"
    yield from _unset([o for o in options.values() if o.status != "set"])


def _unset(options: Sequence[Option]) -> Iterator[str]:
    by_reason: dict[tuple[Status, str], list[str]] = {}
    for option in sorted(options, key=lambda o: list(STATUS_WORDS).index(o.status)):
        by_reason.setdefault((option.status, option.how), []).append(f"`{option.name}`")
    if by_reason:
        yield "| option | here | why |\n|---|---|---|\n"
        for (status, why), names in by_reason.items():
            yield f"| {', '.join(names)} | {STATUS_WORDS[status]} | {_prose(why)} |\n"
        yield "\n"


_VALUES = {
    "flag": "flag",
    "int": "whole number",
    "float": "number",
    "text": "text",
    "path": "path",
    "list": "list",
    "table": "table",
    "tables": "list of tables",
    "any": "text or list",
}


def _prose(text: str) -> str:
    return text.replace("|", "\\|")


def _algorithms() -> Iterator[str]:
    yield "| `network_module`, `algo` | `adapter.kind` |\n|---|---|\n"
    for module, kind in MODULES.items():
        yield f"| `{module}` | `{kind}` |\n"
    for algorithm, kind in ALGORITHMS.items():
        yield f"| `algo={algorithm}` | `{kind}` |\n"
    yield "\n"


def _samplers() -> Iterator[str]:
    by_ours: dict[str, list[str]] = {}
    for theirs, ours in KOHYA_SAMPLERS.items():
        by_ours.setdefault(ours, []).append(f"`{theirs}`")
    yield "| `sample_sampler` | `sample.sampler` |\n|---|---|\n"
    yield from (f"| {', '.join(theirs)} | `{ours}` |\n" for ours, theirs in by_ours.items())
    yield "\n"


def _types() -> Iterator[str]:
    yield "| `LoRA_type` | module | algorithm |\n|---|---|---|\n"
    for name, (module, algorithm) in TYPES.items():
        yield f"| {name} | `{module}` | {f'`{algorithm}`' if algorithm else ''} |\n"
    yield "\n"


TABLES: Mapping[str, Callable[[], Iterator[str]]] = {
    "kohya": _kohya,
    "arguments": lambda: _options(NETWORK_ARGS),
    "algorithms": _algorithms,
    "samplers": _samplers,
    "types": _types,
    "gui": lambda: _options(kohya_gui.OWN),
    "easy": lambda: _options(easy_scripts.OWN),
    "diffusers": lambda: _options({k: v for k, v in diffusers_scripts.OPTIONS.items() if k != "script"}),
    "onetrainer": lambda: _options(onetrainer.OPTIONS),
    "ai_toolkit": lambda: _options(ai.OPTIONS),
    "leco": lambda: _options(leco.OPTIONS),
}


def main() -> None:
    """Write the page; with --check, exit 1 if it is not up to date."""
    text = PAGE.read_text("utf-8")
    fresh = page(text)
    if "--check" in sys.argv and fresh != text:
        sys.exit("docs/coming-from-kohya.md is not up to date: run `make docs`")
    PAGE.write_text(fresh, "utf-8")


if __name__ == "__main__":
    main()
