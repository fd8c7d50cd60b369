"""Declares what a setting needs to have an effect: for the plan's warnings, the JSON schema and the documentation."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

from pydantic import BaseModel

ValueLookup = Callable[[str], Any]
"""Returns the value of a key such as `prior.source`, or of a fact; None if it is unknown."""

DOES_NOTHING = "does nothing"


@dataclass(frozen=True)
class PlanFact:
    """Something that is not a setting and that the plan finds out: about the images, the model or the machine."""

    name: str
    words: str
    """Completes `does nothing without ...`."""


@dataclass(frozen=True)
class Condition:
    """A requirement on one other setting or one fact. Made by the functions below."""

    key: str
    """A key of the same table (`kind`), a whole key of the recipe (`prior.source`), or a fact's name."""
    test: Literal["on", "off", "one_of", "other_than", "above", "reached_by"]
    values: tuple[Any, ...] = ()
    fact: str = ""
    """`PlanFact.words`, if it is about a fact."""

    def path(self, table: str) -> str:
        """Return the full dotted key, for a setting in `table`."""
        return self.key if self.fact or "." in self.key or not table else f"{table}.{self.key}"

    def met(self, other: Any, own: Any) -> bool:
        """Whether the value `other` of the key allows the setting's value `own`; what is unknown (None) does."""
        match self.test:
            case "on":
                return bool(other) or (bool(self.fact) and other is None)
            case "off":
                return not other
            case "one_of":
                return other is None or other in self.values
            case "other_than":
                return other not in self.values
            case "above":
                return other is None or other > self.values[0]
            case "reached_by":
                return other is None or own <= other

    def lacking(self, key: str, other: Any) -> str:
        """Return what completes `does nothing ...` if it is not met; `key` is the full key, `other` its value."""
        return self._lacking(self.fact or key, as_toml(other), as_toml)

    @property
    def described(self) -> str:
        """The same as `lacking`, in Markdown and for any value."""
        key = self.fact or f"`{self.key}`"
        other = _either(map(_code, self.values)) if self.test == "other_than" else ""
        return self._lacking(key, other, _code)

    def _lacking(self, key: str, other: str, show: Callable[[Any], str]) -> str:
        match self.test:
            case "on":
                return f"without {key}"
            case "off":
                return f"with {key} = {other}" if other else f"with {key}"
            case "one_of":
                return f"without {key} = {_either(map(show, self.values))}"
            case "other_than":
                return f"with {key} = {other}"
            case "above":
                return f"without {key} above {show(self.values[0])}"
            case "reached_by":
                return f"beyond {key} = {other}" if other else f"beyond {key}"

    def to_json(self) -> dict[str, Any]:
        """Return the requirement for the JSON schema."""
        return {"fact" if self.fact else "key": self.key, "test": self.test, "values": list(self.values)}


def is_on(key: str | PlanFact) -> Condition:
    """The setting is on: true, above 0, or not empty. For a fact: it is true."""
    return _condition(key, "on")


def is_off(key: str) -> Condition:
    """The setting is off, empty, or left out."""
    return Condition(key, "off")


def one_of(key: str, *values: Any) -> Condition:
    """The setting has one of these values."""
    return Condition(key, "one_of", values)


def other_than(key: str, *values: Any) -> Condition:
    """The setting has none of these values."""
    return Condition(key, "other_than", values)


def above(key: str, limit: float) -> Condition:
    """The setting is greater than `limit`."""
    return Condition(key, "above", (limit,))


def reached_by(key: str | PlanFact) -> Condition:
    """The other number is at least as large as this one: what happens every 50th epoch never happens in 4."""
    return _condition(key, "reached_by")


def _condition(key: str | PlanFact, test: Literal["on", "reached_by"]) -> Condition:
    return Condition(key.name, test, fact=key.words) if isinstance(key, PlanFact) else Condition(key, test)


class Needs:
    """What a setting needs: any of the conditions. Goes into its `Annotated[...]`; several `Needs` must all be met.

    Args:
        conditions: without any, the values in `at` never have the effect that one would expect.
        at: the values of the setting that need it; default: all.
        otherwise: what the setting does if no condition is met.
        refused: if no condition is met it is an error, not a warning of the plan.
    """

    def __init__(
        self, *conditions: Condition, at: tuple[Any, ...] = (), otherwise: str = DOES_NOTHING, refused: bool = False
    ) -> None:
        self.conditions = conditions
        self.at = at
        self.otherwise = otherwise
        self.refused = refused

    @property
    def is_of_any_value(self) -> bool:
        """Whether it is needed for every value of the setting, however large."""
        return bool(self.conditions) and not self.at and all(c.test != "reached_by" for c in self.conditions)

    def lacks(self, table: str, value: Any, lookup: ValueLookup) -> str | None:
        """Return what completes `KEY = VALUE ...` if no condition is met; None if one is."""
        if self.at and value not in self.at:
            return None
        missing = []
        for condition in self.conditions:
            key = condition.path(table)
            other = lookup(key)
            if condition.met(other, value):
                return None
            missing.append(condition.lacking(key, other))
        return f"{self.otherwise} {_lacking_all(missing)}".strip()

    def __str__(self) -> str:
        """One sentence in Markdown, for the documentation."""
        given = _either(map(_code, self.at))
        lacking = _lacking_all([c.described for c in self.conditions])
        text = f"{given} {self.otherwise} {lacking}".strip()
        return f"{text[0].upper()}{text[1:]}."

    def __get_pydantic_json_schema__(self, core_schema: Any, handler: Any) -> dict[str, Any]:
        """Add `needs` to the setting's JSON schema, so that a form can disable the field and say why."""
        schema: dict[str, Any] = handler(core_schema)
        own = {"any": [c.to_json() for c in self.conditions], "at": list(self.at), "says": str(self)}
        return {**schema, "needs": [*schema.get("needs", ()), own]}


@cache
def needs_of(spec: type[BaseModel], name: str) -> tuple[Needs, ...]:
    """Return the requirements that a setting declares."""
    return tuple(m for m in spec.model_fields[name].metadata if isinstance(m, Needs))


def refusals(spec: BaseModel) -> Iterator[str]:
    """Yield an error for each setting of a table that was given and whose `refused` requirement is not met."""
    for name in _given(spec):
        for need in needs_of(type(spec), name):
            value = getattr(spec, name)
            if need.refused and (words := need.lacks("", value, lambda key: getattr(spec, key))):
                yield f"{name} = {as_toml(value)} {words}: set that too, or leave {name} out"


def without_effect(settings: BaseModel, lookup: ValueLookup, table: str = "") -> Iterator[str]:
    """Yield a warning for each setting that was given, differs from its default, and has an unmet requirement."""
    for name in (n for n in type(settings).model_fields if n in settings.model_fields_set):
        value, path = getattr(settings, name), f"{table}.{name}" if table else name
        if isinstance(value, BaseModel):
            yield from without_effect(value, lookup, path)
        elif isinstance(value, tuple) and value and isinstance(value[0], BaseModel):
            for i, item in enumerate(value):
                yield from without_effect(item, lookup, f"{path}.{i}")
    for name in _given(settings):
        value = getattr(settings, name)
        missing = (need.lacks(table, value, lookup) for need in needs_of(type(settings), name))
        if words := next(filter(None, missing), None):
            yield f"{table}.{name} = {as_toml(value)} {words}".removeprefix(".")


def idle_settings(settings: BaseModel, lookup: ValueLookup, table: str = "") -> Iterator[tuple[str, str]]:
    """Yield the key of each setting that does nothing here whatever its value is, given or not, with the reason."""
    for name in type(settings).model_fields:
        value, path = getattr(settings, name), f"{table}.{name}" if table else name
        if isinstance(value, BaseModel):
            yield from idle_settings(value, lookup, path)
        always = (need for need in needs_of(type(settings), name) if need.is_of_any_value)
        if words := next(filter(None, (need.lacks(table, value, lookup) for need in always)), None):
            yield path, words


def _given(spec: BaseModel) -> Iterator[str]:
    """Names of the settings that were given and differ from their defaults."""
    for name, info in type(spec).model_fields.items():
        if name in spec.model_fields_set and getattr(spec, name) != info.get_default(call_default_factory=True):
            yield name


def value_at(settings: BaseModel, key: str) -> Any:
    """Return the value of a dotted key; None if there is no such key."""
    here: Any = settings
    for part in key.split("."):
        if isinstance(here, Mapping):
            here = here.get(part)
        elif isinstance(here, tuple) and part.isdecimal():
            here = here[int(part)]
        else:
            here = getattr(here, part, None)
    return here


def as_toml(value: Any) -> str:
    """Return a value as TOML writes it."""
    match value:
        case bool():
            return str(value).lower()
        case tuple() | list():
            return f"[{', '.join(as_toml(v) for v in value)}]"
        case int() | float():
            return repr(value)
        case _:
            return repr(str(value))


def _code(value: Any) -> str:
    return f"`{value}`" if isinstance(value, str) else f"`{as_toml(value)}`"


def _either(words: Iterable[str]) -> str:
    return " or ".join(words)


def _lacking_all(missing: Sequence[str]) -> str:
    """Join `without a`, `without b` as `without a or b`, followed by the others."""
    first = "without "
    absent = [words.removeprefix(first) for words in missing if words.startswith(first)]
    others = [words for words in missing if not words.startswith(first)]
    return " and ".join([first + _either(absent), *others] if absent else others)
