"""Which setting each problem of a recipe is about, so that a form can show it there."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel

from bakehouse.core.settings import models_in

_DOTTED = re.compile(r"[a-z_]\w*(?:\.\w+)+")
_FIRST = re.compile(r"([a-z_]\w*)(?=:| = )")


def problem_rows(problems: Sequence[str], spec: type[BaseModel]) -> list[dict[str, Any]]:
    """Return each problem with the dotted key that it names; `key` is empty where it names none of `spec`."""
    return [{"key": key_in(problem, spec), "message": problem} for problem in problems]


def key_in(problem: str, spec: type[BaseModel]) -> str:
    """Return the key that a message begins with, or else the first that it names.

    A message about a table may name the setting after it: `adapter: rank = 4 has no effect` is about `adapter.rank`.
    """
    if first := _FIRST.match(problem):
        table, _, rest = problem.partition(": ")
        inner = _FIRST.match(rest) if table == first[1] else None
        for key in [*([f"{table}.{inner[1]}"] if inner else []), first[1]]:
            if is_key(key, spec):
                return key
    return next((key for key in _DOTTED.findall(problem) if is_key(key, spec)), "")


def is_key(key: str, spec: type[BaseModel]) -> bool:
    """Whether settings have a dotted key, in any kind of a union; numbers count the items of a list."""
    models, rest = [spec], key.split(".")
    while rest:
        name = rest.pop(0)
        fields = [model.model_fields[name] for model in models if name in model.model_fields]
        if not fields:
            return False
        models = [found for info in fields for found in models_in(info.annotation)]
        if not models:
            return not rest or all("dict" in str(info.annotation) for info in fields)
        if rest and rest[0].isdecimal():
            rest.pop(0)
    return True
