"""The verb that edits captions: rules over every caption of a folder, as one step that can be taken back."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pydantic import Field

from bakehouse.captions.caption_files import CaptionFolder, CaptionText, Glanced, read_folder
from bakehouse.captions.ruleset import RuleSet
from bakehouse.core.events import Event, Noted, Warned
from bakehouse.core.pluralize import counted
from bakehouse.core.settings import Spec
from bakehouse.curation.changeset import Proposal, Write
from bakehouse.data.image_records import ImageSet
from bakehouse.data.tags import key, split_caption
from bakehouse.data.triggers import RAW_SUFFIX

_NAMED = 6
"""Tags that a reason names."""
_FOR_SENTENCES = frozenset({"add", "replace", "regex", "tidy"})
"""Rules that change sentences too."""


@dataclass(frozen=True)
class Edited:
    """A caption file before and after."""

    file: CaptionText
    captions: tuple[str, ...]
    content: bytes
    why: str

    @property
    def edits(self) -> tuple[Write, ...]:
        """What is written."""
        return (Write(self.file.target, self.content),)


class Edit(Spec):
    """Captions by rules, written back as UTF-8. What the rules do not change stays as it is, byte for byte."""

    rules: RuleSet = Field(default_factory=RuleSet)
    utf8: bool = False
    """Also captions that the rules do not change become plain UTF-8: no byte-order mark, `\\n` at the ends of lines."""
    join_lines: bool = False
    """Captions on several lines become one line, with commas between them: for files with one tag a line."""

    def edited(self, folder: CaptionFolder) -> list[Edited]:
        """Every caption file that changes. Files of which bytes could not be read are left out (see `left`).

        Raises:
            UsageError: the rules never come to rest, or their vocabulary is not there.
        """
        files = [file for file in folder.captions if not file.lossy]
        old = [self._captions(file) for file in files]
        names = [str(file.name) for file, lines in zip(files, old, strict=True) for _ in lines]
        new = iter(self.rules.apply([line for lines in old for line in lines], names))
        pairs = [(file, tuple(next(new) for _ in lines)) for file, lines in zip(files, old, strict=True)]
        return [found for file, captions in pairs if (found := self._edit(file, captions)) is not None]

    def propose(self, images: ImageSet) -> Iterator[Proposal | Event]:
        """One proposal for each caption file that changes; of the images nothing but their folder is asked."""
        folder = read_folder(images.root, images.found if isinstance(images, Glanced) else None)
        edited = self.edited(folder)
        yield from (Warned(message=note) for note in self._left(folder))
        yield from (Noted(message=note) for note in (() if edited else self._idle(folder)))
        if any(one.file.path.suffix == RAW_SUFFIX for one in edited):
            yield Noted(message="raw tags are edited: bakehouse captions compile FOLDER makes captions of them again")
        for one in edited:
            yield Proposal(one.file.name, one.why, lambda one=one: one.edits)  # type: ignore[misc]

    def _left(self, folder: CaptionFolder) -> Iterator[str]:
        """What a person should know of captions that are left alone, or of which only a part is edited."""
        lossy = [str(f.name) for f in folder.captions if f.lossy]
        if lossy:
            unread = f"{counted(len(lossy), 'caption')} with bytes that cannot be read"
            yield f"{unread}: nothing is changed in {', '.join(lossy[:3])}{' and others' if len(lossy) > 3 else ''}"
        about_tags = any(rule.kind not in _FOR_SENTENCES for rule in self.rules.rules)
        lines = (line for file in folder.captions for line in file.captions if about_tags)
        if sentences := sum(map(self.rules.sees_prose, lines)):
            yield f"{counted(sentences, 'caption')} with sentences: rules about tags change nothing there"

    def _idle(self, folder: CaptionFolder) -> Iterator[str]:
        """Why nothing changes, where that may not be meant."""
        captions = [(self.rules.read(line), str(file.name)) for file in folder.captions for line in file.captions]
        if not captions:
            yield "there is no caption yet: bakehouse captions tag FOLDER writes them"
            return
        for where in dict.fromkeys(rule.where for rule in self.rules.rules):
            if not any(where.holds(caption, name) for caption, name in captions):
                yield f"no caption is one of those that are asked for: {where.told}"

    def _captions(self, file: CaptionText) -> tuple[str, ...]:
        captions = file.captions
        return (", ".join(c.strip(", ") for c in captions),) if self.join_lines and len(captions) > 1 else captions

    def _edit(self, file: CaptionText, captions: tuple[str, ...]) -> Edited | None:
        same = captions == file.captions
        joins = self.join_lines and file.one_tag_a_line
        if same and not joins and (file.plain or not self.utf8 or file.encoding == "json"):
            return None
        content = file.with_captions(captions)
        reasons = [] if same else [difference(file.captions, captions)]
        if joins:
            reasons.append("one tag a line becomes one line")
        if file.encoding == "json":
            reasons.append(f"the JSON stays, and {file.target.name} comes before it")
        elif not file.plain:
            reasons.append(f"{file.encoding} becomes UTF-8" if file.encoding != "utf-8" else "CRLF becomes LF")
        return Edited(file, captions, content, "; ".join(reasons))


def difference(before: Sequence[str], after: Sequence[str]) -> str:
    """What an edit did, in a clause: tags that came and went, or that others stand in another order."""
    if len(before) != len(after):
        return f"{len(before)} lines become {len(after)}"
    old = [tag for line in before for tag in split_caption(line)]
    new = [tag for line in after for tag in split_caption(line)]
    gone, come = _without(old, new), _without(new, old)
    respelled = set(map(key, gone)).intersection(map(key, come))
    parts = [
        _listed("-", [t for t in gone if key(t) not in respelled]),
        _listed("+", [t for t in come if key(t) not in respelled]) if len(come) > len(respelled) else "",
        f"{len(respelled)} spelled anew" if respelled else "",
    ]
    told = " ".join(filter(None, parts))
    if told:
        return told
    return "fewer of the same" if len(new) < len(old) else "another order" if old != new else "other spaces"


def _without(tags: Sequence[str], others: Sequence[str]) -> list[str]:
    """Each once: a tag that comes to every line of a caption is one tag."""
    gone = set(others)
    return [tag for tag in dict.fromkeys(tags) if tag not in gone]


def _listed(sign: str, tags: Sequence[str]) -> str:
    if not tags:
        return ""
    more = f" {sign}{len(tags) - _NAMED} more" if len(tags) > _NAMED else ""
    return ", ".join(f"{sign}{tag}" for tag in tags[:_NAMED]) + more
