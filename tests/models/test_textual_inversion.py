"""Textual inversions: layouts of files, names in prompts, and vectors in the place of word vectors."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from bakehouse.core.errors import BakehouseError
from bakehouse.data.weighted_prompt import PromptText, WeightedText
from bakehouse.models.textual_inversion import read_textual_inversion


def prompt(text: str, weight: float = 1.0) -> PromptText:
    return PromptText((WeightedText(text, weight),))


def vectors(n: int = 2, width: int = 32, seed: int = 0) -> Tensor:
    return torch.randn(n, width, generator=torch.Generator().manual_seed(seed))


def a1111(values: Any) -> dict[str, Any]:
    return {
        "string_to_token": {"*": 265},
        "string_to_param": values,
        "name": "other",
        "step": 1000,
        "sd_checkpoint": None,
        "sd_checkpoint_name": None,
    }


@pytest.mark.parametrize(
    "content",
    [
        a1111({"*": vectors()}),
        a1111({"*": nn.Parameter(vectors())}),
        a1111(nn.ParameterDict({"*": nn.Parameter(vectors())})),
        {"<zwx>": vectors()},
        OrderedDict({"emb_params": vectors()}),
    ],
    ids=["a1111", "a parameter", "a ParameterDict", "diffusers", "kohya"],
)
def test_layouts_of_pickles(tmp_path: Path, content: Any) -> None:
    torch.save(content, tmp_path / "zwx.pt")
    found = read_textual_inversion(tmp_path / "zwx.pt")
    assert (found.name, len(found)) == ("zwx", 2)
    assert torch.equal(found.of("text_encoder"), vectors())


def test_layouts_of_safetensors(tmp_path: Path) -> None:
    save_file({"<zwx>": vectors()[0].half()}, tmp_path / "one.safetensors")
    one = read_textual_inversion(tmp_path / "one.safetensors")
    assert torch.equal(one.of("text_encoder"), vectors()[:1].half().float())
    for names in (("clip_g", "clip_l"), ("text_encoders_1", "text_encoders_0")):
        save_file(dict(zip(names, (vectors(2, 64), vectors(2, 32)), strict=True)), tmp_path / "xl.safetensors")
        xl = read_textual_inversion(tmp_path / "xl.safetensors")
        assert (xl.of("text_encoder").shape, xl.of("text_encoder_2").shape) == ((2, 32), (2, 64))


def test_what_is_no_textual_inversion_is_refused(tmp_path: Path) -> None:
    save_file({"a": vectors(), "b": vectors()}, tmp_path / "two.safetensors")
    save_file({"a": vectors(80)}, tmp_path / "long.safetensors")
    save_file({"a": torch.full((1, 32), float("nan"))}, tmp_path / "nan.safetensors")
    save_file({"clip_l": vectors(1), "clip_g": vectors(2)}, tmp_path / "uneven.safetensors")
    (tmp_path / "text.pt").write_text("not a pickle")
    torch.save({"*": print}, tmp_path / "code.pt")
    torch.save([1, 2], tmp_path / "list.pt")
    for name in ("two", "long", "nan", "uneven"):
        with pytest.raises(BakehouseError, match=r"not a (usable )?textual inversion"):
            read_textual_inversion(tmp_path / f"{name}.safetensors")
    for name in ("text", "code", "list"):
        with pytest.raises(BakehouseError, match=f"{name}.pt"):
            read_textual_inversion(tmp_path / f"{name}.pt")


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    made = {}
    for name, values in (("zwx", vectors()), ("zwx long", vectors(3, 32, 1)), ("wide", vectors(1, 48))):
        made[name] = tmp_path / f"{name}.pt"
        torch.save(a1111({"*": values}), made[name])
    return made


def test_the_vectors_of_words_are_those_words(families: dict[str, Any], tmp_path: Path) -> None:
    """An embedding that holds the word vectors of `red robot` makes of its name what the words make."""
    model = families["sd1"]
    ids = model.tokenizer("red robot", add_special_tokens=False).input_ids
    table = model.text_encoder.get_input_embeddings().weight
    torch.save({"x": table[ids].detach().clone()}, tmp_path / "qqq.pt")
    found = model.textual_inversions({"qqq": tmp_path / "qqq.pt"})
    for weight in (1.0, 1.4):
        got = model.encode_text(prompt("a qqq, a hat", weight), inversions=found).hidden
        assert torch.equal(got, model.encode_text(prompt("a red robot, a hat", weight)).hidden)
    assert torch.equal(model.encode_text(prompt("qqq")).hidden, model.encode_prompt(["qqq"]).hidden), "no hook is left"


def test_names_are_found_by_their_tokens_the_longest_first(families: dict[str, Any], files: dict[str, Path]) -> None:
    model = families["sd1"]
    found = model.textual_inversions(files)
    with found.noting_names() as named:
        counts = [model.chunk_token_counts(prompt(text), found) for text in ("ZWX", "zwx long", "a zwx.", "zw x")]
    plain = model.chunk_token_counts(prompt("zw x"))
    assert counts == [[2], [3], [4], plain]
    assert named.used == {"zwx": files["zwx"], "zwx long": files["zwx long"]}


def test_vectors_stay_together(families: dict[str, Any], files: dict[str, Path]) -> None:
    model = families["sd1"]
    found = model.textual_inversions(files)
    assert model.chunk_token_counts(prompt("a " * 74 + "zwx b"), found) == [74, 3]
    moved = prompt("a " * 72 + ", zwx " + "b " * 3)
    assert model.chunk_token_counts(moved, found) == [73, 5], "with the words after a late comma"
    both = model.encode_text(moved, inversions=found).hidden
    second = model.encode_text(prompt("zwx " + "b " * 3), inversions=found).hidden
    torch.testing.assert_close(both[:, 77:], second)


def test_one_for_another_family_is_read_as_words(families: dict[str, Any], files: dict[str, Path]) -> None:
    model, xl = families["sd1"], families["sdxl"]
    found = model.textual_inversions(files)
    with found.noting_names() as named:
        assert model.chunk_token_counts(prompt("wide"), found) == model.chunk_token_counts(prompt("wide"))
    assert named.messages == {"wide": "embedding 'wide' is not used: its vectors have 48 numbers, the model's 32"}
    with found.noting_names() as named:
        model.chunk_token_counts(prompt("zwx"), found)
    assert not named.messages, "it is said of prompts that name it"
    found = xl.textual_inversions(files)
    with found.noting_names() as named:
        xl.chunk_token_counts(prompt("zwx"), found)
    assert named.messages["zwx"].endswith("have 32 numbers, the model's 32, 64")


def test_sdxl_reads_a_vector_for_each_encoder(families: dict[str, Any], tmp_path: Path) -> None:
    model = families["sdxl"]
    ids = model.tokenizer("robot", add_special_tokens=False).input_ids
    tables = (encoder.get_input_embeddings().weight for encoder in (model.text_encoder, model.text_encoder_2))
    rows = dict(zip(("clip_l", "clip_g"), (table[ids].detach().clone() for table in tables), strict=True))
    save_file(rows, tmp_path / "qqq.safetensors")
    found = model.textual_inversions({"qqq": tmp_path / "qqq.safetensors"})
    got, expected = model.encode_text(prompt("a qqq"), inversions=found), model.encode_text(prompt("a robot"))
    assert torch.equal(got.hidden, expected.hidden) and torch.equal(got.pooled, expected.pooled)


def test_a_damaged_file_is_said_and_read_as_a_word(families: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "bad.pt").write_bytes(b"bad")
    found = families["sd1"].textual_inversions({"bad": tmp_path / "bad.pt"})
    with found.noting_names() as named:
        assert families["sd1"].chunk_token_counts(prompt("bad"), found)
    assert "embedding 'bad' is not used" in named.messages["bad"]
