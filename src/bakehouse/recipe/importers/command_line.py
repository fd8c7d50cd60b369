"""Finds the command line of a trainer in a script or a notebook; one that is made by code is refused."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from bakehouse.core.errors import UsageError
from bakehouse.recipe.importers.shell_scripts import Line, Script, lines_of, shell_of

_SCRIPT = re.compile(r"(?:.*[/\\])?(\w*(?:train|tune|textual_inversion)\w*)\.py", re.IGNORECASE)
_LAUNCHED = re.compile(r"\baccelerate(?:\.exe)?[\"']?\s+launch\b|\baccelerate\.commands\.launch\b", re.IGNORECASE)
_NO_CALL = re.compile(
    r"^\s*(?:#|::|(?:rem|@?echo|print|write-(?:host|output)|git|wget|curl|cp|mv|sed|cat|pip)\b)", re.IGNORECASE
)
"""Lines that contain a script's name but do not run it."""
_ENDS = ("&&", "||", "|", ";", "&", ">", ">>", "2>&1", "*>", "}")
"""Words after which another command begins."""
_WRITE_OUT = (
    "write the values into the command itself and import that, "
    "or import the settings file (.toml) that the script makes for the trainer"
)


@dataclass(frozen=True)
class Command:
    """One call of a training script."""

    script: str
    """Its file name: `train_network.py`."""
    options: Mapping[str, Any]
    """By name without dashes: True, a text, or a list of texts."""
    launcher: Mapping[str, Any]
    """Options before the script, of `accelerate launch`."""
    stray: tuple[str, ...] = ()
    """Words that belong to no option."""


def find_command(text: str, *, where: str = "the script", suffix: str = "") -> Command | None:
    """Return the call of a training script in `text`, with the script's own variables filled in; None without one.

    Args:
        where: the file, for messages.
        suffix: of the file's name, such as `.ps1`: says whose language it is.

    Raises:
        UsageError: a part of the call is made by code, unclosed quote, or several trainings are called.
    """
    shell = shell_of(text, suffix)
    script = Script(shell)
    calls: list[tuple[int, Command]] = []
    coded: UsageError | None = None
    for line in lines_of(text, shell):
        call = Line(re.sub(r"^\s*[!&]?\s*", "", line.text), line.number)
        words = [] if script.sets_only(line) else _words(call, script, where)
        at = next((i for i, w in enumerate(words) if _SCRIPT.fullmatch(w)), None)
        if at is not None and len(words) > 1:
            if left := script.unknown(_behind_script(call.text), _ENDS):
                raise _made_by_code(where, call, left, script)
            calls.append((line.number, _command(words, at)))
            continue
        if words and _LAUNCHED.search(call.text) and (left := script.unknown(call.text)):
            coded = coded or _made_by_code(where, call, left, script)
        script.read(line)
    if coded and not calls:
        raise coded
    return _single_call(calls, where)


def _words(line: Line, script: Script, where: str) -> list[str]:
    """Return the words of a line that may call a trainer; else none."""
    if _NO_CALL.match(line.text) or not re.search(r"\.py\b|\s--\w|\blaunch\b", line.text):
        return []
    try:
        return script.words(line.text)
    except ValueError as e:
        if _SCRIPT.search(line.text) is None or " --" not in line.text:
            return []
        hint = "close the quote, or write the whole command in one line"
        raise UsageError(f"{where}, line {line.number}: unclosed quote", hint=hint) from e


def _behind_script(text: str) -> str:
    """Return the arguments of the script; the launcher's do not affect the training."""
    match = re.search(r"(?:train|tune|textual_inversion)\w*\.py[\"']?(?=\s|$)", text, re.IGNORECASE)
    return text[match.end() :] if match else text


def _made_by_code(where: str, line: Line, left: Sequence[str], script: Script) -> UsageError:
    names = [m[1].lower() for word in left if (m := re.search(r"[$%{@!]+(?:env:)?(\w+)", word))]
    how = "made by code" if any(n in script.coded for n in names) else "not set in the script"
    shown = ", ".join(dict.fromkeys(left[:5])) + (", and more" if len(left) > 5 else "")
    return UsageError(
        f"{where}, line {line.number}: not all of the training's command line is written out: {shown} is {how}",
        hint=_WRITE_OUT,
    )


def _single_call(calls: Sequence[tuple[int, Command]], where: str) -> Command | None:
    """Return the call if there is only one, or if all are the same."""
    if any(call != calls[0][1] for _, call in calls):
        shown = ", ".join(f"{call.script} in line {number}" for number, call in calls)
        hint = "keep one of them, or put each into its own file"
        raise UsageError(f"{where} calls {len(calls)} trainings: {shown}", hint=hint)
    return calls[0][1] if calls else None


def _command(words: Sequence[str], at: int) -> Command:
    launcher, _ = parse_options(words[:at])
    behind = list(words[at + 1 :])
    end = next((i for i, w in enumerate(behind) if w in _ENDS), len(behind))
    options, stray = parse_options(behind[:end])
    return Command(PurePosixPath(words[at].replace("\\", "/")).name, options, launcher, tuple(stray))


def parse_options(words: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
    """Parse `--key value`, `--key=value`, `--key a b` and `--flag`; also return the words before the first option."""
    options: dict[str, Any] = {}
    stray: list[str] = []
    name = ""
    for word in words:
        if word.startswith("--") and len(word) > 2:
            name, equals, value = word[2:].partition("=")
            name = name.replace("-", "_")
            options[name] = value if equals else True
        elif not name:
            stray.append(word)
        elif options[name] is True:
            options[name] = word
        else:
            before = options[name]
            options[name] = [*before, word] if isinstance(before, list) else [before, word]
    return options, stray
