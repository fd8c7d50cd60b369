"""Make a CLIP tokenizer: byte-pair merges learned from captions, about 1,100 tokens."""

from __future__ import annotations

import itertools
import json
import random
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from transformers import CLIPTokenizer

from tools.crumb.training_images import Picture, caption

EXTRA = (
    "photo picture style character cat dog man woman boy girl eyepatch flowers in hair red blue wearing "
    "holding standing smiling happy sad angry looking at viewer simple detailed bright dark old young big small long "
    "short a an the of on with and no one two three zwx sks"
)
"""Words of users' captions that the training captions lack."""


def byte_alphabet() -> list[str]:
    """Return GPT-2's printable characters for the 256 bytes, as in CLIP."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    missing = [b for b in range(256) if b not in printable]
    return [chr(b) for b in printable] + [chr(256 + i) for i in range(len(missing))]


def count_words(pictures: Sequence[Picture], seed: int = 0) -> Counter[str]:
    rng = random.Random(seed)
    words: Counter[str] = Counter()
    for p in pictures:
        words.update(re.findall(r"[a-z]+|[0-9]|[^\sa-z0-9]+", caption(p, rng).lower()))
    for word in EXTRA.split():
        words[word] += 40
    return words


def merge(symbols: list[str], pair: tuple[str, str]) -> list[str]:
    out, i = [], 0
    while i < len(symbols):
        if i + 1 < len(symbols) and (symbols[i], symbols[i + 1]) == pair:
            out.append(pair[0] + pair[1])
            i += 2
        else:
            out.append(symbols[i])
            i += 1
    return out


def learn_merges(words: Counter[str], limit: int = 900, rarest: int = 4) -> list[tuple[str, str]]:
    """Byte-pair encoding: merge the most frequent pair into a symbol, repeatedly."""
    split = {w: [*w[:-1], w[-1] + "</w>"] for w in words}
    merges: list[tuple[str, str]] = []
    while len(merges) < limit:
        pairs: Counter[tuple[str, str]] = Counter()
        for word, symbols in split.items():
            for pair in itertools.pairwise(symbols):
                pairs[pair] += words[word]
        if not pairs:
            break
        best, count = max(pairs.items(), key=lambda kv: (kv[1], kv[0]))
        if count < rarest:
            break
        merges.append(best)
        split = {w: merge(s, best) for w, s in split.items()}
    return merges


def make(pictures: Sequence[Picture], out: Path) -> CLIPTokenizer:
    merges = learn_merges(count_words(pictures))
    alphabet = byte_alphabet()
    tokens = [*alphabet, *(a + "</w>" for a in alphabet), *(a + b for a, b in merges)]
    tokens = [*dict.fromkeys(tokens), "<|startoftext|>", "<|endoftext|>"]
    out.mkdir(parents=True, exist_ok=True)
    (out / "vocab.json").write_text(json.dumps({t: i for i, t in enumerate(tokens)}, ensure_ascii=False))
    (out / "merges.txt").write_text("#version: 0.2\n" + "\n".join(f"{a} {b}" for a, b in merges) + "\n")
    end = "<|endoftext|>"
    marks = {"bos_token": "<|startoftext|>", "eos_token": end, "unk_token": end, "pad_token": end}
    config = {"tokenizer_class": "CLIPTokenizer", "model_max_length": 77, "do_lower_case": True}
    (out / "tokenizer_config.json").write_text(json.dumps(config | marks))
    (out / "special_tokens_map.json").write_text(json.dumps(marks))
    return CLIPTokenizer.from_pretrained(out)
