"""`captions edit`: apply rules to every caption of a folder, as one operation that can be undone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pydantic import Field

from bakehouse.captions.caption_files import CaptionFolder, CaptionText, UnopenedImages, read_captions
from bakehouse.captions.ruleset import RuleSet
from bakehouse.core.events import Event, Noted, Warned
from bakehouse.core.message_text import counted, listed
from bakehouse.core.settings import Spec
from bakehouse.curation.changeset import Proposal, Write
from bakehouse.data.compile_captions import RAW_SUFFIX
from bakehouse.data.image_records import ImageSet
from bakehouse.data.tags import key, split_caption

_MAX_TAGS = 6
"""Most tags in the description of a change."""
_EDIT_SENTENCES = frozenset({"add", "replace", "regex", "tidy"})
"""Kinds of rules that edit sentences too."""


@dataclass(frozen=True)
class CaptionChange:
    """A caption file and its content after an edit."""

    file: CaptionText
    captions: tuple[str, ...]
    content: bytes
    why: str

    @property
    def edits(self) -> tuple[Write, ...]:
        """The files to write."""
        return (Write(self.file.target, self.content),)


class Edit(Spec):
    """Edit captions by rules and write them as UTF-8. Captions that no rule changes keep their bytes."""

    rules: RuleSet = Field(default_factory=RuleSet)
    utf8: bool = False
    """Write all captions as plain UTF-8, without a byte-order mark, with `\\n` line endings."""
    join_lines: bool = False
    """Join captions on several lines to one line, with commas: for files with one tag per line."""

    def changes(self, folder: CaptionFolder) -> list[CaptionChange]:
        """Return the caption files that change; files with undecodable bytes are left out.

        Raises:
            UsageError: the rules do not converge, or their vocabulary is missing.
        """
        files = [file for file in folder.captions if not file.lossy]
        old = [self._captions(file) for file in files]
        names = [str(file.name) for file, lines in zip(files, old, strict=True) for _ in lines]
        new = iter(self.rules.apply([line for lines in old for line in lines], names))
        pairs = [(file, tuple(next(new) for _ in lines)) for file, lines in zip(files, old, strict=True)]
        return [change for file, captions in pairs if (change := self._change(file, captions)) is not None]

    def propose(self, images: ImageSet) -> Iterator[Proposal | Event]:
        """Yield one proposal for each caption file that changes; of the images only the folder is used."""
        folder = read_captions(images.root, images.found if isinstance(images, UnopenedImages) else None)
        changes = self.changes(folder)
        yield from (Warned(message=message) for message in self._skipped(folder))
        yield from (Noted(message=message) for message in (() if changes else self._why_unchanged(folder)))
        if any(change.file.path.suffix == RAW_SUFFIX for change in changes):
            yield Noted(message="raw tags were edited: run bakehouse captions compile FOLDER to update the captions")
        for change in changes:
            yield Proposal(change.file.name, change.why, lambda change=change: change.edits)  # type: ignore[misc]

    def _skipped(self, folder: CaptionFolder) -> Iterator[str]:
        """Yield warnings about captions that are skipped or edited only in part."""
        lossy = [str(f.name) for f in folder.captions if f.lossy]
        if lossy:
            yield f"{counted(len(lossy), 'caption')} with undecodable bytes, not edited: {listed(lossy, 3)}"
        about_tags = any(rule.kind not in _EDIT_SENTENCES for rule in self.rules.rules)
        lines = (line for file in folder.captions for line in file.captions if about_tags)
        if sentences := sum(map(self.rules.is_prose, lines)):
            yield f"{counted(sentences, 'caption')} with sentences: rules about tags do not apply to them"

    def _why_unchanged(self, folder: CaptionFolder) -> Iterator[str]:
        """Yield why nothing changes, if that may be unintended."""
        captions = [
            (self.rules.parse_caption(line), str(file.name)) for file in folder.captions for line in file.captions
        ]
        if not captions:
            yield "no captions yet: run bakehouse captions tag FOLDER"
            return
        for where in dict.fromkeys(rule.where for rule in self.rules.rules):
            if not any(where.matches(caption, name) for caption, name in captions):
                yield f"no caption matches the filter ({where.description}): nothing to change"

    def _captions(self, file: CaptionText) -> tuple[str, ...]:
        captions = file.captions
        return (", ".join(c.strip(", ") for c in captions),) if self.join_lines and len(captions) > 1 else captions

    def _change(self, file: CaptionText, captions: tuple[str, ...]) -> CaptionChange | None:
        is_same = captions == file.captions
        joins = self.join_lines and file.has_tag_lines
        if is_same and not joins and (file.is_plain_utf8 or not self.utf8 or file.encoding == "json"):
            return None
        content = file.with_captions(captions)
        reasons = [] if is_same else [describe_change(file.captions, captions)]
        if joins:
            reasons.append("tag lines joined")
        if file.encoding == "json":
            reasons.append(f"written to {file.target.name}, which takes precedence over the JSON file")
        elif not file.is_plain_utf8:
            reasons.append(f"{file.encoding} to UTF-8" if file.encoding != "utf-8" else "CRLF to LF")
        return CaptionChange(file, captions, content, "; ".join(reasons))


def describe_change(before: Sequence[str], after: Sequence[str]) -> str:
    """Return what an edit did: `-hat, +zwx`, `tags reordered`."""
    if len(before) != len(after):
        return f"{counted(len(before), 'line')} to {len(after)}"
    old = [tag for line in before for tag in split_caption(line)]
    new = [tag for line in after for tag in split_caption(line)]
    removed, added = _without(old, new), _without(new, old)
    respelled = set(map(key, removed)).intersection(map(key, added))
    parts = [
        _signed("-", [t for t in removed if key(t) not in respelled]),
        _signed("+", [t for t in added if key(t) not in respelled]) if len(added) > len(respelled) else "",
        f"{len(respelled)} respelled" if respelled else "",
    ]
    if text := " ".join(filter(None, parts)):
        return text
    return "repeated tags removed" if len(new) < len(old) else "tags reordered" if old != new else "spaces changed"


def _without(tags: Sequence[str], others: Sequence[str]) -> list[str]:
    """Return the tags that are not among the others, each once, even if it is in several lines."""
    excluded = set(others)
    return [tag for tag in dict.fromkeys(tags) if tag not in excluded]


def _signed(sign: str, tags: Sequence[str]) -> str:
    if not tags:
        return ""
    more = f" {sign}{len(tags) - _MAX_TAGS} more" if len(tags) > _MAX_TAGS else ""
    return ", ".join(f"{sign}{tag}" for tag in tags[:_MAX_TAGS]) + more
