"""Count the tokens of captions with a CLIP tokenizer."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bakehouse.captions.stats import CountTokens
from bakehouse.core.errors import UsageError

_LONG = 5000
"""Characters; of longer captions each different word is tokenized only once."""
_WORD_BREAKS = re.compile(r"\s+|(?<=,)(?=[A-Za-z0-9])")
"""Where CLIP's tokens always end: white space, and a comma before a letter or digit."""


def token_counter(folder: Path) -> CountTokens:
    """Return a function that counts tokens with a base model's tokenizer, without begin and end marks.

    Args:
        folder: a diffusers folder, or its `tokenizer` folder.

    Raises:
        UsageError: the folder has no CLIP tokenizer.
    """
    tokenizer_folder = folder / "tokenizer" if (folder / "tokenizer").is_dir() else folder
    if (tokenizer_folder / "tokenizer.json").is_file():
        from tokenizers import Tokenizer

        fast = Tokenizer.from_file(str(tokenizer_folder / "tokenizer.json"))
        fast.no_truncation()
        fast.no_padding()
        return _by_words(lambda texts: [len(e.ids) for e in fast.encode_batch(list(texts), add_special_tokens=False)])
    if not (tokenizer_folder / "vocab.json").is_file():
        raise UsageError(f"{folder} has no tokenizer", hint="pass a diffusers folder: it has one in tokenizer/")
    from transformers import CLIPTokenizer

    slow: Any = CLIPTokenizer.from_pretrained(str(tokenizer_folder), local_files_only=True)

    def count(texts: Sequence[str]) -> list[int]:
        encoded = (
            slow(list(texts), add_special_tokens=False, truncation=False, verbose=False).input_ids if texts else []
        )
        return [len(ids) for ids in encoded]

    return _by_words(count)


def _by_words(count: CountTokens) -> CountTokens:
    """Return a faster counter with the same result: repeated words of long captions are tokenized only once."""

    def counted(texts: Sequence[str]) -> list[int]:
        texts = list(texts)
        long = {i: Counter(filter(None, _WORD_BREAKS.split(text))) for i, text in enumerate(texts) if len(text) > _LONG}
        words = list({word: None for words in long.values() for word in words})
        lengths = dict(zip(words, count(words), strict=True)) if words else {}
        short = iter(count([text for i, text in enumerate(texts) if i not in long]))
        return [
            sum(lengths[word] * n for word, n in long[i].items()) if i in long else next(short)
            for i in range(len(texts))
        ]

    return counted
