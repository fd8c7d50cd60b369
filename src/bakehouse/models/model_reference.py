"""What a model's name stands for: told from headers and settings, before any weight is read."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from bakehouse.core.errors import BakehouseError, UsageError, did_you_mean, wrap_foreign_errors
from bakehouse.core.files import read_table
from bakehouse.core.model_catalogue import locate_model, model_names
from bakehouse.models.crumb import crumb_folder
from bakehouse.models.hub import cached_pipeline, living
from bakehouse.models.identify import NAMES, FileKind, identify, read_header

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
    found = _latent_side(where)
    return sides.get(where.family or "", 512) if found is None else found


def _latent_side(where: ModelRef) -> int | None:
    """As the model's own settings say; None where only its family tells."""
    if where.path is None:
        return None
    if where.path.is_dir():
        files = [where.path / part / "config.json" for part in ("unet", "vae")]
        if not all(f.is_file() for f in files):
            return None
        unet, vae = read_table(files[0]), read_table(files[1])
    elif where.path.suffix == ".safetensors":
        from bakehouse.models.single_file import read_configs

        configs = read_configs(read_header(where.path), where.path)
        unet, vae = configs.unet, configs.vae
    else:
        return None
    with wrap_foreign_errors(f"the settings of {where.name}", hint="fetch the model again"):
        doublings = len(vae["block_out_channels"]) - 1
        return int(unet["sample_size"]) << doublings


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
        return ModelRef("folder", name, path, family_of_folder(path))
    if path.is_file():
        return ModelRef("file", name, path, _family_of_file(path))
    if isinstance(ref, str) and is_hub_id(name):
        return _hub_ref(name)
    shelved = locate_model(name, "base")
    if shelved is not None:
        return resolve_model(shelved)
    raise UsageError(
        f"model {name!r}: no such file or folder, and no such name on the shelf{did_you_mean(name, model_names())}",
        hint="a model is `crumb`, a diffusers folder, a .safetensors or .ckpt file, a Hub id such as "
        "stable-diffusion-v1-5/stable-diffusion-v1-5, or a name of `bakehouse models list`",
    )


def is_hub_id(text: str) -> bool:
    """Whether a text has the form of a Hub id, owner/name."""
    return _HUB_ID.fullmatch(text) is not None and Path(text).suffix not in WEIGHT_SUFFIXES


def _hub_ref(name: str) -> ModelRef:
    now = living(name)
    notes = (f"{name} is gone from the Hub; its living copy {now} is used",) if now != name else ()
    cached = cached_pipeline(now)
    family = family_of_folder(cached) if cached else None
    return ModelRef("hub", name, cached, family, notes)


_SPECIAL = ("Inpaint", "InstructPix2Pix", "Upscale", "Depth2Img", "ControlNet")


def family_of_folder(folder: Path) -> str:
    """The family of a diffusers folder.

    Raises:
        UsageError: no such folder, or one of another kind (says which).
    """
    if not (folder / "model_index.json").is_file():
        inside = ", ".join(sorted(p.name for p in folder.iterdir())[:5]) or "nothing"
        raise UsageError(
            f"{folder} is not a diffusers model: it has no model_index.json (it holds {inside})",
            hint="name the folder that holds unet/, vae/ and text_encoder/",
        )
    index = read_table(folder / "model_index.json")
    pipeline = str(index.get("_class_name", ""))
    known = pipeline.startswith("StableDiffusion") and not pipeline.startswith("StableDiffusion3")
    special = [
        word for word in ("Inpaint", "InstructPix2Pix", "Upscale", "Depth2Img", "ControlNet") if word in pipeline
    ]
    if not known or special:
        raise UsageError(f"{folder} is a {pipeline}: only plain Stable Diffusion 1.x, 2.x and SDXL can be taught here")
    if "XL" in pipeline:
        return _plain_sdxl(folder, index)
    unet = read_table(folder / "unet" / "config.json")
    if unet.get("class_embed_type"):
        raise UsageError(f"{folder} is an SD 2.x unCLIP model: only plain text-to-image models can be taught here")
    return "sd2" if _is_sd2(folder, unet) else "sd1"


def _plain_sdxl(folder: Path, index: dict[str, object]) -> str:
    first = index.get("text_encoder")
    if isinstance(first, list) and first[:1] == [None]:
        raise UsageError(f"{folder} is an SDXL refiner: it draws no pictures of its own; take the base model")
    scheduler = folder / "scheduler" / "scheduler_config.json"
    if scheduler.is_file() and str(read_table(scheduler).get("_class_name", "")).startswith("EDM"):
        raise UsageError(f"{folder} is an SDXL EDM model: another kind of noise schedule, which cannot be taught here")
    return "sdxl"


def _is_sd2(folder: Path, unet: dict[str, object]) -> bool:
    """SD 2.x reads OpenCLIP, whose activation is `gelu`; OpenAI's CLIP has `quick_gelu`. Width does not tell."""
    text = folder / "text_encoder" / "config.json"
    if text.is_file():
        return bool(read_table(text).get("hidden_act", "quick_gelu") == "gelu")
    return unet.get("cross_attention_dim") == 1024


def _family_of_file(path: Path) -> str:
    if path.suffix not in WEIGHT_SUFFIXES:
        raise UsageError(f"{path} is not a weights file: allowed are {', '.join(WEIGHT_SUFFIXES)}")
    found = identify(read_header(path).shapes)
    if found.kind != "checkpoint":
        raise UsageError(f"{path} is no base model, it is {found}", hint=_hint(found))
    return found.family


_WHOLE = "a base model file holds model.diffusion_model..., first_stage_model... and a text encoder"


def _hint(found: FileKind) -> str:
    hints = {
        "adapter": "put it on a base model: it is an adapter, not a model",
        "vae": "give it as `vae`, beside a model",
        "refiner": "take the base model: a refiner only goes over its pictures",
    }
    if found.kind.endswith(" model"):
        return f"take the plain {NAMES.get(found.family, 'model')} model that it was made from"
    return hints.get(found.kind, _WHOLE)
