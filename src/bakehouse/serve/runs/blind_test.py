"""A blind test of a run: its user votes on pairs of the evaluation's pictures without knowing which is whose.

The pairs are pictures of the same prompt and seed by two contenders: states of the run, or the untouched base, which
was asked for the subject in words. A seed shuffles the pairs and their sides. Votes are one file in the report's
folder. They count as long as the evaluation still has the pictures that they were given for.
"""

from __future__ import annotations

import random
import secrets
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from bakehouse.core.files import read_json, write_json
from bakehouse.core.run_folder import Run
from bakehouse.evaluation.metrics import proportion
from bakehouse.serve.errors import ServeError, bad_request, not_found
from bakehouse.serve.guard.paths import file_inside

Question = Literal["subject", "better"]
"""Which of the two is the subject? Which is the better picture?"""
Choice = Literal["left", "right", "same"]
BASE = "base"
FILE = "blind_test.json"
_VERSION = 1
_LOCK = threading.Lock()


@dataclass(frozen=True)
class Pair:
    """Two pictures of one prompt and seed."""

    number: int
    """Of the prompt in the evaluation."""
    prompt: str
    """Without the trigger, which would tell the contenders apart."""
    pictures: tuple[str, str]
    """Paths below the report's folder: the first contender's, then the second's."""
    is_swapped: bool
    """Whether the first contender's picture is on the right."""

    @property
    def left(self) -> str:
        return self.pictures[1 if self.is_swapped else 0]

    @property
    def right(self) -> str:
        return self.pictures[0 if self.is_swapped else 1]


@dataclass(frozen=True)
class BlindTest:
    """The evaluation of a run as a source of pairs."""

    run: Run
    scores: Mapping[str, Any]

    @classmethod
    def of(cls, run: Run) -> BlindTest:
        """Read a run's evaluation.

        Raises:
            ServeError: it was not evaluated, or is a slider, whose pictures are no pairs (404).
        """
        path = run.report / "scores.json"
        scores = read_json(path) if path.is_file() else {}
        if "pictures" not in scores or "asks" not in scores:
            hint = "POST to /evaluate evaluates it; sliders have no pairs"
            raise not_found(f"run {run.folder.name!r} has no pictures to compare", hint=hint)
        return cls(run, scores)

    def contenders(self) -> list[dict[str, Any]]:
        """Return the base and the evaluated states with the judge's figures; `picked` is the evaluation's choice."""
        pick, found = self.scores["pick"], []
        for cell in self.scores["cells"]:
            name = f"{cell['weights']}@{cell['weight']:g}"
            is_picked = (cell["weights"], cell["weight"]) == (pick["weights"], pick["weight"])
            figures = {key: cell[key] for key in ("weights", "weight", "epoch", "images", "fidelity", "shown")}
            found.append({"name": name, "picked": is_picked, **figures})
        return [{"name": BASE, "picked": False}, *found]

    def pairs(self, first: str, second: str, seed: int) -> list[Pair]:
        """Return all pairs of two contenders, in the order and with the sides that a seed gives.

        Raises:
            ServeError: no such contender (404), or twice the same one (400).
        """
        known = [one["name"] for one in self.contenders()]
        for name in (first, second):
            if name not in known:
                raise not_found(f"the evaluation has no {name[:80]!r}", hint=f"it has: {', '.join(known)}")
        if first == second:
            raise bad_request(f"first and second are both {first!r}", hint="name two different ones")
        dice, pictures = random.Random(seed), self.scores["pictures"]
        found = []
        for number, asked in enumerate(self.scores["asks"]["subject"]):
            both = tuple(pictures.get(_key(name, number)) for name in (first, second))
            is_swapped = dice.random() < 0.5
            if None not in both:
                found.append(Pair(number, asked["judged"], (both[0], both[1]), is_swapped))
        dice.shuffle(found)
        return found

    def pair(self, first: str, second: str, seed: int, number: int) -> Pair:
        """Return one pair.

        Raises:
            ServeError: there is none with this number (404), or see `pairs`.
        """
        for pair in self.pairs(first, second, seed):
            if pair.number == number:
                return pair
        raise not_found(f"there is no pair {number} of {first!r} and {second!r}")

    def picture(self, pair: Pair, side: str) -> Path:
        """Return a picture's file.

        Raises:
            ServeError: no such side (400), or the file is gone (404).
        """
        if side not in ("left", "right"):
            raise bad_request(f"side = {side[:40]!r}: allowed are left and right")
        return file_inside(self.run.report, pair.left if side == "left" else pair.right, "picture")

    def votes(self) -> list[dict[str, Any]]:
        """Return the votes whose pictures the evaluation still has, oldest first."""
        there = set(self.scores["pictures"].values())
        return [vote for vote in _read(self.run) if {vote["first_picture"], vote["second_picture"]} <= there]

    def vote(self, question: Question, first: str, second: str, seed: int, number: int, choice: Choice) -> str:
        """Record a vote in place of an earlier one on the same pair, and return its id.

        Raises:
            ServeError: see `pair`.
        """
        pair = self.pair(first, second, seed, number)
        winner = {"left": second if pair.is_swapped else first, "right": first if pair.is_swapped else second}
        given = {
            "id": secrets.token_hex(8), "time": time.time(), "question": question, "first": first,
             "second": second, "first_picture": pair.pictures[0], "second_picture": pair.pictures[1],
            "seed": seed, "choice": winner.get(choice),
        }  # fmt: skip
        with _LOCK:
            kept = [vote for vote in _read(self.run) if not _is_of_pair(vote, question, pair.pictures)]
            _write(self.run, [*kept, given])
        return str(given["id"])

    def take_back(self, vote_id: str) -> None:
        """Remove a vote.

        Raises:
            ServeError: there is none with this id (404).
        """
        with _LOCK:
            votes = _read(self.run)
            kept = [vote for vote in votes if vote["id"] != vote_id]
            if len(kept) == len(votes):
                raise not_found(f"there is no vote {vote_id[:80]!r}")
            _write(self.run, kept)

    def results(self) -> list[dict[str, Any]]:
        """Return for each question and pair of contenders how often the second was chosen, with its interval."""
        groups: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
        for vote in self.votes():
            first, second = sorted((vote["first"], vote["second"]), key=lambda name: (name != BASE, name))
            groups.setdefault((vote["question"], first, second), []).append(vote)
        return [
            {"question": question, "first": first, "second": second, **_counted(votes, second)}
            for (question, first, second), votes in sorted(groups.items())
        ]

    def answered(self, question: Question) -> set[frozenset[str]]:
        """Return the pictures of each pair for which a question was answered."""
        votes = [vote for vote in self.votes() if vote["question"] == question]
        return {frozenset((vote["first_picture"], vote["second_picture"])) for vote in votes}


def _counted(votes: Sequence[Mapping[str, Any]], second: str) -> dict[str, Any]:
    decided = [vote["choice"] == second for vote in votes if vote["choice"] is not None]
    return {"votes": len(votes), "same": len(votes) - len(decided), "share": proportion(decided).to_json()}


def _is_of_pair(vote: Mapping[str, Any], question: str, pictures: tuple[str, str]) -> bool:
    return vote["question"] == question and {vote["first_picture"], vote["second_picture"]} == set(pictures)


def _key(name: str, number: int) -> str:
    """The key of a picture in `scores.json`. The base's have the subject's prompts and seeds, with words for it."""
    return f"{BASE}/words/{number}" if name == BASE else f"{name}/subject/{number}"


def _read(run: Run) -> list[dict[str, Any]]:
    path = run.report / FILE
    if not path.is_file():
        return []
    value = read_json(path)
    if not isinstance(value, dict) or value.get("version") != _VERSION:
        raise ServeError(409, "other_version", f"{FILE} was written by another version", hint="move the file away")
    votes: list[dict[str, Any]] = value["votes"]
    return votes


def _write(run: Run, votes: Sequence[Mapping[str, Any]]) -> None:
    write_json(run.report / FILE, {"version": _VERSION, "votes": list(votes)})
