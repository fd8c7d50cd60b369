"""The words that a base model knows, or is expected to know; probed words are compared with them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib import resources

from bakehouse.core.errors import UsageError
from bakehouse.core.parse_json_toml_yaml import parse_toml
from bakehouse.data.tag_groups import plain
from bakehouse.data.tag_vocabulary import TagVocabulary, load_vocabulary
from bakehouse.generation.model_source import ModelSource, resolve
from bakehouse.models.families import family_of

MAX_WORDS = 384
"""Most words to compare with; each takes one pass of the text encoder."""
MIN_WORDS = 5


@dataclass(frozen=True)
class KnownWords:
    """Words to compare with, the most frequent first, and what is known of others."""

    name: str
    """Name of the vocabulary, as the user wrote it."""
    words: tuple[str, ...]
    parts: frozenset[str]
    """The single words in all names of the vocabulary; none of them is used as a rare word."""
    taught: TagVocabulary | None = None
    """The words that the base was certainly trained on; None: unknown, so that only measurements count."""

    def knows(self, word: str) -> bool:
        """Return whether the base was certainly trained on this word."""
        return self.taught is not None and self.taught.knows(word)


def load_known_words(base: str, vocabulary: str | None = None) -> KnownWords:
    """Load the words of a base: of a vocabulary, of crumb, or a general list of plain concepts.

    Args:
        base: the model reference as the user wrote it; its family may have a vocabulary.
        vocabulary: as for captions: `crumb`, a tagger, or a file such as selected_tags.csv.

    Raises:
        UsageError: the vocabulary does not exist or has too few tags.
    """
    chosen = vocabulary or family_of(base).vocabulary
    if chosen is None:
        words = plain_concepts()
        return KnownWords("plain concepts", words[:MAX_WORDS], _parts(words))
    taught = load_vocabulary(chosen)
    names = list(taught.names())
    if len(names) < MIN_WORDS:
        raise UsageError(f"{chosen} holds {len(names)} tags: a probe needs at least {MIN_WORDS} to compare with")
    # By frequency, then by number of words: short tags are things, longer ones things with a colour.
    frequent = sorted(names, key=lambda name: (-(taught.count(name) or 0), len(name.split())))
    return KnownWords(chosen, tuple(frequent[:MAX_WORDS]), _parts(names), taught)


def resolve_base(ref: str) -> ModelSource:
    """Resolve a reference to a base model without adapters.

    Raises:
        UsageError: there is no such model, or it has an adapter.
    """
    source = resolve(ref)
    if source.adapters:
        raise UsageError(
            f"{ref} has an adapter on it: a probe tests what the base knows before training",
            hint=f"use --base {source.base}; `bakehouse evaluate` measures what training made of the word",
        )
    return source


@cache
def plain_concepts() -> tuple[str, ...]:
    """Return the list of plain concepts that comes with the package."""
    text = resources.files("bakehouse.evaluation.trigger_probe").joinpath("concepts.toml").read_text("utf-8")
    return tuple(dict.fromkeys(word for words in parse_toml(text).values() for word in words))


def _parts(names: Iterable[str]) -> frozenset[str]:
    return frozenset(word for name in names for word in plain(name).replace("-", " ").split())
