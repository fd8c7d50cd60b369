"""The triggers of a folder, its compiled captions, and what they amount to: for `triggers explain` and the server."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from bakehouse.captions.triggers.explain import Explanation, explain
from bakehouse.captions.triggers.write_compiled_captions import find_triggers
from bakehouse.data.compile_captions import CompiledImage, compile_captions
from bakehouse.data.dataset_formats import read_dataset
from bakehouse.data.triggers import Trigger


@dataclass(frozen=True)
class FolderTriggers:
    """Triggers and the captions that they compile, before anything is written."""

    declared: tuple[Trigger, ...]
    compiled: tuple[CompiledImage, ...]
    repeats: tuple[int, ...]
    """Of each image, by its `N_name` folder; 1 in others."""

    @classmethod
    def of(cls, folder: Path, given: Path | None = None) -> FolderTriggers:
        """Compile the captions of a folder in any dataset format; `given` is a file of triggers in place of its own.

        Raises:
            UsageError: no triggers are declared, or the folder has no images.
            Problems: wrong triggers, or triggers that do not fit the images.
        """
        declared = find_triggers(folder, given)
        concepts = read_dataset(folder)
        taught = [c for c in concepts if not c.is_reg]
        images = [record for c in taught for record in c.records]
        repeats = tuple(c.repeats or 1 for c in taught for _ in c.records)
        return cls(declared, tuple(compile_captions(images, declared, [c.folder for c in concepts])), repeats)

    def explain(self) -> Explanation:
        """Return what each trigger will learn."""
        return explain(self.compiled, self.declared, self.repeats)
