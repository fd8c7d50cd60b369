"""Tokens of the server's sessions, kept as hashes: browsers stay signed in when the server starts again."""

from __future__ import annotations

import time

from bakehouse.core.files import sha256_bytes
from bakehouse.serve.store.database import Database

DAYS = 7
"""How long a session's token is known."""


class SessionTokens:
    """The session tokens of one database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, text: str) -> None:
        """Keep the hash of a token, and forget those that are too old."""
        now = time.time()
        with self._database.writing() as db:
            db.execute("DELETE FROM session_tokens WHERE created < ?", (now - DAYS * 86_400,))
            db.execute("INSERT INTO session_tokens (hash, created) VALUES (?, ?)", (sha256_bytes(text.encode()), now))

    def hashes(self) -> frozenset[str]:
        """Return the hashes of the tokens that are not too old."""
        with self._database.reading() as db:
            rows = db.execute("SELECT hash FROM session_tokens WHERE created >= ?", (time.time() - DAYS * 86_400,))
            return frozenset(row["hash"] for row in rows)
