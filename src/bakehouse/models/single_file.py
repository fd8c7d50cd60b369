"""Conversion of single files (.safetensors, .ckpt) to and from diffusers networks, bit for bit.

Key maps: CompVis for SD 1.x and 2.x, SGM for SDXL. Widths, depths and numbers of levels are read from the file.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from bakehouse.core.errors import BakehouseError
from bakehouse.core.files import atomic_path
from bakehouse.core.parse_json_toml_yaml import parse_json
from bakehouse.models.detect_prediction_type import V_PRED, ZTSNR, find_evidence
from bakehouse.models.diffusers_networks import (
    Config,
    build_text_encoder,
    build_unet,
    build_vae,
    config_json,
    file_text_names,
    repair_text_names,
)
from bakehouse.models.families import FAMILIES
from bakehouse.models.identify import UNET, VAE, Header, identify, read_header
from bakehouse.models.infer_config import (
    is_open_clip,
    read_text_config,
    read_unet_config,
    read_vae_config,
    text_name,
)
from bakehouse.models.key_map import from_open_clip, spelled_vae_name, to_open_clip, unet_names, vae_names
from bakehouse.models.mmap_weights import Weights, read_weights
from bakehouse.models.noise_schedule import PredictionType
from bakehouse.models.stable_diffusion import DEFAULT_SCHEDULER, StableDiffusion

METADATA_KEY = "bakehouse.configs"
"""Metadata key in files that we write: what shapes do not tell (heads, norm groups, tokenizer, schedule), as JSON."""

_CLIP_VOCABULARY = 49408
_TEXT_PARTS = ("text_encoder", "text_encoder_2")
EMA = "model_ema."
"""Prefix of the EMA copies that trainers save with the weights."""


@dataclass(frozen=True)
class Configs:
    """The settings of every network in a single file."""

    unet: Config
    vae: Config
    text_encoder: Config
    scheduler: Config
    tokenizer: str | None = None
    """tokenizer.json as text; None: CLIP's own."""
    text_encoder_2: Config | None = None
    """SDXL's second."""
    pad_tokens: tuple[str, ...] = ()
    """The padding token of each text encoder; empty: the family's."""
    family: str = "sd1"

    @property
    def text(self) -> dict[str, Config]:
        """Settings of the text encoders, by diffusers' names."""
        both = zip(_TEXT_PARTS, (self.text_encoder, self.text_encoder_2), strict=True)
        return {part: config for part, config in both if config is not None}


@dataclass(frozen=True)
class SingleFile:
    """The content of a single file: a model in diffusers' terms, and the rest."""

    configs: Configs
    states: Mapping[str, Mapping[str, Tensor]]
    """By network (`unet`, `vae`, `text_encoder`, `text_encoder_2`), with diffusers' weight names; views of the file."""
    rest: Mapping[str, Tensor] = field(default_factory=dict)
    """Tensors of no network: schedules, marker keys, OpenCLIP's unused last layer. EMA copies are left out."""
    notes: tuple[str, ...] = ()
    weights: Weights | None = None
    """The mapped file of the states."""


def read_single_file(path: Path, *, prediction: PredictionType | None = None) -> SingleFile:
    """Map a base model's single file without reading its weights.

    Args:
        prediction: overrides the prediction type in the file.

    Raises:
        BakehouseError: damaged, or weights are missing; says which.
    """
    header = read_header(path)
    weights = read_weights([path])
    configs, notes = _read(header, path, weights, prediction)
    states, used = split(weights, configs)
    used |= {V_PRED, ZTSNR}
    rest = {name: t for name, t in weights.items() if name not in used and not name.startswith(EMA)}
    return SingleFile(configs, states, rest, notes, weights)


def read_configs(
    header: Header,
    path: Path,
    weights: Mapping[str, Tensor] | None = None,
    prediction: PredictionType | None = None,
) -> Configs:
    """Return the settings of a single file; of `weights`, if given, at most one tensor is read.

    Args:
        prediction: overrides the prediction type in the file.
    """
    return _read(header, path, weights, prediction)[0]


def _read(
    header: Header, path: Path, weights: Mapping[str, Tensor] | None, prediction: PredictionType | None
) -> tuple[Configs, tuple[str, ...]]:
    """Read our own metadata if there is some, else shapes and what shows the prediction type."""
    override: Config = {"prediction_type": prediction} if prediction else {}
    if METADATA_KEY in header.metadata:
        own = parse_json(header.metadata[METADATA_KEY])
        scheduler = {**own["scheduler"], **override}
        return Configs(**{**own, "scheduler": scheduler, "pad_tokens": tuple(own.get("pad_tokens", ()))}), ()
    family = identify(header.shapes).family
    evidence = find_evidence(header, path, family, weights)
    scheduler = {**DEFAULT_SCHEDULER, **evidence.scheduler, **override}
    unet = {**read_unet_config(header.shapes, family), **evidence.unet}
    if family == "sd2" and scheduler["prediction_type"] == "v_prediction":
        # The 768 models: latents of 96, and attention that overflows in half precision (2.1's own setting).
        unet.update(sample_size=96, upcast_attention=True)
    text = [read_text_config(header.shapes, prefix) for prefix in FAMILIES[family].text_keys]
    vae = read_vae_config(header.shapes, family=family)
    configs = Configs(unet, vae, text[0], scheduler, text_encoder_2=text[1] if len(text) > 1 else None, family=family)
    return configs, () if prediction else evidence.notes


def skeletons(configs: Configs) -> dict[str, nn.Module]:
    """Build every network on the meta device, by diffusers' names.

    Raises:
        BakehouseError: widths that these families do not have, in a file without our metadata.
    """
    for part, (widths, of) in _divisors(configs).items():
        if any(width % of for width in widths):
            raise BakehouseError(
                f"the {part} in the file has widths {', '.join(map(str, widths))}; in Stable Diffusion widths are "
                f"multiples of {of}, and the file's header has no settings",
                hint="pass its diffusers folder, or a single file that bakehouse converted from it",
            )
    text = {part: build_text_encoder(config, pooled=part == "text_encoder_2") for part, config in configs.text.items()}
    return {"unet": build_unet(configs.unet), "vae": build_vae(configs.vae), **text}


_GROUPS = 32
"""Default number of groups of the norms in UNets and VAEs."""


def _divisors(configs: Configs) -> dict[str, tuple[list[int], int]]:
    """Return each network's widths, and what they must be multiples of: its norms' groups, or its heads."""
    found = {
        name: (list(config["block_out_channels"]), int(config.get("norm_num_groups") or _GROUPS))
        for name, config in (("UNet", configs.unet), ("VAE", configs.vae))
    }
    text = {part: ([int(c["hidden_size"])], int(c["num_attention_heads"])) for part, c in configs.text.items()}
    return {**found, **text}


def split(tensors: Mapping[str, Tensor], configs: Configs) -> tuple[dict[str, dict[str, Tensor]], set[str]]:
    """Return a single file's tensors as states of diffusers' networks, without copying, and the names that were used.

    Raises:
        BakehouseError: weights are missing from the file.
    """
    nets = skeletons(configs)
    names = {
        "unet": {h: UNET + t for h, t in unet_names(configs.unet, list(nets["unet"].state_dict())).items()},
        "vae": _vae_names_in(tensors, VAE, configs.vae, list(nets["vae"].state_dict())),
    }
    states = {part: _pick(tensors, found) for part, found in names.items()}
    used = {name for found in names.values() for name in found.values()}
    wanted = {name: t.shape for name, t in nets["vae"].state_dict().items()}
    states["vae"] = {name: _reshaped(t, wanted[name]) for name, t in states["vae"].items()}
    for prefix, (part, config) in zip(FAMILIES[configs.family].text_keys, configs.text.items(), strict=True):
        states[part], read = _split_text(tensors, prefix, config, nets[part], pooled=part == "text_encoder_2")
        used |= read
    return states, used


def _split_text(
    tensors: Mapping[str, Tensor], prefix: str, config: Config, network: nn.Module, *, pooled: bool
) -> tuple[dict[str, Tensor], set[str]]:
    if not is_open_clip(prefix):
        own = {key: tensor for key, tensor in tensors.items() if key.startswith(prefix)}
        return repair_text_names(network, {text_name(k, prefix): v for k, v in own.items()}), set(own)
    bare = {key.removeprefix(prefix): tensor for key, tensor in tensors.items() if key.startswith(prefix)}
    state, read = from_open_clip(bare, int(config["num_hidden_layers"]), pooled=pooled)
    return repair_text_names(network, state), {prefix + name for name in read}


def split_vae(tensors: Mapping[str, Tensor], config: Config) -> dict[str, Tensor]:
    """Return the state of an autoencoder from a file of its own, with or without the single file's prefix."""
    wanted = {name: t.shape for name, t in build_vae(config).state_dict().items()}
    prefix = VAE if any(k.startswith(VAE) for k in tensors) else ""
    found = _pick(tensors, _vae_names_in(tensors, prefix, config, list(wanted)))
    return {name: _reshaped(t, wanted[name]) for name, t in found.items()}


def _vae_names_in(tensors: Mapping[str, Tensor], prefix: str, config: Config, names: Sequence[str]) -> dict[str, str]:
    return {h: spelled_vae_name(prefix + there, tensors.keys()) for h, there in vae_names(config, names).items()}


def _pick(tensors: Mapping[str, Tensor], names: Mapping[str, str]) -> dict[str, Tensor]:
    missing = [there for there in names.values() if there not in tensors]
    if missing:
        raise BakehouseError(f"the file lacks {len(missing)} weights: {', '.join(missing[:4])}")
    return {here: tensors[there] for here, there in names.items()}


def _reshaped(tensor: Tensor, shape: torch.Size) -> Tensor:
    """Reshape the VAE's attention: linear here, a 1x1 convolution in single files, with the same numbers in order."""
    return tensor.view(shape) if tensor.numel() == shape.numel() else tensor


def join(file: SingleFile) -> dict[str, Tensor]:
    """Inverse of `split`: return a single file's tensors from diffusers states and `rest`."""
    configs, states = file.configs, file.states
    unet_map = unet_names(configs.unet, list(states["unet"]))
    vae_map = vae_names(configs.vae, list(states["vae"]))
    joined = {UNET + unet_map[k]: v for k, v in states["unet"].items()}
    for name, tensor in states["vae"].items():
        there = vae_map[name]
        is_conv = ".mid.attn_1." in there and tensor.ndim == 2
        joined[VAE + there] = tensor[:, :, None, None] if is_conv else tensor
    for prefix, (part, config) in zip(FAMILIES[configs.family].text_keys, configs.text.items(), strict=True):
        text = file_text_names(states[part])
        if is_open_clip(prefix):
            text = _complete_open_clip(to_open_clip(text, int(config["num_hidden_layers"])), config, configs.family)
        joined.update({prefix + name: tensor for name, tensor in text.items()})
    return {**joined, **_markers(configs), **file.rest}


def _complete_open_clip(text: dict[str, Tensor], config: Config, family: str) -> dict[str, Tensor]:
    """Add what other loaders require: OpenCLIP's temperature, and for SD 2.x its unused last layer.

    They build the whole text encoder and require every key. The layer is a copy of the one before.
    """
    kept = text["ln_final.weight"]
    whole = {**text, "logit_scale": torch.tensor(4.6055, dtype=kept.dtype)}
    if family == "sd2":
        layers = int(config["num_hidden_layers"])
        below = f"transformer.resblocks.{layers - 1}."
        last = {k.replace(below, f"transformer.resblocks.{layers}."): v for k, v in text.items() if k.startswith(below)}
        whole.update({k: v.clone() for k, v in last.items()})
        whole["text_projection"] = torch.eye(kept.shape[0], dtype=kept.dtype)
    return whole


def _markers(configs: Configs) -> dict[str, Tensor]:
    """Return the marker keys by which A1111 and ComfyUI detect v-prediction and zero terminal SNR."""
    marks = {
        V_PRED: configs.scheduler.get("prediction_type") == "v_prediction",
        ZTSNR: bool(configs.scheduler.get("rescale_betas_zero_snr")),
    }
    return {name: torch.empty(0) for name, is_so in marks.items() if is_so}


def single_file_of(model: StableDiffusion) -> SingleFile:
    """Return a loaded model as the content of a single file."""
    return SingleFile(configs_of(model), {part: network.state_dict() for part, network in model.networks.items()})


def configs_of(model: StableDiffusion) -> Configs:
    """Return the settings of a loaded model, for a file's header."""
    plain: Callable[[Any], Config] = lambda network: json.loads(json.dumps(config_json(network), default=str))  # noqa: E731
    settings = {part: plain(network) for part, network in model.networks.items()}
    tokenizers = list(model.tokenizers.values())
    tokenizer = tokenizers[0].backend_tokenizer.to_str() if len(tokenizers[0]) != _CLIP_VOCABULARY else None
    return Configs(
        **settings,
        scheduler=dict(model.scheduler_config),
        tokenizer=tokenizer,
        pad_tokens=tuple(str(t.pad_token) for t in tokenizers),
        family=model.family,
    )


def header_of(configs: Configs) -> dict[str, str]:
    """Return the header metadata of a single file."""
    prediction: PredictionType = configs.scheduler.get("prediction_type", "epsilon")
    return {
        "format": "pt",
        "modelspec.sai_model_spec": "1.0.1",
        "modelspec.implementation": "https://github.com/Stability-AI/generative-models",
        "modelspec.architecture": FAMILIES[configs.family].modelspec[prediction],
        "modelspec.prediction_type": "v" if prediction == "v_prediction" else "epsilon",
        METADATA_KEY: json.dumps(configs.__dict__),
    }


def write_single_file(
    file: SingleFile, path: Path, *, dtype: torch.dtype | None = None, metadata: Mapping[str, str] | None = None
) -> Path:
    """Write one .safetensors that A1111, ComfyUI and diffusers' `from_single_file` read.

    Args:
        dtype: type of all floating tensors; None keeps each tensor's type.

    Raises:
        BakehouseError: the file cannot be written.
    """
    header = {**header_of(file.configs), **(metadata or {})}

    def cast(tensor: Tensor) -> Tensor:
        wanted = dtype if dtype is not None and tensor.is_floating_point() else tensor.dtype
        return tensor.detach().to("cpu", wanted).contiguous()

    with atomic_path(path) as temporary:
        save_file({name: cast(tensor) for name, tensor in join(file).items()}, temporary, metadata=header)
    return path


def save_single_file(
    model: StableDiffusion, path: Path, *, dtype: torch.dtype = torch.float16, metadata: Mapping[str, str] | None = None
) -> Path:
    """Write a loaded model as one .safetensors; see `write_single_file`."""
    return write_single_file(single_file_of(model), path, dtype=dtype, metadata=metadata)
