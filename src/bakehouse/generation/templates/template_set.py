"""Sets of templates: the shipped library and the user's own files, TOML or plain text."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import Field, field_validator

from bakehouse.core.errors import UsageError, did_you_mean
from bakehouse.core.model_catalogue.conventions import PromptForm
from bakehouse.core.settings import Spec, read_toml
from bakehouse.generation.templates.syntax import Nodes, Slot, TemplateSyntaxError, parse, walk
from bakehouse.generation.templates.wildcards import read_lines

LIBRARY = Path(__file__).parent / "library"
"""The sets that are shipped, one file each."""
_ENDINGS = (".toml", ".txt")


@dataclass(frozen=True)
class Template:
    """One prompt with its slots and choices."""

    name: str
    """Set and number: `portraits:3`."""
    sentence: str
    tags: str = ""
    """The same for bases that are prompted with tags; empty: the sentence serves both."""
    negative: str = ""
    where: str = ""
    """`mine.toml, line 12`, for messages."""

    def text(self, form: PromptForm) -> str:
        """Return the template in the form that a base is prompted in."""
        return self.tags if form == "tags" and self.tags else self.sentence

    def nodes(self, form: PromptForm) -> Nodes:
        """Return the template parsed.

        Raises:
            UsageError: it cannot be read; names file and line.
        """
        return _parsed(self.text(form), self.where)

    @property
    def slots(self) -> list[str]:
        """The names of the slots that it has itself, in either form."""
        nodes = [*walk(self.nodes("sentences")), *walk(self.nodes("tags"))]
        return list(dict.fromkeys(node.name for node in nodes if isinstance(node, Slot)))


@dataclass(frozen=True)
class TemplateSet:
    """Templates for one use."""

    name: str
    about: str
    """What they are for, in a few words."""
    templates: tuple[Template, ...]
    slots: dict[str, str] = field(default_factory=dict)
    """What fills slots if nothing else does."""

    def to_json(self) -> dict[str, Any]:
        """Return the set as `bakehouse templates --json` prints it."""
        shown = [
            {"name": t.name, "sentence": t.sentence, "tags": t.tags, "negative": t.negative, "slots": t.slots}
            for t in self.templates
        ]
        return {"name": self.name, "about": self.about, "prompts": shown}


class _Prompt(Spec):
    """A prompt in a TOML file; a plain string is its `text`."""

    text: str = Field(min_length=1)
    tags: str = ""
    negative: str = ""


class _File(Spec):
    """A TOML file of templates."""

    about: str = ""
    slots: dict[str, str] = Field(default_factory=dict)
    prompts: tuple[_Prompt, ...] = Field(min_length=1)

    @field_validator("prompts", mode="before")
    @classmethod
    def _strings_are_texts(cls, value: Any) -> Any:
        return [{"text": v} if isinstance(v, str) else v for v in value] if isinstance(value, list) else value


def library() -> list[TemplateSet]:
    """Return the shipped sets, by name."""
    return [_shipped(path.stem) for path in sorted(LIBRARY.glob("*.toml"))]


def find_templates(ref: str) -> TemplateSet:
    """Return a set by the name of the library or by its file; `NAME:3` is the third template alone.

    Raises:
        UsageError: no such set, file or number; or a template that cannot be read, with file and line.
    """
    name, colon, number = ref.rpartition(":")
    if colon and number.isdecimal() and not Path(ref).exists():
        whole = find_templates(name)
        if not 1 <= int(number) <= len(whole.templates):
            raise UsageError(f"{ref}: {name} has templates 1 to {len(whole.templates)}")
        return TemplateSet(whole.name, whole.about, (whole.templates[int(number) - 1],), whole.slots)
    path = Path(ref).expanduser()
    if path.is_file():
        return read_templates(path)
    known = [p.stem for p in sorted(LIBRARY.glob("*.toml"))]
    if ref in known:
        return _shipped(ref)
    raise UsageError(
        f"{ref!r} is neither a file nor a set of templates{did_you_mean(ref, known)}",
        hint=f"sets: {', '.join(known)}; a file is .toml, or .txt with one prompt per line",
    )


def read_templates(path: Path, *, shown: str = "") -> TemplateSet:
    """Read a file of templates: TOML, or plain text with one prompt per line and `#` comments.

    Args:
        path: the file, whose name without its ending is the set's.
        shown: what messages call it. Default: the path.

    Raises:
        UsageError: it cannot be read, holds no template, or a template that cannot be parsed (names file and line).
        Problems: wrong keys in a TOML file, all at once.
    """
    if path.suffix.lower() not in _ENDINGS:
        raise UsageError(f"{path} is not a file of templates: its name must end in {' or '.join(_ENDINGS)}")
    lines, shown = read_lines(path), shown or str(path)
    if path.suffix.lower() == ".toml":
        file = _File.parse(read_toml(path), source=str(path))
        templates = tuple(_of_toml(file.prompts, lines, path.stem, shown))
        found = TemplateSet(path.stem, file.about, templates, file.slots)
        for name, value in file.slots.items():
            _parsed(value, f"{shown}, slots.{name}")
    else:
        numbered = [(i, text.strip()) for i, text in enumerate(lines, start=1)]
        texts = [(i, text) for i, text in numbered if text and not text.startswith("#")]
        found = TemplateSet(
            path.stem,
            next((text.lstrip("# ") for _, text in numbered if text.startswith("#")), ""),
            tuple(
                Template(f"{path.stem}:{number}", text, where=f"{shown}, line {i}")
                for number, (i, text) in enumerate(texts, start=1)
            ),
        )
    if not found.templates:
        raise UsageError(f"{path} has no template", hint="write one prompt on each line")
    for template in found.templates:
        template.nodes("sentences"), template.nodes("tags"), _parsed(template.negative, template.where)
    return found


def _of_toml(prompts: Sequence[_Prompt], lines: Sequence[str], name: str, shown: str) -> Iterator[Template]:
    line = 0
    for number, prompt in enumerate(prompts, start=1):
        found = _line_of(prompt.text, lines, line)
        where = f"{shown}, line {found}" if found else f"{shown}, prompt {number}"
        line = found or line
        yield Template(f"{name}:{number}", prompt.text, prompt.tags, prompt.negative, where)


def _line_of(text: str, lines: Sequence[str], after: int) -> int | None:
    """Return the number of the line after `after` that has a text's first line; None if it is written with escapes."""
    first = next(iter(text.strip().splitlines()), "")
    return next((i for i, line in enumerate(lines, start=1) if i > after and first in line), None)


def _parsed(text: str, where: str) -> Nodes:
    try:
        return parse(text)
    except TemplateSyntaxError as e:
        raise UsageError(f"{where}: {e.message}", hint=e.hint) from e


@functools.cache
def _shipped(name: str) -> TemplateSet:
    return read_templates(LIBRARY / f"{name}.toml", shown=f"{name}.toml of the library")
