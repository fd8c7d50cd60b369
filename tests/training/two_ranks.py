"""Trains in pairs of processes that are forked from this one, where all is imported once.

`python -m tests.training.two_ranks FOLDER`, where FOLDER holds `case.toml` files and gets the runs.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import sys
import traceback
from collections.abc import Callable, Generator, Iterator, Sequence
from pathlib import Path
from typing import Any

import diffusers  # noqa: F401 - imported once, before the forks
import torch
import torch.distributed as dist
import transformers  # noqa: F401

import bakehouse
import bakehouse.models.samplers
import bakehouse.models.sd1
from bakehouse.core.events import Event, Step
from bakehouse.core.run_folder import Run
from bakehouse.models.load import load_model
from bakehouse.recipe import Recipe
from bakehouse.training import class_images, device_checks, latent_cache, process_group, train
from bakehouse.training.objective import DenoisingObjective
from bakehouse.training.ranks import ALONE, Ranks, joined_ranks

torch.set_num_threads(1)
process_group.GRACE_SECONDS = 0.2
FOLDER = Path(sys.argv[1])
Work = Callable[[Ranks], object]
CASES = "lora", "lokr", "full", "sharded"
AUTOMATIC = {"train__batch": "auto", "train__accumulation": 4}


def forked(work: Callable[[], object], log: Path) -> int:
    """Return the id of a new process that does `work` and writes what it raises to `log`."""
    if pid := os.fork():
        return pid
    code = 0
    try:
        signal.alarm(900)  # nothing is left of a test that hangs
        work()
    except BaseException as e:
        log.write_text(f"{type(e).__name__}: {e}")
        (log.parent / f"{log.name}.trace").write_text(traceback.format_exc())
        code = 1
    os._exit(code)


def in_ranks(name: str, *works: Work, machines: bool = False, versions: Sequence[str] = ()) -> list[str]:
    """Do each work in a rank of its own, all joined; return what each raised, or how it was killed, or nothing.

    The ranks have caches of their own, as on several machines.
    """
    store = dist.TCPStore("localhost", 0, is_master=True, wait_for_workers=False)
    logs = [FOLDER / f"{name}-{rank}.error" for rank in range(len(works))]

    def start(rank: int) -> None:
        local = (0, 1) if machines else (rank, len(works))
        os.environ |= {
            "RANK": str(rank), "WORLD_SIZE": str(len(works)), "LOCAL_RANK": str(local[0]),
            "LOCAL_WORLD_SIZE": str(local[1]), "MASTER_ADDR": "localhost", "MASTER_PORT": str(store.port),
            "TORCHELASTIC_USE_AGENT_STORE": "True", "TORCHELASTIC_RUN_ID": "none", "TORCHELASTIC_RESTART_COUNT": "0",
            "BAKEHOUSE_CACHE": str(FOLDER / f"cache-{rank}"),
        }  # fmt: skip
        if versions:
            bakehouse.__version__ = versions[rank]
        with joined_ranks() as ranks:
            works[rank](ranks)

    pids = [forked(lambda r=rank: start(r), logs[rank]) for rank in range(len(works))]  # type: ignore[misc]
    statuses = [os.waitpid(pid, 0)[1] for pid in pids]
    return [
        f"signal {os.WTERMSIG(s)}" if os.WIFSIGNALED(s) else log.read_text() if log.exists() else ""
        for s, log in zip(statuses, logs, strict=True)
    ]


def alone(name: str, work: Work) -> list[str]:
    """Do a work in a process alone."""

    def start() -> None:
        os.environ["BAKEHOUSE_CACHE"] = str(FOLDER / "cache-alone")
        work(ALONE)

    log = FOLDER / f"{name}.error"
    os.waitpid(forked(start, log), 0)
    return [log.read_text() if log.exists() else ""]


class LearnedAtOnce:
    """An evaluator that ends a run after the first weights."""

    def __init__(self, recipe: Recipe, run: Run) -> None:
        with (FOLDER / "evaluators.txt").open("a") as f:
            f.write(f"{run.name} {os.environ.get('RANK', '')}\n")

    def start(self, generate: object) -> Iterator[Event]:
        yield from ()

    def evaluate(self, weights: Path, *_: object) -> Generator[Event, None, str]:
        yield from ()
        return f"{weights.name} has learned it"


def training(case: str, run: str, at_step: Callable[[int], None] = lambda step: None, **changes: Any) -> Work:
    """Return the work of a rank: train a case's recipe; `at_step` is called after each step."""

    def work(ranks: Ranks) -> None:
        recipe = Recipe.load(FOLDER / f"{case}.toml")
        recipe = recipe.with_values({k.replace("__", "."): v for k, v in changes.items()}) if changes else recipe
        for event in train(recipe, FOLDER / run, evaluator=LearnedAtOnce, ranks=ranks):
            if isinstance(event, Step):
                at_step(event.step)

    return work


@contextlib.contextmanager
def counted(file: Path) -> Iterator[None]:
    """Write a line for each image that is encoded, and each batch of class images that is generated."""
    generate, pixels = class_images._generate, latent_cache._pixels

    def count(*words: object) -> None:
        with file.open("a") as f:
            f.write(" ".join(map(str, words)) + "\n")

    def counted_generate(group: Any, model: Any) -> None:
        count("generated", *(f"{image.prompt}/{image.seed}" for image in group))
        generate(group, model)

    def counted_pixels(job: Any) -> Any:
        count("encoded", job.key)
        return pixels(job)

    class_images._generate, latent_cache._pixels = counted_generate, counted_pixels
    yield
    class_images._generate, latent_cache._pixels = generate, pixels


def out_of_memory(ranks: Ranks) -> None:
    """Train on a device whose memory is full in the first step."""
    batch = DenoisingObjective.batch

    def full(self: Any, at: int, *arguments: Any) -> Any:
        if at == 0:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return batch(self, at, *arguments)

    DenoisingObjective.batch = full  # type: ignore[method-assign]
    training("lora", "memory", **AUTOMATIC)(ranks)


def without_images(ranks: Ranks) -> None:
    """Train on a machine that lacks two images."""
    same = device_checks._is
    device_checks._is = lambda path, digest: path.name not in ("0.png", "1.png") and same(path, digest)
    training("lora", "files")(ranks)


def main() -> None:
    load_model(Recipe.load(FOLDER / "lora.toml").model.base)  # imports the networks, once
    found: dict[str, Any] = {}
    for case in CASES:
        found[f"{case} alone"] = alone(f"{case}-alone", training(case, f"{case}-one"))
        with counted(FOLDER / f"{case}-made.txt"):
            found[f"{case} in two"] = in_pair(case, training(case, f"{case}-two"))

    found["killed"] = in_ranks("killed", training("lora", "killed"), killed_in_step(3))
    for copy in ("resumed", "resumed-alone"):
        shutil.copytree(FOLDER / "killed", FOLDER / copy)
        found[copy] = (alone if copy.endswith("alone") else in_pair)(copy, training("lora", copy))
    found["sharded-cut"] = in_ranks(
        "sharded-cut", training("sharded", "sharded-cut", interrupt), training("sharded", "sharded-cut")
    )
    found["sharded-killed"] = in_ranks(
        "sharded-killed", training("sharded", "sharded-killed"), killed_in_step(1, "sharded")
    )
    for copy in ("sharded-resumed", "sharded-alone"):
        shutil.copytree(FOLDER / "sharded-cut", FOLDER / copy)
        found[copy] = (alone if copy.endswith("alone") else in_pair)(copy, training("sharded", copy))
    found["interrupted"] = in_ranks(
        "interrupted", training("lora", "interrupted", interrupt), training("lora", "interrupted")
    )
    found["memory"] = in_ranks("memory", training("lora", "memory", **AUTOMATIC), out_of_memory)
    found["recipes"] = in_ranks("recipes", training("lora", "other"), training("lora", "other", seed=5))
    found["files"] = in_ranks("files", training("lora", "files"), without_images, machines=True)
    found["versions"] = in_ranks("versions", *[training("lora", "versions")] * 2, versions=("1.0", "0.9"))
    (FOLDER / "ended.json").write_text(json.dumps(found))


def in_pair(name: str, work: Work) -> list[str]:
    return in_ranks(name, work, work)


def interrupt(step: int) -> None:
    """Press Ctrl-C after the first step, for which no state is due."""
    if step == 1:
        os.kill(os.getpid(), signal.SIGINT)


def killed_in_step(step: int, case: str = "lora") -> Work:
    """Return the work of a rank that is killed within a step."""

    def work(ranks: Ranks) -> None:
        batch = DenoisingObjective.batch

        def killed(self: Any, at: int, *arguments: Any) -> Any:
            if at == step - 1:
                os.kill(os.getpid(), signal.SIGKILL)
            return batch(self, at, *arguments)

        DenoisingObjective.batch = killed  # type: ignore[method-assign]
        training(case, "killed" if case == "lora" else f"{case}-killed")(ranks)

    return work


if __name__ == "__main__":
    main()
