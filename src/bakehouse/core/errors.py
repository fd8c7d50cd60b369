"""One voice for everything that goes wrong.

A message names the thing, its value, what is allowed and the next step. The command line prints it without a
traceback and exits with `exit_code`: 2 where the user's words were wrong, 1 where the work failed.
"""

from __future__ import annotations

import contextlib
import difflib
from collections.abc import Iterable, Iterator, Sequence


class BakehouseError(Exception):
    """The work failed: a file is broken, a disk is full, a loss is not a number."""

    exit_code = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n  {self.hint}" if self.hint else self.message


class UsageError(BakehouseError):
    """What the user asked for cannot be meant: an unknown key, a wrong value, a file that is not there."""

    exit_code = 2


class Problems(UsageError):  # noqa: N818 - it is several
    """Several usage errors, reported together so that one run of the command shows all of them."""

    def __init__(self, title: str, problems: Sequence[str], *, hint: str = "") -> None:
        self.problems = tuple(problems)
        lines = "\n".join(f"  - {p}" for p in self.problems)
        super().__init__(f"{title}\n{lines}", hint=hint)


@contextlib.contextmanager
def wrap_foreign_errors(
    source: object, *, hint: str = "the file is damaged, or not what it should be"
) -> Iterator[None]:
    """Around code that makes something of a foreign file's values: it may raise anything on wrong ones.

    Raises:
        BakehouseError: names `source` and what was raised.
    """
    try:
        yield
    except (BakehouseError, OSError, MemoryError):
        raise
    # As wide as can be: diffusers, transformers and tokenizers check little, and fail in all sorts of ways.
    except Exception as e:
        raise BakehouseError(f"{source} cannot be used: {type(e).__name__}: {str(e)[:300]}", hint=hint) from e


def nearest(word: str, allowed: Iterable[str]) -> str | None:
    """The allowed word that `word` was most likely meant to be, or None."""
    found = difflib.get_close_matches(word, list(allowed), n=1, cutoff=0.6)
    return found[0] if found else None


def did_you_mean(word: str, allowed: Iterable[str]) -> str:
    """`; did you mean 'x'?`, or an empty string: to be put behind a message."""
    match = nearest(word, allowed)
    return f"; did you mean {match!r}?" if match else ""
