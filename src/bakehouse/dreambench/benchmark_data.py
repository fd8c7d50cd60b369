"""The subjects and prompts of a benchmark: DreamBooth's dataset as its authors publish it, or folders of examples.

The prompts of the dataset are read from the user's own copy (`prompts_and_classes.txt`); folders without that file get
prompts of the package, as many and of the same kinds.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bakehouse.core.errors import UsageError, did_you_mean
from bakehouse.core.files import read_json
from bakehouse.core.message_text import counted, listed
from bakehouse.data.captions import decode_text
from bakehouse.dreambench.prompts import own_prompts

PROMPTS_FILE = "prompts_and_classes.txt"
LIVE_CLASSES = frozenset({"cat", "dog"})
"""Classes of DreamBooth's nine live subjects."""
TOKEN = "zwx"
"""Default trigger of subjects that name none."""


@dataclass(frozen=True)
class Subject:
    """One subject to train."""

    name: str
    folder: Path
    trigger: str
    class_word: str
    kind: str
    """Kind of training, as in a recipe."""
    prompts: tuple[str, ...]
    """With `{0}` for the trigger and `{1}` for the class."""

    def prompt(self, template: str) -> str:
        """Return a prompt with the trigger and the class."""
        return template.format(self.trigger, self.class_word)

    def bare_prompt(self, template: str) -> str:
        """Return a prompt without the trigger, as scorers read it."""
        return template.replace("{0} ", "").replace("{0}", "").format("", self.class_word)


@dataclass(frozen=True)
class Benchmark:
    """Subjects with their prompts."""

    source: str
    """Where the prompts come from, in words, for the table."""
    subjects: tuple[Subject, ...]
    notes: tuple[str, ...] = ()
    is_dreambooth: bool = False
    """Whether it is DreamBooth's own dataset."""

    def only(self, names: Sequence[str]) -> Benchmark:
        """Return the benchmark with some of its subjects, in its own order; all if no name is given.

        Raises:
            UsageError: there is no such subject.
        """
        known = [s.name for s in self.subjects]
        for name in names:
            if name not in known:
                raise UsageError(f"no subject {name!r}{did_you_mean(name, known) or f': {listed(known, 40)}'}")
        chosen = tuple(s for s in self.subjects if not names or s.name in names)
        return Benchmark(self.source, chosen, self.notes, self.is_dreambooth)


def read_benchmark(folder: Path, *, token: str = TOKEN, kind: str | None = None, crumb: bool = False) -> Benchmark:
    """Read a benchmark's subjects and prompts; images are read when they are trained.

    Args:
        folder: DreamBooth's repository or its `dataset` folder, or a folder of folders with an `example.json` each.
        token: trigger of subjects that name none.
        kind: kind of training; default: the example's own, for DreamBooth's dataset `dreambooth`.
        crumb: prompts of the package in the vocabulary of the embedded base.

    Raises:
        UsageError: neither is there, or the file of prompts cannot be read.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder} is not a folder", hint="pass the dataset folder of github.com/google/dreambooth")
    for place in (folder, folder / "dataset"):
        if (place / PROMPTS_FILE).is_file():
            return _dreambooth(place, token, kind or "dreambooth")
    return _examples(folder, token, kind, crumb)


# --- DreamBooth's dataset ---------------------------------------------------------------------------------------------


def _dreambooth(folder: Path, token: str, kind: str) -> Benchmark:
    path = folder / PROMPTS_FILE
    text, _, _ = decode_text(path.read_bytes())
    classes, objects, live = parse_prompts_file(text, str(path))
    there = {name: c for name, c in classes.items() if (folder / name).is_dir()}
    if not there:
        raise UsageError(
            f"{folder} has no folder of the {len(classes)} subjects that {PROMPTS_FILE} names",
            hint=f"they are folders beside it: {listed(list(classes), 4)}",
        )
    lacking = [name for name in classes if name not in there]
    subjects = tuple(
        Subject(name, folder / name, token, c, kind, live if c in LIVE_CLASSES else objects)
        for name, c in there.items()
    )
    notes = (f"{counted(len(lacking), 'subject')} without images: {listed(lacking)}",) if lacking else ()
    return Benchmark(f"DreamBooth's own ({PROMPTS_FILE})", subjects, notes, is_dreambooth=True)


def parse_prompts_file(text: str, source: str) -> tuple[dict[str, str], tuple[str, ...], tuple[str, ...]]:
    """Return the classes by subject, the prompts of objects and those of live subjects.

    Args:
        text: contents of `prompts_and_classes.txt`.
        source: its name in errors.

    Raises:
        UsageError: one of the three is missing.
    """
    sections = re.split(r"(?im)^\s*(object|live subject) prompts\W*$", text)
    found = {name.lower(): _templates(body) for name, body in zip(sections[1::2], sections[2::2], strict=True)}
    rows = re.findall(r"(?m)^\s*([\w-]+)\s*,\s*([^,\n]+?)\s*$", sections[0])
    classes = {name: word for name, word in rows if (name, word) != ("subject_name", "class")}
    missing = [
        what
        for what, value in (
            ("lines `subject,class`", classes),
            ("the prompts of objects", found.get("object")),
            ("the prompts of live subjects", found.get("live subject")),
        )
        if not value
    ]
    if missing:
        raise UsageError(
            f"{source} lacks {listed(missing)}", hint="use the file as github.com/google/dreambooth has it"
        )
    return classes, found["object"], found["live subject"]


def _templates(text: str) -> tuple[str, ...]:
    """Return the quoted texts with places for trigger and class."""
    quoted = (a or b for a, b in re.findall(r"'([^'\n]*)'|\"([^\"\n]*)\"", text))
    return tuple(t for t in quoted if "{0}" in t and "{1}" in t and not re.search(r"\{(?![01]\})|(?<!\{[01])\}", t))


# --- examples ---------------------------------------------------------------------------------------------------------


def _examples(folder: Path, token: str, kind: str | None, crumb: bool) -> Benchmark:
    subjects, styles = [], []
    for path in sorted(folder.iterdir()):
        facts = _facts(path)
        if facts is None:
            continue
        class_word = str(facts.get("class") or "thing")
        usual = str(facts.get("preset") or ("style" if facts.get("kind") == "style" else "character"))
        if usual == "style":
            styles.append(path.name)
            continue
        prompts = own_prompts(class_word, crumb=crumb)
        subjects.append(
            Subject(path.name, path, str(facts.get("trigger") or token), class_word, kind or usual, prompts)
        )
    if not subjects:
        raise UsageError(
            f"{folder} has neither {PROMPTS_FILE} nor folders with an example.json",
            hint="pass the dataset folder of github.com/google/dreambooth, or leave it out for the package's examples",
        )
    notes = (f"styles are not subjects and are left out: {listed(styles)}",) if styles else ()
    return Benchmark("the package's own, 25 for each subject", tuple(subjects), notes)


def _facts(folder: Path) -> Mapping[str, Any] | None:
    if folder.name.endswith("-holdout") or not (folder / "example.json").is_file():
        return None
    value = read_json(folder / "example.json")
    return value if isinstance(value, dict) else None
