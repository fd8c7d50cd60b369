"""CompVis single files (.safetensors, .ckpt) to and from diffusers networks, name by name and bit by bit.

The layout is read from the file: how many levels, how wide, where attention is. One rule says what each diffusers
weight is called in a single file; the way back is the same table read from the other side.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from bakehouse.core.errors import BakehouseError
from bakehouse.core.files import atomic_path
from bakehouse.families.components import (
    Config,
    build_text_encoder,
    build_unet,
    build_vae,
    config_json,
    file_text_names,
    repair_text_names,
)
from bakehouse.families.identify import TEXT, UNET, VAE, Header, Shapes
from bakehouse.families.sd1 import DEFAULT_SCHEDULER, SD1

METADATA_KEY = "bakehouse.configs"
"""In the header of files that we write: what shapes cannot tell (heads, norm groups, tokenizer, schedule), as JSON."""

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
    "conv_in": "input_blocks.0.0",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
}
_VAE_ATTENTION = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}


@dataclass(frozen=True)
class Configs:
    """The settings of every network in a single file."""

    unet: Config
    vae: Config
    text_encoder: Config
    scheduler: Config
    tokenizer: str | None = None
    """tokenizer.json as text; None: CLIP's own."""


def unet_names(config: Mapping[str, Any], names: list[str]) -> dict[str, str]:
    """Diffusers UNet weight names to single-file names (without prefix)."""
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
    slot = int(m[3] == "attentions")
    block = (
        f"input_blocks.{level * (layers + 1) + number + 1}"
        if m[1] == "down"
        else (f"output_blocks.{level * (layers + 1) + number}")
    )
    return f"{block}.{slot}.{_inner(m[3], m[5])}"


def _inner(kind: str, rest: str) -> str:
    """Inside an attention block both sides say the same; resnets have two vocabularies."""
    if kind == "attentions":
        return rest
    module, _, leaf = rest.rpartition(".")
    return f"{_RESNET[module]}.{leaf}"


def vae_names(config: Mapping[str, Any], names: list[str]) -> dict[str, str]:
    """Diffusers VAE weight names to single-file names (without prefix)."""
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


def _levels(shapes: Shapes, blocks: str) -> int:
    """How many of `blocks.0`, `blocks.1`, ... there are."""
    pattern = re.compile(re.escape(blocks) + r"\.(\d+)\.")
    return 1 + max((int(m[1]) for m in map(pattern.match, shapes) if m), default=-1)


def read_unet_config(shapes: Shapes) -> Config:
    """A UNet's settings from a single file's shapes (names with their prefix).

    Raises:
        BakehouseError: the file is no UNet of this layout.
    """
    widths: list[int] = []
    attends: list[bool] = []
    layers = 0
    level_layers = 0
    new_level = True
    for n in range(1, _levels(shapes, f"{UNET}input_blocks")):
        block = f"{UNET}input_blocks.{n}"
        if f"{block}.0.op.weight" in shapes:
            new_level, level_layers = True, 0
            continue
        width = _shape(shapes, f"{block}.0.out_layers.3.weight")[0]
        if new_level:
            widths.append(width)
            attends.append(f"{block}.1.norm.weight" in shapes)
            new_level = False
        level_layers += 1
        layers = max(layers, level_layers)
    context = next((k for k in shapes if k.startswith(UNET) and k.endswith(".attn2.to_k.weight")), None)
    if not widths or context is None:
        raise BakehouseError("the file holds no UNet with cross-attention")
    projection = next(k for k in shapes if k.startswith(UNET) and k.endswith(".1.proj_in.weight"))
    return {
        "_class_name": "UNet2DConditionModel",
        "sample_size": 64,
        "in_channels": _shape(shapes, f"{UNET}input_blocks.0.0.weight")[1],
        "out_channels": _shape(shapes, f"{UNET}out.2.weight")[0],
        "block_out_channels": widths,
        "layers_per_block": layers,
        "down_block_types": ["CrossAttnDownBlock2D" if a else "DownBlock2D" for a in attends],
        "up_block_types": ["CrossAttnUpBlock2D" if a else "UpBlock2D" for a in reversed(attends)],
        "cross_attention_dim": shapes[context][1],
        "attention_head_dim": 8,  # LDM's num_heads for SD 1.x; diffusers calls the number of heads so
        "use_linear_projection": len(shapes[projection]) == 2,
    }


def read_vae_config(shapes: Shapes, prefix: str = VAE) -> Config:
    """An autoencoder's settings from a single file's shapes."""
    levels = _levels(shapes, f"{prefix}encoder.down")
    widths = [_shape(shapes, f"{prefix}encoder.down.{i}.block.0.conv1.weight")[0] for i in range(levels)]
    return {
        "_class_name": "AutoencoderKL",
        "sample_size": 512,
        "in_channels": _shape(shapes, f"{prefix}encoder.conv_in.weight")[1],
        "out_channels": _shape(shapes, f"{prefix}decoder.conv_out.weight")[0],
        "latent_channels": _shape(shapes, f"{prefix}decoder.conv_in.weight")[1],
        "block_out_channels": widths,
        "layers_per_block": _levels(shapes, f"{prefix}encoder.down.0.block"),
        "down_block_types": ["DownEncoderBlock2D"] * levels,
        "up_block_types": ["UpDecoderBlock2D"] * levels,
        "scaling_factor": 0.18215,
    }


def read_text_config(shapes: Shapes) -> Config:
    """A CLIP text encoder's settings from a single file's shapes; OpenAI's CLIP has 64 channels a head."""
    names = {_text_name(k): v for k, v in shapes.items() if k.startswith(TEXT)}
    vocabulary, width = _shape(names, "text_model.embeddings.token_embedding.weight")
    return {
        "vocab_size": vocabulary,
        "hidden_size": width,
        "intermediate_size": _shape(names, "text_model.encoder.layers.0.mlp.fc1.weight")[0],
        "num_hidden_layers": _levels(names, "text_model.encoder.layers"),
        "num_attention_heads": max(1, width // 64),
        "max_position_embeddings": _shape(names, "text_model.embeddings.position_embedding.weight")[0],
        "projection_dim": width,
        "hidden_act": "quick_gelu",
        "bos_token_id": vocabulary - 2,
        "eos_token_id": vocabulary - 1,
        "pad_token_id": vocabulary - 1,
    }


def _shape(shapes: Shapes, name: str) -> tuple[int, ...]:
    if name not in shapes:
        raise BakehouseError(f"the file is not a whole SD 1.x model: it has no {name}")
    return shapes[name]


def _text_name(key: str) -> str:
    """Some files of 2022 lack the `text_model.` level."""
    return f"text_model.{key.removeprefix(TEXT).removeprefix('text_model.')}"


def read_configs(header: Header, path: Path) -> Configs:
    """The settings of a single file: from our own metadata where it has some, else from shapes and a file beside it."""
    if METADATA_KEY in header.metadata:
        return Configs(**json.loads(header.metadata[METADATA_KEY]))
    unet = read_unet_config(header.shapes)
    scheduler: Config = dict(DEFAULT_SCHEDULER)
    beside = _yaml_beside(path)
    unet.update(beside.get("unet", {}))
    scheduler.update(beside.get("scheduler", {}))
    if header.metadata.get("modelspec.prediction_type") == "v" or "v_pred" in header.shapes:
        scheduler["prediction_type"] = "v_prediction"
    if "ztsnr" in header.shapes:
        scheduler.update(rescale_betas_zero_snr=True, timestep_spacing="trailing")
    return Configs(unet, read_vae_config(header.shapes), read_text_config(header.shapes), scheduler)


def _yaml_beside(path: Path) -> dict[str, Config]:
    """What an LDM `model.yaml` beside `model.safetensors` says about heads and prediction, as diffusers settings."""
    beside = path.with_suffix(".yaml")
    if not beside.is_file():
        return {}
    import yaml  # type: ignore[import-untyped]

    try:
        params = yaml.safe_load(beside.read_text("utf-8"))["model"]["params"]
        unet = params["unet_config"]["params"]
    except (OSError, UnicodeDecodeError, yaml.YAMLError, KeyError, TypeError) as e:
        raise BakehouseError(f"{beside} is not the configuration of a Stable Diffusion model: {e!r}") from e
    found: dict[str, Config] = {"unet": {}, "scheduler": {}}
    if "num_heads" in unet and int(unet["num_heads"]) > 0:
        found["unet"]["attention_head_dim"] = int(unet["num_heads"])
    elif "num_head_channels" in unet:
        widths = [int(unet["model_channels"]) * int(m) for m in unet["channel_mult"]]
        found["unet"]["attention_head_dim"] = [w // int(unet["num_head_channels"]) for w in widths]
    if params.get("parameterization") == "v":
        found["scheduler"]["prediction_type"] = "v_prediction"
    return found


def split(tensors: Mapping[str, Tensor], configs: Configs) -> dict[str, dict[str, Tensor]]:
    """A single file's tensors as `unet`, `vae` and `text_encoder` states of diffusers, without copying.

    Raises:
        BakehouseError: weights that the layout calls for are not in the file.
    """
    nets = _skeletons(configs)
    unet = _pick(tensors, UNET, unet_names(configs.unet, list(nets["unet"].state_dict())))
    vae = _pick(tensors, VAE, vae_names(configs.vae, list(nets["vae"].state_dict())))
    wanted = {name: t.shape for name, t in nets["vae"].state_dict().items()}
    text = {_text_name(k): v for k, v in tensors.items() if k.startswith(TEXT)}
    return {
        "unet": unet,
        "vae": {name: _reshaped(t, wanted[name]) for name, t in vae.items()},
        "text_encoder": repair_text_names(nets["text_encoder"], text),
    }


def split_vae(tensors: Mapping[str, Tensor], config: Config) -> dict[str, Tensor]:
    """The same for a file that holds an autoencoder alone, with or without the single file's prefix."""
    wanted = {name: t.shape for name, t in build_vae(config).state_dict().items()}
    prefix = VAE if any(k.startswith(VAE) for k in tensors) else ""
    found = _pick(tensors, prefix, vae_names(config, list(wanted)))
    return {name: _reshaped(t, wanted[name]) for name, t in found.items()}


def _pick(tensors: Mapping[str, Tensor], prefix: str, names: Mapping[str, str]) -> dict[str, Tensor]:
    missing = [prefix + there for there in names.values() if prefix + there not in tensors]
    if missing:
        raise BakehouseError(f"the file lacks {len(missing)} weights: {', '.join(missing[:4])}")
    return {here: tensors[prefix + there] for here, there in names.items()}


def _reshaped(tensor: Tensor, shape: torch.Size) -> Tensor:
    """The VAE's attention is linear here and a 1x1 convolution there: the same numbers in the same order."""
    return tensor.view(shape) if tensor.numel() == shape.numel() else tensor


def _skeletons(configs: Configs) -> dict[str, nn.Module]:
    return {
        "unet": build_unet(configs.unet),
        "vae": build_vae(configs.vae),
        "text_encoder": build_text_encoder(configs.text_encoder),
    }


def join(states: Mapping[str, Mapping[str, Tensor]], configs: Configs) -> dict[str, Tensor]:
    """The inverse of `split`: diffusers states of the three networks as a single file's tensors."""
    unet_map = unet_names(configs.unet, list(states["unet"]))
    vae_map = vae_names(configs.vae, list(states["vae"]))
    joined = {UNET + unet_map[k]: v for k, v in states["unet"].items()}
    for name, tensor in states["vae"].items():
        there = vae_map[name]
        is_conv = ".mid.attn_1." in there and tensor.ndim == 2
        joined[VAE + there] = tensor[:, :, None, None] if is_conv else tensor
    joined.update({TEXT + k: v for k, v in file_text_names(states["text_encoder"]).items()})
    return joined


def configs_of(model: SD1) -> Configs:
    """The settings of a loaded model, as they go into a file's header."""
    plain: Callable[[Any], Config] = lambda network: json.loads(json.dumps(config_json(network), default=str))  # noqa: E731
    own_words = len(model.tokenizer) != _CLIP_VOCABULARY
    words = model.tokenizer.backend_tokenizer.to_str() if own_words else None
    return Configs(
        plain(model.unet), plain(model.vae), plain(model.text_encoder), dict(model.scheduler_config), tokenizer=words
    )


_CLIP_VOCABULARY = 49408


def save_single_file(
    model: SD1, path: Path, *, dtype: torch.dtype = torch.float16, metadata: Mapping[str, str] | None = None
) -> Path:
    """Writes a model as one .safetensors in the CompVis layout, as A1111 and ComfyUI read it.

    Raises:
        BakehouseError: the place cannot be written.
    """
    configs = configs_of(model)
    networks = {"unet": model.unet, "vae": model.vae, "text_encoder": model.text_encoder}
    joined = join({name: network.state_dict() for name, network in networks.items()}, configs)
    cast = {k: v.detach().to("cpu", dtype).contiguous() for k, v in joined.items()}
    header = {"format": "pt", METADATA_KEY: json.dumps(configs.__dict__), **(metadata or {})}
    with atomic_path(path) as temporary:
        save_file(cast, temporary, metadata=header)
    return path
