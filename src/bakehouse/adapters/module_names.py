"""Conversion of module names between diffusers' dots, kohya's underscores and CompVis' block numbers.

Kohya's underscores are ambiguous, but the networks have few names: the longest known word is taken.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from torch import Tensor

from bakehouse.adapters.tensor_names import kohya_stem, seems_sdxl
from bakehouse.core.errors import UsageError

PARTS = {"lora_unet_": "unet", "lora_te2_": "text_encoder_2", "lora_te1_": "text_encoder", "lora_te_": "text_encoder"}
"""kohya's prefixes and diffusers' names of the networks, longest first."""

_WORDS = sorted(
    [
        "down_blocks",
        "up_blocks",
        "mid_block",
        "attentions",
        "resnets",
        "downsamplers",
        "upsamplers",
        "transformer_blocks",
        "attn1",
        "attn2",
        "to_q",
        "to_k",
        "to_v",
        "to_out",
        "ff",
        "net",
        "proj_in",
        "proj_out",
        "proj",
        "conv_shortcut",
        "conv_norm_out",
        "conv_in",
        "conv_out",
        "conv1",
        "conv2",
        "conv",
        "time_emb_proj",
        "time_embedding",
        "add_embedding",
        "linear_1",
        "linear_2",
        "linear",
        "norm1",
        "norm2",
        "norm3",
        "norm_out",
        "norm",
        "group_norm",
        "text_model",
        "text_projection",
        "encoder",
        "layers",
        "self_attn",
        "q_proj",
        "k_proj",
        "v_proj",
        "out_proj",
        "mlp",
        "fc1",
        "fc2",
        "layer_norm1",
        "layer_norm2",
        "final_layer_norm",
        "embeddings",
        "token_embedding",
        "position_embedding",
        "class_embedding",
        "motion_modules",
        "nonlinearity",
        "query",
        "key",
        "value",
        "proj_attn",
    ],
    key=len,
    reverse=True,
)
_WORD = re.compile(rf"({'|'.join(_WORDS)}|\d+)(?:_|$)")

_RESNET = {
    "in_layers.0": "norm1",
    "in_layers.2": "conv1",
    "out_layers.0": "norm2",
    "out_layers.3": "conv2",
    "emb_layers.1": "time_emb_proj",
    "skip_connection": "conv_shortcut",
}
_ENDS = {
    "time_embed.0": "time_embedding.linear_1",
    "time_embed.2": "time_embedding.linear_2",
    "label_emb.0.0": "add_embedding.linear_1",
    "label_emb.0.2": "add_embedding.linear_2",
    "input_blocks.0.0": "conv_in",
    "out.0": "conv_norm_out",
    "out.2": "conv_out",
}
_RESNET_BACK = {v: k for k, v in _RESNET.items()}
_ENDS_BACK = {v: k for k, v in _ENDS.items()}

_OPENCLIP = {
    "attn.out_proj": "self_attn.out_proj",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
    "ln_1": "layer_norm1",
    "ln_2": "layer_norm2",
}
SDXL_ATTENDS = (True, True, False)
"""Which of SDXL's upward levels have attention."""


def part_of(stem: str) -> tuple[str, str]:
    """Split a kohya stem into prefix and rest: (`lora_unet_`, `conv_in`).

    Raises:
        UsageError: its network is unknown.
    """
    for prefix in PARTS:
        if stem.startswith(prefix):
            return prefix, stem.removeprefix(prefix)
    raise UsageError(f"module {stem} belongs to an unknown network; known prefixes are {', '.join(PARTS)}")


def dotted(stem: str) -> str:
    """Return diffusers' name inside the network for a kohya stem: `down_blocks.0.attentions.0.proj_in`.

    Raises:
        UsageError: a part of it is not a name in these networks.
    """
    rest = part_of(stem)[1]
    words, at = [], 0
    while at < len(rest):
        m = _WORD.match(rest, at)
        if m is None:
            raise UsageError(f"module {stem}: {rest[at:]!r} is not a module of an SD network")
        words.append(m[1])
        at = m.end()
    return ".".join(words)


def full_name(stem: str) -> str:
    """Return diffusers' name with the network: `unet.down_blocks.0.attentions.0.proj_in`."""
    return f"{PARTS[part_of(stem)[0]]}.{dotted(stem)}"


def from_compvis(path: str, layers: int) -> str:
    """Return a UNet module's diffusers name for its CompVis name; a name without block numbers is unchanged.

    Args:
        layers: resnets per level; 2 in every published SD.
    """
    if path in _ENDS:
        return _ENDS[path]
    if m := re.fullmatch(r"middle_block\.(\d+)\.(.+)", path):
        place, is_attention = divmod(int(m[1]), 2)
        return f"mid_block.{_inner(is_attention, place, m[2])}"
    m = re.fullmatch(r"(input_blocks|output_blocks)\.(\d+)\.(\d+)\.(.+)", path)
    if m is None:
        return path
    number, slot, rest = int(m[2]), int(m[3]), m[4]
    if m[1] == "input_blocks":
        level, place = divmod(number - 1, layers + 1)
        end = f"down_blocks.{level}.downsamplers.0.conv" if rest == "op" else ""
        return end or f"down_blocks.{level}.{_inner(slot, place, rest)}"
    level, place = divmod(number, layers + 1)
    end = f"up_blocks.{level}.upsamplers.0.conv" if rest == "conv" else ""
    return end or f"up_blocks.{level}.{_inner(slot, place, rest)}"


def _inner(is_attention: int, place: int, rest: str) -> str:
    return f"attentions.{place}.{rest}" if is_attention else f"resnets.{place}.{_RESNET.get(rest, rest)}"


def to_compvis(path: str, layers: int = 2, attends: Sequence[bool] = SDXL_ATTENDS) -> str:
    """Return a UNet module's CompVis name for its diffusers name.

    Args:
        attends: which upward levels have attention; the upsampler's number depends on it.
    """
    if path in _ENDS_BACK:
        return _ENDS_BACK[path]
    if m := re.fullmatch(r"mid_block\.(resnets|attentions)\.(\d+)\.(.+)", path):
        return f"middle_block.{2 * int(m[2]) + (m[1] == 'attentions')}.{_outer(m[1], m[3])}"
    m = re.fullmatch(r"(down|up)_blocks\.(\d+)\.(resnets|attentions|downsamplers|upsamplers)\.(\d+)\.(.+)", path)
    if m is None:
        return path
    level, place = int(m[2]), int(m[4])
    if m[3] == "downsamplers":
        return f"input_blocks.{(level + 1) * (layers + 1)}.0.op"
    if m[3] == "upsamplers":
        return f"output_blocks.{level * (layers + 1) + layers}.{1 + attends[level]}.conv"
    slot = int(m[3] == "attentions")
    if m[1] == "down":
        return f"input_blocks.{level * (layers + 1) + place + 1}.{slot}.{_outer(m[3], m[5])}"
    return f"output_blocks.{level * (layers + 1) + place}.{slot}.{_outer(m[3], m[5])}"


def _outer(kind: str, rest: str) -> str:
    return rest if kind == "attentions" else _RESNET_BACK.get(rest, rest)


def from_openclip(path: str) -> str:
    """Return a text encoder module's name for OpenCLIP's (SD 2.x, SDXL's second): `transformer.resblocks.0.mlp.c_fc`.

    `attn.in_proj` holds queries, keys and values in one tensor and keeps its name; callers split it.
    """
    if m := re.fullmatch(r"transformer\.resblocks\.(\d+)\.(.+)", path):
        return f"text_model.encoder.layers.{m[1]}.{_OPENCLIP.get(m[2], m[2])}"
    return {"ln_final": "text_model.final_layer_norm", "token_embedding": "text_model.embeddings.token_embedding"}.get(
        path, path
    )


def sgm_stem(stem: str) -> str:
    """Return kohya's stem for SDXL's UNet, with CompVis' block numbers; those of text encoders are unchanged."""
    prefix, _ = part_of(stem)
    return stem if prefix != "lora_unet_" else prefix + to_compvis(dotted(stem)).replace(".", "_")


def file_names(
    modules: Mapping[str, Mapping[str, Tensor]], metadata: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Return each module's name in a kohya file, by our stem: SDXL's with block numbers, others unchanged.

    sd-scripts, A1111, ComfyUI and diffusers all read SDXL files with block numbers, but no other spelling.
    Modules that the published networks do not have keep their names.
    """
    if not seems_sdxl(modules, metadata or {}):
        return {stem: stem for stem in modules}
    return {stem: _sgm_or_same(re.sub("^lora_te_", "lora_te1_", stem)) for stem in modules}


def _sgm_or_same(stem: str) -> str:
    try:
        return sgm_stem(stem)
    except UsageError:
        return stem


def same_module(stem: str) -> str:
    """Return one spelling for the first text encoder (te or te1), and for block numbers."""
    return kohya_stem(stem).replace("lora_te1_", "lora_te_", 1)
