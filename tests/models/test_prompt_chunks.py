"""Chunks of 75 tokens and weights on hidden states, against A1111's rules computed by hand."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from bakehouse.data.weighted_prompt import Break, PromptText, WeightedText
from bakehouse.models.crumb import crumb_folder
from bakehouse.models.diffusers_networks import load_tokenizer
from bakehouse.models.load import load_model
from bakehouse.models.prompt_chunks import emphasized, token_chunks

Chunks = list[list[tuple[str, float]]]


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return load_tokenizer(crumb_folder() / "tokenizer")


def text(*pieces: str | tuple[str, float] | None, **how: Any) -> PromptText:
    """Pieces: text, text with a weight, or None for a break."""
    made = [Break() if p is None else WeightedText(p) if isinstance(p, str) else WeightedText(*p) for p in pieces]
    return PromptText(tuple(made), **how)


def sizes(tokenizer: Any, prompt: PromptText) -> list[int]:
    return [len(chunk.ids) for chunk in token_chunks(tokenizer, prompt)]


def test_a_prompt_has_at_least_one_chunk(tokenizer: Any) -> None:
    assert sizes(tokenizer, text()) == sizes(tokenizer, text("")) == [0]
    assert sizes(tokenizer, text("a " * 75)) == [75]
    assert sizes(tokenizer, text("a " * 76)) == [75, 1]
    assert sizes(tokenizer, text("a " * 5000)) == [75] * 66 + [50]


def test_what_follows_a_late_comma_moves_to_the_next_chunk(tokenizer: Any) -> None:
    """The comma is token 60 of 75: the 15 after it move. At token 54 it is too far back."""
    assert sizes(tokenizer, text("a " * 59 + ", " + "b " * 20)) == [60, 20]
    assert sizes(tokenizer, text("a " * 54 + ", " + "b " * 25)) == [75, 5]
    assert sizes(tokenizer, text("a " * 55 + ", " + "b " * 25)) == [56, 25]
    assert sizes(tokenizer, text("a " * 74 + ", " + "b")) == [75, 1]
    assert sizes(tokenizer, text("a " * 75 + ", b")) == [75, 2]


def test_weights_move_with_their_tokens(tokenizer: Any) -> None:
    first, second = token_chunks(tokenizer, text("a " * 59 + ", ", ("b " * 20, 1.5)))
    assert (first.weights, second.weights) == ([1.0] * 60, [1.5] * 20)


def test_a_break_ends_a_chunk_even_an_empty_one(tokenizer: Any) -> None:
    assert sizes(tokenizer, text("a", None, "b b")) == [1, 2]
    assert sizes(tokenizer, text(None, None, "b")) == [0, 0, 1]
    assert sizes(tokenizer, text("a", None)) == [1]
    assert sizes(tokenizer, text("a " * 59 + ", a", None, "b")) == [61, 1]


def by_hand(model: Any, chunks: Chunks, *, restore: bool = True, clip_skip: int = 1) -> torch.Tensor:
    """What A1111 1.10 computes: hidden states of each chunk times the weights of its tokens, with its mean restored."""
    rows = []
    for pieces in chunks:
        ids, weights = [1129], [1.0]
        for piece, weight in pieces:
            found = model.tokenizer(piece, add_special_tokens=False).input_ids
            ids += found
            weights += [weight] * len(found)
        ids += [1130] * (77 - len(ids))
        weights += [1.0] * (77 - len(weights))
        out = model.text_encoder(torch.tensor([ids]), output_hidden_states=True)
        z = out.last_hidden_state
        if clip_skip > 1:
            z = getattr(model.text_encoder, "text_model", model.text_encoder).final_layer_norm(
                out.hidden_states[-clip_skip]
            )
        new = z * torch.tensor(weights).reshape(1, 77, 1).expand(z.shape)
        rows.append(new * (z.mean() / new.mean()) if restore else new)
    return torch.cat(rows, dim=1)


FIVE: list[tuple[PromptText, Chunks]] = [
    (text("red hair, blue eyes"), [[("red hair, blue eyes", 1.0)]]),
    (text("a ", ("red", 1.3), " hat"), [[("a ", 1.0), ("red", 1.3), (" hat", 1.0)]]),
    (
        text(("robot", 1.4641000000000006), ", ", ("at night", 1 / 1.1)),
        [[("robot", 1.4641000000000006), (", ", 1.0), ("at night", 1 / 1.1)]],
    ),
    (
        text("green hoodie", None, ("at the beach", 0.5)),
        [[("green hoodie", 1.0)], [("at the beach", 0.5)]],
    ),
    (
        text("a " * 59 + ", ", ("pink afro " * 10, 1.2)),
        [[("a " * 59 + ", ", 1.0)], [("pink afro " * 10, 1.2)]],
    ),
]


@pytest.fixture(scope="module")
def crumb() -> Any:
    return load_model("crumb")


@pytest.mark.parametrize("number", range(len(FIVE)))
def test_embeddings_are_those_computed_by_hand(crumb: Any, number: int) -> None:
    prompt, chunks = FIVE[number]
    got = crumb.encode_text(prompt).hidden
    torch.testing.assert_close(got, by_hand(crumb, chunks), atol=2e-6, rtol=1e-5)
    no_norm = PromptText(prompt.pieces, "no-norm")
    torch.testing.assert_close(
        crumb.encode_text(no_norm).hidden, by_hand(crumb, chunks, restore=False), atol=2e-6, rtol=1e-5
    )
    torch.testing.assert_close(
        crumb.encode_text(prompt, clip_skip=2).hidden, by_hand(crumb, chunks, clip_skip=2), atol=2e-6, rtol=1e-5
    )
    unweighted = [[(piece, 1.0) for piece, _ in chunk] for chunk in chunks]
    ignored = crumb.encode_text(PromptText(prompt.pieces, "ignore")).hidden
    torch.testing.assert_close(ignored, by_hand(crumb, unweighted), atol=2e-6, rtol=1e-5)


@pytest.mark.parametrize("family", ["sd1", "sd2", "sdxl"])
def test_a_prompt_without_weights_has_the_bits_of_plain_text(families: dict[str, Any], family: str) -> None:
    model = families[family]
    for prompt, chunks in (("a red robot", 1), ("", 1), ("a " * 75, 1), ("a hat", 3)):
        got, expected = model.encode_text(text(prompt), chunks=chunks), model.encode_prompt([prompt], chunks=chunks)
        assert torch.equal(got.hidden, expected.hidden)
        assert got.pooled is None if expected.pooled is None else torch.equal(got.pooled, expected.pooled)
        negative = model.encode_text(text(prompt), chunks=chunks, is_negative=True)
        assert torch.equal(negative.hidden, model.encode_negative([prompt], chunks=chunks).hidden)


def test_sdxl_restores_the_mean_of_each_encoder_and_leaves_the_pooled_vector_alone(families: dict[str, Any]) -> None:
    model = families["sdxl"]
    plain, heavy = model.encode_text(text("a ", "red robot")), model.encode_text(text("a ", ("red robot", 1.5)))
    assert torch.equal(plain.pooled, heavy.pooled)
    width = model.text_encoder.config.hidden_size
    for part in (slice(None, width), slice(width, None)):
        a, b = plain.hidden[..., part], heavy.hidden[..., part]
        assert float(b.mean()) == pytest.approx(float(a.mean()), rel=1e-4)
        ratio = (b / a)[0]
        assert torch.allclose(ratio[0] * 1.5, ratio[2], rtol=1e-4)


@pytest.mark.parametrize("hidden", [torch.zeros(1, 77, 8), torch.tensor([1.0, -1.0]).repeat(1, 77, 4)])
def test_a_mean_of_zero_is_not_divided_by(hidden: torch.Tensor) -> None:
    weights = torch.full((1, 77), 1.5)
    assert torch.equal(emphasized(hidden, weights, "original"), 1.5 * hidden)


def test_weights_change_only_their_own_chunk() -> None:
    hidden = torch.randn(2, 77, 8, generator=torch.Generator().manual_seed(1))
    weights = torch.ones(2, 77)
    weights[1, 5] = 1.5
    changed = emphasized(hidden, weights, "original")
    assert torch.equal(changed[0], hidden[0]) and not torch.equal(changed[1], hidden[1])
    assert emphasized(hidden, weights, "ignore") is hidden
