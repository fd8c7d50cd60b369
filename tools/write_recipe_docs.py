"""Write the tables of docs/recipe.md from the recipe's declaration: `python -m tools.write_recipe_docs`."""

from __future__ import annotations

import re
import sys
import types
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from bakehouse.adapters import NetworkSpec
from bakehouse.core.setting_descriptions import described
from bakehouse.core.setting_needs import Needs, needs_of
from bakehouse.recipe import Recipe

PAGE = Path(__file__).parent.parent / "docs" / "recipe.md"
BEGIN, END = "<!-- tables: written by `make docs` -->", "<!-- end of tables -->"


def page(text: str) -> str:
    """Return the page with its tables rewritten."""
    head, rest = text.split(BEGIN)
    _, tail = rest.split(END)
    return f"{head}{BEGIN}\n\n{''.join(tables())}{END}{tail}"


def tables() -> Iterator[str]:
    """Yield one section for the recipe's keys and one for each table below it."""
    yield from _section(Recipe, "", "The recipe itself")


def _section(spec: type[BaseModel], path: str, title: str) -> Iterator[str]:
    rows, below, descriptions = [], [], described(spec)
    hidden = spec.unsupported() if issubclass(spec, NetworkSpec) else frozenset()
    for name, info in ((n, i) for n, i in spec.model_fields.items() if n not in hidden):
        key = f"{path}.{name}" if path else name
        inner = list(_specs(info.annotation))
        if inner:
            below += [(s, key, _heading(s, key, info.annotation, len(inner) > 1)) for s in inner]
        else:
            words = _prose(" ".join([descriptions.get(name, ""), *map(str, needs_of(spec, name))]))
            rows.append(f"| `{name}` | {_type(info)} | {_default(info)} | {words} |\n")
    if rows:
        yield f"### {title}\n\n"
        if (spec.__doc__ or "").strip() and spec is not Recipe:
            yield _prose((spec.__doc__ or "").strip().split("\n\n")[0]) + "\n\n"
        yield "| key | value | default | |\n|---|---|---|---|\n"
        yield from rows
        yield "\n"
    for inner_spec, key, heading in below:
        yield from _section(inner_spec, key, heading)


def _heading(spec: type[BaseModel], key: str, annotation: Any, tagged: bool) -> str:
    shown = f"[[{key}]]" if _is_list(annotation) else f"[{key}]"
    kind = spec.model_fields.get("kind")
    return f'`{shown}` with `kind = "{kind.default}"`' if tagged and kind else f"`{shown}`"


def _is_list(annotation: Any) -> bool:
    return typing.get_origin(annotation) in (list, tuple)


def _specs(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in typing.get_args(annotation):
        yield from _specs(inner)


def _type(info: FieldInfo) -> str:
    limits = [str(m).split("(")[-1].rstrip(")") for m in info.metadata if not isinstance(m, Needs)]
    limits = [
        re.sub(r"^(ge|gt|le|lt)=", lambda m: {"ge": ">= ", "gt": "> ", "le": "<= ", "lt": "< "}[m[1]], x)
        for x in limits
    ]
    limits = [x for x in limits if x[0] in "<>"]
    return _name(info.annotation) + (f", {', '.join(limits)}" if limits else "")


def _name(annotation: Any) -> str:
    origin, inside = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return _name(inside[0])
    if origin is typing.Literal:
        return " or ".join(f"`{x}`" if isinstance(x, str) else str(x) for x in inside)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(_name(x) for x in inside if x is not type(None))
    if origin in (list, tuple):
        return f"list of {_name(inside[0])}"
    if origin is dict:
        return "table"
    plain = {str: "text", int: "whole number", float: "number", bool: "true or false", Path: "path"}
    return plain.get(annotation, getattr(annotation, "__name__", str(annotation)))


def _default(info: FieldInfo) -> str:
    if info.is_required():
        return "required"
    value = info.get_default(call_default_factory=True)
    if value is None or value is PydanticUndefined:
        return "derived or off"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, (tuple, list, dict)):
        return f"`{list(value)}`" if value else "empty"
    return f"`{value}`" if value != "" else "empty"


def _prose(text: str | None) -> str:
    return " ".join((text or "").split()).replace("|", "\\|")


def main() -> None:
    """Write the page; with --check, exit 1 if it is not up to date."""
    text = PAGE.read_text("utf-8")
    fresh = page(text)
    if "--check" in sys.argv and fresh != text:
        sys.exit("docs/recipe.md is not up to date: run `make docs`")
    PAGE.write_text(fresh, "utf-8")


if __name__ == "__main__":
    main()
