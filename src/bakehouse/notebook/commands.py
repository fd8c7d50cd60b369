"""Commands of bakehouse that a panel starts: each is a process that outlives the kernel, found again by its name."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bakehouse.core.errors import BakehouseError, UsageError
from bakehouse.core.parse_json_toml_yaml import parse_json
from bakehouse.queue.executor import TERMINATE_SECONDS
from bakehouse.serve.tasks.command_process import START_SECONDS, CommandProcess

POLL_SECONDS = 0.25
OnProgress = Callable[[str, float | None], None]
"""What is called with the words of a progress and its share; None: not known."""


class Commands:
    """The commands of a project.

    Args:
        folder: the project's folder, in which they run: names of files in it need no path.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._started: dict[str, subprocess.Popen[bytes]] = {}

    def process(self, name: str) -> CommandProcess:
        """Return the process with a name, whether it runs or not."""
        return CommandProcess(self._folder.absolute() / ".commands" / name)

    def is_running(self, name: str) -> bool:
        """Whether a command runs, started by this kernel or by one before it."""
        started, process = self._started.get(name), self.process(name)
        if started is not None:
            return started.poll() is None
        return process.holds_lock or _is_about_to_begin(process)

    def start(self, name: str, arguments: Sequence[str], secrets: Mapping[str, str] | None = None) -> None:
        """Start a command; `secrets` are variables of its environment, which are kept nowhere.

        Raises:
            UsageError: it runs already.
            BakehouseError: it cannot be started.
        """
        if self.is_running(name):
            raise UsageError(f"{name} is still at work", hint="wait until it has ended, or stop it")
        process = self.process(name)
        try:
            self._started[name] = process.start(arguments, secrets, folder=self._folder)
            process.place.chmod(0o700)  # a server prints its token
        except OSError as e:
            raise BakehouseError(f"cannot start {name}: {e.strerror or e}", hint="check the folder and its disk") from e

    def wait(self, name: str, on_progress: OnProgress, *, allowed: Sequence[int] = (0,)) -> bytes:
        """Wait until a command has ended; return what it has printed.

        Args:
            name: of the command.
            on_progress: called while it runs.
            allowed: exit codes of a command that has done its work and printed it.

        Raises:
            BakehouseError: it failed, with its message; or it was stopped.
        """
        process = self.process(name)
        while self.is_running(name):
            on_progress(*_words(process))
            time.sleep(POLL_SECONDS)
        code = process.exit_code
        if code is None:
            raise BakehouseError(f"{name} was interrupted before its end", hint="start it again")
        if code not in allowed or (code and not process.printed()):
            said, _, hint = process.error().partition("\n")
            raise BakehouseError(said, hint="\n".join(line.strip() for line in hint.splitlines()))
        return process.printed()

    def run(
        self, name: str, arguments: Sequence[str], on_progress: OnProgress, *,
        allowed: Sequence[int] = (0,), secrets: Mapping[str, str] | None = None,
    ) -> Any:  # fmt: skip
        """Run a command that prints one JSON document, and return that.

        Raises:
            BakehouseError: it failed, with its message.
        """
        self.start(name, arguments, secrets)
        return parse_json(self.wait(name, on_progress, allowed=allowed))

    def stop(self, name: str) -> None:
        """End a command, which may save what it has done; nothing happens if it does not run."""
        if self.is_running(name):
            self.process(name).stop(self._started.get(name), TERMINATE_SECONDS)


def _is_about_to_begin(process: CommandProcess) -> bool:
    """Whether a kernel before this one has started it so recently that it may not hold its lock yet."""
    if process.has_begun or process.exit_code is not None:
        return False
    try:
        return time.time() - (process.place / "out").stat().st_mtime < START_SECONDS
    except FileNotFoundError:
        return False


def _words(process: CommandProcess) -> tuple[str, float | None]:
    progress = process.progress()
    if progress is None:
        return "starting", None
    if progress["total"] <= 1:
        return progress["what"], None
    counts = f"{progress['what']}: {progress['done']:,} of {progress['total']:,}"
    return counts, progress["done"] / progress["total"]
