"""Trained weights on a model: an adapter, an embedding, or an adapter with embeddings inside."""

from __future__ import annotations

from pathlib import Path

from bakehouse.adapters import AdapterWithEmbeddings, EmbeddingAdapter, LayerAdapter, read_adapter
from bakehouse.adapters.adapter_file import AdapterFile
from bakehouse.adapters.embedding import split_bundled
from bakehouse.adapters.load_onto_model import load_adapter
from bakehouse.generation.adapter_header import is_embedding, word_of
from bakehouse.models.denoiser import Denoiser
from bakehouse.models.textual_inversion import read_textual_inversion

TrainedWeights = LayerAdapter | EmbeddingAdapter | AdapterWithEmbeddings[LayerAdapter]


def load_weights(path: Path, model: Denoiser) -> TrainedWeights:
    """Put the weights of a file on a model at strength 1; an embedding's word is the one that it was trained for.

    Raises:
        UsageError: they are for another base, or a word has two embeddings.
        BakehouseError: the file is damaged.
    """
    if is_embedding(path):
        embedding = read_textual_inversion(path)
        return EmbeddingAdapter(model.words, {word_of(path): embedding.vectors})
    return load_with_embeddings(read_adapter(path), model)


def load_with_embeddings(
    file: AdapterFile, model: Denoiser, strength: float = 1.0
) -> LayerAdapter | AdapterWithEmbeddings[LayerAdapter]:
    """Put an adapter on a model, with the embeddings inside its file; at strength 0 their words are off.

    Raises:
        UsageError: it is for another base, or a word has two embeddings.
    """
    words = split_bundled(file.extras)
    if not words:
        return load_adapter(file, model.trainable_modules(), strength)
    embeddings = EmbeddingAdapter(model.words, words, on=strength != 0)
    try:
        adapter = load_adapter(file, model.trainable_modules(), strength)
    except BaseException:
        embeddings.remove()
        raise
    return AdapterWithEmbeddings(adapter, embeddings)
