"""Facts about a base model from its settings and headers, before weights are read."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

import torch
from torch import nn

from bakehouse.core.errors import wrap_foreign_errors
from bakehouse.core.files import read_table
from bakehouse.core.model_catalogue import locate_model
from bakehouse.core.parse_json_toml_yaml import parse_json
from bakehouse.models.diffusers_networks import Config, build_text_encoder, build_unet
from bakehouse.models.families import FAMILIES
from bakehouse.models.identify import identify, read_header
from bakehouse.models.mmap_weights import read_weights
from bakehouse.models.model_reference import ModelRef, is_hub_id
from bakehouse.models.noise_schedule import NoiseSchedule, PredictionType, schedule_from_config
from bakehouse.models.text_encoders import with_text_model_level


@dataclass(frozen=True)
class ModelFacts:
    """The settings of a base model's networks and noise schedule."""

    family: str
    unet: Config
    text: Mapping[str, Config]
    """Settings of each text encoder, by diffusers' names."""
    schedule: NoiseSchedule = field(compare=False)

    @property
    def text_layers(self) -> int:
        """Layers of the text encoder with the fewest."""
        return min(int(config["num_hidden_layers"]) for config in self.text.values())

    def skeleton(self) -> dict[str, nn.Module]:
        """Build `Denoiser.trainable_modules` without weights, on the meta device. Takes a second or two."""
        return _skeleton(self.family, self.unet, self.text)

    def shared_skeleton(self) -> Mapping[str, nn.Module]:
        """Return the same networks for each call with the same settings, for who only looks: they must not change."""
        return _shared_skeleton(self.family, json.dumps([self.unet, self.text], sort_keys=True))


def _skeleton(family: str, unet: Config, text: Mapping[str, Config]) -> dict[str, nn.Module]:
    encoders = {part: build_text_encoder(c, pooled=part == "text_encoder_2") for part, c in text.items()}
    prefixes = FAMILIES[family].network_class.text_parts
    with torch.device("meta"):
        return {
            "lora_unet": build_unet(unet),
            **{prefixes[part]: with_text_model_level(network) for part, network in encoders.items()},
        }


@functools.lru_cache(maxsize=2)
def _shared_skeleton(family: str, configs: str) -> Mapping[str, nn.Module]:
    # A form that plans anew after each key pressed asks about one base.
    return MappingProxyType(_skeleton(family, *parse_json(configs)))


def model_facts(where: ModelRef, prediction: PredictionType | None = None) -> ModelFacts | None:
    """Return the facts of a model; None if it was not downloaded yet, or its folder lacks settings.

    Args:
        prediction: overrides the prediction type in the model's files.

    Raises:
        BakehouseError: an unsupported noise schedule, or a damaged file.
    """
    family = where.family
    if where.path is None or family is None or family not in FAMILIES:
        return None
    if where.path.is_dir():
        return _of_folder(where.path, family, prediction)
    from bakehouse.models.single_file import read_configs

    # The prediction type of SD 2.x files is told by one tensor; the file is mapped, and only that tensor is read.
    configs = read_configs(read_header(where.path), where.path, read_weights([where.path]), prediction)
    return ModelFacts(family, configs.unet, configs.text, schedule_from_config(configs.scheduler))


def why_no_vae(ref: str) -> str:
    """Return why a reference cannot be an autoencoder; empty if it can. A Hub id is not looked up."""
    path = Path(ref).expanduser()
    if not path.exists():
        path = Path(locate_model(ref, "vae", "base") or ref)
    if path.is_dir():
        there = any((path / name).is_file() for name in ("config.json", "vae/config.json"))
        return "" if there else "the folder has no config.json: pass the folder of a diffusers VAE"
    if path.is_file():
        found = identify(read_header(path).shapes)
        return "" if found.kind in ("vae", "checkpoint") else f"it is not an autoencoder but {found}"
    return "" if is_hub_id(ref) else "no such file or folder, and not a Hub id (owner/name)"


def _of_folder(folder: Path, family: str, prediction: PredictionType | None) -> ModelFacts | None:
    parts = FAMILIES[family].network_class.text_parts
    files = {part: folder / part / "config.json" for part in ("unet", *parts)}
    scheduler = folder / "scheduler" / "scheduler_config.json"
    if not all(f.is_file() for f in (*files.values(), scheduler)):
        return None
    text = {part: read_table(files[part]) for part in parts}
    override = {"prediction_type": prediction} if prediction else {}
    config = {**read_table(scheduler), **override}
    with wrap_foreign_errors(scheduler, hint="download the model again"):
        schedule = schedule_from_config(config)
    return ModelFacts(family, read_table(files["unet"]), text, schedule)
