"""A command of bakehouse in a process of its own, which outlives who started it and is found again by its folder.

The folder holds what the process writes (`out`, `log`, `progress`), its `pid`, and how it `ended`. The process holds
the folder's lock as long as it lives, so that nothing has to be remembered to know whether it does.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bakehouse.core.folder_lock import InUseError, locked
from bakehouse.core.parse_json_toml_yaml import parse_json
from bakehouse.serve.tasks.run_command import ENDED, PID

START_SECONDS = 20.0
"""How long a process may take from its start until it holds the lock."""
_POLL_SECONDS = 0.1
_STOP_SECONDS = 10.0
_ERROR_LINES = 8


@dataclass(frozen=True)
class CommandProcess:
    """The process of a command, known by its folder."""

    place: Path

    def start(
        self, arguments: Sequence[str], variables: Mapping[str, str] | None = None, folder: Path | None = None
    ) -> subprocess.Popen[bytes]:
        """Start a command; what an earlier one has left in the folder is removed.

        Args:
            arguments: the command line without `bakehouse`.
            variables: of its environment, beside this process's.
            folder: its working folder; None: an empty one, so that no relative name is a file.

        Raises:
            OSError: the folder cannot be written, or the process not be started.
        """
        work = folder or self.place / "work"
        work.mkdir(parents=True, exist_ok=True)
        self.place.mkdir(parents=True, exist_ok=True)
        for left in (PID, ENDED, "progress"):
            (self.place / left).unlink(missing_ok=True)
        own = {"BAKEHOUSE_PROGRESS": str(self.place / "progress"), "NO_COLOR": "1"}
        with (self.place / "out").open("wb") as out, (self.place / "log").open("wb") as errors:
            return subprocess.Popen(
                [sys.executable, "-m", "bakehouse.serve.tasks.run_command", str(self.place), *arguments],
                cwd=work,
                env={**os.environ, **own, **(variables or {})},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=errors,
                start_new_session=True,  # it outlives who started it
            )

    @property
    def holds_lock(self) -> bool:
        """Whether the process lives and has begun."""
        if not self.place.is_dir():
            return False
        try:
            with locked(self.place, "looking"):
                return False
        except InUseError:
            return True

    @property
    def has_begun(self) -> bool:
        return (self.place / PID).exists()

    @property
    def exit_code(self) -> int | None:
        """The exit code of the command; None if it runs, or was killed."""
        try:
            return int((self.place / ENDED).read_text())
        except (OSError, ValueError):
            return None

    def stop(self, process: subprocess.Popen[bytes] | None = None, seconds: float = _STOP_SECONDS) -> None:
        """End the process and what it has started: asked first, then killed.

        Args:
            process: if this process started it.
            seconds: how long it may take to end by itself; a training saves its state meanwhile.
        """

        def runs() -> bool:
            return process.poll() is None if process is not None else self.holds_lock

        for number in (signal.SIGTERM, signal.SIGKILL):
            if not runs():
                return
            with contextlib.suppress(OSError, ValueError):
                os.killpg(process.pid if process is not None else int((self.place / PID).read_text()), number)
            end = time.monotonic() + seconds
            while runs() and time.monotonic() < end:
                time.sleep(_POLL_SECONDS)

    def remove_work_folder(self) -> None:
        shutil.rmtree(self.place / "work", ignore_errors=True)

    def printed(self) -> bytes:
        """Return what the command has written to standard output; empty if there is nothing."""
        try:
            return (self.place / "out").read_bytes()
        except OSError:
            return b""

    def error(self) -> str:
        """Return the message of a command that failed, without its mark; or the last lines of its log."""
        lines = (self.place / "log").read_text("utf-8", "replace").splitlines()
        marked = (i for i, line in enumerate(lines) if line.startswith("error: "))
        begin = next(marked, max(0, len(lines) - _ERROR_LINES))
        said = "\n".join(line.removeprefix("error: ") for line in lines[begin : begin + _ERROR_LINES])
        return said or f"the command ended with exit code {self.exit_code}"

    def progress(self) -> dict[str, Any] | None:
        """Return the newest progress, `what`, `done` and `total`; None if there is none yet."""
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            with (self.place / "progress").open("rb") as f:
                f.seek(max(0, f.seek(0, os.SEEK_END) - 4096))
                lines = f.read().rpartition(b"\n")[0].splitlines()
            if lines:
                event = parse_json(lines[-1])
                return {"what": str(event["what"]), "done": int(event["done"]), "total": int(event["total"])}
        return None
