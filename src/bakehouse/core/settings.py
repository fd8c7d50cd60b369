"""The base class of settings that are read from TOML: all unknown keys and wrong values are reported at once."""

from __future__ import annotations

import tomllib
import typing
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from bakehouse.core.errors import Problems, UsageError, did_you_mean
from bakehouse.core.message_text import counted
from bakehouse.core.parse_json_toml_yaml import parse_toml
from bakehouse.core.setting_needs import refusals


class Spec(BaseModel):
    """The base class of all settings: immutable, no unknown keys, serialisable; numbers are finite."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False)

    @model_validator(mode="after")
    def _check_requirements(self) -> Self:
        for problem in refusals(self):
            raise ValueError(problem)
        return self

    @classmethod
    def parse(cls, values: Mapping[str, Any], *, source: str = "settings") -> Self:
        """Return validated settings.

        Raises:
            Problems: one line for each wrong key or value, naming `source` and the key.
        """
        if wrong := list(_with_nul(values)):
            problems = [f"{key}: holds a NUL character, which is not allowed" for key in wrong]
            raise Problems(f"{source} has {counted(len(problems), 'problem')}:", problems)
        try:
            return cls.model_validate(values)
        except ValidationError as e:
            lines = dict.fromkeys(_explain(cls, error, values) for error in e.errors())
            raise Problems(f"{source} has {counted(len(lines), 'problem')}:", list(lines)) from e

    @classmethod
    def load(cls, path: Path | str) -> Self:
        """Read settings from a TOML file.

        Raises:
            UsageError: the file is missing or is not TOML.
            Problems: unknown keys or wrong values.
        """
        return cls.parse(read_toml(Path(path)), source=str(path))

    def settings(self, *, mode: Literal["python", "json"] = "python") -> dict[str, Any]:
        """Return what was set, without defaults. Parts that have a `kind` always include it: `parse` needs it."""
        tag = type(self).model_fields.get("kind")
        tagged = {"kind"} if tag is not None and len(typing.get_args(tag.annotation)) == 1 else set()
        values = self.model_dump(mode=mode, include=self.model_fields_set | tagged)
        for name in values:
            part = getattr(self, name)
            if isinstance(part, Spec):
                values[name] = part.settings(mode=mode)
            elif isinstance(part, tuple) and part and isinstance(part[0], Spec):
                values[name] = [item.settings(mode=mode) for item in part]
        return values

    def with_values(self, changes: Mapping[str, Any], *, source: str = "--set") -> Self:
        """Return a copy with the values of dotted keys replaced: `{"adapter.rank": 16}`."""
        values = self.settings()
        for key, value in changes.items():
            set_dotted(values, key.split("."), value)
        return type(self).parse(values, source=source)


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file; a byte-order mark is ignored.

    Raises:
        UsageError: the file is missing, or is not TOML; names line and column.
    """
    try:
        return parse_toml(path.read_text("utf-8-sig"))
    except FileNotFoundError as e:
        raise UsageError(
            f"{path} does not exist",
            hint="pass a recipe file or a folder of images; `bakehouse plan FOLDER -o recipe.toml` writes a recipe",
        ) from e
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as e:
        raise UsageError(f"cannot read {path}: {e}") from e


def set_dotted(values: dict[str, Any], keys: Sequence[str], value: Any) -> None:
    """Set `values[k1][k2]... = value`; missing tables are made, and numbers are indices of lists.

    Raises:
        UsageError: a key is empty, an index is out of range, or a key leads into something that is no table or list.
    """
    here: Any = values
    for place, key in enumerate(keys):
        name = ".".join(keys[: place + 1])
        if not key.strip():
            raise UsageError(
                f"{'.'.join(keys)!r} is not a key: a name is missing",
                hint="write --set adapter.rank=16",
            )
        if not isinstance(here, list | dict):
            raise UsageError(f"{name}: {'.'.join(keys[:place])} is {here!r}, which has no keys")
        at: Any = _index(here, key, name) if isinstance(here, list) else key
        if place == len(keys) - 1:
            here[at] = value
        elif isinstance(here, list):
            here = here[at]
        else:
            here = here.setdefault(at, {})


def _index(items: Sequence[Any], key: str, name: str) -> int:
    if not (key.isascii() and key.isdigit() and len(key) < 10 and int(key) < len(items)):
        allowed = (
            "it is empty" if not items else "allowed is 0" if len(items) == 1 else f"allowed are 0 to {len(items) - 1}"
        )
        raise UsageError(f"{name}: {key!r} is not an index of this list; {allowed}")
    return int(key)


def parse_setting(text: str) -> tuple[str, Any]:
    """Return key and value of `adapter.rank=16`; what is not a TOML value is taken as a string.

    Raises:
        UsageError: the `=` or the key is missing.
    """
    key, equals, raw = text.partition("=")
    if not equals or not key.strip():
        missing = "no key before '='" if equals else "no '='"
        raise UsageError(f"--set {text!r} has {missing}", hint="write --set adapter.rank=16")
    try:
        return key.strip(), parse_toml(f"v = {raw}")["v"]
    except tomllib.TOMLDecodeError:
        return key.strip(), raw.strip()


def _with_nul(value: Any, key: str = "") -> Iterator[str]:
    """Keys whose strings hold NUL characters, which paths cannot hold and other programs do not expect."""
    if isinstance(value, str) and "\0" in value:
        yield key
    elif isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _with_nul(inner, f"{key}.{name}" if key else str(name))
    elif isinstance(value, list | tuple):
        for number, inner in enumerate(value):
            yield from _with_nul(inner, f"{key}.{number}")


def _explain(cls: type[BaseModel], error: Any, values: Any) -> str:
    """One pydantic error as a line of text: key, value, what is allowed, nearest match."""
    location = [str(part) for part in error["loc"]]
    owner, _ = _owner(cls, error["loc"][:-1], values)
    _, kind = _owner(cls, error["loc"], values)
    # pydantic puts the tags and types of unions into the location; users do not write them there.
    shown = ".".join(part for part in location if part not in kind and not part.startswith("literal[")) or "value"
    given = error.get("input")
    match error["type"]:
        case "extra_forbidden":
            names = list(owner.model_fields) if owner else []
            known = f"; allowed here: {', '.join(names)}"
            return f"unknown key {shown!r}{did_you_mean(location[-1], names) or known}"
        case "missing":
            return f"{shown}: is required"
        case "literal_error":
            allowed = [w.strip().strip("'") for w in str(error["ctx"]["expected"]).replace(" or ", ", ").split(",")]
            return f"{shown} = {given!r}: allowed are {', '.join(allowed)}{did_you_mean(str(given), allowed)}"
        case "union_tag_invalid":
            tags = [w.strip().strip("'") for w in str(error["ctx"]["expected_tags"]).split(",")]
            given = error["ctx"]["tag"]
            return f"{shown}.kind = {given!r}: allowed are {', '.join(tags)}{did_you_mean(str(given), tags)}"
        case "value_error":
            return f"{shown}: {error['ctx']['error']}"
        case _:
            message = str(error["msg"]).replace("Input should be", "should be", 1).partition(", unable to parse")[0]
            return f"{shown} = {given!r}: {message}"


def _owner(cls: type[BaseModel], loc: Sequence[Any], values: Any) -> tuple[type[BaseModel] | None, set[str]]:
    """The model that a location points into, and the tags of unions in the location."""
    current: type[BaseModel] | None = cls
    tags: set[str] = set()
    for part in loc:
        if isinstance(part, int) or current is None:
            continue
        field = current.model_fields.get(str(part))
        if field is None:
            continue
        models = list(models_in(field.annotation))
        values_here = [str(p) for p in loc]
        chosen = None
        for model in models:
            kind = model.model_fields.get("kind")
            tag = str(kind.default) if kind else None
            if tag and tag in values_here:
                chosen = model
                tags.add(tag)
        current = chosen or (models[0] if models else None)
    return current, tags


def models_in(annotation: Any) -> typing.Iterator[type[BaseModel]]:
    """All models in a type, however deep inside unions, lists and Annotated."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in typing.get_args(annotation):
        yield from models_in(inner)
