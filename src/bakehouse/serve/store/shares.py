"""Shares: links by which people without a token draw with one model, within limits that the owner has set."""

from __future__ import annotations

import dataclasses
import json
import math
import re
import secrets
import sqlite3
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from bakehouse.core.errors import Problems, UsageError, did_you_mean
from bakehouse.core.files import sha256_bytes
from bakehouse.core.parse_json_toml_yaml import parse_json
from bakehouse.serve.store.database import Database

ANY_SITE = "*"
_ORIGIN = re.compile(r"https?://(\[[0-9a-f:]+\]|[a-z0-9]([a-z0-9.-]*[a-z0-9])?)(:[0-9]{1,5})?")
_TEXTS = {"model": 200, "title": 120, "intro": 1000, "subject": 200, "negative": 500}
"""Characters that each text may have."""
_NUMBERS = {
    "width": (64, 2048), "height": (64, 2048), "steps": (1, 150), "prompt_characters": (10, 1000),
    "day": (1, 1_000_000), "month": (1, 1_000_000), "address_day": (1, 1_000_000), "address_month": (1, 1_000_000),
}  # fmt: skip
_MOST_TEMPLATES = 24
_TEMPLATE_CHARACTERS = 400
_MOST_SITES = 20


@dataclass(frozen=True, kw_only=True)
class ShareSettings:
    """What a share offers, to whom, and how much of it.

    Raises:
        Problems: values out of range, all of them at once.
    """

    model: str
    """Name of a served model."""
    title: str = ""
    """Headline of the page; empty: the share's name."""
    intro: str = ""
    """A few sentences below it."""
    subject: str | None = None
    """Words that each prompt has, such as `zwx person`; None: those that the model's adapters were trained on."""
    negative: str = ""
    """Negative prompt of all images."""
    templates: tuple[str, ...] = ()
    """Prompts to begin from, with slots and choices (see `bakehouse.serve.shares.templates`)."""
    width: int | None = None
    """Pixels, a multiple of 8; None: the model's native size."""
    height: int | None = None
    steps: int = 20
    guidance: float | None = None
    """None: what the base likes."""
    prompt_characters: int = 300
    """The most that a visitor may write."""
    day: int | None = 200
    """Images a day in UTC, for all visitors together; None: no limit."""
    month: int | None = None
    address_day: int | None = 20
    """Images a day for each address."""
    address_month: int | None = None
    gallery: bool = True
    """Whether visitors may show their images to each other."""
    embed: tuple[str, ...] = ()
    """Origins whose pages may show the share in a frame, such as `https://example.org`; `*` is any."""
    expires: float | None = None
    """Seconds since the epoch."""

    def __post_init__(self) -> None:
        problems = [*self._text_problems(), *self._number_problems()]
        if len(self.templates) > _MOST_TEMPLATES:
            problems.append(f"templates: {len(self.templates)} are given; allowed are {_MOST_TEMPLATES}")
        problems += [
            f"a template has {len(text)} characters: allowed are 1 to {_TEMPLATE_CHARACTERS}"
            for text in self.templates
            if not 1 <= len(text.strip()) <= len(text) <= _TEMPLATE_CHARACTERS
        ]
        problems += [
            f"embed = {site[:100]!r}: write an origin, such as https://example.org, or {ANY_SITE} for any site"
            for site in self.embed
            if site != ANY_SITE and not _ORIGIN.fullmatch(site)
        ]
        if len(self.embed) > _MOST_SITES:
            problems.append(f"embed: {len(self.embed)} sites are given; allowed are {_MOST_SITES}")
        if problems:
            raise Problems("this share cannot be made:", problems)

    def _text_problems(self) -> list[str]:
        texts = {name: getattr(self, name) or "" for name in _TEXTS}
        problems = [
            f"{name} has {len(texts[name])} characters: allowed are {most}"
            for name, most in _TEXTS.items()
            if len(texts[name]) > most
        ]
        return problems if self.model else [*problems, "model is empty: name a served model"]

    def _number_problems(self) -> list[str]:
        given = {name: getattr(self, name) for name in _NUMBERS}
        problems = [
            f"{name} = {value}: allowed are {low} to {high}"
            for name, value in given.items()
            for low, high in (_NUMBERS[name],)
            if value is not None and not low <= value <= high
        ]
        problems += [
            f"{side} = {given[side]}: must be a multiple of 8" for side in ("width", "height") if (given[side] or 0) % 8
        ]
        if self.guidance is not None and not (math.isfinite(self.guidance) and 0 <= self.guidance <= 30):
            problems.append(f"guidance = {self.guidance}: allowed are 0 to 30")
        if self.expires is not None and not math.isfinite(self.expires):
            problems.append(f"expires = {self.expires}: must be seconds since the epoch")
        return problems

    def to_json(self) -> dict[str, Any]:
        """Return the settings as JSON can hold them."""
        return {**vars(self), "templates": list(self.templates), "embed": list(self.embed)}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """Return the settings that `to_json` gave; what a later version has added is left out."""
        known = {one.name for one in dataclasses.fields(cls)}
        lists = {name: tuple(values[name]) for name in ("templates", "embed") if name in values}
        return cls(**{name: value for name, value in values.items() if name in known} | lists)


@dataclass(frozen=True, kw_only=True)
class Share:
    """A share as the server knows it."""

    id: int
    name: str
    link: str = field(repr=False)
    """The secret part of its address."""
    settings: ShareSettings
    created: float
    """Seconds since the epoch."""
    revoked: float | None

    @property
    def caller(self) -> str:
        """The key under which its usage, jobs and pictures are kept."""
        return f"share:{self.id}"

    @property
    def path(self) -> str:
        """Its address on the server."""
        return f"/share/{self.link}"

    @property
    def title(self) -> str:
        return self.settings.title or self.name

    def is_over(self, now: float) -> bool:
        """Whether its link opens nothing any more."""
        return self.revoked is not None or self.has_expired(now)

    def has_expired(self, now: float) -> bool:
        """Whether its time is over."""
        return self.settings.expires is not None and now >= self.settings.expires


class Shares:
    """The shares of one database.

    Unlike a token's text a link is kept as it is: it opens one page that is made to be passed on, and its owner needs
    it again, for another message or as an embedded frame.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, name: str, settings: ShareSettings) -> Share:
        """Make a share.

        Raises:
            UsageError: a name that is empty, too long, or another share's.
        """
        name = name.strip()
        if not name or len(name) > 64 or not name.isprintable():
            raise UsageError(f"{name[:80]!r} cannot be the name of a share", hint="use 1 to 64 printable characters")
        link = secrets.token_urlsafe(24)
        row = (name, link, _hash(link), json.dumps(settings.to_json()), time.time())
        try:
            with self._database.writing() as db:
                added = db.execute(
                    "INSERT INTO shares (name, link, hash, settings, created) VALUES (?, ?, ?, ?, ?)", row
                )
                found = db.execute("SELECT * FROM shares WHERE id = ?", (added.lastrowid,)).fetchone()
        except sqlite3.IntegrityError as e:
            raise UsageError(
                f"a share with the name {name!r} exists, or existed",
                hint="usage and images are kept by share: give the new one another name",
            ) from e
        return _share(found)

    def all(self) -> list[Share]:
        """Return all shares, revoked ones included, oldest first."""
        with self._database.reading() as db:
            return [_share(row) for row in db.execute("SELECT * FROM shares ORDER BY id")]

    def valid(self) -> list[Share]:
        """Return the shares that are neither revoked nor expired."""
        now = time.time()
        return [share for share in self.all() if not share.is_over(now)]

    def find(self, link: str) -> Share | None:
        """Return the share with this link, revoked and expired ones too; None if there is none.

        The link is looked up by its hash: how long that takes says nothing about others.
        """
        with self._database.reading() as db:
            row = db.execute("SELECT * FROM shares WHERE hash = ?", (_hash(link),)).fetchone()
        return None if row is None else _share(row)

    def named(self, name: str) -> Share:
        """Return the share with a name.

        Raises:
            UsageError: there is none.
        """
        with self._database.reading() as db:
            row = db.execute("SELECT * FROM shares WHERE name = ?", (name,)).fetchone()
        if row is None:
            names = [share.name for share in self.all()]
            raise UsageError(f"there is no share {name[:80]!r}{did_you_mean(name, names)}", hint="bakehouse share list")
        return _share(row)

    def change(self, name: str, settings: ShareSettings) -> Share:
        """Give a share other settings; its link stays.

        Raises:
            UsageError: there is no share with the name, or it is revoked.
        """
        return self._update(name, "settings", json.dumps(settings.to_json()))

    def revoke(self, name: str) -> Share:
        """Revoke a share at once: its link opens nothing any more. Usage and images are kept.

        Raises:
            UsageError: there is no share with the name, or it is revoked.
        """
        return self._update(name, "revoked", time.time())

    def _update(self, name: str, column: str, value: object) -> Share:
        share = self.named(name)
        with self._database.writing() as db:
            change = f"UPDATE shares SET {column} = ? WHERE id = ? AND revoked IS NULL"
            if db.execute(change, (value, share.id)).rowcount == 0:
                raise UsageError(f"the share {share.name!r} is revoked", hint="make another: bakehouse share add")
            return _share(db.execute("SELECT * FROM shares WHERE id = ?", (share.id,)).fetchone())


def _hash(link: str) -> str:
    return sha256_bytes(link.encode("utf-8", "replace"))


def _share(row: sqlite3.Row) -> Share:
    return Share(
        id=row["id"],
        name=row["name"],
        link=row["link"],
        settings=ShareSettings.from_json(parse_json(row["settings"])),
        created=row["created"],
        revoked=row["revoked"],
    )
