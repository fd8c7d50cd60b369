"""Files of embeddings: what is written is read back, and diffusers makes the same of it in both layouts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from bakehouse.core.errors import BakehouseError, UsageError
from bakehouse.models.textual_inversion import TextualInversion, read_textual_inversion
from bakehouse.models.write_textual_inversion import token_of, write_textual_inversion

CAPTION = "a zwx person, at night"


def vectors_for(model: Any, n: int = 3) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    widths = {part: e.get_input_embeddings().weight.shape[1] for part, e in model.text_encoders.items()}
    return {part: 0.02 * torch.randn(n, width, generator=generator) for part, width in widths.items()}


@pytest.fixture
def encoded(families: dict[str, Any]) -> Any:
    """What a family makes of the caption with vectors in the place of `zwx`."""

    def encode(family: str, vectors: dict[str, Tensor]) -> Any:
        model = families[family]
        model.words.add("zwx", vectors)
        try:
            with torch.no_grad():
                return model.encode_prompt([CAPTION])
        finally:
            model.words.remove("zwx")

    return encode


@pytest.mark.parametrize("layout", ["a1111", "diffusers"])
@pytest.mark.parametrize("suffix", [".safetensors", ".pt", ".bin"])
@pytest.mark.parametrize("family", ["sd1", "sd2", "sdxl"])
def test_what_is_written_is_read_back(families: Any, tmp_path: Path, family: str, suffix: str, layout: Any) -> None:
    vectors = vectors_for(families[family])
    path = tmp_path / f"zwx{suffix}"
    write_textual_inversion(TextualInversion("zwx", None, vectors), path, layout=layout)
    found = read_textual_inversion(path)
    assert len(found) == 3 and all(torch.equal(found.of(part), t) for part, t in vectors.items())


@pytest.mark.parametrize("layout", ["a1111", "diffusers"])
@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
@pytest.mark.parametrize("family", ["sd1", "sd2"])
def test_diffusers_loads_it(
    families: Any, family_folders: Any, encoded: Any, tmp_path: Path, family: str, suffix: str, layout: Any
) -> None:
    from diffusers import StableDiffusionPipeline

    vectors = vectors_for(families[family])
    path = tmp_path / f"zwx{suffix}"
    write_textual_inversion(TextualInversion("zwx", None, vectors), path, layout=layout)
    pipe = StableDiffusionPipeline.from_pretrained(family_folders[family])
    named = {} if layout == "diffusers" else {"token": "<zwx>"}
    pipe.load_textual_inversion(str(tmp_path), weight_name=path.name, **named)
    theirs, _ = pipe.encode_prompt(CAPTION.replace("zwx", "<zwx>"), "cpu", 1, False)
    torch.testing.assert_close(theirs, encoded(family, vectors).hidden, atol=1e-6, rtol=1e-5)


def test_diffusers_loads_both_of_sdxl(families: Any, family_folders: Any, encoded: Any, tmp_path: Path) -> None:
    from diffusers import StableDiffusionXLPipeline

    vectors = vectors_for(families["sdxl"])
    path = write_textual_inversion(TextualInversion("zwx", None, vectors), tmp_path / "zwx.safetensors")
    pipe = StableDiffusionXLPipeline.from_pretrained(family_folders["sdxl"])
    for name, ending in (("clip_l", ""), ("clip_g", "_2")):
        parts = {part: getattr(pipe, f"{part}{ending}") for part in ("text_encoder", "tokenizer")}
        pipe.load_textual_inversion(load_file(path)[name], token="<zwx>", **parts)
    theirs, _, pooled, _ = pipe.encode_prompt(CAPTION.replace("zwx", "<zwx>"), device="cpu")
    ours = encoded("sdxl", vectors)
    torch.testing.assert_close(theirs, ours.hidden, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(pooled, ours.pooled, atol=1e-5, rtol=1e-4)


def test_a1111s_pickle_has_what_its_training_writes(tmp_path: Path) -> None:
    facts = {"ss_steps": "900", "ss_new_sd_model_hash": "0123456789abcdef", "ss_sd_model_name": "crumb"}
    inversion = TextualInversion("zwx", None, {"": torch.ones(2, 8)})
    path = write_textual_inversion(inversion, tmp_path / "zwx.pt", metadata=facts)
    content = torch.load(path, weights_only=True)
    assert torch.equal(content.pop("string_to_param")["*"], torch.ones(2, 8))
    assert content == {
        "string_to_token": {"*": 265}, "name": "zwx", "step": 900, "sd_checkpoint": "0123456789",
        "sd_checkpoint_name": "crumb",
    }  # fmt: skip


def test_what_cannot_be_written_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BakehouseError, match="overflows"):
        huge = TextualInversion("zwx", None, {"": torch.full((1, 8), 1e6)})
        write_textual_inversion(huge, tmp_path / "zwx.safetensors", dtype=torch.float16)
    with pytest.raises(UsageError, match=r"zwx.txt is not a name for an embedding's file"):
        write_textual_inversion(TextualInversion("zwx", None, {"": torch.ones(1, 8)}), tmp_path / "zwx.txt")
    assert not list(tmp_path.iterdir())


def test_tokens_of_diffusers() -> None:
    assert [token_of(word) for word in ("zwx", "<zwx>", "hzn style")] == ["<zwx>", "<zwx>", "<hzn-style>"]
