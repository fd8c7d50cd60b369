"""What a setting needs to take effect: declared beside it; told by the plan, the JSON schema and the documentation."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

from pydantic import BaseModel

Lookup = Callable[[str], Any]
"""The value of a key such as `prior.source`, or of a fact; None where it is not known."""

DOES_NOTHING = "does nothing"


@dataclass(frozen=True)
class Fact:
    """Something that no setting says and that the plan knows of the images, the model or the machine."""

    name: str
    words: str
    """Completes `does nothing without ...`."""


@dataclass(frozen=True)
class Condition:
    """What one other setting, or one fact, has to be. Made by the functions below."""

    key: str
    """A key of the same table (`kind`), a whole key of the recipe (`prior.source`), or a fact's name."""
    test: Literal["on", "off", "one_of", "other_than", "above", "reached_by"]
    values: tuple[Any, ...] = ()
    fact: str = ""
    """A fact's words."""

    def path(self, table: str) -> str:
        """The whole key, for a setting of `table`."""
        return self.key if self.fact or "." in self.key or not table else f"{table}.{self.key}"

    def met(self, there: Any, own: Any) -> bool:
        """Whether the other's value `there` is enough for the setting's `own`. What is not known is no obstacle."""
        match self.test:
            case "on":
                return bool(there) or (bool(self.fact) and there is None)
            case "off":
                return not there
            case "one_of":
                return there is None or there in self.values
            case "other_than":
                return there not in self.values
            case "above":
                return there is None or there > self.values[0]
            case "reached_by":
                return there is None or own <= there

    def lacking(self, key: str, there: Any) -> str:
        """Completes `does nothing ...` where it is not met; `key` is whole, `there` the value it has."""
        return self._lacking(self.fact or key, as_toml(there), as_toml)

    @property
    def described(self) -> str:
        """The same in Markdown, for the documentation."""
        key = self.fact or f"`{self.key}`"
        other = _either(map(_code, self.values)) if self.test == "other_than" else ""
        return self._lacking(key, other, _code)

    def _lacking(self, key: str, there: str, show: Callable[[Any], str]) -> str:
        match self.test:
            case "on":
                return f"without {key}"
            case "off":
                return f"with {key} = {there}" if there else f"with {key}"
            case "one_of":
                return f"without {key} = {_either(map(show, self.values))}"
            case "other_than":
                return f"with {key} = {there}"
            case "above":
                return f"without {key} above {show(self.values[0])}"
            case "reached_by":
                return f"beyond {key} = {there}" if there else f"beyond {key}"

    def to_json(self) -> dict[str, Any]:
        """For the JSON schema."""
        return {"fact" if self.fact else "key": self.key, "test": self.test, "values": list(self.values)}


def is_on(key: str | Fact) -> Condition:
    """The setting is switched on: true, above 0, not empty. Of a fact: it holds."""
    return Condition(key.name, "on", fact=key.words) if isinstance(key, Fact) else Condition(key, "on")


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


def reached_by(key: str | Fact) -> Condition:
    """The number is not beyond another one: what happens in every 50th epoch never happens in 4."""
    return Condition(key.name, "reached_by", fact=key.words) if isinstance(key, Fact) else Condition(key, "reached_by")


class Needs:
    """What a setting needs: any of the conditions. Stands in its `Annotated[...]`; of several, each must hold.

    Args:
        conditions: none at all says that the values in `at` never do what a reader would expect.
        at: only these values of the setting need it.
        otherwise: what the setting does where no condition is met.
        refused: lacking it is an error of the setting's table, not a warning of the plan.
    """

    def __init__(
        self, *conditions: Condition, at: tuple[Any, ...] = (), otherwise: str = DOES_NOTHING, refused: bool = False
    ) -> None:
        self.conditions = conditions
        self.at = at
        self.otherwise = otherwise
        self.refused = refused

    def lacks(self, table: str, value: Any, lookup: Lookup) -> str | None:
        """Completes `key = value ...` where no condition is met; None where one is."""
        if self.at and value not in self.at:
            return None
        said = []
        for condition in self.conditions:
            key = condition.path(table)
            there = lookup(key)
            if condition.met(there, value):
                return None
            said.append(condition.lacking(key, there))
        return f"{self.otherwise} {_lacking_all(said)}".strip()

    def __str__(self) -> str:
        """One sentence in Markdown, for the documentation."""
        given = _either(map(_code, self.at))
        lacking = _lacking_all([c.described for c in self.conditions])
        said = f"{given} {self.otherwise} {lacking}".strip()
        return f"{said[0].upper()}{said[1:]}."

    def __get_pydantic_json_schema__(self, core_schema: Any, handler: Any) -> dict[str, Any]:
        """`needs` beside the setting's type and limits: a form can disable its field and say why."""
        schema: dict[str, Any] = handler(core_schema)
        own = {"any": [c.to_json() for c in self.conditions], "at": list(self.at), "says": str(self)}
        return {**schema, "needs": [*schema.get("needs", ()), own]}


@cache
def needs_of(spec: type[BaseModel], name: str) -> tuple[Needs, ...]:
    """What a setting declares."""
    return tuple(m for m in spec.model_fields[name].metadata if isinstance(m, Needs))


def refusals(spec: BaseModel) -> Iterator[str]:
    """A sentence for each setting of one table that was given and lacks what it cannot be without."""
    for name in _given(spec):
        for need in needs_of(type(spec), name):
            value = getattr(spec, name)
            if need.refused and (words := need.lacks("", value, lambda key: getattr(spec, key))):
                yield f"{name} = {as_toml(value)} {words}: set that too, or leave {name} out"


def without_effect(settings: BaseModel, lookup: Lookup, table: str = "") -> Iterator[str]:
    """A sentence for each setting that was given, differs from its default, and lacks something that it needs."""
    for name in (n for n in type(settings).model_fields if n in settings.model_fields_set):
        value, path = getattr(settings, name), f"{table}.{name}" if table else name
        if isinstance(value, BaseModel):
            yield from without_effect(value, lookup, path)
        elif isinstance(value, tuple) and value and isinstance(value[0], BaseModel):
            for i, item in enumerate(value):
                yield from without_effect(item, lookup, f"{path}.{i}")
    for name in _given(settings):
        value = getattr(settings, name)
        said = (need.lacks(table, value, lookup) for need in needs_of(type(settings), name))
        if words := next(filter(None, said), None):
            yield f"{table}.{name} = {as_toml(value)} {words}".removeprefix(".")


def _given(spec: BaseModel) -> Iterator[str]:
    """Names of settings that were given and are not as they are when left out."""
    for name, info in type(spec).model_fields.items():
        if name in spec.model_fields_set and getattr(spec, name) != info.get_default(call_default_factory=True):
            yield name


def value_at(settings: BaseModel, key: str) -> Any:
    """The value of a dotted key; None where there is no such key."""
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
    """A value as a recipe has it."""
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


def _lacking_all(said: Sequence[str]) -> str:
    """`without a, without b` as `without a or b`, what lacks in other ways behind it: all of it is lacking."""
    first = "without "
    absent = [words.removeprefix(first) for words in said if words.startswith(first)]
    others = [words for words in said if not words.startswith(first)]
    return " and ".join([first + _either(absent), *others] if absent else others)
