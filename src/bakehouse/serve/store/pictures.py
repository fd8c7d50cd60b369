"""Finished pictures: their files in the data folder, and their index."""

from __future__ import annotations

import secrets
import sqlite3
import time
from dataclasses import dataclass, replace
from pathlib import Path

from bakehouse.core.files import write_bytes
from bakehouse.serve.store.database import Database


@dataclass(frozen=True, kw_only=True)
class StoredPicture:
    """One picture of the index."""

    id: str
    caller: str
    job: str
    number: int
    """Place in its job, from 0."""
    model: str
    prompt: str
    seed: int
    width: int
    height: int
    infotext: str
    file: str
    """Name in the folder of pictures."""
    made: float
    starred: int = 0
    """1: marked by its caller."""


@dataclass(frozen=True, kw_only=True)
class PictureFilter:
    """Which pictures are looked for."""

    words: tuple[str, ...] = ()
    """Each must be in the prompt, or be the seed."""
    model: str | None = None
    starred: bool = False


ALL = PictureFilter()


class Pictures:
    """The pictures of one server: `folder` has the files, the database the index."""

    def __init__(self, database: Database, folder: Path) -> None:
        self._database, self._folder = database, folder

    def add(
        self,
        data: bytes,
        kind: str,
        *,
        caller: str,
        job: str,
        number: int,
        model: str,
        prompt: str,
        seed: int,
        size: tuple[int, int],
        infotext: str,
    ) -> StoredPicture:
        """Write a picture's file, then its entry; the same number of the same job again replaces it."""
        name = secrets.token_hex(12)
        file = f"{time.strftime('%Y-%m', time.gmtime())}/{name}.{kind}"
        write_bytes(self._folder / file, data)
        found = StoredPicture(
            id=name, caller=caller, job=job, number=number, model=model, prompt=prompt, seed=seed,
            width=size[0], height=size[1], infotext=infotext, file=file, made=time.time(),
        )  # fmt: skip
        values = vars(found)
        with self._database.writing() as db:
            before = db.execute("SELECT file FROM pictures WHERE job = ? AND number = ?", (job, number)).fetchone()
            db.execute(
                f"INSERT OR REPLACE INTO pictures ({', '.join(values)}) VALUES ({', '.join('?' * len(values))})",
                list(values.values()),
            )
        if before is not None:
            (self._folder / before["file"]).unlink(missing_ok=True)
        return found

    def find(self, picture: str) -> StoredPicture | None:
        """Return a picture's entry."""
        with self._database.reading() as db:
            row = db.execute("SELECT * FROM pictures WHERE id = ?", (picture,)).fetchone()
        return None if row is None else _picture(row)

    def path(self, picture: StoredPicture) -> Path:
        """Return the path of a picture's file."""
        return self._folder / picture.file

    def of_job(self, job: str) -> list[StoredPicture]:
        """Return the pictures of a job in their order."""
        with self._database.reading() as db:
            rows = db.execute("SELECT * FROM pictures WHERE job = ? ORDER BY number", (job,)).fetchall()
        return [_picture(row) for row in rows]

    def newest(
        self, caller: str | None, *, limit: int, before: float | None = None, wanted: PictureFilter = ALL
    ) -> list[StoredPicture]:
        """Return the newest pictures of a caller, or of all, made before a time."""
        clauses = ["(?1 IS NULL OR caller = ?1)", "(?2 IS NULL OR made < ?2)", "(?3 IS NULL OR model = ?3)"]
        values: list[str | float | None] = [caller, before, wanted.model]
        if wanted.starred:
            clauses.append("starred = 1")
        for word in wanted.words:
            values += [f"%{_escaped(word)}%", word]
            clauses.append(f"(prompt LIKE ?{len(values) - 1} ESCAPE '\\' OR CAST(seed AS TEXT) = ?{len(values)})")
        asked = f"SELECT * FROM pictures WHERE {' AND '.join(clauses)} ORDER BY made DESC LIMIT {int(limit)}"
        with self._database.reading() as db:
            rows = db.execute(asked, values).fetchall()
        return [_picture(row) for row in rows]

    def star(self, picture: StoredPicture, *, starred: bool) -> StoredPicture:
        """Mark a picture, or take the mark away."""
        with self._database.writing() as db:
            db.execute("UPDATE pictures SET starred = ? WHERE id = ?", (int(starred), picture.id))
        return replace(picture, starred=int(starred))

    def remove(self, picture: StoredPicture) -> None:
        """Remove a picture's entry and its file."""
        with self._database.writing() as db:
            db.execute("DELETE FROM pictures WHERE id = ?", (picture.id,))
        self.path(picture).unlink(missing_ok=True)


def _picture(row: sqlite3.Row) -> StoredPicture:
    return StoredPicture(**{name: row[name] for name in row.keys()})  # noqa: SIM118 - a Row iterates over its values


def _escaped(word: str) -> str:
    """Return a word in which LIKE finds the characters themselves."""
    return word.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
