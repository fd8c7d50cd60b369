"""Write the tables of docs/coming-from-kohya.md from the importers' options: `python -m tools.write_import_docs`."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from bakehouse.recipe.importers import FATES, diffusers_scripts, easy_scripts, kohya_gui, onetrainer
from bakehouse.recipe.importers import ai_toolkit as ai
from bakehouse.recipe.importers.kohya_gui_options import TYPES
from bakehouse.recipe.importers.kohya_network import ALGORITHMS, MODULES, NETWORK_ARGS
from bakehouse.recipe.importers.kohya_options import GROUPS
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


def _options(options: Mapping[str, Option]) -> Iterator[str]:
    yield "| option | value | here | |\n|---|---|---|---|\n"
    for option in options.values():
        yield f"| `{option.name}` | {_VALUES[option.kind]} | {_here(option)} | {_prose(option.how)} |\n"
    yield "\n"


_VALUES = {
    "flag": "flag",
    "int": "whole number",
    "float": "number",
    "text": "text",
    "list": "list",
    "table": "table",
    "tables": "list of tables",
    "any": "text or list",
}


def _here(option: Option) -> str:
    if option.fate == "taken" and option.to:
        return ", ".join(f"`{key}`" for key in option.to)
    return FATES[option.fate]


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
