"""Network settings inferred from the shapes of the weights in a single file, for any width and depth."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from bakehouse.core.errors import BakehouseError
from bakehouse.models.identify import OPEN_CLIP, SDXL_OPEN_CLIP, TEXT, UNET, VAE, Shapes
from bakehouse.models.key_map import PROJECTION

Config = dict[str, Any]

_SIDES = {"sd1": 64, "sd2": 64, "sdxl": 128}
"""Side of the latents that a family was trained on; 96 for SD 2.x with v-prediction."""
_TIME_IDS = 6
HEAD = 64
"""Channels of one attention head in every OpenAI and OpenCLIP encoder, and in the UNets of SD 2.x and SDXL."""


def is_open_clip(prefix: str) -> bool:
    """Return whether the text encoder with this prefix has OpenCLIP's key map."""
    return prefix in (OPEN_CLIP, SDXL_OPEN_CLIP)


def read_unet_config(shapes: Shapes, family: str = "sd1") -> Config:
    """Return a UNet's settings from a single file's shapes (names with prefix).

    Raises:
        BakehouseError: the file has no such UNet.
    """
    levels = _unet_levels(shapes)
    context = next((k for k in shapes if k.startswith(UNET) and k.endswith(".attn2.to_k.weight")), None)
    if not levels or context is None:
        raise BakehouseError("the file holds no UNet with cross-attention")
    projection = next(k for k in shapes if k.startswith(UNET) and k.endswith(".1.proj_in.weight"))
    widths = [width for width, _ in levels]
    attends = [bool(depths[0]) for _, depths in levels]
    middle = _depth(shapes, f"{UNET}middle_block.1")
    config: Config = {
        "_class_name": "UNet2DConditionModel",
        "sample_size": _SIDES[family],
        "in_channels": shape(shapes, f"{UNET}input_blocks.0.0.weight")[1],
        "out_channels": shape(shapes, f"{UNET}out.2.weight")[0],
        "block_out_channels": widths,
        "layers_per_block": len(levels[0][1]),
        "down_block_types": ["CrossAttnDownBlock2D" if a else "DownBlock2D" for a in attends],
        "up_block_types": ["CrossAttnUpBlock2D" if a else "UpBlock2D" for a in reversed(attends)],
        "cross_attention_dim": shapes[context][1],
        # In diffusers this is the number of heads: 8 in LDM; in later models one per 64 channels.
        "attention_head_dim": 8 if family == "sd1" else [max(1, width // HEAD) for width in widths],
        "use_linear_projection": len(shapes[projection]) == 2,
    }
    depths = [_same([d for d in level if d] or [1], "attention depth") for _, level in levels]
    depths[-1] = depths[-1] if attends[-1] else middle
    if depths[-1] != middle:
        raise BakehouseError(f"the UNet's middle block has depth {middle} and its levels {depths}: a distilled model")
    if max(depths) > 1:
        config["transformer_layers_per_block"] = depths
    return config | _size_conditions(shapes)


def _unet_levels(shapes: Shapes) -> list[tuple[int, list[int]]]:
    """Return each level's width, and the attention depth after each of its resnets (0: none)."""
    found: list[tuple[int, list[int]]] = []
    new = True
    for n in range(1, _count(shapes, f"{UNET}input_blocks")):
        block = f"{UNET}input_blocks.{n}"
        if f"{block}.0.op.weight" in shapes:
            new = True
            continue
        if new:
            found.append((shape(shapes, f"{block}.0.out_layers.3.weight")[0], []))
            new = False
        found[-1][1].append(_depth(shapes, f"{block}.1"))
    return found


def _depth(shapes: Shapes, attention: str) -> int:
    return _count(shapes, f"{attention}.transformer_blocks")


def _same(values: list[int], what: str) -> int:
    if len(set(values)) > 1:
        raise BakehouseError(
            f"one level of the UNet has an {what} of {values}: a distilled model such as SSD-1B",
            hint="pass its diffusers folder, which has its settings",
        )
    return values[0]


def _size_conditions(shapes: Shapes) -> Config:
    """Return the settings of SDXL's conditions: the pooled text, and six embedded numbers of the image's size."""
    embedded = shapes.get(f"{UNET}label_emb.0.0.weight")
    if embedded is None:
        return {}
    pooled = shape(shapes, SDXL_OPEN_CLIP + PROJECTION)[1]
    return {
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": (embedded[1] - pooled) // _TIME_IDS,
        "projection_class_embeddings_input_dim": embedded[1],
    }


def read_vae_config(shapes: Shapes, prefix: str = VAE, family: str = "sd1") -> Config:
    """Return an autoencoder's settings from a single file's shapes; the scale of its latents is the family's."""
    levels = _count(shapes, f"{prefix}encoder.down")
    widths = [shape(shapes, f"{prefix}encoder.down.{i}.block.0.conv1.weight")[0] for i in range(levels)]
    is_xl = family == "sdxl"
    return {
        "_class_name": "AutoencoderKL",
        "sample_size": 1024 if is_xl else 512,
        "in_channels": shape(shapes, f"{prefix}encoder.conv_in.weight")[1],
        "out_channels": shape(shapes, f"{prefix}decoder.conv_out.weight")[0],
        "latent_channels": shape(shapes, f"{prefix}decoder.conv_in.weight")[1],
        "block_out_channels": widths,
        "layers_per_block": _count(shapes, f"{prefix}encoder.down.0.block"),
        "down_block_types": ["DownEncoderBlock2D"] * levels,
        "up_block_types": ["UpDecoderBlock2D"] * levels,
        "scaling_factor": 0.13025 if is_xl else 0.18215,
        "force_upcast": is_xl,
    }


def read_text_config(shapes: Shapes, prefix: str = TEXT) -> Config:
    """Return a CLIP text encoder's settings from a single file's shapes."""
    return _open_clip_config(shapes, prefix) if is_open_clip(prefix) else _clip_config(shapes, prefix)


def _clip_config(shapes: Shapes, prefix: str) -> Config:
    names = {text_name(k, prefix): v for k, v in shapes.items() if k.startswith(prefix)}
    vocabulary, width = shape(names, "text_model.embeddings.token_embedding.weight")
    return _text_config(
        vocabulary,
        width,
        inner=shape(names, "text_model.encoder.layers.0.mlp.fc1.weight")[0],
        layers=_count(names, "text_model.encoder.layers"),
        positions=shape(names, "text_model.embeddings.position_embedding.weight")[0],
        projection=width,
        activation="quick_gelu",
    )


def _open_clip_config(shapes: Shapes, prefix: str) -> Config:
    vocabulary, width = shape(shapes, f"{prefix}token_embedding.weight")
    layers = _count(shapes, f"{prefix}transformer.resblocks")
    # SD 2.x was trained on the layer before the last; the last one is in its files but unused.
    unused = prefix == OPEN_CLIP and (layers == 24 or prefix + PROJECTION in shapes)
    projection = shapes.get(prefix + PROJECTION, (width, width))[1]
    return _text_config(
        vocabulary,
        width,
        inner=shape(shapes, f"{prefix}transformer.resblocks.0.mlp.c_fc.weight")[0],
        layers=layers - unused,
        positions=shape(shapes, f"{prefix}positional_embedding")[0],
        projection=projection,
        activation="gelu",
    )


def _text_config(
    vocabulary: int, width: int, *, inner: int, layers: int, positions: int, projection: int, activation: str
) -> Config:
    return {
        "vocab_size": vocabulary,
        "hidden_size": width,
        "intermediate_size": inner,
        "num_hidden_layers": layers,
        "num_attention_heads": max(1, width // HEAD),
        "max_position_embeddings": positions,
        "projection_dim": projection,
        "hidden_act": activation,
        "bos_token_id": vocabulary - 2,
        "eos_token_id": vocabulary - 1,
        "pad_token_id": vocabulary - 1 if activation == "quick_gelu" else 0,
    }


def _count(shapes: Shapes, blocks: str) -> int:
    """Return how many of `blocks.0`, `blocks.1`, ... there are."""
    pattern = re.compile(re.escape(blocks) + r"\.(\d+)\.")
    return 1 + max((int(m[1]) for m in map(pattern.match, shapes) if m), default=-1)


def shape(shapes: Mapping[str, tuple[int, ...]], name: str) -> tuple[int, ...]:
    """Return a weight's shape.

    Raises:
        BakehouseError: the file has no such weight.
    """
    if name not in shapes:
        raise BakehouseError(f"the file is not a complete Stable Diffusion model: it has no {name}")
    return shapes[name]


def text_name(key: str, prefix: str = TEXT) -> str:
    """Return a CLIP weight's name in diffusers' files. Some single files of 2022 lack the level `text_model.`."""
    return f"text_model.{key.removeprefix(prefix).removeprefix('text_model.')}"
