"""The command line of a trainer, found in a script or a notebook cell: bash, cmd and PowerShell."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

_SCRIPT = re.compile(r"(?:.*[/\\])?(\w*(?:train|tune|textual_inversion)\w*)\.py", re.IGNORECASE)
_ASSIGNED = re.compile(
    r"""^\s*(?:export\s+|set\s+(?:/a\s+)?"?|\$env:|\$)?(?P<name>[A-Za-z_]\w*)\s*=(?!=)\s*(?P<value>.*?)\s*$""",
    re.IGNORECASE,
)
_COMMENT = re.compile(r"^\s*(?:#|::|rem\b|@echo\b)", re.IGNORECASE)
_VARIABLE = re.compile(r"\$\{(\w+)\}|\$env:(\w+)|\$(\w+)|%(\w+)%|\{(\w+)\}")

_ENDS = ("&&", "||", "|", ";", "&", ">", ">>", "2>&1")
"""Words behind which another command begins."""


@dataclass(frozen=True)
class Command:
    """One call of a training script."""

    script: str
    """Its file name: `train_network.py`."""
    options: Mapping[str, Any]
    """By name without dashes: True, a text, or a list of texts."""
    launcher: Mapping[str, Any]
    """What stands before the script: options of `accelerate launch`."""
    stray: tuple[str, ...] = ()
    """Words that belong to no option."""


def find_command(text: str, *, windows: bool = False) -> Command | None:
    """The first call of a training script in `text`, with the script's own variables filled in; None without one."""
    windows = windows or bool(re.search(r"[\^`]\s*$", text, re.MULTILINE) or re.search(r"\b[A-Za-z]:\\", text))
    known: dict[str, str] = {}
    for line in _joined_lines(text):
        if _COMMENT.match(line):
            continue
        words = [_filled(w, known) for w in _words(line, windows)]
        at = next((i for i, w in enumerate(words) if _SCRIPT.fullmatch(w)), None)
        if at is not None and (at > 0 or len(words) > 1):
            return _command(words, at)
        if match := _ASSIGNED.match(line):
            value = _words(_without_comment(match["value"]), windows)
            known[match["name"].lower()] = _filled(" ".join(value).rstrip('"'), known)
    return None


def _joined_lines(text: str) -> Iterator[str]:
    """Lines with their continuations: a backslash in bash, `^` in cmd, a back-tick in PowerShell."""
    text = re.sub(r"[ \t]*(?:\\|\^|`)[ \t]*\r?\n[ \t]*", " ", text)
    for line in text.splitlines():
        yield line.strip().lstrip("!").strip()


def _without_comment(text: str) -> str:
    return re.sub(r"\s+#.*$", "", text)


def _words(line: str, windows: bool) -> list[str]:
    """Words as the shell would part them; on Windows a backslash is a letter."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars=False)
    lexer.whitespace_split = True
    lexer.commenters = ""
    if windows:
        lexer.escape = ""
    try:
        return list(lexer)
    except ValueError:  # a quote that is never closed: text, not a command
        return line.split()


def _filled(word: str, known: Mapping[str, str]) -> str:
    """Variables that the script itself has set; others stay as they stand."""

    def value(match: re.Match[str]) -> str:
        name = next(g for g in match.groups() if g)
        return known.get(name.lower(), match[0])

    return _VARIABLE.sub(value, word)


def _command(words: Sequence[str], at: int) -> Command:
    launcher, _ = parse_options(words[:at])
    behind = list(words[at + 1 :])
    end = next((i for i, w in enumerate(behind) if w in _ENDS), len(behind))
    options, stray = parse_options(behind[:end])
    return Command(PurePosixPath(words[at].replace("\\", "/")).name, options, launcher, tuple(stray))


def parse_options(words: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
    """`--key value`, `--key=value`, `--key a b` and `--flag`; and the words before the first of them."""
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
