"""Generated images that wait for review, in a folder: their files, their scores, and the answers.

candidates.json    the images and their scores; written last
drawn/012-1.png    an image: the first try of the twelfth prompt
drawn/012-1.txt    its caption, which may be edited before it is accepted; only of images that passed
accept.txt         one line for each image that passed: `yes 012-1.png` or `no 012-1.png`
sheet.html         the same as a page
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bakehouse.core.errors import BakehouseError, Problems, UsageError, did_you_mean
from bakehouse.core.files import read_json, write_json, write_text

FOLDER = "extend"
"""The folder in a run that holds its extensions."""
RECORD = "candidates.json"
ACCEPT = "accept.txt"
SHEET = "sheet.html"
DRAWN = "drawn"
VERSION = 1

_HEAD = """\
# `yes NAME` adds a drawn image to the dataset, `no NAME` does not. Its caption, in drawn/, can be edited before.
"""


@dataclass(frozen=True)
class Candidate:
    """A generated image and its scores."""

    name: str
    """Its file: 012-1.png is the second try for the twelfth image."""
    prompt: str
    """It is the caption, too."""
    bare_prompt: str
    """With the class in place of the subject."""
    seed: int
    fidelity: float | None = None
    """Subject fidelity: 0 is what the base draws from words alone, 1 the subject's own images."""
    prompt_score: float | None = None
    """How well it follows the prompt, on the scorer's scale."""
    nearest: str = ""
    """The most similar image of the dataset."""
    reason: str = ""
    """Why it was dropped; empty: it is offered for review."""

    @property
    def passed(self) -> bool:
        return not self.reason


@dataclass(frozen=True)
class Candidates:
    """The candidates of one extension of a dataset."""

    folder: Path
    dataset: str
    weights: str
    strength: float
    settings: Mapping[str, Any]
    """With which they were drawn."""
    items: tuple[Candidate, ...]

    @property
    def passed(self) -> tuple[Candidate, ...]:
        """Those that are offered for review, in order."""
        return tuple(sorted((c for c in self.items if c.passed), key=lambda c: c.name))

    def path(self, candidate: Candidate) -> Path:
        """Return the file of a candidate's image."""
        return self.folder / DRAWN / candidate.name

    def caption_path(self, candidate: Candidate) -> Path:
        """Return the file of a candidate's caption."""
        return self.path(candidate).with_suffix(".txt")

    def save(self) -> None:
        """Write candidates.json."""
        value = {"version": VERSION, "dataset": self.dataset, "weights": self.weights, "strength": self.strength}
        items = [asdict(candidate) for candidate in self.items]
        write_json(self.folder / RECORD, {**value, "settings": dict(self.settings), "items": items})

    @classmethod
    def load(cls, folder: Path) -> Candidates:
        """Read candidates.json of a folder.

        Raises:
            UsageError: there is none, or another version wrote it.
            BakehouseError: it is damaged.
        """
        path = folder / RECORD
        if not path.is_file():
            hint = "pass the accept.txt that `bakehouse dataset extend RUN FOLDER` wrote, or `all`"
            raise UsageError(f"{folder} has no {RECORD}: no images were drawn there", hint=hint)
        value = read_json(path)
        if not isinstance(value, dict) or value.get("version") != VERSION:
            raise UsageError(f"{path} was written by another version of bakehouse", hint="draw again")
        try:
            items = tuple(Candidate(**item) for item in value["items"])
            return cls(folder, value["dataset"], value["weights"], value["strength"], value["settings"], items)
        except (KeyError, TypeError) as e:
            raise BakehouseError(f"{path} is damaged: {e}", hint="remove it and draw again") from e


def write_accept(candidates: Candidates, yes: Collection[str] | None = None) -> Path:
    """Write accept.txt with an answer for each candidate that passed.

    Args:
        candidates: what was drawn.
        yes: names of the images to add; None: all, for the user to change.
    """
    lines = [f"{'yes' if yes is None or c.name in yes else 'no'} {c.name}" for c in candidates.passed]
    return write_text(candidates.folder / ACCEPT, _HEAD + "".join(f"{line}\n" for line in lines))


def read_accept(path: Path, candidates: Candidates) -> tuple[Candidate, ...]:
    """Return the candidates that a file accepts; images that it does not list are not accepted.

    Raises:
        UsageError: the file cannot be read.
        Problems: lines that are no answer, or name no candidate, all of them at once.
    """
    try:
        lines = path.read_text("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as e:
        raise UsageError(f"cannot read {path}: {e}") from e
    known = {candidate.name: candidate for candidate in candidates.items}
    accepted: dict[str, Candidate] = {}
    problems = []
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        answer, _, name = line.strip().partition(" ")
        name = name.strip()
        if answer.lower() not in ("yes", "no"):
            problems.append(f"line {number}: {line.strip()!r} begins with neither yes nor no")
        elif name not in known:
            problems.append(f"line {number}: there is no image {name!r}{did_you_mean(name, known)}")
        elif answer.lower() == "yes":
            accepted[name] = known[name]
    if problems:
        raise Problems(f"{path}:", problems, hint="write one line for each image: yes 001-0.png, or no 001-0.png")
    return tuple(accepted.values())
