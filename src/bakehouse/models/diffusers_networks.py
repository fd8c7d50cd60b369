"""Networks of diffusers and transformers, built empty and filled in place: one copy of the weights, no start values.

Everything foreign about those libraries' folders stops here: names of weight files, names that changed over the
years, buffers that no file holds.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bakehouse.core.errors import BakehouseError, UsageError
from bakehouse.core.files import read_table
from bakehouse.core.finite import count_not_finite, not_finite_message
from bakehouse.core.json_toml_yaml import parse_json
from bakehouse.core.pluralize import listed

Config = dict[str, Any]

_STEMS = ("diffusion_pytorch_model", "model", "pytorch_model")
_SUFFIXES = (".safetensors", ".fp16.safetensors", ".bin", ".fp16.bin")


def weight_files(folder: Path) -> list[Path]:
    """The weight files of one network's folder, safetensors before pickles, whole before half precision.

    Raises:
        UsageError: there are none.
    """
    for suffix in _SUFFIXES:
        for stem in _STEMS:
            for index in _indices(folder, stem, suffix):
                return _shards(index)
            if (folder / f"{stem}{suffix}").is_file():
                return [folder / f"{stem}{suffix}"]
    raise UsageError(
        f"{folder} holds no weights",
        hint=f"expected {_STEMS[0]}.safetensors (or {_STEMS[1]}.safetensors) beside config.json",
    )


def _shards(index: Path) -> list[Path]:
    """The files that a list of shards names.

    Raises:
        BakehouseError: it is no such list, or one of its files is missing.
    """
    names = read_table(index).get("weight_map")
    if not isinstance(names, dict) or not all(isinstance(n, str) and n == Path(n).name for n in names.values()):
        raise BakehouseError(f"{index} is no list of weight files", hint="fetch the model again")
    found = [index.parent / name for name in sorted(set(names.values()))]
    if missing := [path for path in found if not path.is_file()]:
        raise BakehouseError(
            f"{missing[0]} is missing: {index.name} names {len(found)} files, and {len(missing)} of them are not there",
            hint="fetch the missing ones, or the model again",
        )
    return found


def _indices(folder: Path, stem: str, suffix: str) -> list[Path]:
    """Lists of shards: a variant's name stands before the ending in some, at the very end in those of diffusers."""
    names = [f"{stem}{suffix}.index.json"]
    if suffix.startswith(".fp16"):
        names.append(f"{stem}{suffix.removeprefix('.fp16')}.index.fp16.json")
    return [folder / name for name in names if (folder / name).is_file()]


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


def build_text_encoder(config: Mapping[str, Any], *, pooled: bool = False) -> nn.Module:
    """A CLIPTextModel on the meta device; `pooled` for one that also projects the end mark's state."""
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    dropped = ("_name_or_path", "dtype", "torch_dtype", "architectures", "model_type", "transformers_version")
    with torch.device("meta"):
        settings = CLIPTextConfig(**{k: v for k, v in config.items() if k not in dropped})
        model: nn.Module = (CLIPTextModelWithProjection if pooled else CLIPTextModel)(settings)
    return model


def load_tokenizer(folder: Path) -> Any:
    """The CLIP tokenizer of a folder.

    Raises:
        BakehouseError: the folder holds none.
    """
    from transformers import CLIPTokenizer

    if not any((folder / name).is_file() for name in ("tokenizer.json", "vocab.json")):
        what = "it has neither tokenizer.json nor vocab.json"
        raise BakehouseError(f"{folder} holds no CLIP tokenizer: {what}", hint="fetch the model again")
    try:
        return CLIPTokenizer.from_pretrained(str(folder), local_files_only=True)
    except Exception as e:  # the library of tokenizers raises plain ones
        raise BakehouseError(f"{folder} holds no CLIP tokenizer that can be read: {e}") from e


def fill(
    module: nn.Module,
    tensors: Mapping[str, Tensor],
    *,
    device: str,
    dtype: torch.dtype,
    source: str,
    release: Callable[[], None] | None = None,
) -> None:
    """Puts tensors into an empty network; they become its parameters, without a second copy where the type fits.

    Args:
        release: called now and then while tensors are cast, so that what was read of their file can be let go.

    Raises:
        BakehouseError: a name is missing or too many, a shape differs, or a weight is NaN or infinite; says which.
    """
    _check_fit(module.state_dict(), tensors, type(module).__name__, source)
    state, cast = {}, 0
    for name, tensor in tensors.items():
        state[name] = tensor.to(device, dtype) if tensor.is_floating_point() else tensor.to(device)
        _check_numbers(name, tensor, state[name], source)
        cast += tensor.nbytes if state[name] is not tensor else 0
        if release is not None and cast > _CAST_AT_ONCE:
            release()
            cast = 0
    if release is not None and cast:
        release()
    module.load_state_dict(state, strict=True, assign=True)
    _fill_buffers(module, device)


def _check_numbers(name: str, tensor: Tensor, placed: Tensor, source: str) -> None:
    """Looks for NaN and infinity where it costs least: on the device, or in the smaller of two types.

    Raises:
        BakehouseError: the file holds some, or a weight does not fit the type that is computed in.
    """
    there = placed.device != tensor.device or placed.element_size() < tensor.element_size()
    if not (count := count_not_finite(placed if there else tensor)):
        return
    if count_not_finite(tensor):
        raise BakehouseError(
            not_finite_message(source, name, count, tensor.numel()),
            hint="nothing can be drawn or trained with it: fetch the file again, or take another file of this model",
        )
    short = str(placed.dtype).removeprefix("torch.")
    raise BakehouseError(
        f"{source}: {name} does not fit into {short}: {count} of {tensor.numel()} numbers are too large",
        hint="compute in bf16 or fp32 (--precision, or train.precision in a recipe)",
    )


_CAST_AT_ONCE = 32 << 20
"""Bytes of a file that are held beside their copies."""


def _check_fit(wanted: Mapping[str, Tensor], tensors: Mapping[str, Tensor], network: str, source: str) -> None:
    missing = [name for name in wanted if name not in tensors]
    surplus = [name for name in tensors if name not in wanted]
    wrong = [
        f"{name} is {tuple(tensors[name].shape)}, expected {tuple(want.shape)}"
        for name, want in wanted.items()
        if name in tensors and tensors[name].shape != want.shape
    ]
    if missing or surplus or wrong:
        said = [f"{len(xs)} {what}: {listed(xs, 4)}" for what, xs in _kinds(missing, surplus, wrong) if xs]
        raise BakehouseError(f"{source} does not fit {network}: {'; '.join(said)}")


def _kinds(missing: list[str], surplus: list[str], wrong: list[str]) -> list[tuple[str, list[str]]]:
    return [("weights missing", missing), ("unknown", surplus), ("of another shape", wrong)]


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

    Files say `text_model.encoder...`; transformers 5 has taken that level out of the network without a projection.
    Old files also hold the position numbers, which are no weights, and some a projection that nobody reads.
    """
    wanted = module.state_dict()
    nested = any(name.startswith("text_model.") for name in wanted)
    repaired = {}
    for name, tensor in tensors.items():
        bare = name.removeprefix("text_model.")
        if bare.startswith("text_projection"):
            if bare in wanted:
                repaired[bare] = tensor
        elif not bare.endswith("position_ids"):
            repaired[f"text_model.{bare}" if nested else bare] = tensor
    return repaired


def file_text_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The inverse: names as files have them, which every version of transformers reads."""
    plain = ("text_model.", "text_projection")
    return {name if name.startswith(plain) else f"text_model.{name}": tensor for name, tensor in state.items()}


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
    config: Config = dict(module.config.to_dict()) if is_transformers else parse_json(module.to_json_string())
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
