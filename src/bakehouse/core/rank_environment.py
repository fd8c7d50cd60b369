"""What the environment says of a training on several devices: the number of this process, and of how many.

The names are those of `torchrun`, which starts the processes on several machines; `bakehouse train --devices N` starts
them on one with the same names (`training.launch_ranks`).
"""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bakehouse.core.errors import UsageError

LAUNCHED = "BAKEHOUSE_LAUNCHED"
"""The variable that `bakehouse train --devices N` sets for its processes: it tells what ended one of them."""
_ERROR_FILE = "TORCHELASTIC_ERROR_FILE"
_NEEDED = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


@dataclass(frozen=True)
class RankEnvironment:
    """The place of this process among those of one training."""

    rank: int
    """Number of this process, from 0; process 0 alone writes the run."""
    count: int
    local_rank: int
    """Number of this process on its machine."""
    local_count: int
    launched: bool
    """Whether `bakehouse train --devices N` started it, and tells the user how it ended."""

    @property
    def name(self) -> str:
        """`rank 1 of 4`, with the machine if there may be several."""
        return f"rank {self.rank} of {self.count}" + ("" if self.launched else f" on {socket.gethostname()}")


def rank_environment(variables: Mapping[str, str] = os.environ) -> RankEnvironment | None:
    """Return this process's place among several of one training; None where it is the only one.

    Raises:
        UsageError: some of the variables that `torchrun` sets are missing or no numbers.
    """
    if variables.get("WORLD_SIZE", "1") == "1" or "RANK" not in variables:
        return None
    missing = [name for name in _NEEDED if not variables.get(name)]
    hint = "start the processes with torchrun, which sets all of them; or unset RANK and WORLD_SIZE for one process"
    if missing:
        raise UsageError(
            f"WORLD_SIZE = {variables['WORLD_SIZE']} asks for several processes, but {', '.join(missing)} "
            f"{'is' if len(missing) == 1 else 'are'} not set",
            hint=hint,
        )
    try:
        rank, count, local, local_count = (int(variables[name]) for name in _NEEDED[:4])
    except ValueError:
        rank, count, local, local_count = -1, 0, 0, 0
    if not 0 <= rank < count or not 0 <= local < local_count:
        given = ", ".join(f"{name} = {variables[name]!r}" for name in _NEEDED[:4])
        raise UsageError(f"{given}: these are no place among several processes", hint=hint)
    return RankEnvironment(rank, count, local, local_count, variables.get(LAUNCHED) == "1")


def tell_launcher(message: str, hint: str, variables: Mapping[str, str] = os.environ) -> bool:
    """Leave an error for `bakehouse train --devices N`, which tells it once for all processes; False: it did not start
    this process. The format is that of torch's elastic launcher.
    """
    path = variables.get(_ERROR_FILE)
    if variables.get(LAUNCHED) != "1" or not path:
        return False
    details = {"hint": hint, "timestamp": str(int(time.time()))}
    Path(path).write_text(json.dumps({"message": {"message": message, "extraInfo": details}}), "utf-8")
    return True
