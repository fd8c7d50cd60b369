"""A tiny model of every family: random weights, the real architecture, small enough for a test.

Widths are such that a single file's shapes tell the whole configuration, as they do for the real ones: attention
heads of 64 channels (8 heads in SD 1.x) and norm groups of 32.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.conftest import Lent

V = {"prediction_type": "v_prediction"}
ZERO_TERMINAL = {**V, "rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}

_UNETS: dict[str, dict[str, Any]] = {
    "sd1": {
        "block_out_channels": (32, 64, 64, 64),
        "down_block_types": ("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
        "up_block_types": ("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
        "attention_head_dim": 8,
        "cross_attention_dim": 32,
    },
    "sd2": {
        "block_out_channels": (32, 64, 64, 64),
        "down_block_types": ("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
        "up_block_types": ("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
        "attention_head_dim": [1, 1, 1, 1],
        "use_linear_projection": True,
        "cross_attention_dim": 64,
    },
    "sdxl": {
        "block_out_channels": (32, 64, 128),
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        "transformer_layers_per_block": [1, 1, 2],
        "attention_head_dim": [1, 1, 2],
        "use_linear_projection": True,
        "cross_attention_dim": 32 + 64,
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": 8,
        "projection_class_embeddings_input_dim": 48 + 6 * 8,
    },
}
_VAE: dict[str, Any] = {
    "latent_channels": 4,
    "layers_per_block": 1,
    "block_out_channels": (32, 32, 32, 32),
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
}
_CLIP: dict[str, Any] = {
    "vocab_size": 1131,
    "num_hidden_layers": 3,
    "num_attention_heads": 1,
    "bos_token_id": 1129,
    "eos_token_id": 1130,
    "pad_token_id": 1130,
}
_TEXTS: dict[str, list[dict[str, Any]]] = {
    "sd1": [{"hidden_size": 32, "projection_dim": 32}],
    "sd2": [{"hidden_size": 64, "projection_dim": 64, "hidden_act": "gelu", "pad_token_id": 0}],
    "sdxl": [
        {"hidden_size": 32, "projection_dim": 32},
        {"hidden_size": 64, "projection_dim": 48, "hidden_act": "gelu", "pad_token_id": 0, "num_hidden_layers": 4},
    ],
}
FAMILY_NAMES = ("sd1", "sd2", "sdxl")


def build_family(
    family: str, *, seed: int = 0, scheduler: dict[str, Any] | None = None, in_channels: int = 4, **vae: Any
) -> Any:
    """A tiny model with seeded random weights, norms included: a swapped scale or bias then shows."""
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    from bakehouse.models.crumb import crumb_folder
    from bakehouse.models.diffusers_networks import load_tokenizer
    from bakehouse.models.families import FAMILIES
    from bakehouse.models.stable_diffusion import DEFAULT_SCHEDULER

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        channels = {"in_channels": in_channels, "out_channels": 4}
        unet = UNet2DConditionModel(sample_size=8, layers_per_block=2, **channels, **_UNETS[family])
        scale = {"scaling_factor": 0.13025} if family == "sdxl" else {"force_upcast": False}
        text: dict[str, Any] = {}
        for number, own in enumerate(_TEXTS[family], 1):
            ending = "" if number == 1 else f"_{number}"
            cls = CLIPTextModel if number == 1 else CLIPTextModelWithProjection
            text[f"text_encoder{ending}"] = cls(CLIPTextConfig(intermediate_size=48, **{**_CLIP, **own}))
            tokenizer = load_tokenizer(crumb_folder() / "tokenizer")
            tokenizer.pad_token = "!" if own.get("pad_token_id") == 0 else "<|endoftext|>"
            text[f"tokenizer{ending}"] = tokenizer
        model = FAMILIES[family].network_class(
            unet=unet,
            vae=AutoencoderKL(**{**_VAE, **scale, **vae}),
            scheduler_config={**DEFAULT_SCHEDULER, **(scheduler or {})},
            name=f"tiny {family}",
            **text,
        )
        for name, parameter in model.named_parameters():
            if "norm" in name or name.endswith("bias"):
                parameter.data += 0.1 * torch.randn(parameter.shape)
    return model


@pytest.fixture(scope="session")
def make_family() -> Callable[..., Any]:
    """`make_family("sdxl", scheduler=...)`: a model of one's own."""
    return build_family


@pytest.fixture(scope="session")
def _lent_one_level(make_tiny: Callable[..., Any]) -> Lent:
    return Lent(
        make_tiny(
            block_out_channels=(8,),
            down_block_types=("CrossAttnDownBlock2D",),
            up_block_types=("CrossAttnUpBlock2D",),
        )
    )


@pytest.fixture
def one_level(_lent_one_level: Lent) -> Iterator[Any]:
    """`tiny` with a UNet of one level: it listens to latents, timestep and prompt, which is all that samplers ask."""
    yield from _lent_one_level.lend()


@pytest.fixture(scope="session")
def families() -> dict[str, Any]:
    """One model of each family; not to be changed."""
    return {family: build_family(family) for family in FAMILY_NAMES}


@pytest.fixture(scope="session")
def family_folders(families: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The same as diffusers folders in single precision."""
    folders = {}
    for family, model in families.items():
        folders[family] = tmp_path_factory.mktemp("families") / family
        model.save(folders[family], dtype=torch.float32)
    return folders


@pytest.fixture(scope="session")
def pipelines(family_folders: dict[str, Path]) -> dict[str, Any]:
    """diffusers' own pipelines of the same weights."""
    from diffusers import StableDiffusionPipeline, StableDiffusionXLPipeline

    found = {}
    for family, folder in family_folders.items():
        cls = StableDiffusionXLPipeline if family == "sdxl" else StableDiffusionPipeline
        found[family] = cls.from_pretrained(folder)
        found[family].set_progress_bar_config(disable=True)
    return found
