"""A prompt without its comments and tags of networks such as `<lora:...>`, which are removed before brackets are read.

Each character that remains knows where it was written, so that a syntax tree can print the prompt unchanged and a
warning can point to a bracket.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_COMMENT = re.compile(r"#[^\n]*(?:\n|\Z)")
_TAG = re.compile(r"<(\w+):([^>]+)>")


@dataclass(frozen=True)
class ReadableText:
    """The characters that are read, and where each was written."""

    text: str
    written: str
    places: tuple[int, ...]
    """For each character of `text` its index in `written`."""

    @classmethod
    def of(cls, written: str) -> ReadableText:
        return cls(written, written, tuple(range(len(written))))

    def source(self, start: int, end: int) -> str:
        """Return what was written for the characters from `start` to `end`, with what was taken out after each."""
        begin = self.places[start] if 0 < start < len(self.text) else len(self.written) if start else 0
        stop = self.places[end] if end < len(self.text) else len(self.written)
        return self.written[begin:stop]

    def replaced(self, found: list[re.Match[str]], by: str) -> ReadableText:
        """Return the text with each match of its own text replaced; what replaces it was written where it begins."""
        text, places, at = [], [], 0
        for match in found:
            text += [self.text[at : match.start()], by]
            places += [*self.places[at : match.start()], *[self.places[match.start()]] * len(by)]
            at = match.end()
        return ReadableText("".join([*text, self.text[at:]]), self.written, (*places, *self.places[at:]))


@dataclass(frozen=True)
class NetworkTag:
    """A tag `<kind:name:...>` of a prompt."""

    kind: str
    """`lora` and `lyco` are adapters."""
    arguments: tuple[str, ...]
    """All between the colons; the first is the name."""
    source: str
    at: int
    """Its index in the prompt."""

    @property
    def name(self) -> str:
        return self.arguments[0]

    @property
    def is_adapter(self) -> bool:
        return self.kind in ("lora", "lyco")


def without_comments(written: str) -> ReadableText:
    """Return the prompt without comments: from `#` to the end of the line, as in A1111 since 1.7."""
    whole = ReadableText.of(written)
    return whole.replaced(list(_COMMENT.finditer(whole.text)), "\n")


def without_tags(prompt: ReadableText) -> tuple[ReadableText, tuple[NetworkTag, ...]]:
    """Return the prompt without its tags, and the tags in order."""
    found = list(_TAG.finditer(prompt.text))
    tags = tuple(NetworkTag(m[1], tuple(m[2].split(":")), m[0], prompt.places[m.start()]) for m in found)
    return prompt.replaced(found, ""), tags
