"""The explanation of a folder's triggers, as `triggers explain FOLDER` and the server give it."""

from __future__ import annotations

from pathlib import Path

from bakehouse.captions.triggers.explain import Explanation, explain
from bakehouse.captions.triggers.write_compiled_captions import find_triggers
from bakehouse.data.compile_captions import compile_captions
from bakehouse.data.dataset_formats import read_dataset


def explain_folder(folder: Path, given: Path | None = None) -> Explanation:
    """Explain the triggers of a folder, with the repeats of its `N_name` folders (default 1).

    Args:
        folder: a dataset in any format.
        given: a file of triggers, in place of the folder's.

    Raises:
        UsageError: no triggers are declared, or the folder has no images.
        Problems: wrong triggers, or triggers that do not fit the images.
    """
    declared = find_triggers(folder, given)
    concepts = read_dataset(folder)
    taught = [c for c in concepts if not c.is_reg]
    images = [record for c in taught for record in c.records]
    repeats = [c.repeats or 1 for c in taught for _ in c.records]
    return explain(compile_captions(images, declared, [c.folder for c in concepts]), declared, repeats)
