"""The tables, as numbered changes. A change that was released is never edited; a new one is appended."""

from __future__ import annotations

MIGRATIONS: tuple[str, ...] = (
    """
    CREATE TABLE tokens (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        name TEXT NOT NULL UNIQUE,
        hash TEXT NOT NULL UNIQUE,
        scopes TEXT NOT NULL,
        created REAL NOT NULL,
        revoked REAL,
        characters_per_month INTEGER,
        pictures_per_month INTEGER,
        requests_per_minute INTEGER,
        concurrent INTEGER
    );
    CREATE TABLE usage (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        caller TEXT NOT NULL,
        time REAL NOT NULL,
        month TEXT NOT NULL,
        dialect TEXT NOT NULL,
        model TEXT NOT NULL,
        characters INTEGER NOT NULL,
        pictures INTEGER NOT NULL,
        seconds REAL NOT NULL DEFAULT 0,
        status TEXT NOT NULL
    );
    CREATE INDEX usage_of_month ON usage (caller, month);
    CREATE TABLE jobs (
        id TEXT PRIMARY KEY,
        caller TEXT NOT NULL,
        drawing TEXT NOT NULL,
        state TEXT NOT NULL,
        error TEXT NOT NULL DEFAULT '',
        charge INTEGER,
        added REAL NOT NULL,
        ended REAL
    );
    CREATE INDEX jobs_of_caller ON jobs (caller, added);
    CREATE TABLE pictures (
        id TEXT PRIMARY KEY,
        caller TEXT NOT NULL,
        job TEXT NOT NULL,
        number INTEGER NOT NULL,
        model TEXT NOT NULL,
        prompt TEXT NOT NULL,
        seed INTEGER NOT NULL,
        width INTEGER NOT NULL,
        height INTEGER NOT NULL,
        infotext TEXT NOT NULL,
        file TEXT NOT NULL,
        made REAL NOT NULL
    );
    CREATE INDEX pictures_of_caller ON pictures (caller, made);
    CREATE UNIQUE INDEX pictures_of_job ON pictures (job, number);
    CREATE TABLE options (
        caller TEXT NOT NULL,
        name TEXT NOT NULL,
        value TEXT NOT NULL,
        PRIMARY KEY (caller, name)
    );
    """,
    """
    CREATE TABLE tasks (
        id TEXT PRIMARY KEY,
        caller TEXT NOT NULL,
        kind TEXT NOT NULL,
        subject TEXT NOT NULL,
        arguments TEXT NOT NULL,
        state TEXT NOT NULL,
        error TEXT NOT NULL DEFAULT '',
        added REAL NOT NULL,
        ended REAL
    );
    CREATE INDEX tasks_of_subject ON tasks (subject, kind, added);
    CREATE TABLE served_runs (
        name TEXT PRIMARY KEY,
        run TEXT NOT NULL,
        weights TEXT NOT NULL
    );
    """,
    "ALTER TABLE pictures ADD COLUMN starred INTEGER NOT NULL DEFAULT 0",
    # Sums of a month are read from the index alone: they are asked for at every drawing.
    """
    DROP INDEX usage_of_month;
    CREATE INDEX usage_of_month ON usage (caller, month, characters, pictures);
    """,
    """
    CREATE TABLE shares (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        name TEXT NOT NULL UNIQUE,
        link TEXT NOT NULL,
        hash TEXT NOT NULL UNIQUE,
        settings TEXT NOT NULL,
        created REAL NOT NULL,
        revoked REAL
    );
    CREATE TABLE share_pictures (
        job TEXT PRIMARY KEY,
        share INTEGER NOT NULL,
        visitor TEXT NOT NULL,
        shown INTEGER NOT NULL DEFAULT 0,
        hidden TEXT NOT NULL DEFAULT '',
        kept INTEGER NOT NULL DEFAULT 0,
        added REAL NOT NULL
    );
    CREATE INDEX share_pictures_of_share ON share_pictures (share, added);
    CREATE TABLE share_reports (
        job TEXT NOT NULL,
        address TEXT NOT NULL,
        reason TEXT NOT NULL,
        added REAL NOT NULL,
        PRIMARY KEY (job, address)
    );
    CREATE TABLE share_draws (
        charge INTEGER PRIMARY KEY,
        share INTEGER NOT NULL,
        address TEXT NOT NULL,
        day TEXT NOT NULL
    );
    CREATE INDEX share_draws_of_day ON share_draws (share, day);
    """,
    "CREATE TABLE session_tokens (hash TEXT PRIMARY KEY, created REAL NOT NULL);",
)
