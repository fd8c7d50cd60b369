"""The dataset commands that requests may run, with the options that they may give. What is not listed is refused.

No option here takes a path: names of models are looked for where models are installed, never in a folder.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from bakehouse.core.errors import did_you_mean
from bakehouse.serve.errors import ServeError, bad_request

Takes = Literal["flag", "number", "text", "name"]

_NAME = re.compile(r"[A-Za-z0-9][\w.+-]*(/[A-Za-z0-9][\w.+-]*)?", re.ASCII)
_FINDING = re.compile(r"[A-Z][0-9]{2}")
_LONGEST = 1000
_MOST_ARGUMENTS = 200


@dataclass(frozen=True)
class Operation:
    """A command that changes a dataset."""

    help: str
    options: Mapping[str, Takes | tuple[str, ...]]
    """What each option takes; a tuple: one of these words."""
    takes_findings: bool = False
    """Ids of findings follow the folder."""

    def to_json(self, name: str) -> dict[str, Any]:
        """Return the operation as lists show it."""
        return {
            "name": name,
            "help": self.help,
            "takes_findings": self.takes_findings,
            "options": [
                {"name": option, "takes": takes, "values": None}
                if isinstance(takes, str)
                else {"name": option, "takes": "word", "values": list(takes)}
                for option, takes in self.options.items()
            ],
        }


_FACES = ("auto", "anime", "photo")
KINDS = ("character", "outfits", "pack", "style", "concept", "pose", "object", "dreambooth")
AUDIT_OPTIONS: Mapping[str, Takes | tuple[str, ...]] = {
    "--subject": "text", "--kind": KINDS, "--base": "name", "--resolution": "number", "--batch": "number",
    "--vocabulary": "name", "--faces": "flag", "--no-faces": "flag", "--text": "flag", "--no-text": "flag",
}  # fmt: skip
OPERATIONS: Mapping[str, Operation] = {
    "dataset tidy": Operation(
        "Remove unusable files and rename images that share a name.", {"--metadata": "flag"}
    ),
    "dataset drop": Operation(
        "Remove the images of an audit finding, with captions and masks.", AUDIT_OPTIONS, takes_findings=True
    ),
    "dataset dedupe": Operation(
        "Remove duplicates. The best copy stays, and so do variants.",
        {"--bits": "number", "--local": "number", "--ratio": "number", "--usual": "number",
         "--crops": ("list", "drop", "ignore"), "--text": ("auto", "off"), "--captions": "flag",
         "--no-captions": "flag"},
    ),
    "dataset convert": Operation(
        "Convert images to PNG: upright, 8-bit, sRGB, with correct names.",
        {"--names-only": "flag", "--frames": ("first", "distinct", "all")},
    ),
    "dataset flatten": Operation(
        "Replace transparency with a colour, or make it a training mask.", {"--color": "text", "--to-mask": "flag"}
    ),
    "dataset trim": Operation(
        "Cut off uniform borders: letterboxes, frames, empty space.",
        {"--fuzz": "number", "--most": "number", "--shortest": "number", "--least": "number", "--margin": "number"},
    ),
    "dataset clean": Operation(
        "Remove text, watermarks, signatures and other people's faces.",
        {"--kind": ("url", "watermark", "signature", "bubble", "text"), "--mask-out": "flag", "--inpainter": "name",
         "--text": "flag", "--no-text": "flag", "--tag-bubbles": "flag", "--no-tag-bubbles": "flag",
         "--faceless": "flag", "--faces": _FACES},
    ),
    "dataset crop": Operation(
        "Add closer crops around the face, with adapted captions.",
        {"--framing": ("cowboy_shot", "upper_body", "portrait"), "--faces": _FACES, "--resolution": "number",
         "--upscale": "number", "--outfit": "text", "--box": "text", "--only": "text"},
    ),
    "dataset upscale": Operation(
        "Enlarge images that are smaller than their bucket.",
        {"--model": "name", "--before": "name", "--resolution": "number", "--least": "number", "--tile": "number"},
    ),
    "dataset mask": Operation(
        "Make training masks of the subject. Unreliable masks are not written.",
        {"--model": "name", "--second": "name", "--size": "number", "--normalize": "name", "--color": "text",
         "--tolerance": "number", "--replace": "flag"},
    ),
    "dataset square": Operation(
        "Pad images to squares. Masks are padded with black.",
        {"--fill": "text", "--place": "text", "--tolerance": "number"},
    ),
    "dataset sort": Operation(
        "Move images into one folder for each concept. Captions and masks follow.",
        {"--by": ("tag", "cluster", "example"), "--tag": "text", "--clusters": "number", "--embedder": "name",
         "--sure": "number"},
    ),
    "captions tag": Operation(
        "Write captions with taggers. Hand-written captions are kept.",
        {"--base": "name", "--tagger": "name", "--existing": ("keep", "append", "replace"), "--threshold": "text",
         "--also": "text", "--exclude": "text", "--front": "text", "--merge": ("any", "all"), "--underscores": "flag",
         "--most": "number", "--prompt": "text", "--batch": "number"},
    ),
    "captions edit": Operation(
        "Edit captions by rules. Rules are applied in the order of these options.",
        {"--rules": "name", "--tidy": "flag", "--underscores": ("spaces", "underscores"),
         "--parentheses": ("plain", "escaped"), "--lower": "flag", "--replace": "text", "--regex": "text",
         "--remove": "text", "--junk": "flag", "--synonyms": "flag", "--split": "flag", "--generics": "flag",
         "--redundant": "flag", "--consolidate": "flag", "--add": "text", "--append": "text", "--dedupe": "flag",
         "--sort": ("frequency", "alphabet"), "--trigger": "text", "--has": "text", "--lacks": "text",
         "--path": "text", "--vocabulary": "name", "--utf8": "flag", "--join-lines": "flag"},
    ),
    "captions compile": Operation(
        "Write captions with triggers. The original tags are kept in NAME.tags.",
        {"--mark": "text", "--overwrite": "flag"},
    ),
}  # fmt: skip


def operation_arguments(name: str, arguments: Sequence[str], folder: Path, *, preview: bool) -> tuple[str, ...]:
    """Return the command line, without `bakehouse`, of an operation on a dataset.

    Raises:
        ServeError: an unknown operation or option, or a value that it may not have (400).
    """
    operation = OPERATIONS.get(name)
    if operation is None:
        guess = did_you_mean(name, OPERATIONS)
        raise bad_request(f"operation {name[:80]!r} is unknown{guess}", hint=f"allowed are {', '.join(OPERATIONS)}")
    checked = list(_checked(name, operation, arguments))
    findings = [word for word in checked if not word.startswith("--")]
    options = [word for word in checked if word.startswith("--")]
    if operation.takes_findings and not findings:
        raise bad_request(f"{name} needs the ids of findings", hint='"arguments": ["B05"]')
    return (*name.split(), str(folder), *findings, *options, *(["--dry-run"] if preview else []), "--json")


def audit_arguments(options: Mapping[str, object], folder: Path) -> tuple[str, ...]:
    """Return the command line of an audit; `options` are names without dashes, None where they are left out."""
    words: list[str] = []
    for name, value in options.items():
        if value is None:
            continue
        if isinstance(value, bool):
            words.append(f"--{name}" if value else f"--no-{name}")
        else:
            words += [f"--{name}", str(value)]
    audit = Operation("", AUDIT_OPTIONS)
    return ("dataset", "audit", str(folder), *_checked("dataset audit", audit, words), "--json")


def operation_of(command: str, folder: Path) -> dict[str, Any] | None:
    """Return what a finding's command is as an operation on a dataset; None if requests may not run it."""
    try:
        words = shlex.split(command)
    except ValueError:
        return None
    name, rest = " ".join(words[1:3]), words[3:]
    places = [word for word in rest if word in (str(folder), str(folder.resolve()))]
    if words[:1] != ["bakehouse"] or name not in OPERATIONS or len(places) != 1:
        return None
    rest.remove(places[0])
    try:
        operation_arguments(name, rest, folder, preview=True)
    except ServeError:
        return None
    return {"operation": name, "arguments": rest}


def _checked(name: str, operation: Operation, arguments: Sequence[str]) -> Iterator[str]:
    """Yield `--option=value` words and ids of findings."""
    if len(arguments) > _MOST_ARGUMENTS:
        raise bad_request(f"{name}: {len(arguments)} arguments; allowed are {_MOST_ARGUMENTS}")
    words = iter(arguments)
    for word in words:
        if operation.takes_findings and _FINDING.fullmatch(word):
            yield word
            continue
        option, equals, value = word.partition("=")
        takes = operation.options.get(option)
        if takes is None:
            guess = did_you_mean(option, operation.options)
            allowed = ", ".join(operation.options)
            raise bad_request(f"{name}: {option[:80]!r} is not an option here{guess}", hint=f"allowed are {allowed}")
        if takes == "flag":
            if equals:
                raise bad_request(f"{name}: {option} takes no value")
            yield option
            continue
        yield f"{option}={_value(name, option, takes, value if equals else next(words, None))}"


def _value(name: str, option: str, takes: Takes | tuple[str, ...], value: str | None) -> str:
    if value is None:
        raise bad_request(f"{name}: {option} needs a value")
    if isinstance(takes, tuple):
        if value not in takes:
            raise bad_request(f"{name}: {option} = {value[:80]!r}", hint=f"allowed are {', '.join(takes)}")
    elif takes == "number":
        if not re.fullmatch(r"-?[0-9]{1,12}(\.[0-9]{1,12})?", value):
            raise bad_request(f"{name}: {option} = {value[:80]!r} is not a number")
    elif takes == "name" and not _NAME.fullmatch(value):
        raise bad_request(f"{name}: {option} = {value[:80]!r} is not the name of a model", hint="bakehouse models list")
    elif len(value) > _LONGEST or "\0" in value:
        raise bad_request(f"{name}: {option} is longer than {_LONGEST} characters, or holds a NUL character")
    return value
