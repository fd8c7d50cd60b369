"""`captions compile`: write captions with triggers, made from raw tags that are kept beside them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path, PurePosixPath

from bakehouse.core.errors import UsageError
from bakehouse.core.events import Event, Warned
from bakehouse.core.files import sha256_file
from bakehouse.core.settings import Spec, read_toml
from bakehouse.curation.apply_and_undo import Edit, Proposal, Write, read_history
from bakehouse.data.compile_captions import CompiledImage, compile_captions, raw_path
from bakehouse.data.dataset_formats import METADATA_FILES
from bakehouse.data.image_records import ImageSet
from bakehouse.data.triggers import TRIGGER_FILE, Trigger, TriggerFile

OPERATION = "compile"


def find_triggers(folder: Path, given: Path | None = None) -> tuple[Trigger, ...]:
    """Read the triggers of a folder: from `given`, else from `triggers.toml` in the folder or beside it.

    A recipe can be given too: only its `[[triggers]]` are read.

    Raises:
        UsageError: there is no such file.
        Problems: wrong keys or values, all at once.
    """
    places = [given] if given else [folder / TRIGGER_FILE, folder.parent / TRIGGER_FILE]
    path = next((p for p in places if p.is_file()), None)
    if path is None:
        hint = 'write one: [[triggers]] with word = "zwx", class_word = "person", strategy = "semi-static"'
        raise UsageError(f"no triggers declared for {folder}: there is no {places[0]}", hint=hint)
    values = read_toml(path)
    if "concepts" in values:
        values = {"triggers": values.get("triggers", [])}
    return TriggerFile.parse(values, source=str(path)).triggers


class Compile(Spec):
    """Write each image's caption from its raw tags, which are first copied to `NAME.tags`."""

    triggers: tuple[Trigger, ...]
    mark: str = ""
    """Separator between the triggers and the other tags: `|||` for kohya's keep_tokens_separator; empty: a comma."""
    overwrite: bool = False
    """Also write captions that were edited by hand since they were compiled."""

    def compiled(self, images: ImageSet) -> tuple[CompiledImage, ...]:
        """Return the compiled captions of all images.

        Raises:
            UsageError: the captions are in a metadata file.
            Problems: triggers that do not fit the images.
        """
        if metadata := next((n for n in METADATA_FILES if (images.root / n).is_file()), None):
            raise UsageError(
                f"{images.root}: the captions are in {metadata}, not beside the images",
                hint="declare the triggers in the recipe: the training compiles them without changing files",
            )
        return compile_captions(images, self.triggers, [images.root])

    def propose(self, images: ImageSet) -> Iterator[Proposal | Event]:
        """Yield one proposal for each caption that changes, and a warning for each that was edited by hand since."""
        before = _compiled_before(images.root)
        for one in self.compiled(images):
            path = _caption_path(one)
            text = "".join(w.text(self.mark) + "\n" for w in one.wordings)
            if not self.overwrite and _was_edited(path, images.name(path), before):
                skipped = f"{images.name(path)}: skipped, it was edited by hand since it was compiled; "
                yield Warned(message=skipped + "make the edit in the .tags file, or pass --overwrite")
                continue
            edits = _edits(one, path, text, images)
            if edits:
                yield Proposal(images.name(one.record.path), _summary(one), partial(tuple, edits))


def _edits(one: CompiledImage, path: Path, text: str, images: ImageSet) -> tuple[Edit, ...]:
    edits: list[Edit] = []
    raw = raw_path(one.record)
    if not raw.is_file():
        edits.append(Write(images.name(raw), _raw_content(one)))
    if not path.is_file() or path.read_bytes() != text.encode():
        edits.append(Write(images.name(path), text.encode()))
    return tuple(edits)


def _caption_path(one: CompiledImage) -> Path:
    """Return the caption file to write; a caption in JSON gets a .txt file, which takes precedence."""
    path = one.record.caption_path
    return path if path is not None and path.suffix.lower() != ".json" else one.record.path.with_suffix(".txt")


def _raw_content(one: CompiledImage) -> bytes:
    """Return the content of the raw file: the caption's bytes, or the tags of a JSON caption."""
    path = one.record.caption_path
    if path is None or path.suffix.lower() == ".json":
        return "".join(line + "\n" for line in one.raw).encode()
    return path.read_bytes()


def _summary(one: CompiledImage) -> str:
    heads = ", ".join(dict.fromkeys(h for w in one.wordings for h in w.head)) or "no trigger"
    omitted = sorted({tag for w in one.wordings for tag in w.unsaid})
    return f"{heads}; omitted: {', '.join(omitted)}" if omitted else f"{heads}; no tag omitted"


def _compiled_before(root: Path) -> Mapping[PurePosixPath, str]:
    """Return the sha256 of each caption as it was last compiled."""
    done = [s for s in read_history(root) if s.operation == OPERATION and s.state == "done"]
    return {PurePosixPath(c.path): c.after for s in done for c in s.changes if c.after}


def _was_edited(path: Path, name: PurePosixPath, before: Mapping[PurePosixPath, str]) -> bool:
    return name in before and path.is_file() and sha256_file(path) != before[name]
