"""Detection of a single file's prediction type (epsilon or v) and noise schedule.

Sources in this order: marker keys, the file's metadata, a YAML file beside it, and for SD 2.x, whose two kinds have the
same shapes, one bias of the UNet. If only the last one decides, a note says how to override it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bakehouse.core.errors import BakehouseError
from bakehouse.core.parse_json_toml_yaml import parse_yaml
from bakehouse.models.identify import UNET, Header
from bakehouse.models.noise_schedule import PredictionType

Config = dict[str, Any]

V_PRED, ZTSNR = "v_pred", "ztsnr"
"""Empty tensors by which A1111 (pull request 16567) and ComfyUI know v-prediction and zero-terminal-SNR files."""

ZERO_TERMINAL: Mapping[str, Any] = {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}
_SD2_BIAS = f"{UNET}output_blocks.11.1.transformer_blocks.0.norm1.bias"
_SD2_SPREAD = 0.09
"""ComfyUI's test for SD 2.x: this bias is spread wider than so in the 768 (v) models."""


@dataclass(frozen=True)
class Evidence:
    """Settings of the scheduler and of the UNet that shapes do not tell."""

    scheduler: Config = field(default_factory=dict)
    unet: Config = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def find_evidence(header: Header, path: Path, family: str, tensors: Mapping[str, Tensor] | None = None) -> Evidence:
    """Return what the file says. Without `tensors` an SD 2.x file that says nothing counts as v.

    Raises:
        BakehouseError: the YAML file beside it is not a model configuration.
    """
    beside = yaml_beside(path)
    scheduler: Config = dict(beside.scheduler)
    notes: tuple[str, ...] = ()
    found = _from_markers(header) or _from_metadata(header.metadata) or scheduler.get("prediction_type")
    if found is None and family == "sd2":
        found, notes = _guess_sd2(path, tensors)
    scheduler["prediction_type"] = found or "epsilon"
    if ZTSNR in header.shapes:
        scheduler.update(ZERO_TERMINAL)
    return Evidence(scheduler, beside.unet, notes)


def _from_markers(header: Header) -> PredictionType | None:
    return "v_prediction" if V_PRED in header.shapes else None


def _from_metadata(metadata: Mapping[str, str]) -> PredictionType | None:
    """By modelspec's prediction type, or its name of the SD 2.x architecture."""
    value = metadata.get("modelspec.prediction_type")
    if value in ("v", "v_prediction"):
        return "v_prediction"
    if value == "epsilon":
        return "epsilon"
    architecture = metadata.get("modelspec.architecture", "")
    known: Mapping[str, PredictionType] = {
        "stable-diffusion-v2-768-v": "v_prediction",
        "stable-diffusion-v2-512": "epsilon",
    }
    return known.get(architecture)


def _guess_sd2(path: Path, tensors: Mapping[str, Tensor] | None) -> tuple[PredictionType, tuple[str, ...]]:
    bias = (tensors or {}).get(_SD2_BIAS)
    if bias is None:
        found: PredictionType = "v_prediction"
        why = "as in most SD 2.x models"
    else:
        spread = float(torch.std(bias.float(), unbiased=False))
        found = "v_prediction" if spread > _SD2_SPREAD else "epsilon"
        why = f"by a bias in its UNet (spread {spread:.3f}, 768 models have over {_SD2_SPREAD})"
    other = "epsilon" if found == "v_prediction" else "v_prediction"
    note = f"{path.name} does not state its prediction type; {found} is assumed, {why}"
    return found, (f'{note}. If images come out as noise, set model.prediction = "{other}" in the recipe',)


def yaml_beside(path: Path) -> Evidence:
    """Return attention heads and prediction type from an LDM or SGM `model.yaml` beside `model.safetensors`.

    Raises:
        BakehouseError: it is not such a configuration.
    """
    beside = path.with_suffix(".yaml")
    if not beside.is_file():
        return Evidence()
    try:
        params = parse_yaml(beside.read_text("utf-8"))["model"]["params"]
        network = params["unet_config"] if "unet_config" in params else params["network_config"]
        return Evidence(_scheduler(params), _heads(network["params"]))
    except (OSError, KeyError, TypeError, ValueError, AttributeError) as e:
        raise BakehouseError(f"{beside} is not the configuration of a Stable Diffusion model: {e!r}") from e


def _heads(unet: Mapping[str, Any]) -> Config:
    if int(unet.get("num_heads", -1)) > 0:
        return {"attention_head_dim": int(unet["num_heads"])}
    if "num_head_channels" in unet:
        widths = [int(unet["model_channels"]) * int(m) for m in unet["channel_mult"]]
        return {"attention_head_dim": [max(1, w // int(unet["num_head_channels"])) for w in widths]}
    return {}


def _scheduler(params: Mapping[str, Any]) -> Config:
    if "unet_config" in params:
        return {"prediction_type": "v_prediction" if params.get("parameterization") == "v" else "epsilon"}
    scaling = params["denoiser_config"]["params"]["scaling_config"]["target"]
    return {"prediction_type": "v_prediction" if str(scaling).endswith("VScaling") else "epsilon"}
