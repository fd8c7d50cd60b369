"""Jobs on the nodes of a Ray cluster; runs, recipes and images are on storage that all nodes share.

Each job is an actor. Ray starts it where its device is free, and again elsewhere when its node is lost: there the
training is resumed from its run folder.
"""

from __future__ import annotations

import importlib
import os
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

from bakehouse.core.errors import BakehouseError, UsageError
from bakehouse.core.folder_lock import InUseError, locked
from bakehouse.queue.executor import TERMINATE_SECONDS, LocalExecutor, LocalProcess

RESTARTS = 5
"""Times that a job is started again after its node was lost."""
_LOCK_SECONDS = 60.0
"""How long a lost node's storage may take to free the run folder."""
_HAS_ENDED = 1


class RayExecutor:
    """Runs jobs in a Ray cluster. A device is a kind and a number of its own: `cuda:0` and `cuda:1` are any two GPUs.

    Implements `Executor`.
    """

    def __init__(self, address: str | None = None) -> None:
        """Connect to the cluster at `address`; default: RAY_ADDRESS, else the cluster that runs on this machine.

        Raises:
            UsageError: Ray is not installed, or there is no cluster.
        """
        self._ray = _import_ray()
        if not self._ray.is_initialized():
            where = address or os.environ.get("RAY_ADDRESS") or "auto"
            try:
                self._ray.init(address=where, log_to_driver=False, logging_level="ERROR")
            except (ConnectionError, RuntimeError, ValueError) as e:
                raise UsageError(
                    f"no Ray cluster answers at {where}: {str(e).splitlines()[0]}",
                    hint="start one with `ray start --head`, or set RAY_ADDRESS to its address",
                ) from e

    def check_device(self, device: str) -> None:
        kind, _, index = device.partition(":")
        if kind not in {"auto", "cpu", "cuda"} or (index and not index.isdigit()):
            raise UsageError(
                f"unknown device {device!r}",
                hint="on a Ray cluster allowed are auto, cpu, cuda, and cpu:0, cpu:1, cuda:0, cuda:1, ... for several",
            )
        if kind == "cuda" and not self._gpus():
            raise UsageError("the Ray cluster has no GPU", hint="use --device cpu, or add a node with a GPU")

    def start(self, recipe: Path, run: Path, device: str) -> RayJob:
        kind = device.partition(":")[0]
        kind = ("cuda" if self._gpus() else "cpu") if kind == "auto" else kind
        needs = {"num_gpus": 1, "num_cpus": 1} if kind == "cuda" else {"num_cpus": 1}
        options = {**needs, "max_restarts": RESTARTS, "max_task_retries": -1}
        actor = self._ray.remote(**options)(JobOnNode)
        return RayJob(self._ray, actor.remote(str(recipe), str(run.absolute()), kind, version("bakehouse")))

    def _gpus(self) -> float:
        return float(self._ray.cluster_resources().get("GPU", 0))


class RayJob:
    """A job in the cluster, as the scheduler sees it. Implements `JobHandle`."""

    def __init__(self, ray: Any, actor: Any) -> None:
        self._ray, self._actor = ray, actor
        self._asked: Any = None
        """The question whether the job has ended, which waits while no node is free."""
        self._placed = False
        self._code: int | None = None
        self._log = ""

    def poll(self) -> int | None:
        """Return the exit code; None also while no node is free."""
        if self._code is not None:
            return self._code
        self._asked = self._asked or self._actor.poll.remote()
        if not self._ray.wait([self._asked], timeout=0)[0]:
            return None
        try:
            code = self._ray.get(self._asked)
            self._asked, self._placed = None, True
            if code is not None:
                self._end(code, self._ray.get(self._actor.log.remote()))
        except self._ray.exceptions.RayError as e:
            self._end(_HAS_ENDED, _why_lost(e))
        return self._code

    def terminate(self) -> None:
        """Ask the job to stop and wait until it has; one that no node has taken yet is taken back."""
        if self._code is None and self._placed:
            stopped = self._actor.terminate.remote()
            try:
                if self._ray.wait([stopped], timeout=TERMINATE_SECONDS + 5)[0]:
                    self._end(self._ray.get(stopped), "")
            except self._ray.exceptions.RayError as e:
                self._end(_HAS_ENDED, _why_lost(e))
        self._end(_HAS_ENDED, "")

    def log(self) -> str:
        return self._log

    def _end(self, code: int, log: str) -> None:
        """Note how the job ended, and give its device back."""
        if self._code is None:
            self._code, self._log = code, log
            self._ray.kill(self._actor)


class JobOnNode:
    """A job on the node that has it. The process of the training ends if this one does."""

    def __init__(self, recipe: str, run: str, device: str, wanted: str) -> None:
        """`wanted` is the version of the package that the scheduler has."""
        self._process: LocalProcess | None = None
        self._error = ""
        try:
            _check_node(Path(recipe), wanted)
            _wait_until_free(Path(run))
            self._process = _ProcessOnNode().start(Path(recipe), Path(run), device)
        except (BakehouseError, OSError) as e:
            self._error = f"node {os.uname().nodename}: {e}"

    def poll(self) -> int | None:
        """Return the exit code, None while it runs."""
        return self._process.poll() if self._process else _HAS_ENDED

    def terminate(self) -> int:
        """Stop the process and return its exit code."""
        if self._process is None:
            return _HAS_ENDED
        self._process.terminate()
        return self._process.poll() or 0

    def log(self) -> str:
        """Return the end of what it wrote to standard error."""
        return self._process.log() if self._process else self._error


class _ProcessOnNode(LocalExecutor):
    """Starts a training that the kernel terminates when the actor's process is gone; on Linux alone."""

    def command(self, recipe: Path, run: Path) -> list[str]:
        python, *rest = super().command(recipe, run)
        return [python, "-m", "bakehouse.queue.end_with_parent", str(os.getpid()), python, *rest]


def _check_node(recipe: Path, wanted: str) -> None:
    if version("bakehouse") != wanted:
        raise UsageError(
            f"it has bakehouse {version('bakehouse')}, and the queue runs with {wanted}",
            hint="install the same version on all nodes",
        )
    if not recipe.is_file():
        raise UsageError(
            f"{recipe} is not there", hint="put the queue, its runs and images on storage that all nodes share"
        )


def _wait_until_free(run: Path) -> None:
    """Wait until a lost node's storage has freed the run folder.

    Raises:
        InUseError: another process still trains in it.
    """
    end = time.monotonic() + _LOCK_SECONDS
    while run.is_dir():
        try:
            with locked(run, "waiting for its turn"):
                return
        except InUseError:
            if time.monotonic() > end:
                raise
            time.sleep(0.3)


def _why_lost(error: Exception) -> str:
    return f"the job's node was lost {RESTARTS + 1} times, or could not start it: {str(error).splitlines()[0]}"


def _import_ray() -> Any:
    try:
        return importlib.import_module("ray")
    except ImportError as e:
        raise UsageError(f"Ray cannot be imported ({e})", hint="pip install 'bakehouse[ray]'") from e
