"""How many tokens a caption has: by the base model's tokenizer where it is at hand, else at least how many."""

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
"""How CLIP cuts text before it looks for tokens (Radford et al. 2021): each piece is one token or more."""


@dataclass(frozen=True)
class TokenCounter:
    """Counts tokens, those of the beginning and the end left out."""

    ends: Callable[[str], list[int]]
    """Where in the text each token ends."""
    sure: str = ""
    """`at least ` where tokens are pieces that may be several."""

    def count(self, text: str) -> int:
        """Tokens of a text."""
        return len(self.ends(text))

    def rest(self, text: str, most: int) -> str:
        """What lies behind the first `most` tokens."""
        ends = self.ends(text)
        return text[ends[most - 1] :].strip(" ,") if len(ends) > most else ""


def token_counter(spec: AuditSpec) -> TokenCounter:
    """Of the base model.

    Raises:
        UsageError: the tokenizer that was named is not there.
    """
    path = spec.tokenizer
    if path is None and spec.family == BUNDLED_BASE:
        path = BUNDLED_BASE_FOLDER / "tokenizer"
    if path is None:
        return TokenCounter(lambda text: [m.end() for m in _PIECE.finditer(text)], "at least ")
    path = path / "tokenizer.json" if path.is_dir() else path
    if not path.is_file():
        raise UsageError(f"{path} does not exist", hint="a tokenizer.json, or the folder that holds it")
    return _by_file(path)


@functools.cache
def _by_file(path: Path) -> TokenCounter:
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return TokenCounter(lambda text: [end for _, end in tokenizer.encode(text, add_special_tokens=False).offsets])
