"""The runs of a server: the folders of one root, and the jobs of its queue."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bakehouse.core.errors import BakehouseError, UsageError
from bakehouse.core.folder_lock import read_holder
from bakehouse.core.parse_json_toml_yaml import parse_toml
from bakehouse.core.run_folder import Run
from bakehouse.queue.job_queue import Job, JobQueue
from bakehouse.serve.datasets.trash import Trash
from bakehouse.serve.errors import ServeError, not_found
from bakehouse.serve.guard.paths import check_name
from bakehouse.serve.runs.run_status import RunStatus, RunStatuses

_ACTIVE = ("waiting", "running")


class Runs:
    """Runs and their jobs.

    Args:
        root: the folder of run folders.
        queue: where trainings wait.
    """

    def __init__(self, root: Path, queue: JobQueue) -> None:
        self.root, self.queue = root, queue
        self.trash = Trash(root, "run")
        self._statuses = RunStatuses()

    def names(self) -> list[str]:
        """Return the names of all runs: those with a folder, and those that wait."""
        folders = self.root.iterdir() if self.root.is_dir() else ()
        found = {path.name for path in folders if (path / "recipe.toml").is_file() and not path.name.startswith(".")}
        return sorted(found | set(self.jobs()))

    def jobs(self) -> dict[str, Job]:
        """Return the jobs of the queue by the names of their runs."""
        return {job.run.name: job for job in self.queue.jobs() if job.run.parent == self.root.resolve()}

    def job(self, name: str) -> Job:
        """Return the job of a run.

        Raises:
            ServeError: it has none (404).
        """
        job = self.jobs().get(name)
        if job is None:
            self.run(name)
            raise not_found(f"run {name!r} has no job: it was not trained by this server")
        return job

    def run(self, name: str) -> Run:
        """Return a run that has begun, or that waits.

        Raises:
            ServeError: there is none with this name (404).
        """
        run = Run(self.root / name)
        if name not in self.names():
            raise not_found(f"there is no run {name[:80]!r}")
        return run

    def status(self, name: str) -> RunStatus:
        """Return how far a run is."""
        return self._statuses.of(self.run(name))

    def add(self, name: str, title: str, recipe: str) -> Job:
        """Queue a training; an empty name is made from the title.

        Raises:
            ServeError: the name cannot be used (400), or is taken (409).
        """
        taken = set(self.names())
        if not name:
            names = (title, *(f"{title}-{n}" for n in range(2, 10_000)))
            name = next(one for one in names if one not in taken and not (self.root / one).exists())
        check_name(name, "run")
        if name in taken or (self.root / name).exists():
            raise ServeError(409, "exists", f"there is a run {name!r} already", hint="give it another name")
        self.root.mkdir(parents=True, exist_ok=True)
        return self.queue.add(title, recipe, self.root / name)

    def using(self, folder: Path) -> list[str]:
        """Return the names of the runs that wait or run and use a dataset's folder."""
        resolved = folder.resolve()
        active = [(name, job) for name, job in self.jobs().items() if job.state in _ACTIVE]
        return [
            name for name, job in active
            if any(path.is_relative_to(resolved) for path in _concept_folders(job.recipe))
        ]  # fmt: skip

    def stop(self, name: str) -> None:
        """Stop a training, or hold one that waits.

        Raises:
            ServeError: it has no job (404); another program trains it (409).
        """
        self._refuse_in_use(name)
        self.queue.stop(self.job(name).id)

    def resume(self, name: str) -> None:
        """Queue a stopped or failed training again. One that was begun outside the queue becomes a job of it.

        Raises:
            ServeError: it is finished, or another program trains it (409).
        """
        job = self.jobs().get(name)
        if job is not None:
            self.queue.resume(job.id)
            return
        self._refuse_in_use(name)
        run = self.run(name)
        if self._statuses.of(run).is_finished:
            raise ServeError(409, "finished", f"run {name!r} is finished", hint="train longer in a new run")
        recipe = run.recipe.read_text("utf-8") if run.recipe.is_file() else ""
        if not recipe:
            raise ServeError(409, "no_recipe", f"run {name!r} has no recipe.toml to go on with")
        self.queue.add(name, recipe, run.folder)

    def _refuse_in_use(self, name: str) -> None:
        """Raise if a program outside the queue holds the run's folder."""
        if self.jobs().get(name) is None and (holder := read_holder(self.run(name).folder)) is not None:
            where = f"process {holder.pid}" + ("" if holder.is_here else f" on {holder.host}")
            raise ServeError(
                409, "running", f"run {name!r} is in use by {where}: {holder.doing}",
                hint="stop it where it was started, with Ctrl-C, or wait until it has ended",
            )  # fmt: skip

    def delete(self, name: str) -> dict[str, Any]:
        """Move a run into the trash, and take its job out of the queue.

        Raises:
            ServeError: it is being trained, by the queue or by another program (409).
        """
        self._refuse_in_use(name)
        run, job = self.run(name), self.jobs().get(name)
        if job is not None:
            try:
                self.queue.remove(job.id)
            except UsageError as e:
                raise ServeError(409, "running", f"run {name!r} is being trained", hint="stop it first") from e
        self._statuses.forget(run)
        return vars(self.trash.put(run.folder)) if run.folder.exists() else {"id": None, "kind": "run", "name": name}

    def row(self, name: str, jobs: Mapping[str, Job] | None = None) -> dict[str, Any]:
        """Return what is known of a run."""
        jobs = self.jobs() if jobs is None else jobs
        job, run = jobs.get(name), Run(self.root / name)
        status = self._statuses.of(run)
        waiting = [one.id for one in self.queue.jobs() if one.state == "waiting"]
        state = _state(job, status)
        if job is None and (holder := read_holder(run.folder)) is not None and holder.doing == "training":
            state = "running"  # by the command line, a notebook or another server
        return {
            "name": name,
            "title": job.name if job else name,
            **self._recipe_facts(run, job),
            "job": job.id if job else None,
            "state": state,
            "place": waiting.index(job.id) + 1 if job and job.id in waiting else None,
            "step": status.step,
            "steps": status.steps,
            "epoch": status.epoch,
            "epochs": status.epochs,
            "loss": status.loss,
            "seconds_left": status.seconds_left if state in ("running", "stopping") else None,
            "stopped": status.stopped,
            "error": (job.error if job else "") or status.error,
            "warnings": status.warnings[-20:],
            "added": job.added if job else None,
            "started": job.started if job else None,
            "ended": job.ended if job else None,
            "device": status.device or (job.device if job else ""),
            "weights": [path.name for path in run.list_weights()],
            "samples": status.samples,
            "report": (run.report / "scores.json").is_file(),
        }

    @staticmethod
    def _recipe_facts(run: Run, job: Job | None) -> dict[str, Any]:
        try:
            text = run.recipe.read_text("utf-8") if run.recipe.is_file() else job.recipe if job else ""
            values = parse_toml(text)
        except (OSError, tomllib.TOMLDecodeError, BakehouseError):
            values = {}
        concepts = values.get("concepts") or [{}]
        model = values.get("model") or {}
        return {
            "kind": str(values.get("kind", "character")),
            "subject": str(concepts[0].get("subject", "")) if isinstance(concepts[0], dict) else "",
            "base": Path(str(model.get("base", "crumb"))).name if isinstance(model, dict) else "",
        }


def _state(job: Job | None, status: RunStatus) -> str:
    if job is None:
        return "done" if status.is_finished else "failed" if status.error else "stopped"
    return "stopping" if job.halt else job.state


def _concept_folders(recipe: str) -> list[Path]:
    try:
        concepts = parse_toml(recipe).get("concepts", [])
    except (tomllib.TOMLDecodeError, BakehouseError):
        return []
    return [Path(str(one["folder"])) for one in concepts if isinstance(one, dict) and "folder" in one]
