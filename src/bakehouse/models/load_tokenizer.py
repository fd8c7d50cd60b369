"""The tokenizer of a base model, without its weights."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from bakehouse.core.errors import wrap_foreign_errors
from bakehouse.core.files import read_table
from bakehouse.models.diffusers_networks import load_tokenizer
from bakehouse.models.hub import current_repo_id, download
from bakehouse.models.identify import read_header
from bakehouse.models.load import tokenizer_for_file
from bakehouse.models.model_reference import resolve_model
from bakehouse.models.textual_inversion import TextualInversions

_SMALL_FILES = ("tokenizer/*", "text_encoder/config.json", "text_encoder_2/config.json")
_TEXT_PARTS = ("text_encoder", "text_encoder_2")


class PromptTokenizer:
    """Counts tokens of prompts as a base model does."""

    def __init__(self, tokenizer: Any, widths: dict[str, int]) -> None:
        self.tokenizer = tokenizer
        self._widths = widths

    def inversions(self, files: dict[str, Path]) -> TextualInversions | None:
        """Return the textual inversions that prompts may name; None without files."""
        return TextualInversions(files, self.tokenizer, self._widths) if files else None


def load_prompt_tokenizer(ref: str | Path) -> PromptTokenizer:
    """Load the first tokenizer of a base model, and the widths of its text encoders.

    Raises:
        UsageError: no such model.
        BakehouseError: its files are damaged or cannot be downloaded.
    """
    where = resolve_model(ref)
    if where.path is None:
        where = replace(where, path=download(current_repo_id(where.name), _SMALL_FILES))
    assert where.path is not None
    if where.path.is_dir():
        files = {part: where.path / part / "config.json" for part in _TEXT_PARTS}
        configs = {part: read_table(file) for part, file in files.items() if file.is_file()}
        tokenizer = load_tokenizer(where.path / "tokenizer")
    else:
        from bakehouse.models.single_file import read_configs

        found = read_configs(read_header(where.path), where.path)
        configs = dict(found.text)
        tokenizer = tokenizer_for_file(where.path, found.tokenizer, int(found.text_encoder["vocab_size"]))
    with wrap_foreign_errors(f"the settings of {where.name}", hint="download the model again"):
        return PromptTokenizer(tokenizer, {part: int(config["hidden_size"]) for part, config in configs.items()})
