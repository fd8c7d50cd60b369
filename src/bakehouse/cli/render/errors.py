"""What is said when something goes wrong, or is stopped by hand."""

from __future__ import annotations

import os
import sys
from typing import Any

import typer
from typer.core import TyperGroup

from bakehouse.cli.render.printing import say
from bakehouse.core.errors import BakehouseError, UsageError
from bakehouse.core.pluralize import visible

_RESUMING = ("train", "demo", "evaluate")


class Kitchen(TyperGroup):
    """All commands; Ctrl-C ends any of them with a word on how to go on."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            goes_on = ctx.invoked_subcommand in _RESUMING
            _say("stopped; the same command goes on from here" if goes_on else "stopped")
            raise typer.Exit(130) from None
        except typer.Exit:
            raise
        except EOFError as e:  # typer would say "Aborted!", as for a question that nobody answered
            raise BakehouseError(f"a file ends too early: {e}", hint="look whether the inputs are whole") from e
        except Exception as e:
            if isinstance(message := getattr(e, "message", None), str) and not isinstance(e, BakehouseError):
                e.message = visible(message)  # type: ignore[attr-defined]  # typer's own: it prints by itself
            raise


def check(words: list[str]) -> None:
    """What no command could work with.

    Raises:
        UsageError: the working folder was deleted, or a word holds a NUL character.
    """
    try:
        os.getcwd()  # noqa: PTH109 - nothing else is imported for it
    except OSError as e:
        raise UsageError("the folder that you are in no longer exists", hint="change to another one with cd") from e
    if wrong := next((word for word in words if "\0" in word), None):
        raise UsageError(f"{wrong!r} holds a NUL character, which no name and no setting may")


def report(error: Exception) -> int:
    """Prints one message in red on standard error and returns the exit code."""
    if isinstance(error, BakehouseError):
        _say(f"error: {error.message}", error.hint)
        return error.exit_code
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        _say(f"error: {_name(error.filename)}: {error.strerror}", "check the path and its permissions")
        return 1
    if isinstance(error, MemoryError):
        _say("error: not enough memory", "use smaller sizes, ranks, counts or batches, or a machine with more memory")
        return 1
    _say(
        f"error: {type(error).__name__}: {error}",
        "this was not foreseen; the same command with --debug shows where it happened",
    )
    return 1


def _name(file: object) -> str:
    """A file as an error of the system has it."""
    return os.fsdecode(file) if isinstance(file, str | bytes | os.PathLike) else f"file {file}"


def _say(message: str, hint: str = "") -> None:
    """One line in red, one in the usual colour; plain where colours are not wanted."""
    coloured = sys.stderr.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    message = visible(message)
    # Not `say`: the colours are escape codes themselves.
    print(typer.style(message, fg="red") if coloured else message, file=sys.stderr)
    if hint:
        say(f"  {hint}", file=sys.stderr)
