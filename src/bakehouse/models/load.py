"""Loading of base models: `crumb`, a diffusers folder, a single file or a Hub id."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bakehouse.core.errors import BakehouseError, UsageError, wrap_foreign_errors
from bakehouse.core.files import read_table
from bakehouse.core.model_catalogue import locate_model
from bakehouse.models.damaged_files import check_model
from bakehouse.models.denoiser import Denoiser
from bakehouse.models.diffusers_networks import (
    Config,
    build_text_encoder,
    build_unet,
    build_vae,
    fill,
    load_tokenizer,
    repair_text_names,
    repair_vae_names,
    weight_files,
)
from bakehouse.models.families import FAMILIES, native_size
from bakehouse.models.family import Family
from bakehouse.models.hub import TOKENIZER_FILES, VAE_FILES, current_repo_id, download, download_pipeline
from bakehouse.models.identify import NAMES, identify, read_header
from bakehouse.models.mmap_weights import Weights, read_weights
from bakehouse.models.model_reference import ModelRef, family_of_folder, is_model_ref, resolve_model
from bakehouse.models.noise_schedule import PredictionType
from bakehouse.models.sdxl import SDXL
from bakehouse.models.stable_diffusion import tokenizer_part

__all__ = ["ModelRef", "is_model_ref", "load_model", "native_size", "resolve_model"]

CLIP_TOKENIZER = "openai/clip-vit-large-patch14"
_DOWNLOAD_AGAIN = "download the model again"
_CLIP_VOCABULARY = 49408


def load_model(
    ref: str | Path,
    *,
    device: str = "cpu",
    dtype: torch.dtype = torch.float32,
    vae: str | None = None,
    prediction: PredictionType | None = None,
) -> Denoiser:
    """Load a base model, frozen and in evaluation mode, with at most one copy of its weights in memory.

    Args:
        ref: `crumb`, a diffusers folder, a single file (.safetensors, .ckpt), or a Hub id.
        vae: another autoencoder than the model's own: a folder, a file or a Hub id.
        prediction: overrides the prediction type in the model's files.

    Raises:
        UsageError: not found, not a base model, or of an unsupported family.
        BakehouseError: the files are damaged or cannot be downloaded.
    """
    where = resolve_model(ref)
    if where.kind == "hub":
        folder = download_pipeline(current_repo_id(where.name))
        where = replace(where, path=folder, family=family_of_folder(folder))
    assert where.path is not None
    check_model(where, vae)
    family = FAMILIES.get(where.family or "")
    if family is None:
        because = f": {identify(read_header(where.path).shapes)}" if where.kind == "file" else ""
        what = NAMES.get(where.family or "", str(where.family))
        raise UsageError(f"{where.name} is of the family {what}{because}", hint=f"supported: {', '.join(FAMILIES)}")
    loader = _Loader(family, device, dtype)
    read = loader.from_file if where.kind == "file" else loader.from_folder
    parts = read(where.path, vae, prediction)
    with wrap_foreign_errors(f"the settings of {where.name}", hint=_DOWNLOAD_AGAIN):
        return family.network_class(name=where.name, notes=(*where.notes, *parts.pop("notes", ())), **parts)


@dataclass
class _Loader:
    """Loads the networks of one model onto one device, in one type."""

    family: Family
    device: str
    dtype: torch.dtype
    files: list[Path] = field(default_factory=list)
    """Weight files in the order in which they were read, for the fingerprint."""

    def from_folder(self, folder: Path, vae: str | None, prediction: PredictionType | None) -> dict[str, Any]:
        """Return the arguments of the family's class, from a diffusers folder."""
        parts: dict[str, Any] = {"unet": self._network(folder / "unet", build_unet)}
        parts["vae"] = self.vae_folder(folder / "vae") if vae is None else self.external_vae(vae)
        for number, part in enumerate(self.family.network_class.text_parts):
            parts[part] = self._text(folder / part, pooled=number > 0)
            parts[tokenizer_part(part)] = load_tokenizer(folder / tokenizer_part(part))
        scheduler = read_table(folder / "scheduler" / "scheduler_config.json")
        parts["scheduler_config"] = {**scheduler, **({"prediction_type": prediction} if prediction else {})}
        index = read_table(folder / "model_index.json")
        if "force_zeros_for_empty_prompt" in index and self.family.network_class is SDXL:
            parts["zero_negative"] = bool(index["force_zeros_for_empty_prompt"])
        return {**parts, "files": self.files, "settings": self._settings(folder, with_vae=vae is None)}

    def _settings(self, folder: Path, *, with_vae: bool) -> list[Path]:
        """Return the settings files of a diffusers folder that decide how its weights are used."""
        text = [name for part in self.family.network_class.text_parts for name in (part, tokenizer_part(part))]
        read = [folder / name for name in ("unet", *(["vae"] if with_vae else []), *text, "scheduler")]
        small = [p for part in read for p in sorted(part.iterdir()) if p.suffix in (".json", ".txt") and p.is_file()]
        return [folder / "model_index.json", *small]

    def from_file(self, path: Path, vae: str | None, prediction: PredictionType | None) -> dict[str, Any]:
        """Return the same from a single file."""
        from bakehouse.models.single_file import read_single_file, skeletons

        file = read_single_file(path, prediction=prediction)
        self.files.append(path)
        parts: dict[str, Any] = {}
        for part, network in skeletons(file.configs).items():
            if part != "vae" or vae is None:
                dtype = self._vae_dtype(file.configs.vae) if part == "vae" else self.dtype
                parts[part] = self._filled(network, file.states[part], file.weights, path, dtype)
        if vae is not None:
            parts["vae"] = self.external_vae(vae)
        pads = file.configs.pad_tokens or tuple(self.family.pad_tokens.get(part, "") for part in file.configs.text)
        for (part, config), pad in zip(file.configs.text.items(), pads, strict=True):
            found = tokenizer_for_file(path, file.configs.tokenizer, int(config["vocab_size"]))
            if pad:
                found.pad_token = pad
            parts[tokenizer_part(part)] = found
        return {**parts, "scheduler_config": file.configs.scheduler, "files": self.files, "notes": file.notes}

    def _filled(
        self,
        network: nn.Module,
        tensors: Mapping[str, Tensor],
        weights: Weights | None,
        source: object,
        dtype: torch.dtype,
    ) -> nn.Module:
        release = weights.release if weights is not None else None
        fill(network, tensors, device=self.device, dtype=dtype, source=str(source), release=release)
        return network

    def _weights(self, folder: Path) -> Weights:
        files = weight_files(folder)
        self.files += files
        return read_weights(files)

    def _network(self, folder: Path, build: Any) -> nn.Module:
        weights = self._weights(folder)
        return self._filled(_built(build, folder), weights, weights, folder, self.dtype)

    def _text(self, folder: Path, *, pooled: bool) -> nn.Module:
        weights = self._weights(folder)
        text = _built(partial(build_text_encoder, pooled=pooled), folder)
        return self._filled(text, repair_text_names(text, weights), weights, folder, self.dtype)

    def vae_folder(self, folder: Path) -> nn.Module:
        """Load an autoencoder from a diffusers folder."""
        weights, config = self._weights(folder), read_table(folder / "config.json")
        vae = _built(build_vae, folder)
        return self._filled(vae, repair_vae_names(weights), weights, folder, self._vae_dtype(config))

    def _vae_dtype(self, config: Config) -> torch.dtype:
        return self.family.network_class.vae_dtype(config, self.dtype)

    def external_vae(self, ref: str) -> nn.Module:
        """Load another autoencoder than the model's own: a folder, a single file or a Hub id.

        Raises:
            UsageError: it is not an autoencoder.
        """
        path = Path(ref).expanduser()
        if not path.exists():
            path = Path(locate_model(ref, "vae", "base") or ref)
        if not path.is_file():
            folder = path if path.is_dir() else download(current_repo_id(path.as_posix()), VAE_FILES)
            return self.vae_folder(folder / "vae" if (folder / "vae" / "config.json").is_file() else folder)
        from bakehouse.models.single_file import split_vae

        shapes = read_header(path).shapes
        found = identify(shapes)
        if found.kind not in ("vae", "checkpoint"):
            raise UsageError(f"vae = {ref!r} is not an autoencoder but {found}")
        if any("down_blocks" in k for k in shapes):
            raise UsageError(
                f"vae = {ref!r} has diffusers' weight names, which need a config.json", hint="pass its folder"
            )
        self.files.append(path)
        config, weights = self._vae_config(path), read_weights([path])
        return self._filled(build_vae(config), split_vae(weights, config), weights, path, self._vae_dtype(config))

    def _vae_config(self, path: Path) -> Config:
        from bakehouse.models.infer_config import read_vae_config
        from bakehouse.models.single_file import METADATA_KEY, read_configs

        header = read_header(path)
        if METADATA_KEY in header.metadata:
            return read_configs(header, path).vae
        prefix = "first_stage_model." if any(k.startswith("first_stage_model.") for k in header.shapes) else ""
        return read_vae_config(header.shapes, prefix, self.family.name)


def _built(build: Callable[[Config], nn.Module], folder: Path) -> nn.Module:
    """Build a network from its folder's config.json."""
    path = folder / "config.json"
    config = read_table(path)
    with wrap_foreign_errors(path, hint=_DOWNLOAD_AGAIN):
        return build(config)


def tokenizer_for_file(path: Path, carried: str | None, vocabulary: int) -> Any:
    """Return the tokenizer in the file's header, beside the file, in the Hub's cache or on the Hub, in this order."""
    if carried is not None:
        with tempfile.TemporaryDirectory() as made:
            (Path(made) / "tokenizer.json").write_text(carried, encoding="utf-8")
            return load_tokenizer_json(Path(made))
    for folder in (path.parent / "tokenizer", path.with_suffix(""), path.parent):
        if (folder / "tokenizer.json").is_file() or (folder / "vocab.json").is_file():
            return load_tokenizer(folder)
    if vocabulary != _CLIP_VOCABULARY:
        raise BakehouseError(
            f"{path} has a text encoder with {vocabulary} tokens, which is not CLIP's, and no tokenizer",
            hint=f"put its tokenizer.json into {path.parent / 'tokenizer'}",
        )
    try:
        return load_tokenizer(download(CLIP_TOKENIZER, TOKENIZER_FILES))
    except BakehouseError as e:
        raise BakehouseError(
            f"{path} has no tokenizer, and CLIP's own cannot be found: {e.message}",
            hint=f"go online once, or put vocab.json and merges.txt of {CLIP_TOKENIZER} beside it in tokenizer/",
        ) from e


def load_tokenizer_json(folder: Path) -> Any:
    """Load the tokenizer of a folder that holds nothing but tokenizer.json."""
    from transformers import CLIPTokenizer

    marks = {"unk_token": "<|endoftext|>", "bos_token": "<|startoftext|>", "eos_token": "<|endoftext|>"}
    return CLIPTokenizer.from_pretrained(str(folder), local_files_only=True, pad_token="<|endoftext|>", **marks)
