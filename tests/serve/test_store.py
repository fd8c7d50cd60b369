"""What the server keeps: hashed tokens, a ledger that refunds, migrations."""

from __future__ import annotations

import sqlite3
from datetime import UTC, datetime

import pytest

from bakehouse.core.errors import BakehouseError, UsageError
from bakehouse.serve.store import database as databases
from bakehouse.serve.store.database import Database
from bakehouse.serve.store.store import open_store
from bakehouse.serve.store.tokens import Quota, parse_scopes
from bakehouse.serve.store.usage import Ledger, QuotaExceededError, usage_csv

DRAW = frozenset({"draw"})


@pytest.fixture
def store(tmp_path):
    with open_store(tmp_path / "data") as store:
        yield store


def test_a_token_is_found_by_its_text_which_is_nowhere_on_the_disk(store):
    token, text = store.tokens.add("laptop", DRAW, Quota(pictures_per_month=5))
    assert store.tokens.find(text) == token
    assert store.tokens.find(text[:-1]) is None
    assert token.quota.pictures_per_month == 5
    for file in store.folder.rglob("*"):
        if file.is_file():
            assert text.encode() not in file.read_bytes()


def test_a_revoked_token_is_not_found_and_its_name_stays_taken(store):
    _, text = store.tokens.add("laptop", DRAW)
    store.tokens.revoke("laptop")
    assert store.tokens.find(text) is None
    assert store.tokens.valid() == []
    with pytest.raises(UsageError, match="laptop"):
        store.tokens.revoke("laptop")
    with pytest.raises(UsageError, match="exists, or existed"):
        store.tokens.add("laptop", DRAW)


def test_scopes_and_quotas_that_mean_nothing_are_refused(store):
    with pytest.raises(UsageError, match="did you mean 'admin'"):
        parse_scopes(["admim"])
    with pytest.raises(UsageError, match="no scope"):
        store.tokens.add("laptop", frozenset())
    with pytest.raises(UsageError, match="concurrent = 0"):
        Quota(concurrent=0)


def test_what_would_go_beyond_the_quota_is_not_noted(store):
    ledger, quota = store.ledger, Quota(characters_per_month=10)
    asked = {"dialect": "own", "model": "crumb", "pictures": 1}
    ledger.reserve("me", quota, characters=7, **asked)
    with pytest.raises(QuotaExceededError) as e:
        ledger.reserve("me", quota, characters=4, **asked)
    assert (e.value.what, e.value.used, e.value.limit) == ("characters", 7, 10)
    assert ledger.used("me").characters == 7
    ledger.reserve("somebody else", quota, characters=10, **asked)
    ledger.reserve("me", quota, characters=3, **asked)


def test_a_refund_gives_back_and_a_settlement_keeps(store):
    ledger = store.ledger
    asked = {"dialect": "own", "model": "crumb", "characters": 5, "pictures": 4}
    kept, failed = (ledger.reserve("me", Quota(), **asked) for _ in range(2))
    ledger.settle(kept, pictures=3, seconds=1.5)
    ledger.refund(failed)
    assert vars(ledger.used("me")) == {"characters": 5, "pictures": 3}
    assert [row["status"] for row in ledger.rows("me")] == ["done", "refunded"]


def test_reservations_of_a_killed_server_are_refunded_except_those_of_its_jobs(store):
    asked = {"dialect": "own", "model": "crumb", "characters": 5, "pictures": 1}
    lost, of_job = (store.ledger.reserve("me", Quota(), **asked) for _ in range(2))
    store.jobs.add("job", "me", {}, of_job)
    assert store.ledger.refund_unfinished() == 1
    states = {row["id"]: row["status"] for row in store.ledger.rows()}
    assert states == {lost: "refunded", of_job: "reserved"}


def test_a_month_ends_in_utc(tmp_path):
    now = datetime(2026, 12, 31, 23, 59, 30, tzinfo=UTC).timestamp()
    moments = [now]
    with open_store(tmp_path) as store:
        ledger = Ledger(store.database, clock=lambda: moments[-1])
        quota = Quota(pictures_per_month=1)
        asked = {"dialect": "own", "model": "crumb", "characters": 1, "pictures": 1}
        ledger.reserve("me", quota, **asked)
        assert ledger.seconds_to_next_month() == 30
        moments.append(now + 31)
        ledger.reserve("me", quota, **asked)
        assert [row["characters"] for row in ledger.rows(month="2027-01")] == [1]


def test_usage_as_csv_holds_no_formulas(store):
    token, _ = store.tokens.add("=cmd|' /C calc'!A0", DRAW)
    store.ledger.reserve(token.caller, Quota(), dialect="own", model="crumb", characters=1, pictures=1)
    header, row = usage_csv(store.ledger.rows()).splitlines()
    assert header.startswith("id,time,caller,token,")
    assert "'=cmd" in row


def test_a_picture_of_the_same_number_replaces_the_one_before(store):
    def add(data: bytes):
        return store.pictures.add(
            data, "png", caller="me", job="job", number=0, model="crumb", prompt="", seed=1, size=(8, 8), infotext=""
        )

    first, second = add(b"first"), add(b"second")
    assert not store.pictures.path(first).exists()
    assert store.pictures.path(second).read_bytes() == b"second"
    assert store.pictures.of_job("job") == [second]


def test_migrations_are_applied_once_and_in_order(tmp_path, monkeypatch):
    path = tmp_path / "serve.db"
    Database(path).close()
    more = (*databases.MIGRATIONS, "ALTER TABLE tokens ADD COLUMN note TEXT NOT NULL DEFAULT ''")
    monkeypatch.setattr(databases, "MIGRATIONS", more)
    for _ in range(2):
        later = Database(path)
        assert later.version == len(more)
        with later.reading() as db:
            assert "note" in [row["name"] for row in db.execute("PRAGMA table_info(tokens)")]
        later.close()
    monkeypatch.setattr(databases, "MIGRATIONS", more[:-1])
    with pytest.raises(BakehouseError, match=f"version {len(more)}"):
        Database(path)


def test_a_failed_transaction_leaves_nothing(tmp_path):
    database = Database(tmp_path / "serve.db")
    with pytest.raises(ZeroDivisionError), database.writing() as db:
        db.execute("INSERT INTO options VALUES ('me', 'a', '1')")
        _ = 1 / 0
    with database.reading() as db:
        assert db.execute("SELECT COUNT(*) FROM options").fetchone()[0] == 0
        assert db.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
    database.close()


def test_a_damaged_database_is_one_message(tmp_path):
    (tmp_path / "serve.db").write_bytes(b"not a database, but long enough to be taken for one" * 20)
    with pytest.raises(BakehouseError, match=r"serve\.db"):
        Database(tmp_path / "serve.db")
    with pytest.raises(sqlite3.Error):
        sqlite3.connect(tmp_path / "serve.db").execute("PRAGMA user_version")
