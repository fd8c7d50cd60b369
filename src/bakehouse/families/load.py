"""From what the user wrote to a model: `crumb`, a diffusers folder, a single file or a Hub id."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from bakehouse.core.errors import BakehouseError, UsageError
from bakehouse.core.files import read_json
from bakehouse.families.components import (
    Config,
    build_text_encoder,
    build_unet,
    build_vae,
    fill,
    load_tokenizer,
    read_tensors,
    repair_text_names,
    repair_vae_names,
    weight_files,
)
from bakehouse.families.crumb import crumb_folder
from bakehouse.families.denoiser import Denoiser
from bakehouse.families.identify import FileKind, identify, read_header

RENAMED = {
    "runwayml/stable-diffusion-v1-5": "stable-diffusion-v1-5/stable-diffusion-v1-5",
    "runwayml/stable-diffusion-inpainting": "stable-diffusion-v1-5/stable-diffusion-inpainting",
}
"""Hub ids that are gone and where the same files live now."""

CLIP_TOKENIZER = "openai/clip-vit-large-patch14"
WEIGHT_SUFFIXES = (".safetensors", ".ckpt", ".pt", ".pth")
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


@dataclass(frozen=True)
class ModelRef:
    """Where a model is and what it is, before any weight is read."""

    kind: Literal["crumb", "folder", "file", "hub"]
    name: str
    """What the user called it."""
    path: Path | None
    """A folder or file; None for a Hub id that is not on this machine yet."""
    family: str | None
    """`sd1`, ...; None where only a download would tell."""
    notes: tuple[str, ...] = ()


def native_size(where: ModelRef) -> int:
    """Side of the squares that a model was trained on, in pixels; reads settings, never weights."""
    sides = {"sd1": 512, "sd2": 768, "sdxl": 1024}
    settings = _unet_and_vae_settings(where)
    if settings is None:
        return sides.get(where.family or "", 512)
    unet, vae = settings
    doublings = len(vae["block_out_channels"]) - 1
    return int(unet["sample_size"]) << doublings


def _unet_and_vae_settings(where: ModelRef) -> tuple[Config, Config] | None:
    """Those that the model carries; None where only its family tells."""
    if where.path is None:
        return None
    if where.path.is_dir():
        files = [where.path / part / "config.json" for part in ("unet", "vae")]
        return (read_json(files[0]), read_json(files[1])) if all(f.is_file() for f in files) else None
    if where.path.suffix != ".safetensors":
        return None
    from bakehouse.families.single_file import METADATA_KEY, read_configs

    header = read_header(where.path)
    if METADATA_KEY not in header.metadata:
        return None
    configs = read_configs(header, where.path)
    return configs.unet, configs.vae


def is_model_ref(ref: str | Path) -> bool:
    """Whether `ref` can be meant as a base model: a cheap look that reads no weights and asks no network."""
    try:
        resolve_model(ref)
    except BakehouseError:
        return False
    return True


def resolve_model(ref: str | Path) -> ModelRef:
    """What a model's name stands for; reads headers and settings, never weights, and asks no network.

    Raises:
        UsageError: nothing of that name, or a file that is no base model (says what it is instead).
    """
    name = str(ref)
    path = Path(ref).expanduser()
    if name == "crumb":
        return ModelRef("crumb", name, crumb_folder(), "sd1")
    if path.is_dir():
        return ModelRef("folder", name, path, _family_of_folder(path))
    if path.is_file():
        return ModelRef("file", name, path, _family_of_file(path))
    if isinstance(ref, str) and _HUB_ID.fullmatch(name) and path.suffix not in WEIGHT_SUFFIXES:
        return _hub_ref(name)
    raise UsageError(
        f"model {name!r}: no such file or folder",
        hint="a model is `crumb`, a diffusers folder, a .safetensors or .ckpt file, or a Hub id such as "
        "stable-diffusion-v1-5/stable-diffusion-v1-5",
    )


def _hub_ref(name: str) -> ModelRef:
    living = RENAMED.get(name, name)
    notes = (f"{name} is gone from the Hub; its living copy {living} is used",) if living != name else ()
    cached = _cached_snapshot(living)
    family = _family_of_folder(cached) if cached else None
    return ModelRef("hub", name, cached, family, notes)


def _cached_snapshot(hub_id: str) -> Path | None:
    from huggingface_hub import try_to_load_from_cache

    index = try_to_load_from_cache(hub_id, "model_index.json")
    return Path(index).parent if isinstance(index, str) else None


def _family_of_folder(folder: Path) -> str:
    if not (folder / "model_index.json").is_file():
        inside = ", ".join(sorted(p.name for p in folder.iterdir())[:5]) or "nothing"
        raise UsageError(
            f"{folder} is not a diffusers model: it has no model_index.json (it holds {inside})",
            hint="name the folder that holds unet/, vae/ and text_encoder/",
        )
    pipeline = str(read_json(folder / "model_index.json").get("_class_name", ""))
    if "XL" in pipeline:
        return "sdxl"
    if not pipeline.startswith("StableDiffusion") or pipeline.startswith("StableDiffusion3"):
        raise UsageError(f"{folder} is a {pipeline}: only Stable Diffusion 1.x, 2.x and SDXL can be taught here")
    unet = read_json(folder / "unet" / "config.json")
    return "sd2" if unet.get("cross_attention_dim") == 1024 else "sd1"


def _family_of_file(path: Path) -> str:
    if path.suffix not in WEIGHT_SUFFIXES:
        raise UsageError(f"{path} is not a weights file: allowed are {', '.join(WEIGHT_SUFFIXES)}")
    found = identify(read_header(path).shapes)
    if found.kind != "checkpoint":
        raise UsageError(f"{path} is no base model, it is {found}", hint=_hint(found))
    return found.family


def _hint(found: FileKind) -> str:
    return {
        "adapter": "put it on a base model: it is an adapter, not a model",
        "vae": "give it as `vae`, beside a model",
    }.get(found.kind, "a base model file holds model.diffusion_model..., first_stage_model... and cond_stage_model...")


def load_model(
    ref: str | Path, *, device: str = "cpu", dtype: torch.dtype = torch.float32, vae: str | None = None
) -> Denoiser:
    """Loads a base model, frozen, in evaluation mode; one copy of the weights at most is in memory.

    Args:
        ref: `crumb`, a diffusers folder, a single file (.safetensors, .ckpt), or a Hub id.
        vae: an external autoencoder: a folder, a file or a Hub id.

    Raises:
        UsageError: nothing of that name, or it is no base model, or of a family that is not known here.
        BakehouseError: the files are broken or could not be fetched.
    """
    where = resolve_model(ref)
    if where.kind == "hub":
        where = _fetched(where)
    assert where.path is not None
    build = FAMILIES.get(where.family or "")
    if build is None:
        names = {"sd2": "SD 2.x", "sdxl": "SDXL", "sd3": "SD 3", "flux": "FLUX"}
        what = names.get(where.family or "", str(where.family))
        because = f": {identify(read_header(where.path).shapes)}" if where.kind == "file" else ""
        raise UsageError(f"{where.name} is of the family {what}{because}", hint=f"known here: {', '.join(FAMILIES)}")
    return build(where, device, dtype, vae)


def _fetched(where: ModelRef) -> ModelRef:
    """The model's files from the Hub: only those that are read; pickles only of a model that has nothing else."""
    living = RENAMED.get(where.name, where.name)
    folder = _download(living, _pipeline_files("safetensors"))
    if not list((folder / "unet").glob("*.safetensors")):
        folder = _download(living, _pipeline_files("bin"))
    return replace(where, path=folder, family=_family_of_folder(folder))


_NETWORKS = {
    "unet": ("diffusion_pytorch_model",),
    "vae": ("diffusion_pytorch_model",),
    "text_encoder": ("model", "pytorch_model"),
    "text_encoder_2": ("model", "pytorch_model"),
}


def _pipeline_files(suffix: str) -> tuple[str, ...]:
    """Patterns for a model's folder on the Hub: one copy of each network, not the halves and EMA twins beside it."""
    settings = ("model_index.json", "scheduler/*", "tokenizer/*", "tokenizer_2/*")
    weights = tuple(
        f"{part}/{name}"
        for part, stems in _NETWORKS.items()
        for stem in stems
        for name in (f"{stem}.{suffix}", f"{stem}.{suffix}.index.json", f"{stem}-0*.{suffix}", "config.json")
    )
    return settings + weights


_VAE_FILES = ("config.json", "diffusion_pytorch_model.safetensors")


def _download(hub_id: str, patterns: tuple[str, ...]) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
    )

    page = f"https://huggingface.co/{hub_id}"
    try:
        return Path(snapshot_download(hub_id, allow_patterns=list(patterns)))
    except GatedRepoError as e:
        raise BakehouseError(
            f"{hub_id} asks for consent to its licence", hint=f"accept it at {page}, then `hf auth login`"
        ) from e
    except (RepositoryNotFoundError, HFValidationError) as e:
        raise UsageError(f"model {hub_id!r}: no such file or folder here, and no such model at {page}") from e
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError) as e:
        raise BakehouseError(
            f"{hub_id} is not on this machine and the Hub cannot be reached ({type(e).__name__})",
            hint="connect once, or name a folder or file; `crumb` needs no network",
        ) from e


def _load_sd1(where: ModelRef, device: str, dtype: torch.dtype, vae: str | None) -> Denoiser:
    assert where.path is not None
    put = _Putter(device, dtype)
    return _sd1_file(where, where.path, put, vae) if where.kind == "file" else _sd1_folder(where, where.path, put, vae)


FAMILIES: Mapping[str, Callable[[ModelRef, str, torch.dtype, str | None], Denoiser]] = {"sd1": _load_sd1}
"""A new family is one file and one line here."""


@dataclass(frozen=True)
class _Putter:
    """Fills networks for one device and type."""

    device: str
    dtype: torch.dtype

    def __call__(self, module: nn.Module, tensors: Mapping[str, torch.Tensor], source: object) -> nn.Module:
        fill(module, tensors, device=self.device, dtype=self.dtype, source=str(source))
        return module

    def vae_folder(self, folder: Path) -> tuple[nn.Module, list[Path]]:
        files = weight_files(folder)
        tensors = {k: v for f in files for k, v in read_tensors(f).items()}
        return self(build_vae(read_json(folder / "config.json")), repair_vae_names(tensors), folder), files

    def text_folder(self, folder: Path) -> tuple[nn.Module, list[Path]]:
        files = weight_files(folder)
        text = build_text_encoder(read_json(folder / "config.json"))
        tensors = {k: v for f in files for k, v in read_tensors(f).items()}
        return self(text, repair_text_names(text, tensors), folder), files

    def unet_folder(self, folder: Path) -> tuple[nn.Module, list[Path]]:
        files = weight_files(folder)
        tensors = {k: v for f in files for k, v in read_tensors(f).items()}
        return self(build_unet(read_json(folder / "config.json")), tensors, folder), files


def _sd1_folder(where: ModelRef, folder: Path, put: _Putter, vae: str | None) -> Denoiser:
    from bakehouse.families.sd1 import SD1

    unet, unet_files = put.unet_folder(folder / "unet")
    text, text_files = put.text_folder(folder / "text_encoder")
    autoencoder, vae_files = put.vae_folder(folder / "vae") if vae is None else _external_vae(vae, put)
    return SD1(
        unet=unet,
        vae=autoencoder,
        text_encoder=text,
        tokenizer=load_tokenizer(folder / "tokenizer"),
        scheduler_config=read_json(folder / "scheduler" / "scheduler_config.json"),
        name=where.name,
        files=[*unet_files, *vae_files, *text_files],
        notes=where.notes,
    )


def _sd1_file(where: ModelRef, path: Path, put: _Putter, vae: str | None) -> Denoiser:
    from bakehouse.families.sd1 import SD1
    from bakehouse.families.single_file import read_configs, split

    configs = read_configs(read_header(path), path)
    tokenizer = _tokenizer_for(path, configs.tokenizer, int(configs.text_encoder["vocab_size"]))
    states = split(read_tensors(path), configs)
    unet = put(build_unet(configs.unet), states.pop("unet"), path)
    text = put(build_text_encoder(configs.text_encoder), states.pop("text_encoder"), path)
    own_vae: tuple[nn.Module, list[Path]] | None = None
    if vae is None:
        own_vae = put(build_vae(configs.vae), states.pop("vae"), path), []
    autoencoder, vae_files = own_vae or _external_vae(str(vae), put)
    return SD1(
        unet=unet,
        vae=autoencoder,
        text_encoder=text,
        tokenizer=tokenizer,
        scheduler_config=configs.scheduler,
        name=where.name,
        files=[path, *vae_files],
        notes=where.notes,
    )


def _tokenizer_for(path: Path, carried: str | None, vocabulary: int) -> Any:
    """The tokenizer in the file's header, beside the file, in the Hub's cache, or from the Hub, in this order."""
    if carried is not None:
        with tempfile.TemporaryDirectory() as made:
            (Path(made) / "tokenizer.json").write_text(carried, encoding="utf-8")
            return load_tokenizer_json(Path(made))
    for folder in (path.parent / "tokenizer", path.with_suffix(""), path.parent):
        if (folder / "tokenizer.json").is_file() or (folder / "vocab.json").is_file():
            return load_tokenizer(folder)
    if vocabulary != 49408:
        raise BakehouseError(
            f"{path} has a vocabulary of {vocabulary} words of its own and no tokenizer",
            hint=f"put its tokenizer.json into {path.parent / 'tokenizer'}",
        )
    patterns = ("tokenizer.json", "tokenizer_config.json", "vocab.json", "merges.txt", "special_tokens_map.json")
    try:
        return load_tokenizer(_download(CLIP_TOKENIZER, patterns))
    except BakehouseError as e:
        raise BakehouseError(
            f"{path} holds no tokenizer, and CLIP's own could not be found: {e.message}",
            hint=f"put vocab.json and merges.txt of {CLIP_TOKENIZER} into {path.parent / 'tokenizer'}, or connect once",
        ) from e


def load_tokenizer_json(folder: Path) -> Any:
    """The tokenizer of a folder that holds tokenizer.json alone."""
    from transformers import CLIPTokenizer

    marks = {"unk_token": "<|endoftext|>", "bos_token": "<|startoftext|>", "eos_token": "<|endoftext|>"}
    return CLIPTokenizer.from_pretrained(str(folder), local_files_only=True, pad_token="<|endoftext|>", **marks)


def _external_vae(ref: str, put: _Putter) -> tuple[nn.Module, list[Path]]:
    from bakehouse.families.single_file import split_vae

    path = Path(ref).expanduser()
    if path.is_file():
        shapes = read_header(path).shapes
        found = identify(shapes)
        if found.kind not in ("vae", "checkpoint"):
            raise UsageError(f"vae = {ref!r} is no autoencoder, it is {found}")
        if any("down_blocks" in k for k in shapes):
            raise UsageError(f"vae = {ref!r} has diffusers' names and no config.json", hint="name its folder")
        config = _vae_config(path)
        return put(build_vae(config), split_vae(read_tensors(path), config), path), [path]
    folder = path if path.is_dir() else _download(ref, _VAE_FILES)
    return put.vae_folder(folder / "vae" if (folder / "vae" / "config.json").is_file() else folder)


def _vae_config(path: Path) -> Config:
    from bakehouse.families.single_file import METADATA_KEY, read_configs, read_vae_config

    header = read_header(path)
    if METADATA_KEY in header.metadata:
        return read_configs(header, path).vae
    prefix = "first_stage_model." if any(k.startswith("first_stage_model.") for k in header.shapes) else ""
    return read_vae_config(header.shapes, prefix)
