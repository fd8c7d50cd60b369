"""Nothing that takes long runs in the event loop, or is waited for there: `/health` answers meanwhile."""

from __future__ import annotations

import asyncio
import sqlite3
import threading

import pytest

from bakehouse.serve.guard.callers import Caller
from bakehouse.serve.guard.quotas import Quotas
from bakehouse.serve.store.store import open_store
from bakehouse.serve.store.tokens import Quota


def test_who_calls_is_found_while_another_thread_reads(tmp_path):
    """It waits for nothing: if it waited, it would wait for this test to end."""
    with open_store(tmp_path / "data") as store:
        _, text = store.tokens.add("laptop", frozenset({"draw"}))
        found = []
        with store.database.reading():
            asking = threading.Thread(target=lambda: found.append(store.tokens.find(text)), daemon=True)
            asking.start()
            asking.join(30)
            assert found and found[0].name == "laptop"
        with store.database.reading() as connection:
            pass
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        connection.execute("SELECT 1")


class Untouched:
    """A ledger that must not be asked."""

    def used(self, caller):
        raise AssertionError("asked for the usage of a caller without a quota")


def test_without_a_quota_of_the_month_nothing_is_added_up():
    caller = Caller("token:1", "laptop", frozenset({"draw"}), Quota(requests_per_minute=5))
    assert asyncio.run(Quotas(Untouched()).headers(caller)) == {}  # type: ignore[arg-type]


def test_sums_of_a_month_are_read_from_an_index_alone(tmp_path):
    with open_store(tmp_path / "data") as store, store.database.reading() as db:
        asked = "SELECT SUM(characters), SUM(pictures) FROM usage WHERE caller = ? AND month = ?"
        (row,) = db.execute(f"EXPLAIN QUERY PLAN {asked}", ("token:1", "2026-11")).fetchall()
    assert "COVERING INDEX usage_of_month" in row["detail"]


@pytest.mark.parametrize(
    ("path", "part", "method"),
    [
        ("/api/v1/usage", "ledger", "rows"),
        ("/api/v1/usage.csv", "ledger", "rows"),
        ("/api/v1/tokens", "ledger", "used"),
        ("/api/v1/me", "ledger", "used"),
        ("/api/v1/jobs", "jobs", "newest"),
    ],
)
def test_what_may_have_many_rows_is_read_beside_the_event_loop(running, monkeypatch, path, part, method):
    threads = {"loop": 0, "read": 0}

    def noting(name, call):
        def noted(*args, **kwargs):
            threads[name] = threading.get_ident()
            return call(*args, **kwargs)

        return noted

    gate, owner = running.server.gate, getattr(running.server.store, part)
    monkeypatch.setattr(gate, "caller", noting("loop", gate.caller))
    monkeypatch.setattr(owner, method, noting("read", getattr(owner, method)))
    assert running.get(path, "admin").status_code == 200
    assert threads["loop"] and threads["read"] and threads["loop"] != threads["read"]
