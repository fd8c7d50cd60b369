"""Networks of diffusers and transformers, built on the meta device and filled in place: one copy of the weights.

All that is peculiar to those libraries' folders is handled here: names of weight files, weight names that changed over
the years, buffers that no file holds.
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
from bakehouse.core.message_text import listed
from bakehouse.core.parse_json_toml_yaml import parse_json
from bakehouse.core.quick_imports import quick_imports

Config = dict[str, Any]

_STEMS = ("diffusion_pytorch_model", "model", "pytorch_model")
_SUFFIXES = (".safetensors", ".fp16.safetensors", ".bin", ".fp16.bin")


def weight_files(folder: Path) -> list[Path]:
    """Return the weight files in one network's folder, safetensors before pickles, full before half precision.

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
        f"{folder} has no weights",
        hint=f"expected {_STEMS[0]}.safetensors (or {_STEMS[1]}.safetensors) beside config.json",
    )


def _shards(index: Path) -> list[Path]:
    """Return the files in a shard index.

    Raises:
        BakehouseError: it is not a shard index, or one of its files is missing.
    """
    names = read_table(index).get("weight_map")
    if not isinstance(names, dict) or not all(isinstance(n, str) and n == Path(n).name for n in names.values()):
        raise BakehouseError(f"{index} is not a shard index", hint="download the model again")
    found = [index.parent / name for name in sorted(set(names.values()))]
    if missing := [path for path in found if not path.is_file()]:
        raise BakehouseError(
            f"{missing[0]} is missing: {index.name} lists {len(found)} files, and {len(missing)} of them do not exist",
            hint="download the missing files, or the whole model again",
        )
    return found


def _indices(folder: Path, stem: str, suffix: str) -> list[Path]:
    """Return shard indices; a variant's name is before the ending, or at the very end in those of diffusers."""
    names = [f"{stem}{suffix}.index.json"]
    if suffix.startswith(".fp16"):
        names.append(f"{stem}{suffix.removeprefix('.fp16')}.index.fp16.json")
    return [folder / name for name in names if (folder / name).is_file()]


def build_unet(config: Mapping[str, Any]) -> nn.Module:
    """Build a UNet2DConditionModel on the meta device."""
    with quick_imports():
        from diffusers import UNet2DConditionModel

    return _build(UNet2DConditionModel, config)


def build_vae(config: Mapping[str, Any]) -> nn.Module:
    """Build an AutoencoderKL on the meta device."""
    with quick_imports():
        from diffusers import AutoencoderKL

    return _build(AutoencoderKL, config)


def _build(cls: Any, config: Mapping[str, Any]) -> nn.Module:
    with torch.device("meta"), quiet("diffusers"):
        model: nn.Module = cls.from_config({k: v for k, v in config.items() if k != "_name_or_path"})
    return model


def build_text_encoder(config: Mapping[str, Any], *, pooled: bool = False) -> nn.Module:
    """Build a CLIPTextModel on the meta device; with `pooled`, one that also projects the end token."""
    with quick_imports():
        from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    dropped = ("_name_or_path", "dtype", "torch_dtype", "architectures", "model_type", "transformers_version")
    with torch.device("meta"):
        settings = CLIPTextConfig(**{k: v for k, v in config.items() if k not in dropped})
        model: nn.Module = (CLIPTextModelWithProjection if pooled else CLIPTextModel)(settings)
    return model


def load_tokenizer(folder: Path) -> Any:
    """Load the CLIP tokenizer of a folder.

    Raises:
        BakehouseError: the folder has none.
    """
    with quick_imports():
        from transformers import CLIPTokenizer

    if not any((folder / name).is_file() for name in ("tokenizer.json", "vocab.json")):
        what = "it has neither tokenizer.json nor vocab.json"
        raise BakehouseError(f"{folder} holds no CLIP tokenizer: {what}", hint="fetch the model again")
    try:
        return CLIPTokenizer.from_pretrained(str(folder), local_files_only=True)
    except Exception as e:  # the tokenizers library raises plain exceptions
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
    """Fill a network on the meta device; the tensors become its parameters, without a copy if their type fits.

    Args:
        release: called from time to time while tensors are cast, to release pages of their file.

    Raises:
        BakehouseError: missing or unexpected names, wrong shapes, or a weight that is NaN or infinite; says which.
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
    """Check for NaN and infinity where it is cheapest: on the device, or in the smaller of two types.

    Raises:
        BakehouseError: the file holds some, or a weight overflows in the model's type.
    """
    cheaper = placed.device != tensor.device or placed.element_size() < tensor.element_size()
    if not (count := count_not_finite(placed if cheaper else tensor)):
        return
    if count_not_finite(tensor):
        raise BakehouseError(
            not_finite_message(source, name, count, tensor.numel()),
            hint="the model cannot be used: download the file again, or use another file of this model",
        )
    short = str(placed.dtype).removeprefix("torch.")
    raise BakehouseError(
        f"{source}: {name} overflows in {short}: {count} of {tensor.numel()} numbers are too large",
        hint="compute in bf16 or fp32 (--precision, or train.precision in a recipe)",
    )


_CAST_AT_ONCE = 32 << 20
"""Bytes of a file that may be in memory beside their copies."""


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
    """Fill buffers that no file holds: in these networks, only CLIP's position ids."""
    for path, child in module.named_modules():
        for name, buffer in list(child.named_buffers(recurse=False)):
            if not buffer.is_meta:
                continue
            if name != "position_ids":
                raise BakehouseError(f"{type(module).__name__} has a buffer that no file fills: {path}.{name}")
            numbers = torch.arange(buffer.shape[-1], device=device).expand(buffer.shape)
            child.register_buffer(name, numbers, persistent=False)


def repair_text_names(module: nn.Module, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return text encoder weights under the names of the installed transformers.

    Files have `text_model.encoder...`; transformers 5 removed that level from the network without a projection.
    Old files also hold position ids, which are not weights, and some an unused projection.
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
    """Inverse of `repair_text_names`: the names in files, which every version of transformers reads."""
    plain = ("text_model.", "text_projection")
    return {name if name.startswith(plain) else f"text_model.{name}": tensor for name, tensor in state.items()}


_OLD_ATTENTION = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}


def repair_vae_names(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return VAE weights under today's names: until 2023 its attention had query, key, value and proj_attn."""
    repaired = {}
    for name, tensor in tensors.items():
        head, _, leaf = name.rpartition(".")
        parent, _, last = head.rpartition(".")
        repaired[f"{parent}.{_OLD_ATTENTION[last]}.{leaf}" if last in _OLD_ATTENTION else name] = tensor
    return repaired


def config_json(module: Any) -> Config:
    """Return a network's settings as in its config.json, without the path it was loaded from."""
    is_transformers = hasattr(module.config, "to_dict")
    config: Config = dict(module.config.to_dict()) if is_transformers else parse_json(module.to_json_string())
    if not is_transformers:
        # FSDP gives a network a class of its own, `FSDPUNet2DConditionModel`; the file names the one that it was.
        own = next(c for c in type(module).__mro__ if not c.__module__.startswith("torch."))
        config["_class_name"] = own.__name__
    config.pop("_name_or_path", None)
    return config


def checkpoint_text_encoder(text_encoder: Any, on: bool) -> None:
    """Switch gradient checkpointing. transformers applies it in training mode only, in which CLIP computes the same."""
    word = "activation" if hasattr(text_encoder, "activation_checkpointing_enable") else "gradient"
    if on:
        getattr(text_encoder, f"{word}_checkpointing_enable")({"use_reentrant": False})
    else:
        getattr(text_encoder, f"{word}_checkpointing_disable")()
    text_encoder.train(on)


@contextlib.contextmanager
def quiet(library: str) -> Iterator[None]:
    """Silence a library's log (unused settings, advice); errors are still raised."""
    logger = logging.getLogger(library)
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)
