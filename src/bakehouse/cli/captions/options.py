"""Options of `bakehouse captions`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

if TYPE_CHECKING:
    from bakehouse.captions import RuleSet

Many = list[str] | None


def _option(*names: str, **more: Any) -> Any:
    return typer.Option(*names, **more)


_KNOWN = "What the base model was taught: crumb, a tagger, selected_tags.csv."
Vocabulary = Annotated[str | None, typer.Option(metavar="NAME|FILE", help=_KNOWN)]


@dataclass(frozen=True)
class Changes:
    """What is done to captions, in the order of these fields."""

    rules: Annotated[Many, _option(metavar="FILE|NAME", help="A rules file, or clean, contradictions.")] = None
    tidy: Annotated[bool, _option("--tidy", help="Full-width commas, odd spaces, NUL as plain ones.")] = False
    underscores: Annotated[Literal["spaces", "underscores"] | None, _option(help="Faces such as ^_^ stay.")] = None
    parentheses: Annotated[Literal["plain", "escaped"] | None, _option(help="a (b), or with backslashes.")] = None
    lower: Annotated[bool, _option("--lower", help="Small letters.")] = False
    replace: Annotated[Many, _option(metavar="OLD=NEW", help="Tags, and words in sentences.")] = None
    regex: Annotated[Many, _option(metavar="s/FIND/PUT/", help="On each tag; any sign may stand for the slash.")] = None
    remove: Annotated[Many, _option(metavar="TAG", help="* stands for anything.")] = None
    junk: Annotated[bool, _option("--junk", help="Remove tags that say nothing of the picture.")] = False
    synonyms: Annotated[bool, _option("--synonyms", help="One word for one thing.")] = False
    split: Annotated[bool, _option("--split", help="Tags not in the vocabulary as several that are.")] = False
    generics: Annotated[bool, _option("--generics", help="No `jewelry` beside `earrings`.")] = False
    redundant: Annotated[bool, _option("--redundant", help="No `shirt` beside `white shirt`.")] = False
    consolidate: Annotated[bool, _option("--consolidate", help="Tags of one thing as one of the vocabulary.")] = False
    add: Annotated[Many, _option(metavar="TAG", help="Put in front.")] = None
    append: Annotated[Many, _option(metavar="TAG", help="Put at the end.")] = None
    dedupe: Annotated[bool, _option("--dedupe", help="Every tag once.")] = False
    sort: Annotated[Literal["frequency", "alphabet"] | None, _option(help="The most frequent first, or a to z.")] = None
    trigger: Annotated[Many, _option(metavar="TAG", help="Kept as it is spelled, and in front when sorting.")] = None
    has: Annotated[Many, _option(metavar="TAG", help="Only captions with it.")] = None
    lacks: Annotated[Many, _option(metavar="TAG", help="Only captions without it.")] = None
    path: Annotated[str, typer.Option(metavar="PATTERN", help="Only there: '2_dress/*'; '!reg/*' is all others.")] = ""
    vocabulary: Vocabulary = None

    def ruleset(self) -> RuleSet:
        from bakehouse.captions.rules_from_options import rules_from_options

        return rules_from_options(**vars(self))
