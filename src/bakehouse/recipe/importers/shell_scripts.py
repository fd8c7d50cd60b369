"""Scripts in bash, cmd and PowerShell, and cells of notebooks: their commands, with their own variables filled in.

Nothing is run. A variable is known where the script sets it to a plain value outside of branches, loops and functions;
what code makes stays as it stands, and `unknown` names it.
"""

from __future__ import annotations

import ast
import contextlib
import itertools
import re
import shlex
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

Shell = Literal["bash", "cmd", "powershell", "notebook"]
Value = str | list[str]

_BY_SUFFIX: Mapping[str, Shell] = {
    ".bat": "cmd",
    ".cmd": "cmd",
    ".ps1": "powershell",
    ".sh": "bash",
    ".ipynb": "notebook",
}
_VARIABLE: Mapping[Shell, re.Pattern[str]] = {
    "bash": re.compile(r"\$\{(?P<a>\w+)(?:\[[@*]\])?(?::-(?P<default>[^}]*))?\}|\$(?P<b>[A-Za-z_]\w*)"),
    "powershell": re.compile(
        r"\$\{(?P<a>\w+)\}(?P<default>\0)?|\$(?:env:|script:|global:)?(?P<b>[A-Za-z_]\w*)|^@(?P<c>\w+)$"
    ),
    "cmd": re.compile(r"%(?P<a>\w+)%(?P<default>\0)?|!(?P<b>[A-Za-z_]\w*)!"),
    "notebook": re.compile(r"\$?\{(?P<a>\w+)\}(?P<default>\0)?|\$(?P<b>[A-Za-z_]\w*)"),
}
_CODE: Mapping[Shell, re.Pattern[str]] = {
    "bash": re.compile(r"\$[({\w@*#?]|`"),
    "powershell": re.compile(r"\$[({\w]|^@\w|^@?\("),
    "cmd": re.compile(r"%\w+%|%~?[\w*]|!\w+!"),
    "notebook": re.compile(r"\{[A-Za-z_][^{}]*\}|\$[({\w]"),
}
"""Variables and outputs of other commands that remain after all known variables are filled in."""
_LITERALS = {"$true": "true", "$false": "false", "$null": ""}
"""PowerShell's literals."""

_ASSIGNED = re.compile(
    r"""^(?P<how>export\s+|set\s+"?|\$(?:env:|global:|script:)?)?(?P<name>[A-Za-z_]\w*)\s*(?P<plus>\+?)=(?!=)(?P<value>.*)$""",
    re.IGNORECASE | re.DOTALL,
)
_ASSIGNED_ANYWHERE = re.compile(r"(?<![\w-])(?:/[ap]\s+\"?|\$env:|\$)?([A-Za-z_]\w*)\s*\+?=(?!=)", re.IGNORECASE)
_GROWN = re.compile(r"([A-Za-z_]\w*)\.(?:Add|AddRange|append|extend|update)\(", re.IGNORECASE)
_TAKEN_FROM_ELSEWHERE = re.compile(
    r"\b(?:for|foreach|select)\s*\(?\s*[$%]*(\w+)\s+in\b|\bread\s+(?:-\w+\s+)*([A-Za-z_]\w*)", re.IGNORECASE
)
_BLOCK_BEGINS = re.compile(r"^(?:if|for|while|until|case|select)\b(?!.*\b(?:fi|done|esac)\W*$)")
_BLOCK_ENDS = re.compile(r"^(?:fi|done|esac)\b")

_DOLLAR, _QUOTED = "\ue000", "\ue001"
"""Placeholders for a literal `$`, and for one in double quotes, whose value is not split at blanks."""


@dataclass(frozen=True)
class Line:
    """A command with its continuation lines."""

    text: str
    number: int
    """Number of its first line, from 1."""


def shell_of(text: str, suffix: str) -> Shell:
    """Return the language of a script: by its suffix, else by its content. Notebook cells are recognized by content."""
    if re.search(r"^\s*!(?:accelerate|python)", text, re.MULTILINE):
        return "notebook"
    if suffix in _BY_SUFFIX:
        return _BY_SUFFIX[suffix]
    if re.search(r"^\s*(?:!|%{1,2})\s*[A-Za-z]", text, re.MULTILINE):
        return "notebook"
    if re.search(r"(?:^|\s)`\s*$|^\s*\$\w+\s*=", text, re.MULTILINE):
        return "powershell"
    return "cmd" if re.search(r"\^\s*$|\b[A-Za-z]:\\|^set ", text, re.MULTILINE) else "bash"


# --- lines ------------------------------------------------------------------------------------------------------------


def lines_of(text: str, shell: Shell) -> Iterator[Line]:
    """Yield commands joined with their continuations: after a backslash, `^` or back-tick, or in an open array.

    A line that begins with an option continues the command before it, as in printed documents.
    """
    ends = {"bash": r"\\", "notebook": r"\\", "cmd": r"\^", "powershell": "`"}[shell]
    continued = re.compile(rf"(?:\s[\\^`]|{ends})$")
    parts: list[str] = []
    start, goes_on, brackets = 0, False, 0
    for number, raw in enumerate(text.splitlines(), 1):
        line = _without_comment(raw, shell).rstrip()
        if not line.strip():
            goes_on = False
            continue
        if parts and not (goes_on or brackets or re.match(r"\s*--[A-Za-z]", line)):
            yield Line(" ".join(parts), start)
            parts = []
        start = start if parts else number
        goes_on = bool(continued.search(line))
        parts.append(line[:-1].rstrip() if goes_on else line)
        bare = without_strings(" ".join(parts), shell)
        array = re.match(r"\s*\$?\w+\s*\+?=\s*@?\(", bare)
        brackets = max(0, bare.count("(") - bare.count(")")) if array else 0
    if parts:
        yield Line(" ".join(parts), start)


def _without_comment(line: str, shell: Shell) -> str:
    """Remove `# ...` at the beginning or after a blank, outside of quotes; cmd has no such comments."""
    if shell == "cmd" or "#" not in line:
        return line
    return re.sub(rf"({_strings(shell)})|(?:^|(?<=\s))#.*$", lambda m: m[1] or "", line)


def without_strings(text: str, shell: Shell) -> str:
    """Replace quoted strings and `${name}` by `_`."""
    return re.sub(rf"{_strings(shell)}|\$\{{[^}}]*\}}", "_", text)


def _strings(shell: Shell) -> str:
    escaped = r'"(?:\\.|[^"\\])*"' if shell in ("bash", "notebook") else r'"[^"]*"'
    return escaped if shell == "cmd" else rf"{escaped}|'[^']*'"


# --- words ------------------------------------------------------------------------------------------------------------


@dataclass
class Script:
    """The variables that are known at one line of a script."""

    shell: Shell
    known: dict[str, Value] = field(default_factory=lambda: {"home": str(Path.home())})
    coded: set[str] = field(default_factory=set)
    """Variables set by code: in a branch, a loop, or from another command."""
    _depth: int = 0

    def words(self, text: str) -> list[str]:
        """Split a command into words as the shell does, with known variables filled in.

        Raises:
            ValueError: unclosed quote.
        """
        return [x for word in self._parted(text) for x in self._filled(word)]

    def unknown(self, text: str, ends: Collection[str] = ()) -> list[str]:
        """Return the words of a command, up to one of `ends`, that contain unknown variables or code."""
        words = itertools.takewhile(lambda word: word not in ends, self._parted(text))
        left = [w for word in words for w in self._filled(word, empty=True)]
        return [_plain_dollars(w) for w in left if _CODE[self.shell].search(w.replace(_QUOTED, "$"))]

    def _parted(self, text: str) -> list[str]:
        if self.shell in ("cmd", "notebook"):  # filled in as text, before anything is parted
            text = _VARIABLE[self.shell].sub(self._value, text)
        else:
            text = re.sub(rf"{_strings(self.shell)}|[\\`]\$|;(?=\s|$)", _marked, text)
        lexer = shlex.shlex(text, posix=True, punctuation_chars=False)
        lexer.whitespace_split = True
        lexer.commenters = ""
        if self.shell in ("cmd", "powershell"):  # there a backslash is a letter
            lexer.escape = ""
        return list(lexer)

    def _filled(self, word: str, *, empty: bool = False) -> list[str]:
        """Fill in a word's variables; arrays, and texts that bash splits, give several words."""
        variable = _VARIABLE[self.shell]
        shown = word.replace(_QUOTED, "$")
        match = variable.fullmatch(shown)
        if match and isinstance(value := self.known.get(_name(match)), list):
            return [] if empty else [x for entry in value for x in (entry.split() if self._parts(word) else [entry])]
        if shown.lower() in _LITERALS and self.shell == "powershell":
            return [_LITERALS[shown.lower()]]
        if empty:
            return [variable.sub(lambda m: "" if self._knows(m) else m[0], shown)]
        text = _plain_dollars(variable.sub(self._value, shown))
        return text.split() if self._parts(word) else [text]

    def _parts(self, word: str) -> bool:
        """Whether the shell splits a variable's value at blanks: bash does, outside of quotes."""
        return self.shell == "bash" and "$" in word

    def _knows(self, match: re.Match[str]) -> bool:
        return isinstance(self._lookup(match), str)

    def _value(self, match: re.Match[str]) -> str:
        value = self._lookup(match)
        return value if isinstance(value, str) else match[0]

    def _lookup(self, match: re.Match[str]) -> Value | None:
        name = _name(match)
        return self.known.get(name, None if name in self.coded else match["default"])

    # --- what a script sets ---

    def sets_only(self, line: Line) -> bool:
        """Whether a line is only an assignment; in bash a command can follow on the same line."""
        return (
            self.shell != "bash" and not line.text.lstrip().startswith("!") and bool(_ASSIGNED.match(line.text.strip()))
        )

    def read(self, line: Line) -> None:
        """Update the variables and the block depth with a line that calls no trainer."""
        bare = without_strings(line.text, self.shell)
        indented = self.shell == "notebook" and line.text[:1].isspace()
        match = _ASSIGNED.match(line.text.strip())
        value = None
        if match and not self._depth and not indented:
            with contextlib.suppress(ValueError):  # a quote that is never closed
                value = self._plain(match)
        for pattern in (_ASSIGNED_ANYWHERE, _GROWN, _TAKEN_FROM_ELSEWHERE):
            for name in (next(g for g in m.groups() if g).lower() for m in pattern.finditer(bare)):
                self.known.pop(name, None)
                self.coded.add(name)
        if match and value is not None:
            self.known[match["name"].lower()] = value
            self.coded.discard(match["name"].lower())
        self._depth = max(0, self._depth + _opened(bare.strip(), self.shell))

    def _plain(self, match: re.Match[str]) -> Value | None:
        """Return the value of an assignment if it is literal; None if code makes it."""
        text, how = match["value"].strip(), (match["how"] or "").lower()
        if self.shell == "notebook":
            return None if match["plus"] else _python(text)
        if self.shell == "cmd" or how.startswith("set"):
            text = text.rstrip('"').strip() if how.endswith('"') else text
            return None if self.unknown(text) else _VARIABLE[self.shell].sub(self._value, text).strip('"')
        array = re.fullmatch(r"@?\((.*)\)", text.rstrip(";"), re.DOTALL)
        if array and text.startswith("@") == (self.shell == "powershell"):
            inside = _without_commas(array[1], self.shell)
            before = self.known.get(match["name"].lower()) if match["plus"] else []
            return None if self.unknown(inside) or not isinstance(before, list) else [*before, *self.words(inside)]
        parts = self._parted(text.rstrip(";"))
        if match["plus"] or len(parts) > 1 or self.unknown(text) or re.match(r"[\[(@]", text):
            return None
        return " ".join(self._filled(parts[0].replace("$", _QUOTED))) if parts else ""


def _opened(bare: str, shell: Shell) -> int:
    """Return the number of blocks that a line opens, minus those that it closes."""
    if shell == "cmd":
        return int(bare.endswith("(")) - int(bare.startswith(")"))
    change = bare.count("{") - bare.count("}")
    if shell == "bash":
        change += bool(_BLOCK_BEGINS.match(bare)) - bool(_BLOCK_ENDS.match(bare))
    return change


def _python(text: str) -> str | None:
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return None
    return str(value) if isinstance(value, (str, int, float)) else None


def _without_commas(text: str, shell: Shell) -> str:
    """Return an array's entries separated by blanks; PowerShell separates them by commas."""
    if shell != "powershell":
        return text
    return re.sub(rf"({_strings(shell)})|,", lambda m: m[1] or " ", text)


def _marked(match: re.Match[str]) -> str:
    """Replace dollars in strings and escaped ones by placeholders, to distinguish them after splitting."""
    text = match[0]
    if text == ";":
        return " ; "
    if text[0] == '"':
        return text.replace("\\$", _DOLLAR).replace("`$", _DOLLAR).replace("$", _QUOTED)
    return text.replace("$", _DOLLAR) if text[0] == "'" else _DOLLAR


def _plain_dollars(text: str) -> str:
    return text.replace(_DOLLAR, "$").replace(_QUOTED, "$")


def _name(match: re.Match[str]) -> str:
    return next((match[g].lower() for g in ("a", "b", "c") if g in match.re.groupindex and match[g]), "")
