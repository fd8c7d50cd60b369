"""Runs that are offered as models: kept, so that a server that is started again offers them too."""

from __future__ import annotations

from dataclasses import dataclass

from bakehouse.serve.store.database import Database


@dataclass(frozen=True)
class ServedRun:
    """One model that a run is offered as."""

    name: str
    run: str
    weights: str
    """A file of the run; empty: what its evaluation picked, or the last."""


class ServedRuns:
    """The served runs of one database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, name: str, run: str, weights: str) -> None:
        """Offer a run under a name."""
        with self._database.writing() as db:
            db.execute("INSERT OR REPLACE INTO served_runs (name, run, weights) VALUES (?, ?, ?)", (name, run, weights))

    def remove(self, name: str) -> None:
        """Offer it no more."""
        with self._database.writing() as db:
            db.execute("DELETE FROM served_runs WHERE name = ?", (name,))

    def all(self) -> dict[str, ServedRun]:
        """Return all by their names."""
        with self._database.reading() as db:
            rows = db.execute("SELECT name, run, weights FROM served_runs ORDER BY name").fetchall()
        return {row["name"]: ServedRun(row["name"], row["run"], row["weights"]) for row in rows}

    def by_run(self) -> dict[str, str]:
        """Return the name of a model for each run that is offered."""
        return {one.run: one.name for one in self.all().values()}
