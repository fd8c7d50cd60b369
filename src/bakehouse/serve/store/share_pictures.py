"""Pictures that visitors of shares have drawn: whose each is, whether it is shown, and what was reported of it."""

from __future__ import annotations

import sqlite3
import time
from dataclasses import dataclass
from typing import Literal

from bakehouse.serve.store.database import Database
from bakehouse.serve.store.draw_jobs import DrawJobState
from bakehouse.serve.store.pictures import StoredPicture

REPORTS_THAT_HIDE = 3
"""Reports from as many addresses hide a picture until its owner has looked."""
HiddenBy = Literal["", "owner", "reports"]
_JOINED = (
    "SELECT share_pictures.*, jobs.state AS state, pictures.id AS picture, pictures.prompt AS prompt, "
    "pictures.width AS width, pictures.height AS height, pictures.infotext AS infotext, pictures.file AS file, "
    "pictures.model AS model, pictures.seed AS seed, pictures.number AS number, pictures.made AS made, "
    "pictures.caller AS caller, pictures.starred AS starred, "
    "(SELECT COUNT(*) FROM share_reports WHERE share_reports.job = share_pictures.job) AS reports "
    "FROM share_pictures JOIN jobs ON jobs.id = share_pictures.job "
    "LEFT JOIN pictures ON pictures.job = share_pictures.job"
)


@dataclass(frozen=True, kw_only=True)
class SharePicture:
    """One picture of a share, or the job that is to become one."""

    job: str
    """Its name for visitors too."""
    share: int
    visitor: str
    """Hash of the secret that the visitor's browser keeps."""
    state: DrawJobState
    shown: bool
    """The visitor wants it in the gallery."""
    hidden: HiddenBy
    added: float
    reports: int
    picture: StoredPicture | None
    """None: not finished."""

    @property
    def is_public(self) -> bool:
        """Whether all visitors see it."""
        return self.shown and not self.hidden and self.picture is not None

    @property
    def is_flagged(self) -> bool:
        """Whether the safety checker has made it black."""
        return self.picture is not None and "Safety checker: flagged" in self.picture.infotext.rsplit("\n", 1)[-1]


class SharePictures:
    """The pictures of shares in one database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, job: str, share: int, visitor: str) -> None:
        """Note whose job it is."""
        with self._database.writing() as db:
            columns = "job, share, visitor, added"
            db.execute(
                f"INSERT INTO share_pictures ({columns}) VALUES (?, ?, ?, ?)", (job, share, visitor, time.time())
            )

    def find(self, share: int, job: str) -> SharePicture | None:
        """Return a picture of a share; those of others are not there."""
        found = self._select("share_pictures.share = ? AND share_pictures.job = ?", share, job, limit=1)
        return found[0] if found else None

    def of_visitor(self, share: int, visitor: str, *, limit: int = 60) -> list[SharePicture]:
        """Return the newest pictures of a visitor, also those that wait; without those that others have deleted."""
        where = "share_pictures.share = ? AND visitor = ? AND NOT (state = 'done' AND pictures.id IS NULL)"
        return self._select(where, share, visitor, limit=limit)

    def gallery(self, share: int, *, limit: int, before: float | None = None) -> list[SharePicture]:
        """Return the newest pictures that all visitors see, begun before a time."""
        where = "share_pictures.share = ? AND shown = 1 AND hidden = '' AND pictures.id IS NOT NULL"
        return self._select(where, share, limit=limit, before=before)

    def for_owner(
        self, share: int, *, limit: int, before: float | None = None, only: Literal["all", "shown", "reported"] = "all"
    ) -> list[SharePicture]:
        """Return the newest finished pictures of a share, whoever sees them."""
        where = "share_pictures.share = ? AND pictures.id IS NOT NULL"
        more = {"all": "", "shown": " AND shown = 1", "reported": " AND reports > 0"}
        return self._select(where + more[only], share, limit=limit, before=before)

    def show(self, job: str, *, shown: bool) -> None:
        """Put a picture into the gallery, or take it out."""
        with self._database.writing() as db:
            db.execute("UPDATE share_pictures SET shown = ? WHERE job = ?", (int(shown), job))

    def hide(self, job: str, *, hidden: bool) -> None:
        """Hide a picture from visitors, or show it again: then it stays, whoever reports it."""
        with self._database.writing() as db:
            change = "UPDATE share_pictures SET hidden = ?, kept = ? WHERE job = ?"
            db.execute(change, ("owner" if hidden else "", int(not hidden), job))
            if not hidden:
                db.execute("DELETE FROM share_reports WHERE job = ?", (job,))

    def report(self, job: str, address: str, reason: str) -> None:
        """Note a report, one of each address; enough of them hide a picture that the owner has not kept."""
        with self._database.writing() as db:
            row = (job, address, reason, time.time())
            db.execute("INSERT OR IGNORE INTO share_reports (job, address, reason, added) VALUES (?, ?, ?, ?)", row)
            reports = db.execute("SELECT COUNT(*) FROM share_reports WHERE job = ?", (job,)).fetchone()[0]
            if reports >= REPORTS_THAT_HIDE:
                change = "UPDATE share_pictures SET hidden = 'reports' WHERE job = ? AND hidden = '' AND kept = 0"
                db.execute(change, (job,))

    def reasons(self, job: str) -> list[str]:
        """Return what reports of a picture say, oldest first."""
        with self._database.reading() as db:
            rows = db.execute("SELECT reason FROM share_reports WHERE job = ? ORDER BY added", (job,))
            return [row["reason"] for row in rows if row["reason"]]

    def reported(self, share: int) -> int:
        """Return how many pictures of a share have reports that its owner has not answered."""
        asked = (
            "SELECT COUNT(DISTINCT share_reports.job) FROM share_reports JOIN share_pictures USING (job) "
            "WHERE share = ? AND hidden <> 'owner'"
        )
        with self._database.reading() as db:
            return int(db.execute(asked, (share,)).fetchone()[0])

    def remove(self, job: str) -> None:
        """Forget a picture, its reports and its job with the prompt; the file is the caller's to remove."""
        with self._database.writing() as db:
            for table, column in (("share_pictures", "job"), ("share_reports", "job"), ("jobs", "id")):
                db.execute(f"DELETE FROM {table} WHERE {column} = ?", (job,))

    def waiting(self, share: int) -> int:
        """Return how many pictures of a share are not finished."""
        with self._database.reading() as db:
            asked = "SELECT COUNT(*) FROM jobs WHERE caller = ? AND state IN ('waiting', 'running')"
            return int(db.execute(asked, (f"share:{share}",)).fetchone()[0])

    def _select(self, where: str, *values: object, limit: int, before: float | None = None) -> list[SharePicture]:
        earlier = "" if before is None else " AND share_pictures.added < ?"
        more = () if before is None else (before,)
        asked = f"{_JOINED} WHERE {where}{earlier} ORDER BY share_pictures.added DESC LIMIT {int(limit)}"
        with self._database.reading() as db:
            return [_share_picture(row) for row in db.execute(asked, (*values, *more))]


def _share_picture(row: sqlite3.Row) -> SharePicture:
    picture = None
    if row["picture"] is not None:
        names = (
            "caller", "job", "number", "model", "prompt", "seed", "width", "height", "infotext", "file", "made",
            "starred",
        )  # fmt: skip
        picture = StoredPicture(id=row["picture"], **{name: row[name] for name in names})
    return SharePicture(
        job=row["job"],
        share=row["share"],
        visitor=row["visitor"],
        state=row["state"],
        shown=bool(row["shown"]),
        hidden=row["hidden"],
        added=row["added"],
        reports=row["reports"],
        picture=picture,
    )
