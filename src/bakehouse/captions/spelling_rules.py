"""Rules about how tags are written: separators, underscores, case, parentheses, regular expressions."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import replace
from typing import Literal

from pydantic import field_validator

from bakehouse.captions.rule import Change, Context, Listed, Rule, each_tag
from bakehouse.core.errors import UsageError
from bakehouse.data.tags import is_face, join_tags, keeps_underscores, split_caption

_WIDE_COMMAS = str.maketrans({"，": ", ", "、": ", ", "；": "; "})
_ODD_SPACES = re.compile(r"[\u00a0\u2000-\u200a\u202f\u205f\u3000]")
_INVISIBLE = re.compile(r"[\u00ad\u200b\u2060\ufeff]|(?<=[ -~])[\u200c\u200d]|[\u200c\u200d](?=[ -~])")
"""Characters without width, which stand inside words; joiners have a meaning in other scripts and in emoji."""
_CONTROLS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_RUNS = re.compile(r"[ \t]+")


def tidy(text: str) -> str:
    """Full-width commas, odd spaces and accents as plain ones, and no invisible characters; letters stay."""
    text = _INVISIBLE.sub("", text)
    text = _CONTROLS.sub("", _ODD_SPACES.sub(" ", text.translate(_WIDE_COMMAS)))
    return _RUNS.sub(" ", unicodedata.normalize("NFC", text)).strip()


class Tidy(Rule):
    """Separators and spaces as every trainer reads them: full-width commas, no-break spaces, NUL, doubled commas."""

    kind: Literal["tidy"] = "tidy"

    def bind(self, context: Context) -> Change:
        return _taking_apart(each_tag(tidy, tidy))


class Case(Rule):
    """Letters in one case. Faces such as `:D` and `XD` keep theirs."""

    kind: Literal["case"] = "case"
    to: Literal["lower"] = "lower"
    spare: Listed = ()
    """Tags that stay as they are, for example a trigger."""

    def bind(self, context: Context) -> Change:
        spared = frozenset(self.spare)
        return each_tag(lambda tag: tag if tag in spared or _is_drawn(tag) else tag.lower())


class Underscores(Rule):
    """`blue_hair` or `blue hair`. Faces (`^_^`, `||_||`) and words such as `score_9` keep theirs."""

    kind: Literal["underscores"] = "underscores"
    to: Literal["spaces", "underscores"] = "spaces"
    spare: Listed = ()
    """Tags that stay as they are."""

    def bind(self, context: Context) -> Change:
        old, new = ("_", " ") if self.to == "spaces" else (" ", "_")
        spared = frozenset(self.spare)
        return each_tag(
            lambda tag: (
                tag if tag in spared or keeps_underscores(tag) else _RUNS.sub(" ", tag.replace(old, new)).strip()
            )
        )


class Parentheses(Rule):
    r"""`name (series)` or `name \(series\)`, which prompts need and captions do not."""

    kind: Literal["parentheses"] = "parentheses"
    to: Literal["plain", "escaped"] = "plain"

    def bind(self, context: Context) -> Change:
        if self.to == "plain":
            return each_tag(lambda tag: re.sub(r"\\([()])", r"\1", tag))
        return each_tag(lambda tag: tag if is_face(tag) else re.sub(r"(?<!\\)([()])", r"\\\1", tag))


class Regex(Rule):
    """A regular expression, in Python's spelling. In tags or in whole captions; sentences only as whole captions."""

    kind: Literal["regex"] = "regex"
    find: str
    """For example `^(\\w+) coloured hair$`."""
    put: str = ""
    """What stands there afterwards: `\\1 hair`. A tag that becomes empty goes; one with a comma becomes two."""
    on: Literal["tag", "caption"] = "tag"
    """One tag at a time, or the caption as a whole."""

    @field_validator("find")
    @classmethod
    def _compiles(cls, value: str) -> str:
        try:
            re.compile(value)
        except re.error as e:
            raise ValueError(f"{value!r} is no regular expression: {e}") from e
        return value

    def bind(self, context: Context) -> Change:
        expression = re.compile(self.find)

        def put(text: str) -> str:
            try:
                return expression.sub(self.put, text)
            except (re.error, IndexError) as e:
                raise UsageError(f"regex: {self.put!r} does not fit {self.find!r}: {e}") from e

        if self.on == "caption":
            return Change(lambda tags: split_caption(put(join_tags(tags))), put)
        return _taking_apart(each_tag(put))


def _taking_apart(change: Change) -> Change:
    """A change of single tags that may put commas into them."""
    return replace(
        change, tags=lambda tags: split_caption(join_tags(new)) if (new := change.tags(tags)) != tags else tags
    )


def _is_drawn(tag: str) -> bool:
    """Whether letters are part of a drawing: `:D`, `XD`, `^o^`."""
    return is_face(tag) or (len(tag) <= 3 and (not tag.isalnum() or tag in {"XD", "OwO", "UwU"}))
