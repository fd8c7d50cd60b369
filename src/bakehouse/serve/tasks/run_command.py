"""The process of a task: runs one command of bakehouse, and notes how it ended where the next server finds it.

    python -m bakehouse.serve.tasks.run_command FOLDER ARGUMENT...

The lock of the folder is held as long as the process lives, however it ends.
"""

from __future__ import annotations

import os
import runpy
import sys
from pathlib import Path

from bakehouse.core.files import write_text
from bakehouse.core.folder_lock import locked

PID, ENDED = "pid", "ended"


def run(folder: Path, arguments: list[str]) -> int:
    """Run a command; returns its exit code, which is also written into the folder."""
    with locked(folder, "running a command"):
        write_text(folder / PID, str(os.getpid()))
        code = _run(arguments)
        sys.stdout.flush()
        write_text(folder / ENDED, str(code))
    return code


def _run(arguments: list[str]) -> int:
    sys.argv = ["bakehouse", *arguments]
    try:
        runpy.run_module("bakehouse", run_name="__main__", alter_sys=False)
    except SystemExit as e:
        if e.code is None or isinstance(e.code, int):
            return e.code or 0
        sys.stderr.write(f"{e.code}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(run(Path(sys.argv[1]), sys.argv[2:]))
