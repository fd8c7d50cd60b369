"""Messages of errors and interruptions, and the exit codes."""

from __future__ import annotations

import os
import sys
from typing import Any

import typer
from typer.core import TyperGroup

from bakehouse.cli.render.safe_printing import echo
from bakehouse.core.errors import BakehouseError, UsageError
from bakehouse.core.message_text import visible
from bakehouse.core.rank_environment import rank_environment, tell_launcher

_RESUMABLE = ("train", "demo", "evaluate", "grid", "publish")
_UNEXPECTED = (
    "Unexpected error (a bug in bakehouse). Run again with --debug for a traceback, and report it "
    "with the command and the version (bakehouse --version)."
)
_LINK_LOOP = "Symlink loop from "
"""The message of `Path.resolve` before Python 3.13, which has no error type of its own for it."""


class InterruptibleGroup(TyperGroup):
    """All commands; Ctrl-C stops any of them with a message on how to resume."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            resumable = ctx.invoked_subcommand in _RESUMABLE
            _print_error("stopped; run the same command again to resume" if resumable else "stopped")
            raise typer.Exit(130) from None
        except typer.Exit:
            raise
        except EOFError as e:  # typer would print "Aborted!", as for an unanswered prompt
            raise BakehouseError(f"a file ends too early: {e}", hint="check that the input files are complete") from e
        except Exception as e:
            if isinstance(message := getattr(e, "message", None), str) and not isinstance(e, BakehouseError):
                e.message = visible(_with_value(_plain(message), e))  # type: ignore[attr-defined]  # typer prints it
            raise


def _plain(message: str) -> str:
    """Return pydantic's message about an option without its prefix and without the second form of its reason."""
    return message.removeprefix("Value error, ").replace("Input should be", "should be", 1).partition(", unable to")[0]


def _with_value(message: str, error: Exception) -> str:
    """Return the message with the value that was given, if pydantic refused it and the message does not show it."""
    from pydantic import ValidationError  # slow to import, and needed only here

    cause = error.__cause__
    if not isinstance(cause, ValidationError):
        return message
    value = repr(cause.errors(include_url=False)[0]["input"])
    return message if value in message else f"{value} {message}"


def check_arguments(words: list[str]) -> None:
    """Refuse what no command can work with.

    Raises:
        UsageError: the working folder was deleted, an argument holds a NUL character, or this is one of several
            processes of a command that needs but one.
    """
    try:
        os.getcwd()  # noqa: PTH109 - avoids importing pathlib
    except OSError as e:
        raise UsageError("the current folder no longer exists", hint="change to another folder with cd") from e
    command = next((word for word in words if not word.startswith("-")), "train")
    if command != "train" and "TORCHELASTIC_RUN_ID" in os.environ and rank_environment():
        raise UsageError(
            f"bakehouse {command} runs in one process, but torchrun started {os.environ['WORLD_SIZE']}",
            hint="run it without torchrun; only `bakehouse train` uses several processes",
        )
    if wrong := next((word for word in words if "\0" in word), None):
        raise UsageError(f"{wrong!r} holds a NUL character, which is not allowed in names and settings")


def report_error(error: Exception) -> int:
    """Print one message in red on standard error; return the exit code."""
    if isinstance(error, BakehouseError):
        _print_error(f"error: {error.message}", error.hint)
        return error.exit_code
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        _print_error(f"error: {_name(error.filename)}: {error.strerror}", "check the path and its permissions")
        return 1
    if isinstance(error, RuntimeError) and str(error).startswith(_LINK_LOOP):
        path = str(error).removeprefix(_LINK_LOOP)
        _print_error(
            f"error: {path} is a symbolic link that leads back to itself", "remove the link or use another path"
        )
        return 1
    if isinstance(error, MemoryError):
        _print_error(
            "error: not enough memory", "use smaller sizes, ranks, counts or batches, or a machine with more memory"
        )
        return 1
    _print_error(f"error: {type(error).__name__}: {error}", _UNEXPECTED)
    return 1


def _name(file: object) -> str:
    """Return the file that a system error names."""
    return os.fsdecode(file) if isinstance(file, str | bytes | os.PathLike) else f"file {file}"


def _print_error(message: str, hint: str = "") -> None:
    """Print one line in red and the hint below it; without colours where they are not wanted.

    One of several processes leaves both to the one that started it.
    """
    if tell_launcher(message, hint):
        return
    coloured = sys.stderr.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    message = visible(message)
    # Not `echo`: the colours are escape codes.
    print(typer.style(message, fg="red") if coloured else message, file=sys.stderr)
    if hint:
        echo(f"  {hint}", file=sys.stderr)
