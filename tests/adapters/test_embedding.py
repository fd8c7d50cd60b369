"""Embeddings as adapters: on, off and removed, whole or not at all, and found in other files."""

from __future__ import annotations

import pytest
import torch

from bakehouse.adapters import AdapterWithEmbeddings, EmbeddingAdapter, LoRA, inject
from bakehouse.adapters.embedding import EmbeddingSpec, split_bundled, word_in
from bakehouse.core.errors import BakehouseError, UsageError

PROMPTS = ["a qqq person", "person"]


def rows(n: int = 2, width: int = 16, seed: int = 0) -> dict[str, torch.Tensor]:
    return {"text_encoder": torch.randn(n, width, generator=torch.Generator().manual_seed(seed))}


def test_it_is_on_or_off_or_gone(tiny):
    with torch.no_grad():
        base = tiny.encode_prompt(PROMPTS).hidden
        adapter = EmbeddingAdapter(tiny.words, {"qqq": rows()})
        learned = tiny.encode_prompt(PROMPTS).hidden
        assert not torch.equal(learned[0], base[0]) and torch.equal(learned[1], base[1])
        with adapter.scaled(0.0), adapter.scaled(0.0):
            assert torch.equal(tiny.encode_prompt(PROMPTS).hidden, base)
        with adapter.scaled(0.0), adapter.scaled(1.0):
            assert torch.equal(tiny.encode_prompt(PROMPTS).hidden, learned)
        assert torch.equal(tiny.encode_prompt(PROMPTS).hidden, learned)
        adapter.remove()
        assert torch.equal(tiny.encode_prompt(PROMPTS).hidden, base) and not len(tiny.words)


def test_a_word_that_is_taken_changes_nothing(tiny):
    first = EmbeddingAdapter(tiny.words, {"qqq": rows()})
    with pytest.raises(UsageError, match="two embeddings are for the word 'qqq'"):
        EmbeddingAdapter(tiny.words, {"other": rows(), "qqq": rows()})
    assert len(tiny.words) == 1
    first.remove()


def test_another_bases_vectors_are_refused(tiny):
    with pytest.raises(UsageError, match="its vectors have 24 numbers, and those of this model 16"):
        EmbeddingAdapter(tiny.words, {"qqq": rows(width=24)})
    assert not len(tiny.words)


@pytest.mark.parametrize("text", ["", "   "])
def test_empty_initial_words_are_refused(tiny, text):
    with pytest.raises(UsageError, match="the text is empty"):
        EmbeddingAdapter.create(EmbeddingSpec(vectors=2), tiny.words, {"qqq": text})


def test_both_parts_of_a_state_go_back(tiny):
    def make(seed: int) -> AdapterWithEmbeddings:
        generator = torch.Generator().manual_seed(seed)
        network = inject(LoRA(rank=2), tiny.trainable_modules(), generator=generator)
        return AdapterWithEmbeddings(network, EmbeddingAdapter(tiny.words, {"qqq": rows(seed=seed)}))

    one = make(1)
    state = {name: t.clone() for name, t in one.state_dict().items()}
    one.remove()
    other = make(2)
    other.load_state_dict(state)
    assert all(torch.equal(t, state[name]) for name, t in other.state_dict().items())
    with pytest.raises(BakehouseError, match=r"bundle_emb\.qqq"):
        other.load_state_dict({name: t for name, t in state.items() if not name.startswith("bundle_emb.")})
    other.remove()


def test_embeddings_in_other_programs_adapters():
    found = split_bundled(
        {
            "lora_unet_x.alpha": torch.ones(()),
            "bundle_emb.one.string_to_param.*": torch.ones(2, 8),
            "bundle_emb.two.clip_g": torch.ones(3, 6),
            "bundle_emb.two.clip_l": torch.ones(3, 4),
            "bundle_emb.flat.emb_params": torch.ones(8),
        }
    )
    shapes = {word: {part: tuple(t.shape) for part, t in of.items()} for word, of in found.items()}
    assert shapes == {
        "one": {"": (2, 8)},
        "two": {"text_encoder": (3, 4), "text_encoder_2": (3, 6)},
        "flat": {"": (1, 8)},
    }


@pytest.mark.parametrize(
    ("header", "word"), [('{"zwx": {"vectors": 2}}', "zwx"), ("{}", "file"), ("not json", "file"), (None, "file")]
)
def test_the_word_of_a_file(header, word):
    assert word_in({} if header is None else {"bakehouse.embedding": header}, "file") == word
