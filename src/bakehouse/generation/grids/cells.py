"""The cells of a grid: the settings of each image, with its model, adapters and file decided."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from bakehouse.core.errors import BakehouseError, UsageError
from bakehouse.core.files import key_of, sha256_file
from bakehouse.generation.adapter_header import tensor_hash
from bakehouse.generation.model_source import ModelSource, replace_weights
from bakehouse.generation.prompt import compile_prompt
from bakehouse.generation.prompt_files import PromptFiles
from bakehouse.generation.request import ImageRequest
from bakehouse.generation.request_json import request_to_json, source_files

K = TypeVar("K", str, Path)
V = TypeVar("V")
Adapters = tuple[tuple[Path, float], ...]
"""Files and their strengths."""


@dataclass(frozen=True)
class GridCell:
    """The settings of one image in a grid."""

    request: ImageRequest
    weights: str | None = None
    """An adapter or model in place of the grid's own."""
    strength: float | None = None
    """The adapter's strength; None: the grid's own."""
    lora: Adapters | None = None
    """An adapter in addition to the grid's; () for a cell without, None for a grid without such an axis."""
    lora_strength: float | None = None
    """The strength of `lora`, or of the adapters that were added to the grid's model; None: their own."""


@dataclass(frozen=True)
class PlacedCell:
    """A cell, what it is generated with, and its image file."""

    cell: GridCell
    source: ModelSource
    """The model and its own adapters, with the cell's weights and strength."""
    added: Adapters
    """The adapters beside the model's own."""
    path: Path | None
    """The image, named by the hash of all that decides it; None if its files are damaged."""
    failure: str = ""
    """Why it cannot be generated, as far as that is known before."""


class CellPlacer:
    """Places the cells of one grid: resolves their models, and hashes each file once."""

    def __init__(
        self, source: ModelSource, added: Sequence[tuple[Path, float]], folder: Path, precision: str, files: PromptFiles
    ) -> None:
        """Take what all cells share.

        Args:
            source: the grid's model.
            added: adapters beside its own.
            folder: of the images.
            precision: of the computation, by which images differ.
            files: what prompts may name.
        """
        self._source, self._added = source, tuple(added)
        self._folder, self._precision, self._files = folder, precision, files
        self._known: dict[object, object] = {}

    def place(self, cell: GridCell) -> PlacedCell:
        """Return a cell with its model, adapters and file; one whose files are damaged has its `failure`.

        Raises:
            UsageError: no such weights, or a strength without an adapter.
        """
        fields = {**request_to_json(cell.request), "sampler": cell.request.sampler.lower()}
        source, added = self._source, self._added
        try:
            source, added = self._model(cell)
            model = self._model_key(source), self._adapter_keys(source, added), self._precision
            named = self._named_files(cell.request, source, added)
            images = [self._once(path, sha256_file) for path in source_files(cell.request)]
            for part, file in (("image", "image"), ("inpaint", "mask")):
                if fields[part]:
                    fields[part][file] = ""  # what it holds decides, not its name
            key = key_of("cell 2", *model, fields, named, images)
        except UsageError:
            raise
        except (BakehouseError, OSError) as e:
            return PlacedCell(cell, source, added, None, " ".join(str(e).split()))
        return PlacedCell(cell, source, added, self._folder / f"{key[:32]}.png")

    def _model(self, cell: GridCell) -> tuple[ModelSource, Adapters]:
        source, added = self._source, self._added
        if cell.weights is not None:
            source = replace_weights(source, cell.weights)
        if cell.lora_strength is not None:
            if cell.lora is None and not added:
                raise UsageError(
                    "lora_weight varies the strength of an added adapter, and there is none",
                    hint="add one with --adapter FILE, or by the axis lora",
                )
            of_lora = tuple((path, cell.lora_strength) for path, _ in (added if cell.lora is None else cell.lora))
            added = of_lora if cell.lora is None else (*added, *of_lora)
        elif cell.lora:
            added = (*added, *cell.lora)
        if cell.strength is None:
            return source, added
        if not self._source.adapters and not added:
            raise UsageError(
                f"{source.title} has no adapter, so there is no strength to vary",
                hint="pass a run or an adapter's file as MODEL",
            )
        if source.adapters:
            return replace(source, adapters=_with_strength(source.adapters, cell.strength)), added
        return source, _with_strength(added, cell.strength)

    def _model_key(self, source: ModelSource) -> object:
        """Return the files of the base with size and time of change: they are gigabytes to hash."""
        bases = [self._once(ref, _base_key) for ref in (source.base, source.vae or "")]
        return [*bases, source.prediction, source.zero_terminal_snr, source.clip_skip]

    def _adapter_keys(self, source: ModelSource, added: Adapters) -> object:
        return [(self._once(path, tensor_hash), float(strength)) for path, strength in (*source.adapters, *added)]

    def _named_files(self, request: ImageRequest, source: ModelSource, added: Adapters) -> list[object]:
        """Return the contents of the files that a prompt names: adapters and embeddings."""
        if request.prompt_syntax == "plain":
            return []
        known = replace(source, adapters=(*source.adapters, *added))
        tags = compile_prompt(request.prompt, request.negative, steps=request.steps).adapters
        adapters = [self._files.find_adapter(tag.name, known) for tag in tags]
        text = f"{request.prompt} {request.negative}".casefold()
        named = [path for name, path in self._files.embedding_files().items() if name.casefold() in text]
        return [
            *(self._once(path, tensor_hash) for path in adapters if path),
            *(self._once(path, sha256_file) for path in named),
        ]

    def _once(self, key: K, make: Callable[[K], V]) -> V:
        place = (key, make)
        if place not in self._known:
            self._known[place] = make(key)
        return self._known[place]  # type: ignore[return-value]


def _with_strength(adapters: Adapters, strength: float) -> Adapters:
    """Return the adapters with another strength of the first."""
    return tuple((path, strength if i == 0 else own) for i, (path, own) in enumerate(adapters))


def _base_key(ref: str) -> object:
    """Return a base model's files with size and time of change; for a Hub id, the id."""
    from bakehouse.models.crumb import base_path

    path = base_path(ref)
    if not ref or not path.exists():
        return ref
    files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    return [(p.name, p.stat().st_size, p.stat().st_mtime_ns) for p in files]
