"""How long captions are for a text encoder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bakehouse.captions.stats import CountTokens
from bakehouse.core.errors import UsageError


def token_counter(folder: Path) -> CountTokens:
    """Counts the tokens of captions with the tokenizer of a base model, without begin and end marks.

    Args:
        folder: a diffusers folder, or its `tokenizer` folder.

    Raises:
        UsageError: it holds no CLIP tokenizer.
    """
    where = folder / "tokenizer" if (folder / "tokenizer").is_dir() else folder
    if (where / "tokenizer.json").is_file():
        from tokenizers import Tokenizer

        fast = Tokenizer.from_file(str(where / "tokenizer.json"))
        fast.no_truncation()
        fast.no_padding()
        return lambda texts: [len(e.ids) for e in fast.encode_batch(list(texts), add_special_tokens=False)]
    if not (where / "vocab.json").is_file():
        raise UsageError(f"{folder} has no tokenizer", hint="give a diffusers folder: it has one in tokenizer/")
    from transformers import CLIPTokenizer

    slow: Any = CLIPTokenizer.from_pretrained(str(where), local_files_only=True)

    def count(texts: Sequence[str]) -> list[int]:
        encoded = (
            slow(list(texts), add_special_tokens=False, truncation=False, verbose=False).input_ids if texts else []
        )
        return [len(ids) for ids in encoded]

    return count
