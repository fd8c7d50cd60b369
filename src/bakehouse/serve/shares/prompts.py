"""What a visitor has written, as it is drawn: plain words, the share's subject among them, nothing of the server."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass

from bakehouse.generation.prompt.readable_text import ReadableText, without_tags
from bakehouse.generation.request import ImageRequest
from bakehouse.serve.errors import bad_request
from bakehouse.serve.store.shares import ShareSettings
from bakehouse.serve.work.drawing import Drawing, ImageFormat
from bakehouse.serve.work.served_models import ServedModel

_PIECE = re.compile(r"[^\W\d_]+|\d|[^\w\s]+|_")
"""What a tokenizer keeps together: letters, a digit, other signs."""
_PREVIEWS = 5
"""Previews of one picture."""


@dataclass(frozen=True)
class VisitorPrompt:
    """A prompt and what was taken out of it."""

    text: str
    removed: tuple[str, ...] = ()
    """Tags of adapters and other networks, as they were written."""


def subject_of(settings: ShareSettings, model: ServedModel) -> str:
    """Return the words that each prompt of a share has; empty: none."""
    return (settings.subject if settings.subject is not None else next(iter(model.triggers), "")).strip()


def read_visitor_prompt(text: str, settings: ShareSettings, subject: str, embeddings: Iterable[str]) -> VisitorPrompt:
    """Return what is drawn of a visitor's words.

    Tags such as `<lora:name:1>` are taken out, also those that taking out others makes. All else is read as plain
    text, where brackets mean nothing: no emphasis, no `AND` whose parts would each cost as much as a picture.

    Args:
        text: as it was written.
        settings: the share's.
        subject: see `subject_of`; put in front where the text does not have it.
        embeddings: names that stand for files of the server. A visitor may use those of the owner's own templates.

    Raises:
        ServeError: it is too long, empty, or names an embedding (400).
    """
    if len(text) > settings.prompt_characters:
        raise bad_request(
            f"the prompt has {len(text):,} characters; allowed are {settings.prompt_characters:,}",
            code="prompt_too_long",
        )
    words = " ".join(_printable(text).split())
    removed: list[str] = []
    rest, tags = without_tags(ReadableText.of(words))
    while tags:
        removed += [tag.source for tag in tags]
        words = " ".join(rest.text.split())
        rest, tags = without_tags(ReadableText.of(words))
    if not words:
        raise bad_request("the prompt is empty", hint="write what to draw", code="prompt_empty")
    owners = _folded(" ".join((subject, *settings.templates)))
    for name in embeddings:
        if _names(name, _folded(words)) and not _names(name, owners):
            raise bad_request(
                f"{name!r} cannot be used here", hint="it is no word on this server: write another", code="word_refused"
            )
    if subject and _folded(subject) not in _folded(words):
        words = f"{subject}, {words}"
    return VisitorPrompt(words, tuple(dict.fromkeys(removed)))


def share_drawing(settings: ShareSettings, prompt: str) -> Drawing:
    """Return the drawing of a prompt: everything but the words is the owner's choice. Files hold no settings."""
    request = ImageRequest(
        prompt=prompt,
        negative=settings.negative,
        width=settings.width,
        height=settings.height,
        steps=settings.steps,
        guidance=settings.guidance,
        prompt_syntax="plain",
    )
    form = ImageFormat("webp", quality=90, infotext=False)
    return Drawing(
        model=settings.model, request=request, format=form, preview_every=max(1, settings.steps // _PREVIEWS)
    )


def _printable(text: str) -> str:
    """Return text without control and formatting characters, which can turn around or hide other text."""
    return "".join(" " if c.isspace() else c for c in text if c.isspace() or unicodedata.category(c)[0] != "C")


def _folded(text: str) -> str:
    """Return text as tokenizers read it: compatible forms, accents and case are the same."""
    parts = unicodedata.normalize("NFKD", text).casefold()
    return " ".join("".join(c for c in parts if not unicodedata.combining(c)).split())


def _names(name: str, folded: str) -> bool:
    """Whether a text has a name as words of its own: tokenizers part words where letters end, and skip spaces."""
    pattern = r"\s*".join(re.escape(piece) for piece in _PIECE.findall(_folded(name)))
    return bool(pattern) and re.search(rf"(?<![^\W\d_]){pattern}(?![^\W\d_])", folded) is not None
