"""Model references: from what a user calls a base model to its files and family, without reading weights."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from bakehouse.core.bundled_models import BUNDLED_BASE
from bakehouse.core.errors import BakehouseError, UsageError, did_you_mean, wrap_foreign_errors
from bakehouse.core.files import read_table
from bakehouse.core.model_catalogue import locate_model, model_names
from bakehouse.models.crumb import crumb_folder
from bakehouse.models.hub import cached_pipeline, current_repo_id
from bakehouse.models.identify import NAMES, FileKind, identify, read_header

SINGLE_FILE_SUFFIXES = (".safetensors", ".ckpt", ".pt", ".pth")
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


@dataclass(frozen=True)
class ModelRef:
    """Where a base model is and what it is, before its weights are read."""

    kind: Literal["crumb", "folder", "file", "hub"]
    name: str
    """What the user called it."""
    path: Path | None
    """A folder or file; None for a Hub id that was not downloaded yet."""
    family: str | None
    """`sd1`, ...; None if only a download would tell."""
    notes: tuple[str, ...] = ()

    def configured_size(self) -> int | None:
        """Return the training images' side in pixels from the model's own settings; None if they do not say."""
        if self.path is None:
            return None
        if self.path.is_dir():
            files = [self.path / part / "config.json" for part in ("unet", "vae")]
            if not all(f.is_file() for f in files):
                return None
            unet, vae = read_table(files[0]), read_table(files[1])
        elif self.path.suffix == ".safetensors":
            from bakehouse.models.single_file import read_configs

            configs = read_configs(read_header(self.path), self.path)
            unet, vae = configs.unet, configs.vae
        else:
            return None
        with wrap_foreign_errors(f"the settings of {self.name}", hint="download the model again"):
            doublings = len(vae["block_out_channels"]) - 1
            return int(unet["sample_size"]) << doublings


def is_model_ref(ref: str | Path) -> bool:
    """Return whether `ref` stands for a base model. Cheap: reads no weights and needs no network."""
    try:
        resolve_model(ref)
    except BakehouseError:
        return False
    return True


def resolve_model(ref: str | Path) -> ModelRef:
    """Return what a name, path or Hub id stands for. Reads headers and settings, never weights; needs no network.

    Raises:
        UsageError: not found, or a file that is not a base model (says what it is).
    """
    name = str(ref)
    path = Path(ref).expanduser()
    if name == BUNDLED_BASE:
        return ModelRef("crumb", name, crumb_folder(), "sd1")
    if path.is_dir():
        return ModelRef("folder", name, path, family_of_folder(path))
    if path.is_file():
        return ModelRef("file", name, path, _family_of_file(path))
    if isinstance(ref, str) and is_hub_id(name):
        return _hub_ref(name)
    installed = locate_model(name, "base")
    if installed is not None:
        return resolve_model(installed)
    raise UsageError(
        f"model {name!r}: no such file or folder, and no such name in the catalogue{did_you_mean(name, model_names())}",
        hint="a model is `crumb`, a diffusers folder, a .safetensors or .ckpt file, a Hub id such as "
        "stable-diffusion-v1-5/stable-diffusion-v1-5, or a name of `bakehouse models list`",
    )


def is_hub_id(text: str) -> bool:
    """Return whether a text has the form of a Hub id, owner/name."""
    return _HUB_ID.fullmatch(text) is not None and Path(text).suffix not in SINGLE_FILE_SUFFIXES


def _hub_ref(name: str) -> ModelRef:
    current = current_repo_id(name)
    notes = (f"{name} no longer exists on the Hub; using its copy {current}",) if current != name else ()
    cached = cached_pipeline(current)
    family = family_of_folder(cached) if cached else None
    return ModelRef("hub", name, cached, family, notes)


_SPECIAL = ("InstructPix2Pix", "Upscale", "Depth2Img", "ControlNet")
"""Parts of the names of pipelines that are neither plain text-to-image nor inpainting."""


def family_of_folder(folder: Path) -> str:
    """Return the family of a diffusers folder.

    Raises:
        UsageError: not a diffusers folder, or of an unsupported kind (says which).
    """
    if not (folder / "model_index.json").is_file():
        inside = ", ".join(sorted(p.name for p in folder.iterdir())[:5]) or "nothing"
        raise UsageError(
            f"{folder} is not a diffusers model: it has no model_index.json (it holds {inside})",
            hint="pass the folder that holds unet/, vae/ and text_encoder/",
        )
    index = read_table(folder / "model_index.json")
    pipeline = str(index.get("_class_name", ""))
    known = pipeline.startswith("StableDiffusion") and not pipeline.startswith("StableDiffusion3")
    if not known or any(word in pipeline for word in _SPECIAL):
        raise UsageError(f"{folder} is a {pipeline}: supported are plain Stable Diffusion 1.x, 2.x and SDXL models")
    if "XL" in pipeline:
        return _plain_sdxl(folder, index)
    unet = read_table(folder / "unet" / "config.json")
    if unet.get("class_embed_type"):
        raise UsageError(f"{folder} is an SD 2.x unCLIP model: only plain text-to-image models are supported")
    return "sd2" if _is_sd2(folder, unet) else "sd1"


def _plain_sdxl(folder: Path, index: dict[str, object]) -> str:
    first = index.get("text_encoder")
    if isinstance(first, list) and first[:1] == [None]:
        raise UsageError(f"{folder} is an SDXL refiner, which cannot generate images alone: use the base model")
    scheduler = folder / "scheduler" / "scheduler_config.json"
    if scheduler.is_file() and str(read_table(scheduler).get("_class_name", "")).startswith("EDM"):
        raise UsageError(f"{folder} is an SDXL EDM model, whose kind of noise schedule is not supported")
    return "sdxl"


def _is_sd2(folder: Path, unet: dict[str, object]) -> bool:
    """SD 2.x has OpenCLIP's text encoder, whose activation is `gelu`; OpenAI's CLIP has `quick_gelu`."""
    text = folder / "text_encoder" / "config.json"
    if text.is_file():
        return bool(read_table(text).get("hidden_act", "quick_gelu") == "gelu")
    return unet.get("cross_attention_dim") == 1024


def _family_of_file(path: Path) -> str:
    if path.suffix not in SINGLE_FILE_SUFFIXES:
        raise UsageError(f"{path} is not a weights file: allowed are {', '.join(SINGLE_FILE_SUFFIXES)}")
    found = identify(read_header(path).shapes)
    if found.kind not in ("checkpoint", "inpainting model"):
        raise UsageError(f"{path} is not a base model but {found}", hint=_hint(found))
    return found.family


_EXPECTED = "a base model file holds model.diffusion_model..., first_stage_model... and a text encoder"


def _hint(found: FileKind) -> str:
    hints = {
        "adapter": "pass a base model here, and the adapter where an adapter is expected",
        "vae": "pass it as `vae`, with a base model",
        "refiner": "use the base model: a refiner only refines its images",
    }
    if found.kind.endswith(" model"):
        return f"use the plain {NAMES.get(found.family, 'base')} model that it was made from"
    return hints.get(found.kind, _EXPECTED)
