"""The words that a base is known, or believed, to know: a trigger is compared with them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib import resources

from bakehouse.core.errors import UsageError
from bakehouse.core.json_toml_yaml import parse_toml
from bakehouse.data.tag_groups import plain
from bakehouse.data.tag_vocabulary import TagVocabulary, load_vocabulary
from bakehouse.generation.model_source import ModelSource, resolve
from bakehouse.models.families import family_of

MOST = 384
"""Words compared with: each is one pass of the text encoder."""
LEAST = 5


@dataclass(frozen=True)
class Bank:
    """Words to compare with, the most usual first, and what is known of the rest."""

    name: str
    """Of the vocabulary, as the user wrote it."""
    words: tuple[str, ...]
    parts: frozenset[str]
    """Single words inside of all of its names: none of them may pass for rare."""
    taught: TagVocabulary | None = None
    """What the base was taught for certain; None: the words are believed to be known, and only measured ones are."""

    def knows(self, word: str) -> bool:
        """Whether the base was taught this very word."""
        return self.taught is not None and self.taught.knows(word)


def bank_of(base: str, vocabulary: str | None = None) -> Bank:
    """The words of a base: those of a vocabulary, crumb's own, or a list of plain concepts.

    Args:
        base: what the user calls the model; its family may know the words of its training.
        vocabulary: what captions call one: `crumb`, a tagger, or a file such as selected_tags.csv.

    Raises:
        UsageError: nothing of that name, or a file that holds next to no tags.
    """
    chosen = vocabulary or family_of(base).vocabulary
    if chosen is None:
        words = concepts()
        return Bank("plain concepts", words[:MOST], _parts(words))
    taught = load_vocabulary(chosen)
    names = list(taught.names())
    if len(names) < LEAST:
        raise UsageError(f"{chosen} holds {len(names)} tags: at least {LEAST} are needed to compare words with")
    # A tag of few words is a thing, one of many is a thing with its colours: things first, the most frequent before.
    usual = sorted(names, key=lambda name: (-(taught.count(name) or 0), len(name.split())))
    return Bank(chosen, tuple(usual[:MOST]), _parts(names), taught)


def bare_base(ref: str) -> ModelSource:
    """A base model by what the user calls it.

    Raises:
        UsageError: there is none, or it has an adapter on it.
    """
    source = resolve(ref)
    if source.adapters:
        raise UsageError(
            f"{ref} has an adapter on it: a probe asks what the base knows before training",
            hint=f"--base {source.base}; what training made of a word is said by `bakehouse evaluate`",
        )
    return source


@cache
def concepts() -> tuple[str, ...]:
    """The list of plain concepts that comes with the package."""
    text = resources.files("bakehouse.evaluation.trigger_probe").joinpath("concepts.toml").read_text("utf-8")
    return tuple(dict.fromkeys(word for words in parse_toml(text).values() for word in words))


def _parts(names: Iterable[str]) -> frozenset[str]:
    return frozenset(word for name in names for word in plain(name).replace("-", " ").split())
