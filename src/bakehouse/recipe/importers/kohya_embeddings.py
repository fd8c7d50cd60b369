"""Textual inversion in kohya's scripts: the word, its vectors, and the captions that show it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from bakehouse.recipe.importers.kohya_rates import is_embedding
from bakehouse.recipe.importers.option_table import Assignment, Outcome, Settings, converts
from bakehouse.recipe.words_in_captions import has_word

TEMPLATES = ("use_object_template", "use_style_template")
OPTIONS = ("token_string", "init_word", "num_vectors_per_token", *TEMPLATES, "weights")


@converts(*OPTIONS)
def embedding(s: Settings) -> Iterator[Outcome]:
    """Convert what the word is and how many vectors it has; in other trainings these options do nothing."""
    if not is_embedding(s):
        for name in OPTIONS:
            if s.given(name):
                yield s.note(name, "no effect", "only for textual inversion", off=s.is_off(name))
        return
    yield Assignment("kind", "embedding", ("token_string",))
    yield Assignment("adapter.kind", "none", ("token_string",))
    yield s.assign("embedding.vectors", "num_vectors_per_token")
    if s["init_word"]:
        yield s.assign("embedding.init", "init_word")
    for name in TEMPLATES:
        if s[name]:
            why = "captions are used as they are; where none has the word, the plan puts it in front"
            yield s.note(name, "unsupported", why)
    if s["weights"]:
        yield s.note("weights", "unsupported", "training starts from the initial words, not from another embedding")


def with_word(
    s: Settings, concepts: Sequence[Mapping[str, Any]], origins: dict[str, str]
) -> Sequence[Mapping[str, Any]]:
    """Return the concepts with the word that has the vectors as their trigger."""
    word = str(s["token_string"] or "").strip()
    if not is_embedding(s) or not word:
        return concepts
    made = []
    for i, concept in enumerate(concepts):
        subject = str(concept.get("subject", "")).strip()
        changed: dict[str, Any] = {**concept, "trigger": word}
        origins[f"concepts.{i}.trigger"] = s.origin(["token_string"])
        if not has_word(subject, word):
            changed["subject"] = f"{word} {subject or s['init_word'] or ''}".strip()
            origins[f"concepts.{i}.subject"] = s.origin(["token_string", "init_word"])
        made.append(changed)
    return made


def uses_template(s: Settings) -> bool:
    """Whether kohya would make the captions itself, each with the word."""
    return is_embedding(s) and any(s[name] for name in TEMPLATES)
