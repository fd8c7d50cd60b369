"""How long captions are for a text encoder."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bakehouse.captions.stats import CountTokens
from bakehouse.core.errors import UsageError

_LONG = 5000
"""Characters. A longer caption is counted by its different words, each of them once."""
_BETWEEN = re.compile(r"\s+|(?<=,)(?=[A-Za-z0-9])")
"""Where no token of CLIP goes on: white space, and a comma before a letter or a digit."""


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
        return _by_words(lambda texts: [len(e.ids) for e in fast.encode_batch(list(texts), add_special_tokens=False)])
    if not (where / "vocab.json").is_file():
        raise UsageError(f"{folder} has no tokenizer", hint="give a diffusers folder: it has one in tokenizer/")
    from transformers import CLIPTokenizer

    slow: Any = CLIPTokenizer.from_pretrained(str(where), local_files_only=True)

    def count(texts: Sequence[str]) -> list[int]:
        encoded = (
            slow(list(texts), add_special_tokens=False, truncation=False, verbose=False).input_ids if texts else []
        )
        return [len(ids) for ids in encoded]

    return _by_words(count)


def _by_words(count: CountTokens) -> CountTokens:
    """The same numbers; long captions cost as much as the words that are in them, however often each is said."""

    def counted(texts: Sequence[str]) -> list[int]:
        texts = list(texts)
        said = {i: Counter(filter(None, _BETWEEN.split(text))) for i, text in enumerate(texts) if len(text) > _LONG}
        words = list({word: None for words in said.values() for word in words})
        of_word = dict(zip(words, count(words), strict=True)) if words else {}
        short = iter(count([text for i, text in enumerate(texts) if i not in said]))
        return [
            sum(of_word[word] * n for word, n in said[i].items()) if i in said else next(short)
            for i in range(len(texts))
        ]

    return counted
