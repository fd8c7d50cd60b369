"""Count the tokens of a caption: with the base model's tokenizer if it is known, else a lower bound."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bakehouse.audit.audit_options import AuditSpec
from bakehouse.core.bundled_models import BUNDLED_BASE, BUNDLED_BASE_FOLDER
from bakehouse.core.errors import UsageError

_PIECE = re.compile(r"'s|'t|'re|'ve|'m|'ll|'d|[^\W\d_]+|\d|[^\s\w]+|_+", re.IGNORECASE)
"""CLIP's pre-tokenizer (Radford et al. 2021): each piece is one token or more."""


@dataclass(frozen=True)
class TokenCounter:
    """Counts tokens without the begin and end marks."""

    token_ends: Callable[[str], list[int]]
    """The position in the text where each token ends."""
    prefix: str = ""
    """`at least ` where the count is a lower bound."""

    def count(self, text: str) -> int:
        """Return the number of tokens."""
        return len(self.token_ends(text))

    def after(self, text: str, limit: int) -> str:
        """Return the text after the first `limit` tokens."""
        ends = self.token_ends(text)
        return text[ends[limit - 1] :].strip(" ,") if len(ends) > limit else ""


def token_counter(spec: AuditSpec) -> TokenCounter:
    """Return the token counter of the audit's base model.

    Raises:
        UsageError: the tokenizer file does not exist.
    """
    path = spec.tokenizer
    if path is None and spec.family == BUNDLED_BASE:
        path = BUNDLED_BASE_FOLDER / "tokenizer"
    if path is None:
        return TokenCounter(lambda text: [m.end() for m in _PIECE.finditer(text)], "at least ")
    path = path / "tokenizer.json" if path.is_dir() else path
    if not path.is_file():
        raise UsageError(f"{path} does not exist", hint="pass a tokenizer.json, or the folder that holds it")
    return _load_tokenizer(path)


@functools.cache
def _load_tokenizer(path: Path) -> TokenCounter:
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return TokenCounter(lambda text: [end for _, end in tokenizer.encode(text, add_special_tokens=False).offsets])
