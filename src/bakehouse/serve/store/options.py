"""Options that a caller has saved: small JSON values by name."""

from __future__ import annotations

import json
from typing import Any

from bakehouse.core.parse_json_toml_yaml import parse_json
from bakehouse.serve.store.database import Database


class Options:
    """The options of one database, each caller's own."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def of(self, caller: str) -> dict[str, Any]:
        """Return what a caller has saved."""
        with self._database.reading() as db:
            rows = db.execute("SELECT name, value FROM options WHERE caller = ?", (caller,)).fetchall()
        return {row["name"]: parse_json(row["value"]) for row in rows}

    def save(self, caller: str, values: dict[str, Any]) -> None:
        """Add values to what a caller has saved, all or none."""
        with self._database.writing() as db:
            rows = [(caller, name, json.dumps(value)) for name, value in values.items()]
            db.executemany("INSERT OR REPLACE INTO options (caller, name, value) VALUES (?, ?, ?)", rows)
