"""What a model's settings and headers say of it before any weight is read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import nn

from bakehouse.core.errors import wrap_foreign_errors
from bakehouse.core.files import read_table
from bakehouse.core.model_catalogue import locate_model
from bakehouse.models.diffusers_networks import Config, build_text_encoder, build_unet
from bakehouse.models.identify import identify, read_header
from bakehouse.models.load import FAMILIES
from bakehouse.models.mmap_weights import read_weights
from bakehouse.models.model_reference import ModelRef, is_hub_id
from bakehouse.models.noise_schedule import NoiseSchedule, PredictionType, schedule_from_config
from bakehouse.models.text_encoders import under_text_model


@dataclass(frozen=True)
class ModelFacts:
    """A base model's settings."""

    family: str
    unet: Config
    text: Mapping[str, Config]
    """Of each text encoder, by diffusers' part."""
    schedule: NoiseSchedule = field(compare=False)

    @property
    def text_layers(self) -> int:
        """Of the text encoder that has fewest."""
        return min(int(config["num_hidden_layers"]) for config in self.text.values())

    def skeleton(self) -> dict[str, nn.Module]:
        """The networks that `Denoiser.parts` gives, without weights: on the meta device. Takes a second or two."""
        encoders = {part: build_text_encoder(c, pooled=part == "text_encoder_2") for part, c in self.text.items()}
        prefixes = FAMILIES[self.family].text_parts
        with torch.device("meta"):
            return {
                "lora_unet": build_unet(self.unet),
                **{prefixes[part]: under_text_model(network) for part, network in encoders.items()},
            }


def model_facts(where: ModelRef, prediction: PredictionType | None = None) -> ModelFacts | None:
    """What is known of a model; None where it is not on this machine yet, or its folder lacks settings.

    Args:
        prediction: what the UNet predicts, where the model's files should not be asked.

    Raises:
        BakehouseError: a noise schedule that is not known here, or a broken file.
    """
    family = where.family
    if where.path is None or family is None or family not in FAMILIES:
        return None
    if where.path.is_dir():
        return _of_folder(where.path, family, prediction)
    from bakehouse.models.single_file import read_configs

    # SD 2.x files tell what they predict by one tensor; the file is mapped, and nothing else of it is read.
    configs = read_configs(read_header(where.path), where.path, read_weights([where.path]), prediction)
    return ModelFacts(family, configs.unet, configs.text, schedule_from_config(configs.scheduler))


def why_no_vae(ref: str) -> str:
    """Why a name cannot be an autoencoder; empty where it can. A Hub id is not asked for."""
    path = Path(ref).expanduser()
    if not path.exists():
        path = Path(locate_model(ref, "vae", "base") or ref)
    if path.is_dir():
        there = any((path / name).is_file() for name in ("config.json", "vae/config.json"))
        return "" if there else "the folder holds no config.json: name that of a diffusers VAE"
    if path.is_file():
        found = identify(read_header(path).shapes)
        return "" if found.kind in ("vae", "checkpoint") else f"it is no autoencoder, it is {found}"
    return "" if is_hub_id(ref) else "no such file or folder, and no Hub id (owner/name)"


def _of_folder(folder: Path, family: str, prediction: PredictionType | None) -> ModelFacts | None:
    parts = FAMILIES[family].text_parts
    files = {part: folder / part / "config.json" for part in ("unet", *parts)}
    scheduler = folder / "scheduler" / "scheduler_config.json"
    if not all(f.is_file() for f in (*files.values(), scheduler)):
        return None
    text = {part: read_table(files[part]) for part in parts}
    said = {"prediction_type": prediction} if prediction else {}
    config = {**read_table(scheduler), **said}
    with wrap_foreign_errors(scheduler, hint="fetch the model again"):
        schedule = schedule_from_config(config)
    return ModelFacts(family, read_table(files["unet"]), text, schedule)
