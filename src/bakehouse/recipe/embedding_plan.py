"""Checks of a recipe that trains an embedding: its word, its initial words, and the captions that show it."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bakehouse.adapters import NoAdapter
from bakehouse.core.message_text import counted, listed
from bakehouse.data.captions import all_texts
from bakehouse.data.image_records import ImageSet
from bakehouse.data.tag_vocabulary import load_vocabulary
from bakehouse.models.families import family_of
from bakehouse.models.load_tokenizer import load_prompt_tokenizer
from bakehouse.models.model_facts import ModelFacts
from bakehouse.models.text_encoders import prompt_token_ids, prompt_tokens, single_token_words
from bakehouse.models.textual_inversion import WordIndex
from bakehouse.recipe.recipe import ConceptSpec, Recipe
from bakehouse.recipe.words_in_captions import has_word

_RARE_SHARE = 5
"""Of the words that are a single token, the last of so many parts are rare; before them are words of everyday life."""


@dataclass
class EmbeddingFindings:
    """What is wrong with an embedding's recipe, and what is probably not meant."""

    errors: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def embedding_findings(recipe: Recipe, images: ImageSet, facts: ModelFacts | None) -> EmbeddingFindings:
    """Check a recipe of which nothing is open; nothing is found where no embedding trains.

    Args:
        recipe: the plan's.
        images: with the captions that are trained on.
        facts: None: the base's files are not here yet, so that its tokenizer is not asked.
    """
    found = EmbeddingFindings()
    if recipe.embedding.vectors is None:
        return found
    found.errors += _of_settings(recipe)
    if found.errors:
        return found
    tokenizer = load_prompt_tokenizer(recipe.model.base).tokenizer if facts is not None else None
    if tokenizer is not None:
        for concept in _named(recipe):
            _check_words(recipe, concept, tokenizer, found)
    for number, concept in enumerate(recipe.concepts):
        if concept.trigger_word:
            _check_captions(recipe, number, images, tokenizer, found)
    return found


def _named(recipe: Recipe) -> list[ConceptSpec]:
    return [c for c in recipe.concepts if c.trigger_word]


def _of_settings(recipe: Recipe) -> Iterator[str]:
    """Yield errors that need the recipe alone."""
    spec, named = recipe.embedding, _named(recipe)
    alone = isinstance(recipe.adapter, NoAdapter)
    if recipe.kind == "slider":
        yield "embedding.vectors: a slider trains no word: leave it out"
        return
    if recipe.adapter.kind == "full":
        yield (
            f"embedding.vectors = {spec.vectors} with adapter.kind = 'full': a model's folder has no place for the "
            "vectors of a word: set adapter.kind = 'lora', or adapter.text = true without an embedding"
        )
    if not named:
        yield "embedding.vectors needs a trigger word to stand for: set subject = 'zwx person'"
    if alone and len(named) > 1:
        yield (
            f"adapter.kind = 'none' trains one word, and this recipe has {listed([c.trigger_word for c in named])}: an "
            "embedding's file holds one. Train them one by one, or beside an adapter (adapter.kind = 'lora')"
        )
    if alone and spec.until < 1:
        yield f"embedding.until = {spec.until:g} with adapter.kind = 'none': nothing would train after it: leave it out"
    if alone and recipe.optimizer.lr is not None:
        yield (
            f"optimizer.lr = {recipe.optimizer.lr:g} is the network's learning rate, and with adapter.kind = 'none' no "
            "network trains: set embedding.lr"
        )
    network_lr = recipe.optimizer.lr
    if recipe.optimizer.row.one_rate and not alone and network_lr is not None and spec.lr != network_lr:
        yield (
            f"embedding.lr = {spec.lr:g} differs from optimizer.lr = {network_lr:g}, but {recipe.optimizer.name} "
            "estimates a single learning rate: set both to the same value, or leave both out"
        )
    for concept in named:
        yield from _of_word(recipe, concept, alone=alone)


def _of_word(recipe: Recipe, concept: ConceptSpec, *, alone: bool) -> Iterator[str]:
    word, init = concept.trigger_word, recipe.embedding.init
    if init is not None and not init.strip():
        yield "embedding.init is empty: name the words to start from, such as 'person'"
        return
    words = init if init is not None else concept.class_name
    if not words.strip():
        yield (
            f"embedding.init is not set, and the subject {concept.subject!r} has no class word to start from: set "
            "embedding.init = 'person', or the subject to 'zwx person'"
        )
    if has_word(words, word) or has_word(concept.class_name, word):
        yield f"trigger {word!r} is one of its own initial words {words!r}: choose a new word, such as 'zwx'"
    if not alone and any(c in word for c in "./"):
        yield f"trigger {word!r}: a word that is saved in an adapter's file cannot have '.' or '/': leave them out"


def _check_words(recipe: Recipe, concept: ConceptSpec, tokenizer: Any, found: EmbeddingFindings) -> None:
    """Check the trigger and the initial words with the base's tokenizer."""
    word, init = concept.trigger_word, recipe.embedding.init or concept.class_name
    if _is_known(word, recipe.model.base, tokenizer):
        found.errors.append(
            f"trigger {word!r} is a word that the base knows: prompts could not have its own meaning beside the "
            "embedding's. Choose a new word, such as 'zwx'; `bakehouse triggers probe WORD` says whether one is free"
        )
    (ids,), (tokens,) = prompt_token_ids(tokenizer, [init]), prompt_tokens(tokenizer, [init])
    if not ids or tokenizer.unk_token_id in ids:
        found.errors.append(f"embedding.init = {init!r}: the base's tokenizer does not know it: use plain words")
        return
    shown = [token.removesuffix("</w>") for token in tokens]
    split = [w for w, (own,) in ((w, prompt_tokens(tokenizer, [w])) for w in init.split()) if len(own) > 1]
    if split and len(shown) > len(init.split()):
        found.warnings.append(
            f"embedding.init = {init!r}: {listed(split)} is no single token of the base; training starts from "
            f"{' + '.join(shown)}"
        )
    if len(ids) > (recipe.embedding.vectors or 1):
        found.warnings.append(
            f"embedding.init = {init!r} has {counted(len(ids), 'token')} for {recipe.embedding.vectors} "
            f"{'vector' if recipe.embedding.vectors == 1 else 'vectors'}: {listed(shown[recipe.embedding.vectors :])} "
            "is left out"
        )


def _is_known(word: str, base: str, tokenizer: Any) -> bool:
    """Whether a base has a word of its own, which would be lost: it was trained with it, or it is of everyday life."""
    vocabulary = family_of(base).vocabulary
    if vocabulary is not None:
        return load_vocabulary(vocabulary).knows(word)
    words = single_token_words(tokenizer)
    return word.lower() in words[: len(words) - len(words) // _RARE_SHARE]


def _check_captions(recipe: Recipe, number: int, images: ImageSet, tokenizer: Any, found: EmbeddingFindings) -> None:
    """Check that a concept's captions show its word, and not behind their end."""
    concept, limit = recipe.concepts[number], recipe.model.max_tokens
    word, vectors = concept.trigger_word, recipe.embedding.vectors or 1
    texts = [t for r in images if r.concept == number for t in all_texts(r.captions, recipe.captions, concept.subject)]
    counts = _Counts(tokenizer, {c.trigger_word: vectors for c in _named(recipe)}) if tokenizer is not None else None
    placed = [counts.of(t, word) if counts else (0 if has_word(t, word) else None, 0) for t in texts]
    if texts and all(at is None for at, _ in placed):
        found.errors.append(
            f"{concept.folder}: no caption has the trigger {word!r}, so its vectors would never be trained: add it "
            f"with `bakehouse captions edit {shlex.quote(str(concept.folder))} --add {shlex.quote(word)}`, or leave "
            "captions.prefix out"
        )
        return
    starts = [at for at, _ in placed if at is not None]
    cut = sum(at + vectors > limit for at in starts)
    if cut:
        whose = "every caption" if cut == len(starts) else f"{counted(cut, 'caption')} of {len(texts)}"
        (found.errors if cut == len(starts) else found.warnings).append(
            f"{concept.folder}: the trigger {word!r} comes after the {limit} tokens of model.max_tokens in {whose}, so "
            f"that its vectors are cut off: put it first, or raise model.max_tokens"
        )
    long = sum(length > limit for _, length in placed)
    if long and not cut:
        found.warnings.append(
            f"{concept.folder}: with the {counted(vectors, 'vector')} of {word!r}, {counted(long, 'caption')} of "
            f"{len(texts)} are longer than model.max_tokens = {limit}, and their ends are cut"
        )


class _Counts:
    """Counts tokens of captions in which words take the place of several."""

    def __init__(self, tokenizer: Any, vectors: Mapping[str, int]) -> None:
        self._tokenizer, self._vectors = tokenizer, vectors
        self._index = WordIndex(tokenizer, list(vectors))

    def of(self, text: str, word: str) -> tuple[int | None, int]:
        """Return the tokens before a word's first vector, None without the word, and all tokens."""
        (ids,) = prompt_token_ids(self._tokenizer, [text])
        return self._walk(ids, word)

    def _walk(self, ids: Sequence[int], word: str) -> tuple[int | None, int]:
        at = length = 0
        first: int | None = None
        while at < len(ids):
            name, taken = next(self._index.at(ids, at), ("", 1))
            if name == word and first is None:
                first = length
            length += self._vectors[name] if name else 1
            at += taken
        return first, length
