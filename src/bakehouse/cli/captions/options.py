"""Options of `bakehouse captions`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal, cast

import typer

if TYPE_CHECKING:
    from bakehouse.curate.captions import RuleSet

Many = list[str] | None


def _many(metavar: str, text: str) -> typer.models.OptionInfo:
    return cast("typer.models.OptionInfo", typer.Option(metavar=metavar, help=f"{text} May come again."))


def _one(text: str) -> typer.models.OptionInfo:
    return cast("typer.models.OptionInfo", typer.Option(help=text))


_KNOWN = "What the base model was taught: crumb, a tagger, selected_tags.csv."
Vocabulary = Annotated[str | None, typer.Option(metavar="NAME|FILE", help=_KNOWN)]


@dataclass(frozen=True)
class Changes:
    """What is done to captions, in the order of these fields."""

    rules: Annotated[Many, _many("FILE|NAME", "A rules file, or the shipped `clean`.")] = None
    tidy: Annotated[bool, _one("Full-width commas, odd spaces, NUL: as every trainer reads them.")] = False
    underscores: Annotated[Literal["spaces", "underscores"] | None, _one("Faces such as ^_^ stay.")] = None
    parentheses: Annotated[Literal["plain", "escaped"] | None, _one("name (series), or with backslashes.")] = None
    lower: Annotated[bool, typer.Option("--lower", help="Small letters.")] = False
    replace: Annotated[Many, _many("OLD=NEW", "Tags, and words in sentences.")] = None
    regex: Annotated[Many, _many("s/FIND/PUT/", "On each tag; any sign may stand for the slash.")] = None
    remove: Annotated[Many, _many("TAG", "* stands for anything.")] = None
    junk: Annotated[bool, _one("Remove tags that say nothing of the picture.")] = False
    synonyms: Annotated[bool, _one("One word for one thing.")] = False
    split: Annotated[bool, _one("Tags that the vocabulary does not know, as those that it knows.")] = False
    generics: Annotated[bool, _one("No `jewelry` beside `earrings`.")] = False
    redundant: Annotated[bool, _one("No `shirt` beside `white shirt`.")] = False
    consolidate: Annotated[bool, _one("Tags of one thing as one, where the vocabulary has it.")] = False
    add: Annotated[Many, _many("TAG", "Put in front.")] = None
    append: Annotated[Many, _many("TAG", "Put at the end.")] = None
    dedupe: Annotated[bool, _one("Every tag once.")] = False
    sort: Annotated[Literal["frequency", "alphabet"] | None, _one("The most frequent first, or a to z.")] = None
    trigger: Annotated[Many, _many("TAG", "Kept as it is spelled, and in front when sorting.")] = None
    has: Annotated[Many, _many("TAG", "Only captions with it.")] = None
    lacks: Annotated[Many, _many("TAG", "Only captions without it.")] = None
    path: Annotated[str, typer.Option(metavar="PATTERN", help="Only captions there: '2_red dress/*'.")] = ""
    vocabulary: Vocabulary = None

    def ruleset(self) -> RuleSet:
        """The rules that were asked for."""
        from bakehouse.curate.captions.asked import rules_asked

        return rules_asked(**vars(self))
