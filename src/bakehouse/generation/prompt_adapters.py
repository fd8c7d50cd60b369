"""Adapters that prompts name: applied to their own images only, and kept loaded until a prompt names others."""

from __future__ import annotations

from collections.abc import Sequence

from bakehouse.adapters import AdapterWithEmbeddings, LayerAdapter
from bakehouse.adapters.adapter_reader import read_adapter, with_modules
from bakehouse.core.errors import UsageError
from bakehouse.generation.read_prompts import AdapterKey, PromptAdapter
from bakehouse.generation.trained_weights import load_with_embeddings
from bakehouse.models.denoiser import Denoiser
from bakehouse.weights.dylora_slices import cut


class PromptAdapters:
    """The adapters of prompts on one model. They have the strength 0 until `placed_adapters` applies them."""

    def __init__(self, model: Denoiser) -> None:
        self._model = model
        self._loaded: dict[AdapterKey, LayerAdapter | AdapterWithEmbeddings[LayerAdapter]] = {}

    def loaded(
        self, adapters: Sequence[PromptAdapter]
    ) -> dict[AdapterKey, LayerAdapter | AdapterWithEmbeddings[LayerAdapter]]:
        """Return adapters, at strength 0; those of earlier prompts that are not among them are removed.

        Raises:
            UsageError: one does not fit the model, or cannot be cut to the rank asked for.
            BakehouseError: its file is damaged.
        """
        wanted = {one.key: one for one in adapters}
        for key in [key for key in self._loaded if key not in wanted]:
            self._loaded.pop(key).remove()
        for key, one in wanted.items():
            if key not in self._loaded:
                self._loaded[key] = self._load(one)
        return dict(self._loaded)

    def remove(self) -> None:
        """Remove all from the model."""
        while self._loaded:
            self._loaded.popitem()[1].remove()

    def _load(self, one: PromptAdapter) -> LayerAdapter | AdapterWithEmbeddings[LayerAdapter]:
        file = read_adapter(one.path)
        if one.rank is None:
            return load_with_embeddings(file, self._model, 0.0)
        if not any("lora_down.weight" in tensors for tensors in file.modules.values()):
            raise UsageError(f"dyn = {one.rank}: {one.path} has no ranks that could be left out; only LoRAs have")
        # A1111 leaves out ranks and keeps the scale alpha / rank of the whole file.
        modules = {stem: cut(tensors, one.rank, alpha_shrinks=True) for stem, tensors in file.modules.items()}
        return load_with_embeddings(with_modules(file, modules), self._model, 0.0)
