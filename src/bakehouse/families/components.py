"""Networks of diffusers and transformers, built empty and filled in place: one copy of the weights, no start values.

Everything foreign about those libraries' folders stops here: names of weight files, names that changed over the
years, buffers that no file holds.
"""

from __future__ import annotations

import contextlib
import json
import logging
import pickle
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bakehouse.core.errors import BakehouseError, UsageError
from bakehouse.core.files import read_json

Config = dict[str, Any]

_STEMS = ("diffusion_pytorch_model", "model", "pytorch_model")
_SUFFIXES = (".safetensors", ".fp16.safetensors", ".bin")


def weight_files(folder: Path) -> list[Path]:
    """The weight files of one network's folder, safetensors before pickles, whole before half precision.

    Raises:
        UsageError: there are none.
    """
    for suffix in _SUFFIXES:
        for stem in _STEMS:
            index = folder / f"{stem}{suffix}.index.json"
            if index.is_file():
                names = sorted(set(read_json(index)["weight_map"].values()))
                return [folder / name for name in names]
            if (folder / f"{stem}{suffix}").is_file():
                return [folder / f"{stem}{suffix}"]
    raise UsageError(
        f"{folder} holds no weights",
        hint=f"expected {_STEMS[0]}.safetensors (or {_STEMS[1]}.safetensors) beside config.json",
    )


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Every tensor of a file, mapped from the disk and not yet read.

    Raises:
        BakehouseError: the file is broken, or a pickle that holds more than tensors.
    """
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    return _read_pickle(path)


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt", device="cpu") as f:
            return {name: f.get_tensor(name) for name in f.keys()}  # noqa: SIM118  (not a mapping)
    except (OSError, SafetensorError) as e:
        raise BakehouseError(f"cannot read {path}: {e}", hint="the file is damaged or cut off; fetch it again") from e


def _read_pickle(path: Path) -> dict[str, Tensor]:
    """Loads with `weights_only=True`: a pickle that wants to run code is refused, never obeyed."""
    try:
        with warnings.catch_warnings():
            # An unusual pickle protocol is no news for the user: what cannot be read is refused below.
            warnings.filterwarnings("ignore", message="Detected pickle protocol", category=UserWarning)
            loaded = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except (pickle.UnpicklingError, AttributeError) as e:
        raise BakehouseError(
            f"{path} is a pickle that holds more than tensors, and is refused because it could run any code",
            hint="fetch the .safetensors version of this model",
        ) from e
    except (OSError, RuntimeError, EOFError, KeyError, ValueError) as e:
        raise BakehouseError(f"cannot read {path}: {e}", hint="the file is damaged or cut off; fetch it again") from e
    state = loaded.get("state_dict", loaded) if isinstance(loaded, dict) else {}
    tensors = {str(k): v for k, v in state.items() if isinstance(v, Tensor)}
    if not tensors:
        raise BakehouseError(f"{path} holds no tensors")
    return tensors


def build_unet(config: Mapping[str, Any]) -> nn.Module:
    """A UNet2DConditionModel on the meta device."""
    from diffusers import UNet2DConditionModel

    return _build(UNet2DConditionModel, config)


def build_vae(config: Mapping[str, Any]) -> nn.Module:
    """An AutoencoderKL on the meta device."""
    from diffusers import AutoencoderKL

    return _build(AutoencoderKL, config)


def _build(cls: Any, config: Mapping[str, Any]) -> nn.Module:
    with torch.device("meta"), quiet("diffusers"):
        model: nn.Module = cls.from_config({k: v for k, v in config.items() if k != "_name_or_path"})
    return model


def build_text_encoder(config: Mapping[str, Any]) -> nn.Module:
    """A CLIPTextModel on the meta device."""
    from transformers import CLIPTextConfig, CLIPTextModel

    dropped = ("_name_or_path", "dtype", "torch_dtype", "architectures", "model_type", "transformers_version")
    with torch.device("meta"):
        model: nn.Module = CLIPTextModel(CLIPTextConfig(**{k: v for k, v in config.items() if k not in dropped}))
    return model


def load_tokenizer(folder: Path) -> Any:
    """The CLIP tokenizer of a folder.

    Raises:
        BakehouseError: the folder holds none.
    """
    from transformers import CLIPTokenizer

    try:
        return CLIPTokenizer.from_pretrained(str(folder), local_files_only=True)
    except (OSError, ValueError, TypeError) as e:
        raise BakehouseError(f"{folder} holds no CLIP tokenizer: {e}") from e


def fill(module: nn.Module, tensors: Mapping[str, Tensor], *, device: str, dtype: torch.dtype, source: str) -> None:
    """Puts tensors into an empty network; they become its parameters, without a second copy where the type fits.

    Raises:
        BakehouseError: a name is missing or too many, or a shape differs; says which.
    """
    wanted = module.state_dict()
    missing = [name for name in wanted if name not in tensors]
    surplus = [name for name in tensors if name not in wanted]
    wrong = [
        f"{name} is {tuple(tensors[name].shape)}, expected {tuple(want.shape)}"
        for name, want in wanted.items()
        if name in tensors and tensors[name].shape != want.shape
    ]
    if missing or surplus or wrong:
        said = [f"{len(xs)} {what}: {_some(xs)}" for what, xs in _kinds(missing, surplus, wrong) if xs]
        raise BakehouseError(f"{source} does not fit {type(module).__name__}: {'; '.join(said)}")
    state = {name: t.to(device, dtype) if t.is_floating_point() else t.to(device) for name, t in tensors.items()}
    module.load_state_dict(state, strict=True, assign=True)
    _fill_buffers(module, device)


def _kinds(missing: list[str], surplus: list[str], wrong: list[str]) -> list[tuple[str, list[str]]]:
    return [("weights missing", missing), ("unknown", surplus), ("of another shape", wrong)]


def _some(names: list[str], most: int = 4) -> str:
    return ", ".join(names[:most]) + (", ..." if len(names) > most else "")


def _fill_buffers(module: nn.Module, device: str) -> None:
    """Buffers that no file holds: CLIP's position numbers are the only ones these networks have."""
    for path, child in module.named_modules():
        for name, buffer in list(child.named_buffers(recurse=False)):
            if not buffer.is_meta:
                continue
            if name != "position_ids":
                raise BakehouseError(f"{type(module).__name__} has a buffer that no file fills: {path}.{name}")
            numbers = torch.arange(buffer.shape[-1], device=device).expand(buffer.shape)
            child.register_buffer(name, numbers, persistent=False)


def repair_text_names(module: nn.Module, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Text encoder weights under the names that the installed transformers uses.

    Files say `text_model.encoder...`; transformers 5 has taken that level out of the network. Old files also
    hold the position numbers, which are no weights.
    """
    nested = any(name.startswith("text_model.") for name in module.state_dict())
    repaired = {}
    for name, tensor in tensors.items():
        bare = name.removeprefix("text_model.")
        if bare.endswith("position_ids"):
            continue
        repaired[f"text_model.{bare}" if nested else bare] = tensor
    return repaired


def file_text_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The inverse: names as files have them, which every version of transformers reads."""
    return {f"text_model.{name.removeprefix('text_model.')}": tensor for name, tensor in state.items()}


_OLD_ATTENTION = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}


def repair_vae_names(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """VAE weights under today's names: until 2023 its attention said query, key, value and proj_attn."""
    repaired = {}
    for name, tensor in tensors.items():
        head, _, leaf = name.rpartition(".")
        parent, _, last = head.rpartition(".")
        repaired[f"{parent}.{_OLD_ATTENTION[last]}.{leaf}" if last in _OLD_ATTENTION else name] = tensor
    return repaired


def config_json(module: Any) -> Config:
    """A network's settings as its config.json has them, without where it was loaded from."""
    is_transformers = hasattr(module.config, "to_dict")
    config: Config = dict(module.config.to_dict()) if is_transformers else json.loads(module.to_json_string())
    config.pop("_name_or_path", None)
    return config


def checkpoint_text_encoder(text_encoder: Any, on: bool) -> None:
    """Switches gradient checkpointing; transformers honours it in training mode only, where CLIP behaves the same."""
    word = "activation" if hasattr(text_encoder, "activation_checkpointing_enable") else "gradient"
    if on:
        getattr(text_encoder, f"{word}_checkpointing_enable")({"use_reentrant": False})
    else:
        getattr(text_encoder, f"{word}_checkpointing_disable")()
    text_encoder.train(on)


@contextlib.contextmanager
def quiet(library: str) -> Iterator[None]:
    """Keeps a library's chatter (unused settings, advice) out of the user's terminal; errors still raise."""
    logger = logging.getLogger(library)
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)
