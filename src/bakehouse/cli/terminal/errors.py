"""What is said when something goes wrong, or is stopped by hand."""

from __future__ import annotations

import os
import sys
from typing import Any

import typer
from typer.core import TyperGroup

from bakehouse.core.errors import BakehouseError

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


def report(error: Exception) -> int:
    """Prints one message in red on standard error and returns the exit code."""
    if isinstance(error, BakehouseError):
        _say(f"error: {error.message}", error.hint)
        return error.exit_code
    _say(
        f"error: {type(error).__name__}: {error}",
        "this was not foreseen; the same command with --debug shows where it happened",
    )
    return 1


def _say(message: str, hint: str = "") -> None:
    """One line in red, one in the usual colour; plain where colours are not wanted."""
    coloured = sys.stderr.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    print(typer.style(message, fg="red") if coloured else message, file=sys.stderr)
    if hint:
        print(f"  {hint}", file=sys.stderr)
