"""`python -m bakehouse.queue.end_with_parent PID COMMAND...`: a command that ends with the process that started it.

On Linux the kernel does it; elsewhere the command is run all the same. `Popen(preexec_fn=...)` could ask for it too,
but may hang in a process with threads.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_SET_SIGNAL_OF_PARENTS_DEATH = 1
"""prctl's PR_SET_PDEATHSIG."""


def main(parent: int, command: list[str]) -> None:
    """Become `command`, a child of the process `parent`."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_SET_SIGNAL_OF_PARENTS_DEATH, signal.SIGTERM)
        if os.getppid() != parent:  # it was gone before
            raise SystemExit(1)
    os.execv(command[0], command)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
