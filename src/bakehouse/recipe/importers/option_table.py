"""A peer's options as a table: name, type, default and what becomes of them. The documentation is written from it."""

from __future__ import annotations

import ast
import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from bakehouse.core.errors import UsageError, did_you_mean
from bakehouse.recipe.importers.import_report import Fate, Note

Kind = Literal["flag", "int", "float", "text", "list", "table", "tables", "any"]


@dataclass(frozen=True)
class Taken:
    """A value for the recipe and the options that it was made of."""

    key: str
    """Dotted key of the recipe."""
    value: Any
    of: tuple[str, ...]
    """Names of options; the first one's default made it where none of them was given."""


Outcome = Taken | Note
Rule = Callable[["Settings"], Iterator[Outcome]]
"""Makes recipe values of several options that hang together; also called where none is given: defaults count."""


@dataclass(frozen=True)
class Option:
    """One option of a peer."""

    name: str
    kind: Kind
    fate: Fate
    to: tuple[str, ...] = ()
    """Keys of the recipe that it decides, alone or with others."""
    how: str = ""
    """How it is converted, or why it is not: a half-sentence for the page and the report."""
    default: Any = None
    """The peer's own; None is off."""
    rule: Rule | None = None
    """Makes the value; None copies it."""
    choices: Mapping[Any, Any] = field(default_factory=dict)
    """The recipe's words for the peer's, where a copied value has other names here."""
    counts: bool = False
    """The peer's default of a copied value is written too where the settings do not name it."""


def taken(
    name: str,
    kind: Kind,
    *to: str,
    how: str = "",
    default: Any = None,
    rule: Rule | None = None,
    choices: Mapping[Any, Any] | None = None,
    counts: bool = False,
) -> Option:
    """An option that decides keys of the recipe."""
    return Option(name, kind, "taken", to, how, default, rule, choices or {}, counts)


def always(name: str, kind: Kind, how: str, default: Any = None, rule: Rule | None = None) -> Option:
    """An option for what is done in any case."""
    return Option(name, kind, "always", (), how, default, rule)


def no_effect(name: str, kind: Kind, how: str, default: Any = None) -> Option:
    """An option that changes nothing here, and why."""
    return Option(name, kind, "no effect", (), how, default)


def elsewhere(name: str, kind: Kind, how: str, default: Any = None) -> Option:
    """An option that belongs to a command, not into a recipe."""
    return Option(name, kind, "elsewhere", (), how, default)


def missing(name: str, kind: Kind, how: str, default: Any = None, *, rule: Rule | None = None) -> Option:
    """An option for what cannot be done here."""
    return Option(name, kind, "missing", (), how, default, rule)


def table(*options: Option) -> dict[str, Option]:
    """Options by name; a name that stands twice is a mistake."""
    by_name = {o.name: o for o in options}
    assert len(by_name) == len(options), sorted(o.name for o in options)
    return by_name


@dataclass(frozen=True)
class Given:
    """A value as it stands in the user's settings."""

    value: Any
    said: str
    """The key as it stands there."""
    quiet: bool = False
    """Nobody's own words: a default of the program that saved the settings, or made of other keys. Nothing is reported
    of it."""


class Settings:
    """The user's options over a peer's table: `settings["network_dim"]` is what was given, or the peer's default."""

    def __init__(
        self, options: Mapping[str, Option], given: Mapping[str, Given], *, peer: str, folder: Path | None = None
    ) -> None:
        self.options = options
        self.peer = peer
        self.folder = folder or Path()
        self.raw = dict(given)
        self.values: dict[str, Any] = {}
        self.notes: list[Note] = []
        for name, item in given.items():
            self._read(name, item)

    def _read(self, name: str, item: Given) -> None:
        option = self.options.get(name)
        if option is None:
            why = did_you_mean(name, self.options).removeprefix("; ") or f"{self.peer} has no such option that is known"
            off = item.value is False or item.value in ("", None)
            self.notes.append(Note(item.said, item.value, "unknown", why, off=off))
            return
        if item.value is None or (item.value == "" and option.kind != "text"):
            return
        try:
            self.values[name] = parsed(item.value, option.kind)
        except _UNREADABLE:
            one = option.kind not in _WHOLE
            several = one and isinstance(item.value, (list, tuple)) and len(item.value) > 1
            wanted = "one value, and it has several" if several else _ARTICLES[option.kind]
            self.notes.append(Note(item.said, item.value, "unknown", f"it should be {wanted}"))

    def __getitem__(self, name: str) -> Any:
        if name in self.values:
            return self.values[name]
        return self.options[name].default if name in self.options else None

    def given(self, *names: str) -> bool:
        """Whether one of them stands in the settings and can be read."""
        return any(name in self.values for name in names)

    def said(self, name: str) -> str:
        """The key as the user wrote it, or the name."""
        return self.raw[name].said if name in self.raw else name

    def note(self, name: str, fate: Fate, why: str, **more: Any) -> Note:
        """A note on an option in the user's own words."""
        return Note(self.said(name), self.raw[name].value if name in self.raw else self[name], fate, why, **more)

    def origin(self, names: Sequence[str]) -> str:
        """Where a value came from, for the comment behind it."""
        given = [self.said(n) for n in names if n in self.values]
        return ", ".join(given) if given else f"{self.peer}'s default of {names[0]}"

    def is_off(self, name: str) -> bool:
        """Whether the given value says what is so anyway: the default, nothing, or no to what is off.

        Where the option is taken over, 0 is a value.
        """
        value, option = self.values.get(name), self.options[name]
        if value == option.default or value in ([], [None]):
            return True
        if option.fate == "taken":
            return value in (None, "") or (value is False and not option.default)
        return value in (None, False, "", 0, (), {})


_WHOLE = ("list", "table", "tables", "any")
"""Kinds whose values have parts; of the others a list of one is that one."""
_UNREADABLE = (ValueError, TypeError, ArithmeticError, SyntaxError)
"""What a value of another type than is meant raises."""
_ARTICLES = {
    "flag": "true or false",
    "int": "a whole number",
    "float": "a number",
    "text": "text",
    "list": "a list",
    "table": "a table",
    "tables": "a list of tables",
    "any": "something else",
}
_FLAGS = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}


def parsed(value: Any, kind: Kind) -> Any:
    """A value as its type, from text where it stands as text.

    Raises:
        ValueError: it cannot be meant as that type.
    """
    if kind not in _WHOLE:
        value = _single(value)
    match kind:
        case "flag":
            return value if isinstance(value, bool) else _flag(str(value))
        case "int":
            return _whole(value)
        case "float":
            return float(str(value).strip().removesuffix("%")) / (100 if str(value).strip().endswith("%") else 1)
        case "text":
            return str(value)
        case "list":
            return list(value) if isinstance(value, (list, tuple)) else [value]
        case "table":
            return _checked(value, isinstance(value, Mapping))
        case "tables":
            return _checked(value, isinstance(value, list) and all(isinstance(x, Mapping) for x in value))
        case "any":
            return value


def entry_of(entry: Mapping[str, Any], name: str, kind: Kind, default: Any, where: str) -> Any:
    """A value of a table inside the settings, as its type; the default where it is not there or null.

    Args:
        where: the table, for the message.

    Raises:
        UsageError: the value cannot be meant as that type.
    """
    value = entry.get(name)
    if value is None:
        return default
    try:
        return parsed(value, kind)
    except _UNREADABLE as e:
        raise UsageError(f"{where}: {name} = {value!r}", hint=f"it should be {_ARTICLES[kind]}") from e


def _checked(value: Any, right: bool) -> Any:
    if not right:
        raise ValueError(value)
    return value


def _single(value: Any) -> Any:
    if not isinstance(value, (list, tuple, dict)):
        return value
    if isinstance(value, dict) or len(value) != 1:
        raise ValueError(value)
    return value[0]


def _flag(text: str) -> bool:
    if text.strip().lower() not in _FLAGS:
        raise ValueError(text)
    return _FLAGS[text.strip().lower()]


def _whole(value: Any) -> int:
    with contextlib.suppress(ValueError):
        return int(str(value))  # exact, however long
    number = float(value)
    if not number.is_integer():
        raise ValueError(value)
    return int(number)


def place_of(text: str, folder: Path) -> Path | None:
    """A path that settings name: beside them, or from here; None where it is in neither."""
    with contextlib.suppress(OSError, ValueError, RuntimeError):  # too long for a path, or none at all
        for path in (folder / Path(text).expanduser(), Path(text).expanduser()):
            if path.exists():
                return path.resolve()
    return None


def is_folder(path: Path) -> bool:
    """Whether a folder is there; what is no path at all is none."""
    with contextlib.suppress(OSError, ValueError):
        return path.is_dir()
    return False


def literal(text: Any) -> Any:
    """`0.9,0.99` and `True` as Python values, as kohya reads them; a word stays a word."""
    if not isinstance(text, str):
        return text
    try:
        value = ast.literal_eval(text.strip())
    except (ValueError, SyntaxError):
        return {"true": True, "false": False}.get(text.strip().lower(), text.strip())
    return list(value) if isinstance(value, tuple) else value


def convert(settings: Settings) -> tuple[dict[str, Any], dict[str, str], list[Note]]:
    """Recipe values by dotted key, their origins, and what became of every given option."""
    outcomes: list[Outcome] = [*settings.notes, *_copied(settings)]
    for rule in dict.fromkeys(o.rule for o in settings.options.values() if o.rule):
        outcomes += _made(rule, settings)
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    notes: list[Note] = []
    made: dict[str, list[str]] = {}
    for outcome in outcomes:
        if isinstance(outcome, Note):
            notes.append(outcome)
        else:
            values[outcome.key] = outcome.value
            origins[outcome.key] = settings.origin(outcome.of)
            for name in outcome.of:
                made.setdefault(name, []).append(outcome.key)
    spoken = {n.key for n in notes}
    for name in settings.values:
        if settings.said(name) not in spoken:
            notes.append(_fate(settings, name, made.get(name, ())))
    quiet = {item.said for item in settings.raw.values() if item.quiet}
    return values, origins, [n for n in notes if n.key not in quiet]


def _made(rule: Rule, settings: Settings) -> list[Outcome]:
    """What a rule makes; where it cannot read a value, those that it was given are named."""
    try:
        return list(rule(settings))
    except _UNREADABLE as e:
        mine = [n for n in settings.values if settings.options[n].rule is rule]
        # What has no type of its own is what went wrong, where there is any.
        loose = [n for n in mine if settings.options[n].kind in _WHOLE]
        if not mine:
            raise
        return [settings.note(n, "unknown", f"cannot be read: {e}") for n in loose or mine]


def _copied(settings: Settings) -> Iterator[Outcome]:
    """Options whose value is the recipe's own."""
    unnamed = {n: o.default for n, o in settings.options.items() if o.counts and n not in settings.values}
    for name, value in {**settings.values, **unnamed}.items():
        option = settings.options[name]
        if option.fate != "taken" or option.rule or len(option.to) != 1 or option.to[0].startswith("concepts"):
            continue
        if option.kind == "text" and not value:
            continue
        if option.choices and not value:
            continue
        if option.choices and value not in option.choices:
            yield settings.note(name, "missing", f"here it can be {', '.join(map(str, option.choices))}")
            continue
        yield Taken(option.to[0], option.choices.get(value, value) if option.choices else value, (name,))


def _fate(settings: Settings, name: str, made: Sequence[str]) -> Note:
    """`made`: keys that its value went into; of an option that can decide several, only those are named."""
    option = settings.options[name]
    to = tuple(key for key in option.to if any(f"{one}.".startswith(f"{key}.") for one in made)) or option.to
    # What a taken option comes to stands in the recipe; how is for the page.
    why = "" if option.fate == "taken" else option.how
    return settings.note(name, option.fate, why, to=to, off=settings.is_off(name))
