"""Exceptions for users. The command line prints the message without a traceback and exits with `exit_code`.

A message names the thing, its value, what is allowed and the next step.
"""

from __future__ import annotations

import contextlib
import difflib
from collections.abc import Iterable, Iterator, Sequence


class BakehouseError(Exception):
    """An operation failed: a file is damaged, a disk is full, a loss is NaN. Exit code 1."""

    exit_code = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n  {self.hint}" if self.hint else self.message


class UsageError(BakehouseError):
    """The input is wrong: an unknown key, a value that is not allowed, a missing file. Exit code 2."""

    exit_code = 2


class Problems(UsageError):  # noqa: N818 - it is several
    """Several usage errors, reported together so that one run of the command shows all of them."""

    def __init__(self, title: str, problems: Sequence[str], *, hint: str = "") -> None:
        self.problems = tuple(problems)
        lines = "\n".join(f"  - {p}" for p in self.problems)
        super().__init__(f"{title}\n{lines}", hint=hint)


@contextlib.contextmanager
def wrap_foreign_errors(
    source: object, *, hint: str = "the file is damaged, or of another kind than expected"
) -> Iterator[None]:
    """Turn any exception of a library that is given the values of a foreign file into a BakehouseError.

    Raises:
        BakehouseError: names `source` and the exception.
    """
    try:
        yield
    except (BakehouseError, OSError, MemoryError):
        raise
    # diffusers, transformers and tokenizers check little and raise exceptions of all types.
    except Exception as e:
        raise BakehouseError(f"{source} cannot be used: {type(e).__name__}: {str(e)[:300]}", hint=hint) from e


def nearest(word: str, allowed: Iterable[str]) -> str | None:
    """Return the allowed word that is most similar to `word`, or None if none is."""
    found = difflib.get_close_matches(word, list(allowed), n=1, cutoff=0.6)
    return found[0] if found else None


def did_you_mean(word: str, allowed: Iterable[str]) -> str:
    """Return `; did you mean 'x'?` to append to a message, or an empty string."""
    match = nearest(word, allowed)
    return f"; did you mean {match!r}?" if match else ""
