"""Key maps from diffusers' networks to single files (CompVis for SD 1.x and 2.x, SGM for SDXL).

One rule per network gives the map; its inverse is the way back. OpenCLIP's text encoder is the exception: its attention
has queries, keys and values in one tensor.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from bakehouse.core.errors import BakehouseError

_RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "time_emb_proj": "emb_layers.1",
    "conv_shortcut": "skip_connection",
}
_UNET_ENDS = {
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0",
    "add_embedding.linear_2": "label_emb.0.2",
    "conv_in": "input_blocks.0.0",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
}
_VAE_ATTENTION = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}


def unet_names(config: Mapping[str, Any], names: Sequence[str]) -> dict[str, str]:
    """Map diffusers UNet weight names to single-file names (without prefix)."""
    layers = int(config["layers_per_block"])
    attends = ["CrossAttn" in kind for kind in config["up_block_types"]]
    return {name: _unet_name(name, layers, attends) for name in names}


def _unet_name(name: str, layers: int, attends: list[bool]) -> str:
    module, _, leaf = name.rpartition(".")
    if module in _UNET_ENDS:
        return f"{_UNET_ENDS[module]}.{leaf}"
    if m := re.fullmatch(r"mid_block\.(resnets|attentions)\.(\d+)\.(.+)", name):
        slot = 2 * int(m[2]) + (m[1] == "attentions")
        return f"middle_block.{slot}.{_inner(m[1], m[3])}"
    m = re.fullmatch(r"(down|up)_blocks\.(\d+)\.(resnets|attentions|downsamplers|upsamplers)\.(\d+)\.(.+)", name)
    if m is None:
        raise BakehouseError(f"the UNet weight {name} has no name in a single file")
    level, number = int(m[2]), int(m[4])
    if m[3] == "downsamplers":
        return f"input_blocks.{(level + 1) * (layers + 1)}.0.op.{leaf}"
    if m[3] == "upsamplers":
        return f"output_blocks.{level * (layers + 1) + layers}.{1 + attends[level]}.conv.{leaf}"
    place = level * (layers + 1) + number
    block = f"input_blocks.{place + 1}" if m[1] == "down" else f"output_blocks.{place}"
    return f"{block}.{int(m[3] == 'attentions')}.{_inner(m[3], m[5])}"


def _inner(kind: str, rest: str) -> str:
    """Map a name inside a block: attention has the same names in both, resnets differ."""
    if kind == "attentions":
        return rest
    module, _, leaf = rest.rpartition(".")
    return f"{_RESNET[module]}.{leaf}"


def vae_names(config: Mapping[str, Any], names: Sequence[str]) -> dict[str, str]:
    """Map diffusers VAE weight names to single-file names (without prefix)."""
    top = len(config["block_out_channels"]) - 1
    return {name: _vae_name(name, top) for name in names}


def _vae_name(name: str, top: int) -> str:
    def block(m: re.Match[str]) -> str:
        side, level = ("down", int(m[1])) if m[0].startswith("down") else ("up", top - int(m[1]))
        return f"{side}.{level}."

    if name.startswith(("quant_conv.", "post_quant_conv.")):
        return name
    name = re.sub(r"(?:down|up)_blocks\.(\d+)\.", block, name)
    name = re.sub(r"mid_block\.resnets\.(\d+)\.", lambda m: f"mid.block_{int(m[1]) + 1}.", name)
    name = name.replace("mid_block.attentions.0.", "mid.attn_1.")
    name = name.replace("resnets.", "block.").replace("downsamplers.0.", "downsample.")
    name = name.replace("upsamplers.0.", "upsample.").replace("conv_shortcut.", "nin_shortcut.")
    name = name.replace("conv_norm_out.", "norm_out.")
    if ".mid.attn_1." in name:
        head, _, rest = name.partition(".mid.attn_1.")
        module, _, leaf = rest.rpartition(".")
        return f"{head}.mid.attn_1.{_VAE_ATTENTION[module]}.{leaf}"
    return name


_VAE_SPELLINGS: Mapping[str, tuple[str, ...]] = {
    "q": ("to_q", "to_to_q", "query"),
    "k": ("to_k", "to_to_k", "key"),
    "v": ("to_v", "to_to_v", "value"),
    "proj_out": ("to_out.0", "to_to_out.0", "proj_attn"),
}
"""Names that conversion scripts over the years gave the VAE's attention in single files."""


def spelled_vae_name(name: str, there: Collection[str]) -> str:
    """Return a single-file VAE name as this file spells it; the usual name if it has none of the spellings.

    Args:
        name: with its prefix.
        there: the names in the file.
    """
    head, attention, rest = name.partition(".mid.attn_1.")
    module, _, leaf = rest.rpartition(".")
    if not attention or name in there or module not in _VAE_SPELLINGS:
        return name
    spelled = (f"{head}{attention}{other}.{leaf}" for other in _VAE_SPELLINGS[module])
    return next((other for other in spelled if other in there), name)


_OPEN_CLIP_ENDS = {
    "text_model.embeddings.token_embedding.weight": "token_embedding.weight",
    "text_model.embeddings.position_embedding.weight": "positional_embedding",
    "text_model.final_layer_norm.weight": "ln_final.weight",
    "text_model.final_layer_norm.bias": "ln_final.bias",
}
_OPEN_CLIP_LAYER = {
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
    "self_attn.out_proj": "attn.out_proj",
}
PROJECTION = "text_projection"
"""[width, out] in OpenCLIP, which multiplies from the right; a linear layer has the transpose."""


def _open_clip_plain(layers: int) -> dict[str, str]:
    """Map our names to OpenCLIP's for tensors that are the same in both."""
    names = dict(_OPEN_CLIP_ENDS)
    for n in range(layers):
        for ours, theirs in _OPEN_CLIP_LAYER.items():
            for leaf in ("weight", "bias"):
                names[f"text_model.encoder.layers.{n}.{ours}.{leaf}"] = f"transformer.resblocks.{n}.{theirs}.{leaf}"
    return names


def _open_clip_joined(layers: int) -> dict[str, list[str]]:
    """Map OpenCLIP's joint tensors to the three of ours that they hold in order."""
    return {
        f"transformer.resblocks.{n}.attn.in_proj_{leaf}": [
            f"text_model.encoder.layers.{n}.self_attn.{x}_proj.{leaf}" for x in "qkv"
        ]
        for n in range(layers)
        for leaf in ("weight", "bias")
    }


def from_open_clip(tensors: Mapping[str, Tensor], layers: int, *, pooled: bool) -> tuple[dict[str, Tensor], set[str]]:
    """Return a text encoder's state from OpenCLIP's tensors (without prefix), and the names that were used.

    The thirds of joint tensors are views, not copies. With `pooled` the projection is included.

    Raises:
        BakehouseError: a weight is missing.
    """
    plain, joined = _open_clip_plain(layers), _open_clip_joined(layers)
    used = {*plain.values(), *joined, *([PROJECTION] if pooled else [])}
    missing = sorted(used - set(tensors))
    if missing:
        raise BakehouseError(f"the OpenCLIP text encoder lacks {len(missing)} weights: {', '.join(missing[:4])}")
    state = {ours: tensors[theirs] for ours, theirs in plain.items()}
    for theirs, ours in joined.items():
        state.update(zip(ours, tensors[theirs].chunk(3), strict=True))
    if pooled:
        state[f"{PROJECTION}.weight"] = tensors[PROJECTION].t().contiguous()
    return state, used


def to_open_clip(state: Mapping[str, Tensor], layers: int) -> dict[str, Tensor]:
    """Inverse of `from_open_clip`: OpenCLIP's tensors (without prefix) from a text encoder's state, in file names."""
    tensors = {theirs: state[ours] for ours, theirs in _open_clip_plain(layers).items()}
    for theirs, ours in _open_clip_joined(layers).items():
        tensors[theirs] = torch.cat([state[name] for name in ours])
    if f"{PROJECTION}.weight" in state:
        tensors[PROJECTION] = state[f"{PROJECTION}.weight"].t().contiguous()
    return tensors
