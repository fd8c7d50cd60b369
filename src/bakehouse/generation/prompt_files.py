"""The files that a prompt may name: adapters (`<lora:NAME:0.8>`) and textual inversions (by their name)."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bakehouse.core.errors import BakehouseError, UsageError, nearest
from bakehouse.core.model_catalogue import locate_model
from bakehouse.generation.adapter_header import adapter_at
from bakehouse.generation.model_source import ModelSource

_EMBEDDING_ENDINGS = (".safetensors", ".pt", ".bin")
_WORD = re.compile(r"[^\s,()\[\]:|<>]{5,}")
_DIFFUSERS_STEM = "learned_embeds"
"""What diffusers calls every file; the folder is named after the concept."""


@dataclass(frozen=True)
class PromptFiles:
    """Where to look for what a prompt names."""

    loras: Path | None = None
    """A folder of adapters, with its subfolders."""
    embeddings: Path | None = None
    """A folder of textual inversions, with its subfolders."""

    def check(self) -> PromptFiles:
        """Check that the folders exist.

        Raises:
            UsageError: one does not.
        """
        for option, folder in (("--loras", self.loras), ("--embeddings", self.embeddings)):
            if folder is not None and not folder.is_dir():
                raise UsageError(f"{option} {folder}: there is no such folder")
        return self

    def adapters(self, source: ModelSource) -> dict[str, Path]:
        """Return adapters by name: the model's own, all weights of its run, and those of the folder."""
        own = [path for path, _ in source.adapters]
        of_run = source.run.list_weights() if source.run is not None else []
        in_folder = _files(self.loras, (".safetensors",)) if self.loras is not None else ()
        found: dict[str, Path] = {}
        for path in (*own, *of_run, *in_folder):
            found.setdefault(path.stem, path)
        return found

    def find_adapter(self, name: str, source: ModelSource) -> Path | None:
        """Return an adapter by the name of its file, by the name in its header, or by a name in the catalogue.

        Raises:
            UsageError: it is no adapter.
            BakehouseError: the file is damaged.
        """
        known = self.adapters(source)
        path = known.get(name) or _by_header(name, tuple(known.values())) or _catalogued(name)
        if path is None:
            return None
        found = adapter_at(path)
        if found is None:
            raise UsageError(f"<lora:{name}>: {path} is not an adapter", hint="name a LoRA or LyCORIS file")
        return found

    def unknown_adapter(self, name: str, source: ModelSource) -> str:
        """Return what to say of a name that is not found."""
        known = self.adapters(source)
        match = nearest(name, known)
        where = f"in {self.loras}" if self.loras is not None else "(--loras DIR says where to look)"
        return f"<lora:{name}> is not used: there is no such adapter {where}" + (
            f"; did you mean <lora:{match}>?" if match else ""
        )

    def embedding_files(self) -> dict[str, Path]:
        """Return the files of textual inversions by name, which is the file's; of diffusers' the folder's."""
        found: dict[str, Path] = {}
        for path in _files(self.embeddings, _EMBEDDING_ENDINGS) if self.embeddings is not None else ():
            name = path.parent.name if path.stem == _DIFFUSERS_STEM else path.stem
            found.setdefault(name, path)
        return found


NO_FILES = PromptFiles()
"""Only the model's own adapters and those of the catalogue."""


def _files(folder: Path, endings: tuple[str, ...]) -> tuple[Path, ...]:
    return tuple(sorted(p for p in folder.rglob("*") if p.suffix.lower() in endings and p.is_file()))


def _by_header(name: str, paths: tuple[Path, ...]) -> Path | None:
    files = (path for path in paths if path.is_file())
    return next((path for path in files if _output_name(path, path.stat().st_mtime_ns) == name), None)


@functools.lru_cache(maxsize=4096)
def _output_name(path: Path, _changed: int) -> str:
    """Return kohya's name of an adapter, by which A1111 finds it too; empty if its header has none."""
    from bakehouse.models.identify import read_header

    try:
        return read_header(path).metadata.get("ss_output_name", "")
    except BakehouseError:  # another file in the folder; it is refused when it is named
        return ""


def _catalogued(name: str) -> Path | None:
    installed = locate_model(name, "adapter")
    return None if installed is None else Path(installed)


def misspelled_embeddings(text: str, names: dict[str, Path]) -> Iterator[str]:
    """Yield a message for each word of a prompt that is nearly the name of a textual inversion."""
    import difflib

    by_folded = {name.casefold(): name for name in names}
    for word in dict.fromkeys(_WORD.findall(text)):
        folded = word.casefold()
        if folded in by_folded:
            continue
        match = difflib.get_close_matches(folded, by_folded, n=1, cutoff=0.85)
        if match:
            yield f"{word!r} is read as a word: there is no such embedding; did you mean {by_folded[match[0]]!r}?"
