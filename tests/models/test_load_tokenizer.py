"""The tokenizer of a model without its weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from bakehouse.core.errors import UsageError
from bakehouse.data.weighted_prompt import PromptText, WeightedText
from bakehouse.models.load_tokenizer import load_prompt_tokenizer
from bakehouse.models.prompt_chunks import token_chunks
from bakehouse.models.single_file import save_single_file

TEXT = PromptText((WeightedText("a red robot, at night"),))


@pytest.mark.parametrize("family", ["sd1", "sd2", "sdxl"])
def test_tokens_are_counted_as_by_the_model(
    families: dict[str, Any], family_folders: dict[str, Path], family: str, tmp_path: Path
) -> None:
    model = families[family]
    save_single_file(model, tmp_path / "model.safetensors", dtype=torch.float32)
    for place in (family_folders[family], tmp_path / "model.safetensors"):
        found = load_prompt_tokenizer(place)
        assert [len(chunk.ids) for chunk in token_chunks(found.tokenizer, TEXT)] == model.chunk_token_counts(TEXT)
        inversions = found.inversions({"zwx": tmp_path / "no.pt"})
        assert inversions is not None
        assert inversions._widths == model.textual_inversions({})._widths
        assert found.inversions({}) is None


def test_an_unknown_model_is_named() -> None:
    with pytest.raises(UsageError, match="no-such-model"):
        load_prompt_tokenizer("no-such-model")
