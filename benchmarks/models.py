"""Models with the shapes of the real ones and random weights: speed does not depend on the values."""

from __future__ import annotations

from typing import Any

import torch

from bakehouse.models.crumb import crumb_folder
from bakehouse.models.denoiser import Denoiser
from bakehouse.models.diffusers_networks import load_tokenizer
from bakehouse.models.load import load_model
from bakehouse.models.stable_diffusion import StableDiffusion

_VAE: dict[str, Any] = {
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "block_out_channels": (128, 256, 512, 512),
    "layers_per_block": 2,
}
_CLIP_L: dict[str, Any] = {
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
}
_CLIP_G: dict[str, Any] = {
    "hidden_size": 1280,
    "intermediate_size": 5120,
    "num_hidden_layers": 32,
    "num_attention_heads": 20,
    "projection_dim": 1280,
}
_SD15: dict[str, Any] = {"cross_attention_dim": 768, "attention_head_dim": 8, "sample_size": 64}
_SDXL: dict[str, Any] = {
    "sample_size": 128,
    "cross_attention_dim": 2048,
    "block_out_channels": (320, 640, 1280),
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "transformer_layers_per_block": (1, 2, 10),
    "attention_head_dim": (5, 10, 20),
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 256,
    "projection_class_embeddings_input_dim": 2816,
    "use_linear_projection": True,
}
_TINY_UNET: dict[str, Any] = {
    "sample_size": 8,
    "layers_per_block": 1,
    "block_out_channels": (8, 16, 16, 16),
    "cross_attention_dim": 16,
    "attention_head_dim": 2,
    "norm_num_groups": 4,
}
_TINY_XL: dict[str, Any] = {
    **_SDXL,
    "sample_size": 8,
    "layers_per_block": 1,
    "block_out_channels": (8, 16, 16),
    "cross_attention_dim": 32,
    "attention_head_dim": (2, 2, 2),
    "transformer_layers_per_block": (1, 1, 1),
    "addition_time_embed_dim": 8,
    "projection_class_embeddings_input_dim": 64,
    "norm_num_groups": 4,
}
_TINY_VAE: dict[str, Any] = {**_VAE, "block_out_channels": (4, 8, 8, 8), "layers_per_block": 1, "norm_num_groups": 4}
_TINY_CLIP: dict[str, Any] = {
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "projection_dim": 16,
}
_SHAPES: dict[str, tuple[dict[str, Any], dict[str, Any], list[dict[str, Any]]]] = {
    "sd15": (_SD15, _VAE, [_CLIP_L]),
    "sdxl": (_SDXL, _VAE, [_CLIP_L, _CLIP_G]),
    "tiny": (_TINY_UNET, _TINY_VAE, [_TINY_CLIP]),
    "tiny-xl": (_TINY_XL, _TINY_VAE, [_TINY_CLIP, _TINY_CLIP]),
}


def make_model(name: str, device: str, dtype: torch.dtype) -> Denoiser:
    """Return crumb, or random weights in the shape of `sd15`, `sdxl`, `tiny` or `tiny-xl`."""
    if name == "crumb":
        return load_model("crumb", device=device, dtype=dtype)
    torch.manual_seed(0)
    with torch.device(device):
        # Random numbers are drawn where they are needed: a billion of them takes a CPU a minute.
        model = _made(name)
    # The sha256 of random numbers is not needed, and takes seconds.
    model._fingerprint = f"benchmark-{name}"
    return model.to(device, dtype)


def _made(name: str) -> StableDiffusion:
    from diffusers import AutoencoderKL, UNet2DConditionModel

    from bakehouse.models.sd1 import SD1

    unet, vae, texts = _SHAPES[name]
    tokenizer = load_tokenizer(crumb_folder() / "tokenizer")
    networks: dict[str, Any] = {"unet": UNet2DConditionModel(**unet), "vae": AutoencoderKL(**vae)}
    networks["text_encoder"] = _text(texts[0], projected=False)
    if len(texts) == 1:
        return SD1(**networks, tokenizer=tokenizer)
    from bakehouse.models.sdxl import SDXL

    networks["text_encoder_2"] = _text(texts[1], projected=True)
    return SDXL(**networks, tokenizer=tokenizer, tokenizer_2=tokenizer)


def _text(shape: dict[str, Any], *, projected: bool) -> Any:
    """Return crumb's tokenizer: the size of the vocabulary does not change the speed."""
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    config = CLIPTextConfig(**shape, vocab_size=1131, eos_token_id=1130, bos_token_id=1129, pad_token_id=1130)
    return (CLIPTextModelWithProjection if projected else CLIPTextModel)(config)


def unet_shape(name: str) -> dict[str, Any]:
    """Return the UNet settings of `sd15`, `sdxl` or a tiny model."""
    return dict(_SHAPES[name][0])
