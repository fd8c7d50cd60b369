"""Rule sets: apply caption rules in order until nothing changes any more."""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from bakehouse.captions.rule import Caption, CaptionFilter, Context, Rule, Tags
from bakehouse.captions.spelling_rules import Case, Parentheses, Regex, Tidy, Underscores
from bakehouse.captions.tag_meaning_rules import Consolidate, Generics, Redundant, Split, Synonyms
from bakehouse.captions.tag_rules import Add, Dedupe, Remove, Replace, Sort
from bakehouse.core.errors import UsageError
from bakehouse.core.settings import Spec, read_toml
from bakehouse.data.shipped_tag_lists import read_data, shipped_names
from bakehouse.data.tag_vocabulary import TagVocabulary, load_vocabulary
from bakehouse.data.tags import BARRIER, form_of, join_tags, key, split_caption

AnyRule = Annotated[
    Tidy
    | Case
    | Underscores
    | Parentheses
    | Regex
    | Add
    | Remove
    | Replace
    | Dedupe
    | Sort
    | Synonyms
    | Generics
    | Redundant
    | Split
    | Consolidate,
    Field(discriminator="kind"),
]

_MAX_ROUNDS = 8
"""Rules that still change captions after this many rounds are taken to never converge."""


class RuleSet(Spec):
    """A rules file: caption rules in the order in which they are applied."""

    rules: tuple[AnyRule, ...] = ()
    """One `[[rules]]` table each, with its `kind`."""
    vocabulary: str = ""
    """Tags that the base model knows: `crumb`, a tagger's name, or a `selected_tags.csv`."""
    form: Literal["auto", "tags", "prose"] = "auto"
    """Whether captions are lists of tags or sentences; `auto` detects it for each caption."""

    @classmethod
    def load_rules(cls, where: str | Path) -> RuleSet:
        """Load a rules file by path, or a shipped one by name: `clean`.

        Raises:
            UsageError: there is no such file, or it is not TOML.
            Problems: invalid keys or values, all of them.
        """
        if str(where) in SHIPPED_RULES and not Path(where).exists():
            return cls.parse(read_data(str(where)), source=str(where))
        if not Path(where).exists():
            raise UsageError(
                f"no rules file {str(where)!r}", hint=f"pass a TOML file, or a shipped one: {', '.join(SHIPPED_RULES)}"
            )
        return cls.parse(read_toml(Path(where)), source=str(where))

    def with_rules(self, rules: Iterable[Rule]) -> RuleSet:
        """Return a rule set with more rules at the end."""
        values: Any = [*self.rules, *rules]
        return self.model_copy(update={"rules": tuple(values)})

    def load_vocabulary(self) -> TagVocabulary | None:
        """Load the vocabulary of the base model; None if the rules name none.

        Raises:
            UsageError: there is no vocabulary with that name.
        """
        return load_vocabulary(self.vocabulary) if self.vocabulary else None

    def apply(
        self, captions: Sequence[str], paths: Sequence[str] | None = None, vocabulary: TagVocabulary | None = None
    ) -> list[str]:
        """Return the edited captions in the same order. Applied to its own result, it changes nothing.

        The rules are applied in order, each to all captions, and again until nothing changes. A caption that no rule
        changes keeps its text, white space included.

        Args:
            captions: one line each; tag frequencies are counted over all of them.
            paths: of their files in the folder, for `where.path`.
            vocabulary: of the base model; None: the one that the rules name.

        Raises:
            UsageError: the rules do not converge; the message names the rule and shows a tag.
        """
        vocabulary = vocabulary if vocabulary is not None else self.load_vocabulary()
        names = list(paths) if paths is not None else [""] * len(captions)
        rounds = [list(captions)]
        for _ in range(_MAX_ROUNDS):
            after, last = self._apply_once(rounds[-1], names, vocabulary)
            if after == rounds[-1]:
                return after
            rounds.append(after)
        raise _no_convergence(last, rounds)

    def parse_caption(self, text: str) -> Caption:
        """Return a caption as rules edit it: its tags, or the text itself if it has sentences."""
        return text if self.is_prose(text) else split_caption(text)

    def is_prose(self, text: str) -> bool:
        """Return whether a caption has sentences, by the `form` setting."""
        return (form_of(text) if self.form == "auto" else self.form) == "prose"

    def _apply_once(
        self, texts: list[str], names: list[str], vocabulary: TagVocabulary | None
    ) -> tuple[list[str], Rule | None]:
        """Apply every rule once; return the captions and the last rule that changed one."""
        parsed = [self.parse_caption(text) for text in texts]
        edited, last = list(parsed), None
        tags = set().union(*_tag_lists(edited))
        for rule in self.rules:
            bound = rule.bind(Context(_counts(edited) if rule.needs_counts else {}, vocabulary))
            is_unfiltered = rule.where == CaptionFilter()
            for i in bound.candidates(edited, tags):
                caption = edited[i]
                if not is_unfiltered and not rule.where.matches(caption, names[i]):
                    continue
                new: Caption = bound.edit_prose(caption) if isinstance(caption, str) else bound.edit_tags(caption)
                if new != caption:
                    edited[i], last = new, rule
                    tags.update(new if isinstance(new, tuple) else ())
        return [texts[i] if new == parsed[i] else _to_text(new) for i, new in enumerate(edited)], last


SHIPPED_RULES = tuple(sorted(name for name in shipped_names() if "rules" in read_data(name)))


def _to_text(caption: Caption) -> str:
    return caption if isinstance(caption, str) else join_tags(caption)


def _tag_lists(captions: Iterable[Caption]) -> Iterator[Tags]:
    return (caption for caption in captions if isinstance(caption, tuple))


def _counts(captions: Sequence[Caption]) -> Counter[str]:
    """Count the captions with a tag, by its key.

    Spellings are counted first, which is fast, since nearly every tag has only one.
    """
    spelled = Counter(itertools.chain.from_iterable(map(frozenset, _tag_lists(captions))))
    spellings: defaultdict[str, set[str]] = defaultdict(set)
    for tag in spelled:
        spellings[key(tag)].add(tag)
    counts = Counter({k: sum(spelled[tag] for tag in tags) for k, tags in spellings.items() if k != BARRIER})
    several = {tag for tags in spellings.values() if len(tags) > 1 for tag in tags}
    for caption in _tag_lists(captions) if several else ():
        # A caption with two spellings of a tag counts once.
        keys = [key(tag) for tag in several.intersection(caption)]
        counts.subtract(Counter(keys) - Counter(set(keys)))
    return counts


def _no_convergence(rule: Rule | None, rounds: Sequence[Sequence[str]]) -> UsageError:
    still = next(i for i, (a, b) in enumerate(zip(rounds[-2], rounds[-1], strict=True)) if a != b)
    before, after = next((a[still], b[still]) for a, b in itertools.pairwise(rounds[1:]) if a[still] != b[still])
    pairs = [*itertools.zip_longest(split_caption(before), split_caption(after), fillvalue=""), (before, after)]
    old, new = next((a, b) for a, b in pairs if a != b)
    kind = rule.kind if rule is not None else ""
    return UsageError(
        f"the rules do not converge: {old!r} becomes {new!r}, which is changed again",
        hint=f"check the rule of kind {kind!r}: its result is edited again, by itself or by a rule before it",
    )


def parse_rules(values: Sequence[Mapping[str, Any]], source: str = "rules") -> tuple[Rule, ...]:
    """Parse rules from the tables of a rules file; errors name their `source`.

    Raises:
        Problems: invalid keys or values, all of them.
    """
    return RuleSet.parse({"rules": list(values)}, source=source).rules
