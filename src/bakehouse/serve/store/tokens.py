"""Tokens: shown once, kept as hashes, with scopes and limits."""

from __future__ import annotations

import secrets
import sqlite3
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, get_args

from bakehouse.core.errors import UsageError, did_you_mean
from bakehouse.core.files import sha256_bytes
from bakehouse.serve.store.database import Database

Scope = Literal["read", "draw", "train", "admin"]
SCOPES: tuple[Scope, ...] = get_args(Scope)
_PREFIX = "bh_"
_LIMITS = ("characters_per_month", "pictures_per_month", "requests_per_minute", "concurrent")


@dataclass(frozen=True)
class Quota:
    """Limits of one caller; None: none."""

    characters_per_month: int | None = None
    """Characters of prompts."""
    pictures_per_month: int | None = None
    requests_per_minute: int | None = None
    concurrent: int | None = None
    """Requests at once."""

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if value is not None and value < 1:
                raise UsageError(f"{name} = {value}: must be at least 1; leave it out for no limit")


NO_QUOTA = Quota()


@dataclass(frozen=True)
class Token:
    """A token as the server knows it; its text is not among it."""

    id: int
    name: str
    scopes: frozenset[Scope]
    quota: Quota
    created: float
    """Seconds since the epoch."""
    revoked: float | None

    @property
    def caller(self) -> str:
        """The key under which its usage, jobs and pictures are kept."""
        return f"token:{self.id}"


def parse_scopes(names: Iterable[str]) -> frozenset[Scope]:
    """Return scopes by name.

    Raises:
        UsageError: unknown.
    """
    given = set(names)
    if unknown := sorted(given - set(SCOPES)):
        raise UsageError(
            f"scope {unknown[0]!r} is unknown{did_you_mean(unknown[0], SCOPES)}",
            hint=f"allowed are {', '.join(SCOPES)}",
        )
    return frozenset(scope for scope in SCOPES if scope in given)


def new_secret() -> str:
    """Return the text of a new token: 256 random bits."""
    return _PREFIX + secrets.token_urlsafe(32)


class Tokens:
    """The tokens of one database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, name: str, scopes: frozenset[Scope], quota: Quota = NO_QUOTA) -> tuple[Token, str]:
        """Make a token; returns it and its text, which cannot be read again.

        Raises:
            UsageError: no scope, an empty name, or another token has the name.
        """
        if not name.strip():
            raise UsageError("the token's name is empty", hint="name who uses it: bakehouse tokens add laptop")
        if not scopes:
            raise UsageError(f"token {name!r} has no scope", hint=f"allowed are {', '.join(SCOPES)}")
        text = new_secret()
        limits = [getattr(quota, limit) for limit in _LIMITS]
        row = (name, sha256_bytes(text.encode()), " ".join(sorted(scopes)), time.time(), *limits)
        try:
            with self._database.writing() as db:
                columns = f"name, hash, scopes, created, {', '.join(_LIMITS)}"
                added = db.execute(f"INSERT INTO tokens ({columns}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row)
                found = db.execute("SELECT * FROM tokens WHERE id = ?", (added.lastrowid,)).fetchone()
        except sqlite3.IntegrityError as e:
            raise UsageError(
                f"a token with the name {name!r} exists, or existed",
                hint="usage is kept by token: give the new one another name",
            ) from e
        return _token(found), text

    def all(self) -> list[Token]:
        """Return all tokens, revoked ones included, oldest first."""
        with self._database.reading() as db:
            return [_token(row) for row in db.execute("SELECT * FROM tokens ORDER BY id")]

    def valid(self) -> list[Token]:
        """Return the tokens that are not revoked."""
        return [token for token in self.all() if token.revoked is None]

    def find(self, text: str) -> Token | None:
        """Return the token with this text; None if there is none, or if it is revoked.

        The text is looked up by its hash: how long that takes says nothing about the texts of others.
        """
        with self._database.reading() as db:
            asked = "SELECT * FROM tokens WHERE hash = ? AND revoked IS NULL"
            row = db.execute(asked, (sha256_bytes(text.encode("utf-8", "replace")),)).fetchone()
        return None if row is None else _token(row)

    def revoke(self, name: str) -> Token:
        """Revoke a token at once; its usage is kept.

        Raises:
            UsageError: there is no valid token with the name.
        """
        with self._database.writing() as db:
            changed = db.execute(
                "UPDATE tokens SET revoked = ? WHERE name = ? AND revoked IS NULL", (time.time(), name)
            )
            if changed.rowcount == 0:
                raise UsageError(f"there is no valid token with the name {name!r}", hint="bakehouse tokens list")
            return _token(db.execute("SELECT * FROM tokens WHERE name = ?", (name,)).fetchone())


def _token(row: sqlite3.Row) -> Token:
    scopes = frozenset(scope for scope in SCOPES if scope in row["scopes"].split())
    quota = Quota(*(row[limit] for limit in _LIMITS))
    return Token(row["id"], row["name"], scopes, quota, row["created"], row["revoked"])
