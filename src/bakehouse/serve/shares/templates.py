"""Templates of shares: taken from the library, a file or the owner's words, and shown as texts with choices.

Visitors fill them in their browser, so a template comes to a list of parts: text, a choice of phrases, or a blank.
"""

from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from bakehouse.core.errors import UsageError, did_you_mean
from bakehouse.generation.templates import find_templates, library
from bakehouse.generation.templates.drawn_prompts import default_slots
from bakehouse.generation.templates.syntax import Choice, Node, Nodes, Slot, Text, Wildcard, parse
from bakehouse.generation.templates.wildcards import LIBRARY, Wildcards

SUBJECT = "subject"
_MOST_OPTIONS = 40
_MOST_OF_ONE = 3
"""Phrases that one option or line of a wildcard may come to."""
_SLOT = re.compile(r"\{\s*([A-Za-z]\w*)\s*\}")
_ALLOWED = "allowed are slots such as {color}, choices of plain words such as {red|blue}, and wildcards of the library"


def templates_of(references: Iterable[str], texts: Iterable[str] = ()) -> tuple[str, ...]:
    """Return templates as a share keeps them.

    Args:
        references: sets of the library, one of their templates (`portraits:3`), or files.
        texts: templates themselves.

    Raises:
        UsageError: there is no such set, or a template that a share cannot have.
    """
    found = []
    for reference in references:
        known = find_templates(reference)
        for template in known.templates:
            found.append(_with_slots(template.sentence, {**default_slots(), **known.slots}))
    found += [_with_slots(text.strip(), default_slots()) for text in texts]
    for text in found:
        parts_of(text)
    return tuple(dict.fromkeys(found))


def library_templates_of(references: Iterable[str], texts: Iterable[str] = ()) -> tuple[str, ...]:
    """Return templates as `templates_of`, of the library alone: what comes over HTTP names no file.

    Raises:
        UsageError: as `templates_of`.
    """
    known = {one.name for one in library()}
    for reference in references:
        name, colon, number = reference.partition(":")
        if name not in known or (colon and not number.isdecimal()):
            raise UsageError(
                f"{reference[:80]!r} is no set of templates{did_you_mean(name, known)}",
                hint=f"sets: {', '.join(sorted(known))}",
            )
    return templates_of(references, texts)


@functools.lru_cache(maxsize=512)
def parts_of(text: str) -> tuple[dict[str, Any], ...]:
    """Return what a template consists of, as JSON can hold it.

    Each part is `{"text": ...}`, or `{"name": ..., "options": [...]}`; without options the visitor writes something.

    Raises:
        UsageError: it cannot be read, or has what only a program can fill in.
    """
    try:
        return tuple(_part(node, text) for node in parse(text))
    except UsageError as e:
        if e.message.startswith("template "):
            raise
        raise UsageError(f"template {text!r}: {e.message}", hint=e.hint) from e


def _part(node: Node, template: str) -> dict[str, Any]:
    match node:
        case Text():
            return {"text": node.text}
        case Slot():
            return {"name": node.name, "options": []}
        case Choice(low=1, high=1) | Wildcard(values=()):
            name = node.pattern.rpartition("/")[2].replace("*", "") if isinstance(node, Wildcard) else ""
            options = list(dict.fromkeys(itertools.islice(_phrases((node,)), _MOST_OPTIONS)))
            if options:
                return {"name": name, "options": options}
    raise UsageError(f"template {template!r} has more than a share can show", hint=_ALLOWED)


def _phrases(nodes: Nodes) -> Iterator[str]:
    """Yield what nodes can come to; nothing if they have slots, variables or several choices at once."""
    ways: list[list[str]] = []
    for node in nodes:
        match node:
            case Text():
                ways.append([node.text])
            case Choice(low=1, high=1):
                options = [_some(option.nodes) for option in node.options if option.weight > 0]
                ways.append([text for texts in options for text in texts])
            case Wildcard(values=()):
                lines = [_some(line.option.nodes) for _, line in _library().lines(node.pattern)]
                ways.append([text for texts in lines for text in texts])
            case _:
                return
    for texts in itertools.product(*ways):
        yield " ".join("".join(texts).split())


def _some(nodes: Nodes) -> list[str]:
    """Return the first phrases of an option, so that every option has its place."""
    return list(itertools.islice(_phrases(nodes), _MOST_OF_ONE))


@functools.cache
def _library() -> Wildcards:
    return Wildcards([LIBRARY])


def _with_slots(text: str, slots: Mapping[str, str]) -> str:
    """Return a template with the slots filled that a set or the library fills; the subject stays."""
    filled = {name: words for name, words in slots.items() if name != SUBJECT}
    return _SLOT.sub(lambda found: filled.get(found[1], found[0]), text)
