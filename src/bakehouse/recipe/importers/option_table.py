"""Options of another trainer as a table: name, type, default, and the recipe keys that each option sets.

Most options are one row: its columns say how the value is converted. Options that only make sense together share a
`converter`. docs/coming-from-kohya.md is generated from these tables.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from bakehouse.core.errors import did_you_mean
from bakehouse.recipe.importers.import_report import Note, Status
from bakehouse.recipe.importers.shipped_tables import shipped_table
from bakehouse.recipe.importers.value_types import COMPOUND, DESCRIPTIONS, UNREADABLE, Kind, existing_path, parse_value


@dataclass(frozen=True)
class Assignment:
    """A value for a key of the recipe."""

    key: str
    """Dotted key of the recipe."""
    value: Any
    sources: tuple[str, ...]
    """Options that it was made from. If the user gave none of them, the first one's default was used."""


Outcome = Assignment | Note


@dataclass(frozen=True)
class Converter:
    """Converts options that depend on each other. It runs even if none of them is given, since defaults count."""

    options: tuple[str, ...]
    convert: Callable[[Settings], Iterator[Outcome]]


def converts(*options: str) -> Callable[[Callable[[Settings], Iterator[Outcome]]], Converter]:
    """Make a function the converter of these options."""
    return lambda convert: Converter(options, convert)


@dataclass(frozen=True)
class Option:
    """One option of another trainer: a row of the table."""

    name: str
    kind: Kind
    status: Status
    sets: tuple[str, ...] = ()
    """The recipe keys that it sets, alone or together with other options."""
    how: str = ""
    """How it is converted, or why it is not: half a sentence for the documentation and the report."""
    default: Any = None
    """The trainer's default; None is off."""
    converter: Converter | None = None
    """Converts this option together with others; `table` fills it in. None: the columns below convert it."""
    choices: Mapping[Any, Any] = field(default_factory=dict)
    """The recipe's value for each of the trainer's; other values are unsupported."""
    transform: Callable[[Any], Any] | None = None
    """Computes the recipe's value from the trainer's."""
    emit: Mapping[Any, Mapping[str, Any]] | Callable[[Any], Mapping[str, Any]] | None = None
    """Recipe keys and values for the trainer's value, as a table or a function; `{}`: other options read this one."""
    fill: bool = False
    """Set the trainer's default where the settings lack the option."""
    skip_falsy: bool = False
    """0, false and empty text set nothing."""
    fallback: str = ""
    """A more general option, used where this one is absent."""
    when: str | Callable[[Settings], Any] = ""
    """Only used if this option is on, or if this condition holds."""
    yields_to: str = ""
    """An option that wins over this one where it is on."""


def sets(name: str, kind: Kind, *keys: str, **columns: Any) -> Option:
    """Return an option that sets keys of the recipe; `columns` are the fields of `Option`."""
    return Option(name, kind, "set", keys, **columns)


def unset_options(trainer: str) -> tuple[Option, ...]:
    """Return the trainer's options that set nothing in a recipe, from unset_options.toml."""
    by_status = shipped_table("unset_options.toml")[trainer]
    rows = ((status, name, row) for status, options in by_status.items() for name, row in options.items())
    return tuple(Option(name, row[0], status, (), row[1], *row[2:]) for status, name, row in rows)


def table(
    *options: Option, converters: Sequence[Converter] = (), defaults: Mapping[str, Any] | None = None
) -> dict[str, Option]:
    """Return options by name, each with its converter and its default."""
    by_name = {o.name: replace(o, default=(defaults or {}).get(o.name, o.default)) for o in options}
    assert len(by_name) == len(options), sorted(o.name for o in options)
    for converter in converters:
        by_name |= {name: replace(by_name[name], converter=converter) for name in converter.options}
    return by_name


@dataclass(frozen=True)
class GivenValue:
    """A value as it stands in the user's settings."""

    value: Any
    source_key: str
    """The key as the user wrote it: `--network_dim`, `[optimizer_args.args] learning_rate`."""
    quiet: bool = False
    """Not written by the user: a default of the program that saved the settings, or derived from other keys. Nothing is
    reported about it."""


class Settings:
    """The user's values over a trainer's options: `settings["network_dim"]` is the given value or the default."""

    def __init__(
        self,
        options: Mapping[str, Option],
        given: Mapping[str, GivenValue],
        *,
        trainer: str,
        folder: Path | None = None,
    ) -> None:
        self.options = options
        self.trainer = trainer
        self.folder = folder or Path()
        self.raw = dict(given)
        self.values: dict[str, Any] = {}
        self.notes: list[Note] = []
        for name, item in given.items():
            self._read(name, item)

    def _read(self, name: str, item: GivenValue) -> None:
        option = self.options.get(name)
        if option is None:
            why = did_you_mean(name, self.options).removeprefix("; ") or f"{self.trainer} has no such option"
            off = item.value is False or item.value in ("", None)
            self.notes.append(Note(item.source_key, item.value, "unknown", why, off=off))
            return
        if item.value is None or (item.value == "" and option.kind not in _TEXT):
            return
        try:
            self.values[name] = parse_value(item.value, option.kind)
        except UNREADABLE:
            single = option.kind not in COMPOUND
            several = single and isinstance(item.value, (list, tuple)) and len(item.value) > 1
            wanted = "a single value" if several else DESCRIPTIONS[option.kind]
            self.notes.append(Note(item.source_key, item.value, "unknown", f"expected {wanted}"))

    def __getitem__(self, name: str) -> Any:
        if name in self.values:
            return self.values[name]
        return self.options[name].default if name in self.options else None

    def given(self, *names: str) -> bool:
        """Whether the settings have a readable value for one of the options."""
        return any(name in self.values for name in names)

    def source_key(self, name: str) -> str:
        """Return the option's key as the user wrote it; its name if it is not given."""
        return self.raw[name].source_key if name in self.raw else name

    def assign(self, recipe_key: str, name: str, *also: str) -> Assignment:
        """Return the recipe key with the option's value; `also` are further options that decide it."""
        return Assignment(recipe_key, self[name], (name, *also))

    def note(self, name: str, status: Status, why: str, **more: Any) -> Note:
        """Return a note on an option, with the user's key and value."""
        value = self.raw[name].value if name in self.raw else self[name]
        return Note(self.source_key(name), value, status, why, **more)

    def origin(self, names: Sequence[str]) -> str:
        """Return where a value comes from: the comment behind it in the recipe."""
        given = [self.source_key(n) for n in names if n in self.values]
        return ", ".join(given) if given else f"{self.trainer}'s default of {names[0]}"

    def path(self, name: str) -> tuple[str, bool]:
        """Return an option's path, absolute if it exists, else as written; and whether it exists."""
        text = str(self[name])
        path = existing_path(text, self.folder)
        return (str(path), True) if path else (text, False)

    def is_off(self, name: str) -> bool:
        """Whether the given value changes nothing: it is the default, or empty, or turns off what is off.

        For an option that sets something, 0 is a value.
        """
        value, option = self.values.get(name), self.options[name]
        if value == option.default or value in ([], [None]):
            return True
        if option.status == "set":
            return value in (None, "") or (value is False and not option.default)
        return value in (None, False, "", 0, (), {})


_TEXT = ("text", "path")


def convert(settings: Settings) -> tuple[dict[str, Any], dict[str, str], list[Note]]:
    """Return recipe values by dotted key, the origin of each, and a note on every given option."""
    outcomes: list[Outcome] = [*settings.notes, *(x for o in settings.options.values() for x in _from_row(settings, o))]
    for converter in dict.fromkeys(o.converter for o in settings.options.values() if o.converter):
        outcomes += _run(converter, settings)
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    notes: list[Note] = []
    made: dict[str, list[str]] = {}
    for outcome in outcomes:
        if isinstance(outcome, Note):
            notes.append(outcome)
        else:
            values[outcome.key] = outcome.value
            origins[outcome.key] = settings.origin(outcome.sources)
            for name in outcome.sources:
                made.setdefault(name, []).append(outcome.key)
    noted = {n.key for n in notes}
    unnoted = [name for name in settings.values if settings.source_key(name) not in noted]
    notes += [_status_note(settings, name, made.get(name, ())) for name in unnoted]
    quiet = {item.source_key for item in settings.raw.values() if item.quiet}
    return values, origins, [n for n in notes if n.key not in quiet]


def _run(converter: Converter, settings: Settings) -> list[Outcome]:
    """Return what a converter yields; if it cannot read a value, notes on the values that it was given."""
    try:
        return list(converter.convert(settings))
    except UNREADABLE as e:
        mine = [n for n in settings.values if n in converter.options]
        # Values without a type of their own are what went wrong, if there are any.
        loose = [n for n in mine if settings.options[n].kind in COMPOUND]
        if not mine:
            raise
        return [settings.note(n, "unknown", f"cannot be read: {e}") for n in loose or mine]


def _from_row(settings: Settings, option: Option) -> Iterator[Outcome]:
    """Convert an option by the columns of its row."""
    single = len(option.sets) == 1 and not option.sets[0].startswith("concepts")
    if option.status != "set" or option.converter or not (single or option.emit is not None):
        return
    source = option.fallback if option.fallback and not settings.given(option.name) else option.name
    when = option.when
    if not settings.given(source) and not option.fill:
        return
    if when and not (when(settings) if callable(when) else settings[when]):
        return
    if option.yields_to and settings[option.yields_to]:
        if settings.given(source):
            yield settings.note(source, "no effect", f"{option.yields_to} wins")
        return
    try:
        yield from _values_of(settings, option, source)
    except UNREADABLE as e:
        yield settings.note(source, "unknown", f"cannot be read: {e}")


def _values_of(settings: Settings, option: Option, source: str) -> Iterator[Outcome]:
    value = settings[source]
    if option.kind == "flag":
        value = bool(value)
    if not value and (option.skip_falsy or (option.kind in _TEXT and not option.fill)):
        return
    if option.kind == "path":
        value = settings.path(source)[0]
    if option.choices and value not in option.choices:
        if value:
            yield settings.note(
                option.name, "unsupported", f"supported values are {', '.join(map(str, option.choices))}"
            )
        return
    if option.emit is not None:
        made = option.emit(value) if callable(option.emit) else option.emit.get(value, {})
    else:
        value = option.choices.get(value, value) if option.choices else value
        made = {option.sets[0]: option.transform(value) if option.transform else value}
    yield from (Assignment(key, x, (source,)) for key, x in made.items())


def _status_note(settings: Settings, name: str, made: Sequence[str]) -> Note:
    """Return the note on an option that no converter has a note on; `made` are the keys that its value went into."""
    option = settings.options[name]
    decided = tuple(key for key in option.sets if any(f"{one}.".startswith(f"{key}.") for one in made))
    # The value of an option that is set stands in the recipe; `how` is for the documentation then.
    why = "" if option.status == "set" else option.how
    return settings.note(name, option.status, why, sets=decided or option.sets, off=settings.is_off(name))
