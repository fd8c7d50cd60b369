"""Rules in their order, used on a folder's captions until nothing changes any more."""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from bakehouse.captions.rule import Caption, Context, Rule, Tags, Where
from bakehouse.captions.spelling_rules import Case, Parentheses, Regex, Tidy, Underscores
from bakehouse.captions.tag_rules import Add, Dedupe, Remove, Replace, Sort
from bakehouse.captions.word_rules import Consolidate, Generics, Redundant, Split, Synonyms
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

_MOST_ROUNDS = 8
"""Rules that have not come to rest after so many never will."""


class RuleSet(Spec):
    """A rules file: what is done to captions, in this order."""

    rules: tuple[AnyRule, ...] = ()
    """One `[[rules]]` table each, with its `kind`."""
    vocabulary: str = ""
    """What the base model was taught: `crumb`, a tagger's name, or a `selected_tags.csv`."""
    form: Literal["auto", "tags", "prose"] = "auto"
    """Whether captions are lists of tags or sentences; `auto` looks at each."""

    @classmethod
    def load_rules(cls, where: str | Path) -> RuleSet:
        """A rules file by path, or a shipped one by name: `clean`.

        Raises:
            UsageError: there is none, or it is not TOML.
            Problems: wrong keys or values, all of them.
        """
        if str(where) in RULES_SHIPPED and not Path(where).exists():
            return cls.parse(read_data(str(where)), source=str(where))
        if not Path(where).exists():
            raise UsageError(f"no rules {str(where)!r}", hint=f"a TOML file, or {', '.join(RULES_SHIPPED)}")
        return cls.parse(read_toml(Path(where)), source=str(where))

    def then(self, rules: Iterable[Rule]) -> RuleSet:
        """These rules, and others behind them."""
        values: Any = [*self.rules, *rules]
        return self.model_copy(update={"rules": tuple(values)})

    def load_vocabulary(self) -> TagVocabulary | None:
        """What the rules may know of the base model.

        Raises:
            UsageError: a rule needs a vocabulary and there is none of that name.
        """
        return load_vocabulary(self.vocabulary) if self.vocabulary else None

    def apply(
        self, captions: Sequence[str], paths: Sequence[str] | None = None, vocabulary: TagVocabulary | None = None
    ) -> list[str]:
        """New captions in the same order. Applied to its own result, it changes nothing.

        The rules are gone through in their order, each over all captions, and again until nothing changes. A caption
        that no rule has to change keeps its letters, white space included.

        Args:
            captions: one line each; counts are over all of them.
            paths: of their files in the folder, for `where.path`.
            vocabulary: of the base model; left out, the one that the rules name.

        Raises:
            UsageError: the rules never come to rest (names the rule and shows a caption).
        """
        vocabulary = vocabulary if vocabulary is not None else self.load_vocabulary()
        names = list(paths) if paths is not None else [""] * len(captions)
        rounds = [list(captions)]
        for _ in range(_MOST_ROUNDS):
            after, last = self._once(rounds[-1], names, vocabulary)
            if after == rounds[-1]:
                return after
            rounds.append(after)
        raise _restless(last, rounds)

    def read(self, text: str) -> Caption:
        """A caption as rules take it: its tags, or the text itself where it has sentences."""
        return text if self.sees_prose(text) else split_caption(text)

    def sees_prose(self, text: str) -> bool:
        """Whether a caption has sentences in it, for these rules."""
        return (form_of(text) if self.form == "auto" else self.form) == "prose"

    def _once(
        self, texts: list[str], names: list[str], vocabulary: TagVocabulary | None
    ) -> tuple[list[str], Rule | None]:
        """Every rule once; also the last one that changed anything."""
        first = [self.read(text) for text in texts]
        held, last = list(first), None
        tags = set().union(*_tag_lists(held))
        for rule in self.rules:
            change = rule.bind(Context(_counts(held) if rule.counts else {}, vocabulary))
            everywhere = rule.where == Where()
            for i in change.touched(held, tags):
                caption = held[i]
                if not everywhere and not rule.where.holds(caption, names[i]):
                    continue
                new: Caption = change.prose(caption) if isinstance(caption, str) else change.tags(caption)
                if new != caption:
                    held[i], last = new, rule
                    tags.update(new if isinstance(new, tuple) else ())
        return [texts[i] if new == first[i] else _written(new) for i, new in enumerate(held)], last


RULES_SHIPPED = tuple(sorted(name for name in shipped_names() if "rules" in read_data(name)))


def _written(caption: Caption) -> str:
    return caption if isinstance(caption, str) else join_tags(caption)


def _tag_lists(captions: Iterable[Caption]) -> Iterator[Tags]:
    return (caption for caption in captions if isinstance(caption, tuple))


def _counts(captions: Sequence[Caption]) -> Counter[str]:
    """How many captions have a tag, by its key: first as it is spelled, since nearly every tag has one spelling."""
    spelled = Counter(itertools.chain.from_iterable(map(frozenset, _tag_lists(captions))))
    spellings: defaultdict[str, set[str]] = defaultdict(set)
    for tag in spelled:
        spellings[key(tag)].add(tag)
    counts = Counter({k: sum(spelled[tag] for tag in tags) for k, tags in spellings.items() if k != BARRIER})
    several = {tag for tags in spellings.values() if len(tags) > 1 for tag in tags}
    for caption in _tag_lists(captions) if several else ():
        # A caption with two spellings of a tag has it once.
        keys = [key(tag) for tag in several.intersection(caption)]
        counts.subtract(Counter(keys) - Counter(set(keys)))
    return counts


def _restless(rule: Rule | None, rounds: Sequence[Sequence[str]]) -> UsageError:
    still = next(i for i, (a, b) in enumerate(zip(rounds[-2], rounds[-1], strict=True)) if a != b)
    before, after = next((a[still], b[still]) for a, b in itertools.pairwise(rounds[1:]) if a[still] != b[still])
    pairs = [*itertools.zip_longest(split_caption(before), split_caption(after), fillvalue=""), (before, after)]
    old, new = next((a, b) for a, b in pairs if a != b)
    kind = rule.kind if rule is not None else ""
    return UsageError(
        f"the rules never come to rest: {old!r} becomes {new!r} and so on",
        hint=f"look at the rule of kind {kind!r}: what it makes is changed again, by it or by a rule before it",
    )


def rules_of(values: Sequence[Mapping[str, Any]], source: str = "rules") -> tuple[Rule, ...]:
    """Rules from tables, as a rules file has them; errors name their `source`.

    Raises:
        Problems: wrong keys or values, all of them.
    """
    return RuleSet.parse({"rules": list(values)}, source=source).rules
