"""The models of a worker process: one pipeline for each base; adapters are exchanged on it. Imports torch."""

from __future__ import annotations

import gc
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from bakehouse.core.errors import BakehouseError, UsageError
from bakehouse.core.files import key_of
from bakehouse.core.system_memory import available_memory, total_memory
from bakehouse.generation.model_source import ModelSource, resolve
from bakehouse.generation.pipeline import Pipeline, Precision
from bakehouse.generation.prompt_files import PromptFiles
from bakehouse.models.diffusers_networks import weight_files
from bakehouse.models.families import native_size
from bakehouse.models.model_reference import ModelRef, resolve_model
from bakehouse.recipe.device_and_precision import require_device

_PICKLES = (".ckpt", ".pt", ".pth", ".bin", ".pkl")
_NETWORKS = ("unet", "vae", "text_encoder", "text_encoder_2")


class WorkerModels:
    """Loaded bases by key, all on one device."""

    def __init__(
        self, *, device: str, dtype: Precision = "auto", loras: str | None = None, embeddings: str | None = None
    ) -> None:
        self.device = require_device(device)
        self._dtype: Precision = dtype
        self._loras = None if loras is None else Path(loras)
        self._embeddings = None if embeddings is None else Path(embeddings)
        if self._embeddings is not None:
            refuse_pickles(sorted(self._embeddings.rglob("*")))
        self._pipelines: dict[str, Pipeline] = {}
        self._sources: dict[tuple[str, str | None], ModelSource] = {}

    def describe(self, ref: str, base: str | None) -> dict[str, Any]:
        """Return what is known of a model before its weights are read.

        Raises:
            UsageError: no such model, or its weights are pickles.
            BakehouseError: a file is damaged.
        """
        refuse_pickles(Path(one) for one in (ref, base or ""))  # not even its header is read
        self._sources.pop((ref, base), None)  # a run may have other weights than when it was last described
        source = self._source(ref, base)
        where = resolve_model(source.base)
        files = _base_files(source, where)
        refuse_pickles(files)
        adapters = [
            {"name": path.stem, "path": str(path), "strength": strength, "metadata": _metadata(path)}
            for path, strength in source.adapters
        ]
        return {
            "key": base_key(source),
            "base": source.base,
            "title": source.title,
            "bytes": sum(file.stat().st_size for file in files),
            "adapters": adapters,
            "guidance": source.guidance,
            "clip_skip": source.clip_skip,
            "native": native_size(where),
            "file": str(where.path),
        }

    def load(self, ref: str, base: str | None) -> dict[str, Any]:
        """Load a model's base; returns its size in bytes, its hash and its native size.

        Raises:
            BakehouseError: a file is damaged, or the device has too little memory.
        """
        source = self._source(ref, base)
        try:
            pipeline = Pipeline.open(
                replace(source, adapters=()),
                device=self.device,
                dtype=self._dtype,
                loras=self._loras,
                embeddings=self._embeddings,
            )
        except torch.OutOfMemoryError as e:
            self._free_memory()
            raise BakehouseError(f"{source.base} does not fit into the memory of {self.device}") from e
        self._pipelines[base_key(source)] = pipeline
        model = pipeline.denoiser
        tensors = [*model.parameters(), *model.buffers()]
        size = sum(t.numel() * t.element_size() for t in tensors)
        return {"bytes": size, "hash": pipeline.model_hash, "native": model.native_size, "multiple": model.downscale}

    def unload(self, key: str) -> None:
        """Free a base."""
        pipeline = self._pipelines.pop(key, None)
        if pipeline is not None:
            pipeline.close()
            del pipeline
            self._free_memory()

    def move(self, key: str, *, to_device: bool) -> None:
        """Move a base to the device, or from it to main memory."""
        pipeline = self._pipelines[key]
        pipeline.close()  # adapters and encoded prompts have tensors of their own
        pipeline.denoiser.to(self.device if to_device else "cpu")
        self._free_memory()

    def pipeline(self, ref: str, base: str | None) -> Pipeline:
        """Return the pipeline of a model whose base is loaded, with the model's adapters on it."""
        source = self._source(ref, base)
        pipeline = self._pipelines[base_key(source)]
        pipeline.use(source)
        return pipeline

    def prompt_files(self) -> dict[str, Any]:
        """Return the adapters and embeddings that prompts may name, beside each model's own."""
        sources = list(self._sources.values())
        found = {path.stem: path for source in sources for path, _ in source.adapters}
        if self._loras is not None:
            for path in sorted(self._loras.rglob("*.safetensors")):
                found.setdefault(path.stem, path)
        loras = []
        for name, path in found.items():
            try:
                metadata = _metadata(path)
            except BakehouseError:  # another kind of file in the folder; it is refused when it is named
                continue
            alias = metadata.get("ss_output_name", name)
            loras.append({"name": name, "alias": alias, "path": path.name, "metadata": metadata})
        embeddings = [] if self._embeddings is None else list(PromptFiles(None, self._embeddings).embedding_files())
        return {"loras": loras, "embeddings": embeddings}

    def _source(self, ref: str, base: str | None) -> ModelSource:
        if (ref, base) not in self._sources:
            self._sources[ref, base] = resolve(ref, base=base)
        return self._sources[ref, base]

    def _free_memory(self) -> None:
        gc.collect()
        if self.device.startswith("cuda"):
            torch.cuda.empty_cache()


def base_key(source: ModelSource) -> str:
    """Return the key of a base: models with the same one share it in memory."""
    return key_of(*source.base_settings)[:16]


def refuse_pickles(files: Iterable[Path]) -> None:
    """Check that weights are no pickles: reading one can run code.

    Raises:
        UsageError: one is.
    """
    for file in files:
        if file.suffix.lower() in _PICKLES:
            raise UsageError(
                f"{file} is a pickle, which can run code when it is read: it is not served",
                hint="bakehouse weights convert writes it as .safetensors",
            )


def memory_of(device: str) -> dict[str, int]:
    """Return free and total bytes of a device; of the machine's main memory for `cpu`."""
    if device.startswith("cuda"):
        free, total = torch.cuda.mem_get_info(device)
        return {"free": free, "total": total}
    return {"free": available_memory() or 0, "total": total_memory() or 0}


def _base_files(source: ModelSource, where: ModelRef) -> list[Path]:
    """Return the weights files of a base and its autoencoder.

    Raises:
        UsageError: the base is not on this machine.
    """
    if where.path is None:
        raise UsageError(f"{source.base} is not on this machine", hint=f"download it first: hf download {source.base}")
    own = [] if source.vae is None else [Path(source.vae)]
    roots = [where.path, *(path for path in own if path.exists())]
    return [file for root in roots for file in (_files_in(root) if root.is_dir() else [root])]


def _files_in(folder: Path) -> list[Path]:
    networks = [folder / name for name in _NETWORKS if (folder / name).is_dir()]
    return [file for network in networks or [folder] for file in weight_files(network)]


def _metadata(path: Path) -> dict[str, str]:
    from bakehouse.models.identify import read_adapter_header

    return dict(read_adapter_header(path).metadata)
