"""Embeddings in other programs' layouts, and the embeddings inside an adapter's file as files of their own."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch

from bakehouse.adapters.adapter_file import AdapterFile
from bakehouse.adapters.embedding import split_bundled, word_in
from bakehouse.adapters.tensor_files import dtype_of
from bakehouse.core.errors import BakehouseError, UsageError
from bakehouse.models.identify import identify, read_header
from bakehouse.models.textual_inversion import TextualInversion, read_textual_inversion
from bakehouse.models.write_textual_inversion import SUFFIXES, Layout, write_textual_inversion
from bakehouse.weights.result import Result

LAYOUTS: Mapping[str, Layout] = {"kohya": "a1111", "a1111": "a1111", "diffusers": "diffusers"}
"""Names of `--to`, and the layout of each; kohya's scripts write A1111's."""


def embedding_at(source: str | Path) -> tuple[TextualInversion, Mapping[str, str]] | None:
    """Return the embedding in a file and the file's metadata; None if it is no embedding.

    Raises:
        BakehouseError: it is one, and damaged.
    """
    path = Path(source).expanduser()
    if not path.is_file() or path.suffix.lower() not in SUFFIXES:
        return None
    if path.suffix.lower() == ".safetensors":
        header = read_header(path)
        if identify(header.shapes).kind != "embedding":
            return None
        found = read_textual_inversion(path)
        return TextualInversion(word_in(header.metadata, path.stem), path, found.vectors), header.metadata
    try:
        return read_textual_inversion(path), {}
    except BakehouseError:  # an adapter or a model in a pickle
        return None


def convert_embedding(
    embedding: TextualInversion,
    metadata: Mapping[str, str],
    out: Path,
    *,
    to: str = "kohya",
    dtype: str | None = None,
    dry_run: bool = False,
    overwrite: bool = False,
) -> Result:
    """Write an embedding in another layout; the suffix of `out` chooses safetensors or a pickle.

    Args:
        to: `kohya` or `a1111`, or `diffusers`.
        dtype: fp32, fp16 or bf16; None: fp32.

    Raises:
        UsageError: a layout that embeddings do not have, or `out` exists or has another suffix.
    """
    if to not in LAYOUTS:
        raise UsageError(f"--to {to}: an embedding has the layouts {', '.join(LAYOUTS)}")
    if out.suffix.lower() not in SUFFIXES:
        raise UsageError(f"{out} is not a name for an embedding's file", hint=f"end it in {', '.join(SUFFIXES)}")
    if out.exists() and not overwrite:
        raise UsageError(f"{out} exists already", hint="choose another path, or pass --overwrite")
    if not dry_run:
        kept = {k: v for k, v in metadata.items() if not k.startswith(("sshs_", "modelspec.hash"))}
        of_type = dtype_of(dtype) or torch.float32
        write_textual_inversion(embedding, out, layout=LAYOUTS[to], metadata=kept, dtype=of_type)
    extra = {"word": embedding.name, "vectors": len(embedding)}
    return Result(out, (), dry_run, (), extra)


def write_bundled(file: AdapterFile, out: Path, *, dry_run: bool, overwrite: bool) -> tuple[str, ...]:
    """Write the embeddings inside an adapter's file beside `out`, as diffusers' scripts name them: `OUT_emb`.

    Returns a sentence about each.

    Raises:
        UsageError: one of the files exists.
    """
    words = split_bundled(file.extras)
    notes = []
    for word, vectors in words.items():
        path = out.with_name(f"{out.stem}_emb{f'_{word}' if len(words) > 1 else ''}.safetensors")
        inversion = TextualInversion(word, None, vectors)
        convert_embedding(inversion, file.metadata, path, to="diffusers", dry_run=dry_run, overwrite=overwrite)
        notes.append(f"the vectors of {word!r} are in {path}: `pipeline.load_textual_inversion` reads them")
    return tuple(notes)
