"""Options that the caption commands share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

if TYPE_CHECKING:
    from bakehouse.captions import RuleSet

Many = list[str] | None


def _option(*names: str, **more: Any) -> Any:
    return typer.Option(*names, **more)


Vocabulary = Annotated[
    str | None,
    typer.Option(metavar="NAME|FILE", help="Tags that the base model knows: crumb, a tagger, or a selected_tags.csv."),
]


@dataclass(frozen=True)
class EditOptions:
    """Edits of captions, applied in the order of these fields."""

    rules: Annotated[
        Many, _option(metavar="FILE|NAME", help="Rules file, or a shipped rule set such as clean. Repeatable.")
    ] = None
    tidy: Annotated[bool, _option("--tidy", help="Normalize commas and spaces.")] = False
    underscores: Annotated[
        Literal["spaces", "underscores"] | None, _option(help="Write tags with spaces or underscores; emoticons stay.")
    ] = None
    parentheses: Annotated[
        Literal["plain", "escaped"] | None, _option(help="Write parentheses plain or with backslashes.")
    ] = None
    lower: Annotated[bool, _option("--lower", help="Lower-case all tags.")] = False
    replace: Annotated[Many, _option(metavar="OLD=NEW", help="Replace a tag, or a word in sentences. Repeatable.")] = (
        None
    )
    regex: Annotated[
        Many, _option(metavar="s/FIND/PUT/", help="Replace by a regular expression, in each tag. Repeatable.")
    ] = None
    remove: Annotated[Many, _option(metavar="TAG", help="Remove a tag; wildcards allowed. Repeatable.")] = None
    junk: Annotated[bool, _option("--junk", help="Remove tags that do not describe the image.")] = False
    synonyms: Annotated[bool, _option("--synonyms", help="Merge synonyms.")] = False
    split: Annotated[bool, _option("--split", help="Split unknown tags into known ones; needs --vocabulary.")] = False
    generics: Annotated[
        bool, _option("--generics", help="Remove general tags beside specific ones: jewelry beside earrings.")
    ] = False
    redundant: Annotated[
        bool, _option("--redundant", help="Remove tags contained in others: shirt beside white shirt.")
    ] = False
    consolidate: Annotated[
        bool, _option("--consolidate", help="Combine tags of one thing into a known tag; needs --vocabulary.")
    ] = False
    add: Annotated[Many, _option(metavar="TAG", help="Prepend a tag. Repeatable.")] = None
    append: Annotated[Many, _option(metavar="TAG", help="Append a tag. Repeatable.")] = None
    dedupe: Annotated[bool, _option("--dedupe", help="Remove repeated tags.")] = False
    sort: Annotated[
        Literal["frequency", "alphabet"] | None, _option(help="Sort tags by frequency or alphabetically.")
    ] = None
    trigger: Annotated[
        Many, _option(metavar="TAG", help="Tag to leave unchanged, and to put first when sorting. Repeatable.")
    ] = None
    has: Annotated[Many, _option(metavar="TAG", help="Edit only captions with this tag. Repeatable.")] = None
    lacks: Annotated[Many, _option(metavar="TAG", help="Edit only captions without this tag. Repeatable.")] = None
    path: Annotated[
        str, typer.Option(metavar="PATTERN", help="Edit only matching files: '2_dress/*', or '!reg/*' for all others.")
    ] = ""
    vocabulary: Vocabulary = None

    def ruleset(self) -> RuleSet:
        from bakehouse.captions.rules_from_options import rules_from_options

        return rules_from_options(**vars(self))
