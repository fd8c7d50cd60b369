"""Caption rules for spelling: separators, underscores, case, parentheses, regular expressions."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import replace
from typing import Literal

from pydantic import field_validator

from bakehouse.captions.rule import BoundRule, Context, Rule, TagList, Tags, per_tag
from bakehouse.core.errors import UsageError
from bakehouse.data.tags import is_face, join_tags, keeps_underscores, split_caption

_WIDE_COMMAS = str.maketrans({"，": ", ", "、": ", ", "；": "; "})
_ODD_SPACES = re.compile(r"[\u00a0\u2000-\u200a\u202f\u205f\u3000]")
_INVISIBLE = re.compile(r"[\u00ad\u200b\u2060\ufeff]|(?<=[ -~])[\u200c\u200d]|[\u200c\u200d](?=[ -~])")
"""Zero-width characters; joiners only beside ASCII, for they have a meaning in other scripts and in emoji."""
_CONTROLS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_RUNS = re.compile(r"[ \t]+")


def tidy(text: str) -> str:
    """Return the text with plain commas and spaces, composed accents, and without invisible characters."""
    text = _INVISIBLE.sub("", text)
    text = _CONTROLS.sub("", _ODD_SPACES.sub(" ", text.translate(_WIDE_COMMAS)))
    return _RUNS.sub(" ", unicodedata.normalize("NFC", text)).strip()


class Tidy(Rule):
    """Normalise separators and spaces: full-width commas, no-break spaces, NUL, doubled commas."""

    kind: Literal["tidy"] = "tidy"

    def bind(self, context: Context) -> BoundRule:
        return _splitting(per_tag(tidy, tidy))


class Case(Rule):
    """Change tags to lower case. Emoticons such as `:D` and `XD` keep theirs."""

    kind: Literal["case"] = "case"
    to: Literal["lower"] = "lower"
    spare: TagList = ()
    """Tags that are not changed, for example a trigger."""

    def bind(self, context: Context) -> BoundRule:
        spared = frozenset(self.spare)
        return per_tag(lambda tag: tag if tag in spared or _is_emoticon(tag) else tag.lower())


class Underscores(Rule):
    """Write tags as `blue_hair` or `blue hair`. Emoticons (`^_^`, `||_||`) and tags such as `score_9` keep theirs."""

    kind: Literal["underscores"] = "underscores"
    to: Literal["spaces", "underscores"] = "spaces"
    spare: TagList = ()
    """Tags that are not changed."""

    def bind(self, context: Context) -> BoundRule:
        old, new = ("_", " ") if self.to == "spaces" else (" ", "_")
        spared = frozenset(self.spare)
        return per_tag(
            lambda tag: (
                tag if tag in spared or keeps_underscores(tag) else _RUNS.sub(" ", tag.replace(old, new)).strip()
            )
        )


class Parentheses(Rule):
    r"""Write parentheses as `name (series)` or `name \(series\)`; prompts need the escapes, captions do not."""

    kind: Literal["parentheses"] = "parentheses"
    to: Literal["plain", "escaped"] = "plain"

    def bind(self, context: Context) -> BoundRule:
        if self.to == "plain":
            return per_tag(lambda tag: re.sub(r"\\([()])", r"\1", tag))
        return per_tag(lambda tag: tag if is_face(tag) else re.sub(r"(?<!\\)([()])", r"\\\1", tag))


class Regex(Rule):
    """Replace by a regular expression in Python's syntax, in single tags or whole captions."""

    kind: Literal["regex"] = "regex"
    find: str
    """Pattern, for example `^(\\w+) coloured hair$`."""
    put: str = ""
    """Replacement: `\\1 hair`. A tag that becomes empty is removed; one with a comma becomes two."""
    on: Literal["tag", "caption"] = "tag"
    """Apply to each tag, or to the whole caption; sentences are only edited as whole captions."""

    @field_validator("find")
    @classmethod
    def _compiles(cls, value: str) -> str:
        try:
            re.compile(value)
        except re.error as e:
            raise ValueError(f"{value!r} is not a valid regular expression: {e}") from e
        return value

    def bind(self, context: Context) -> BoundRule:
        expression = re.compile(self.find)

        def substitute(text: str) -> str:
            try:
                return expression.sub(self.put, text)
            except (re.error, IndexError) as e:
                raise UsageError(f"regex: invalid replacement {self.put!r} for {self.find!r}: {e}") from e

        if self.on == "caption":
            return BoundRule(lambda tags: split_caption(substitute(join_tags(tags))), substitute)
        return _splitting(per_tag(substitute))


def _splitting(rule: BoundRule) -> BoundRule:
    """Return the rule so that tags into which it puts commas are split."""

    def edit_tags(tags: Tags) -> Tags:
        new = rule.edit_tags(tags)
        return split_caption(join_tags(new)) if new != tags else tags

    return replace(rule, edit_tags=edit_tags)


def _is_emoticon(tag: str) -> bool:
    """Return whether the letters of a tag are part of an emoticon: `:D`, `XD`, `^o^`."""
    return is_face(tag) or (len(tag) <= 3 and (not tag.isalnum() or tag in {"XD", "OwO", "UwU"}))
