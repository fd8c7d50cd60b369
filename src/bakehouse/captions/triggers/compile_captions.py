"""`captions compile`: captions on disk from raw tags that are kept beside them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path, PurePosixPath

from bakehouse.core.errors import UsageError
from bakehouse.core.events import Event, Warned
from bakehouse.core.files import sha256_file
from bakehouse.core.settings import Spec, read_toml
from bakehouse.curation.history import Edit, Proposal, Write, read_history
from bakehouse.data.dataset_formats import METADATA_FILES
from bakehouse.data.image_records import ImageSet
from bakehouse.data.triggers import TRIGGER_FILE, CompiledImage, Trigger, TriggerFile, compile_captions, raw_path

VERB = "compile"


def find_triggers(folder: Path, given: Path | None = None) -> tuple[Trigger, ...]:
    """The triggers of a folder: of a file that is named, else of `triggers.toml` in it or beside it.

    A recipe will do: its `[[triggers]]` are read and the rest is passed over.

    Raises:
        UsageError: there is no such file, or it declares none.
        Problems: wrong keys or values, all at once.
    """
    places = [given] if given else [folder / TRIGGER_FILE, folder.parent / TRIGGER_FILE]
    path = next((p for p in places if p.is_file()), None)
    if path is None:
        hint = '[[triggers]] with word = "zwx", class_word = "person", strategy = "semi-static"'
        raise UsageError(f"no triggers are declared for {folder}: there is no {places[0]}", hint=f"write one: {hint}")
    values = read_toml(path)
    if "concepts" in values:
        values = {"triggers": values.get("triggers", [])}
    return TriggerFile.parse(values, source=str(path)).triggers


class Compile(Spec):
    """Writes each image's caption from its raw tags, which are first put aside as `NAME.tags`."""

    triggers: tuple[Trigger, ...]
    mark: str = ""
    """Put between the triggers and the other tags, as `|||` for kohya's keep_tokens_separator. Left out: a comma."""
    overwrite: bool = False
    """Also captions that were changed by hand since they were compiled."""

    def compiled(self, images: ImageSet) -> tuple[CompiledImage, ...]:
        """The captions, with what they say and leave out.

        Raises:
            UsageError: the captions stand in a metadata file.
            Problems: triggers that do not fit the images.
        """
        if listed := next((n for n in METADATA_FILES if (images.root / n).is_file()), None):
            raise UsageError(
                f"{images.root}: the captions stand in {listed}, not beside the images",
                hint="declare the triggers in the recipe: there they are compiled without a file being changed",
            )
        return compile_captions(images, self.triggers, [images.root])

    def propose(self, images: ImageSet) -> Iterator[Proposal | Event]:
        """One proposal for each caption that changes; captions that somebody changed since are named and left alone."""
        before = _compiled_before(images.root)
        for one in self.compiled(images):
            path = _caption_path(one)
            text = "".join(w.text(self.mark) + "\n" for w in one.wordings)
            if not self.overwrite and _edited(path, images.name(path), before):
                told = f"{images.name(path)}: left alone, it was changed by hand since it was compiled; "
                yield Warned(message=told + "put the change into the .tags file, or give --overwrite")
                continue
            edits = _edits(one, path, text, images)
            if edits:
                yield Proposal(images.name(one.record.path), _why(one), partial(tuple, edits))


def _edits(one: CompiledImage, path: Path, text: str, images: ImageSet) -> tuple[Edit, ...]:
    edits: list[Edit] = []
    raw = raw_path(one.record)
    if not raw.is_file():
        edits.append(Write(images.name(raw), _raw_content(one)))
    if not path.is_file() or path.read_bytes() != text.encode():
        edits.append(Write(images.name(path), text.encode()))
    return tuple(edits)


def _caption_path(one: CompiledImage) -> Path:
    """A caption in JSON gets a text file beside it, which comes first wherever captions are looked for."""
    path = one.record.caption_path
    return path if path is not None and path.suffix.lower() != ".json" else one.record.path.with_suffix(".txt")


def _raw_content(one: CompiledImage) -> bytes:
    """The caption's own bytes, in whatever encoding, as far as it is text."""
    path = one.record.caption_path
    if path is None or path.suffix.lower() == ".json":
        return "".join(line + "\n" for line in one.raw).encode()
    return path.read_bytes()


def _why(one: CompiledImage) -> str:
    heads = ", ".join(dict.fromkeys(h for w in one.wordings for h in w.head)) or "no trigger"
    unsaid = sorted({tag for w in one.wordings for tag in w.unsaid})
    return f"{heads}; left out: {', '.join(unsaid)}" if unsaid else f"{heads}; everything said"


def _compiled_before(root: Path) -> Mapping[PurePosixPath, str]:
    """What each caption was when it was compiled last, by sha256."""
    done = [s for s in read_history(root) if s.operation == VERB and s.state == "done"]
    return {PurePosixPath(c.path): c.after for s in done for c in s.changes if c.after}


def _edited(path: Path, name: PurePosixPath, before: Mapping[PurePosixPath, str]) -> bool:
    return name in before and path.is_file() and sha256_file(path) != before[name]
