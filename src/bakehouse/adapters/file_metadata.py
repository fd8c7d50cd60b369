"""Header of adapter files: kohya's ss_*, Stability's modelspec.*, and the recipe.

Unknown values are left out. Every value is a string, as the format requires.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import safetensors.torch
from torch import Tensor

from bakehouse import __version__
from bakehouse.adapters.adapter import AdapterSpecBase
from bakehouse.core.errors import did_you_mean
from bakehouse.core.parse_json_toml_yaml import parse_json

EMBEDDING = "bakehouse.embedding"
"""Key of the words that a file has vectors for: JSON of each word's settings."""
STRENGTH_RANGE = "bakehouse.strength_range"
"""Key of the lowest and the highest strength at which a slider was found to work: `-2, 2`."""

FACTS: Mapping[str, str] = {
    "epoch": "ss_epoch",
    "epochs": "ss_num_epochs",
    "steps": "ss_steps",
    "max_steps": "ss_max_train_steps",
    "images": "ss_num_train_images",
    "reg_images": "ss_num_reg_images",
    "batches_per_epoch": "ss_num_batches_per_epoch",
    "batch_size": "ss_batch_size_per_device",
    "total_batch_size": "ss_total_batch_size",
    "gradient_accumulation": "ss_gradient_accumulation_steps",
    "gradient_checkpointing": "ss_gradient_checkpointing",
    "learning_rate": "ss_learning_rate",
    "unet_lr": "ss_unet_lr",
    "text_lr": "ss_text_encoder_lr",
    "optimizer": "ss_optimizer",
    "lr_scheduler": "ss_lr_scheduler",
    "warmup_steps": "ss_lr_warmup_steps",
    "seed": "ss_seed",
    "clip_skip": "ss_clip_skip",
    "max_token_length": "ss_max_token_length",
    "keep_tokens": "ss_keep_tokens",
    "shuffle_caption": "ss_shuffle_caption",
    "caption_dropout": "ss_caption_dropout_rate",
    "tag_dropout": "ss_caption_tag_dropout_rate",
    "flip": "ss_flip_aug",
    "cache_latents": "ss_cache_latents",
    "min_snr_gamma": "ss_min_snr_gamma",
    "noise_offset": "ss_noise_offset",
    "ip_noise_gamma": "ss_ip_noise_gamma",
    "prior_loss_weight": "ss_prior_loss_weight",
    "max_grad_norm": "ss_max_grad_norm",
    "loss_type": "ss_loss_type",
    "mixed_precision": "ss_mixed_precision",
    "zero_terminal_snr": "ss_zero_terminal_snr",
    "started_at": "ss_training_started_at",
    "finished_at": "ss_training_finished_at",
    "comment": "ss_training_comment",
    "tag_frequency": "ss_tag_frequency",
    "dataset_dirs": "ss_dataset_dirs",
    "reg_dataset_dirs": "ss_reg_dataset_dirs",
    "bucket_info": "ss_bucket_info",
    "title": "modelspec.title",
    "author": "modelspec.author",
    "description": "modelspec.description",
    "license": "modelspec.license",
    "tags": "modelspec.tags",
    "trigger_phrase": "modelspec.trigger_phrase",
    "usage_hint": "modelspec.usage_hint",
    "preferred_weight": "preferred weight",
    "strength_range": STRENGTH_RANGE,
    "thumbnail": "modelspec.thumbnail",
    "recipe": "bakehouse.recipe",
    "triggers": "bakehouse.triggers",
    "embedding": EMBEDDING,
}
"""Our names of the facts of a training and their keys in the header."""

VERSIONS: Mapping[str, str] = {"sd1": "sd_v1", "sd2": "sd_v2", "sdxl": "sdxl_base_v1-0"}
"""Kohya's names of the families: `ss_base_model_version`."""
_SIDES = {"sd1": 512, "sd2": 512, "sdxl": 1024}


def architecture_of(family: str, prediction: str) -> str:
    """Return ModelSpec's name of an architecture, as in sd-scripts' sai_model_spec: `stable-diffusion-v2-768-v`."""
    if family == "sd2":
        return "stable-diffusion-v2-768-v" if prediction == "v_prediction" else "stable-diffusion-v2-512"
    return {"sd1": "stable-diffusion-v1", "sdxl": "stable-diffusion-xl-v1-base"}.get(family, family)


def model_spec(
    family: str,
    prediction: str,
    title: str,
    *,
    network: bool = True,
    resolution: int | tuple[int, int] | None = None,
) -> dict[str, str]:
    """Return the required fields of ModelSpec 1.0.1, with the values that sd-scripts' sai_model_spec writes.

    Args:
        network: an adapter; False: a full model.
        resolution: in pixels, one side or width and height; None: the family's usual one.
    """
    is_v = prediction == "v_prediction"
    side = resolution or (768 if family == "sd2" and is_v else _SIDES.get(family, 512))
    width, height = (side, side) if isinstance(side, int) else side
    # SDXL's adapters have the block numbers of Stability's code.
    stability = network and family == "sdxl"
    return {
        "modelspec.sai_model_spec": "1.0.1",
        "modelspec.architecture": architecture_of(family, prediction) + ("/lora" if network else ""),
        "modelspec.implementation": "https://github.com/Stability-AI/generative-models" if stability else "diffusers",
        "modelspec.implementation_version": f"bakehouse/{__version__}",
        "modelspec.title": title,
        "modelspec.resolution": f"{width}x{height}",
        "modelspec.date": datetime.now(UTC).isoformat(timespec="seconds"),
        "modelspec.prediction_type": "v" if is_v else "epsilon",
    }


def metadata_for(
    spec: AdapterSpecBase,
    *,
    name: str,
    base_model: str,
    base_hash: str | None = None,
    family: str = "sd1",
    prediction: str = "epsilon",
    resolution: int | tuple[int, int] | None = None,
    **facts: Any,
) -> dict[str, str]:
    """Return the header of a trained file.

    Args:
        name: the file's name without suffix, under which A1111 lists the adapter.
        base_model: the name of the base; `base_hash` its sha256.
        resolution: the training size in pixels: one side, or width and height.
        facts: any of `FACTS`; None is left out. Tables (`tag_frequency`, ...) become JSON, times are seconds.

    Raises:
        TypeError: a fact that has no key.
    """
    unknown = [fact for fact in facts if fact not in FACTS]
    if unknown:
        raise TypeError(f"metadata_for: unknown fact {unknown[0]!r}{did_you_mean(unknown[0], FACTS)}")
    version, network = VERSIONS.get(family, family), spec.network_metadata()
    values: dict[str, Any] = {
        "ss_output_name": name,
        "ss_base_model_version": f"{version}_v" if prediction == "v_prediction" and family == "sd2" else version,
        "ss_v2": family == "sd2",
        "ss_sd_model_name": base_model,
        "ss_new_sd_model_hash": base_hash,
        **network,
        **model_spec(family, prediction, name, network=bool(network), resolution=resolution),
        "modelspec.encoder_layer": facts.get("clip_skip"),
    }
    if resolution is not None:
        values["ss_resolution"] = (resolution, resolution) if isinstance(resolution, int) else tuple(resolution)
    values.update({FACTS[fact]: value for fact, value in facts.items() if value is not None})
    return {key: as_text(value) for key, value in values.items() if value is not None}


def as_text(value: Any) -> str:
    """Return a header value as kohya writes it: tables as JSON, lists joined by commas, others by `str`."""
    if isinstance(value, Mapping):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return str(value)


def with_hashes(state: Mapping[str, Tensor], metadata: Mapping[str, str]) -> dict[str, str]:
    """Return the header with the hashes by which A1111 and kohya's tools identify a file.

    Both are hashes of the file with only the `ss_*` keys, so that they do not depend on the description:
    `sshs_model_hash` is sha256 of everything after the header, `sshs_legacy_hash` the first 8 digits of sha256 of bytes
    0x100000 to 0x110000, which is e3b0c442 for every file below 1 MiB.
    """
    own = {k: v for k, v in metadata.items() if k.startswith("ss_")}
    content = safetensors.torch.save(dict(state), own)
    start = 8 + int.from_bytes(content[:8], "little")
    view = memoryview(content)
    whole = hashlib.sha256(view[start:]).hexdigest()
    legacy = hashlib.sha256(view[0x100000:0x110000]).hexdigest()[:8]
    return {
        **metadata,
        "sshs_model_hash": whole,
        "sshs_legacy_hash": legacy,
        "modelspec.hash_sha256": f"0x{whole}",
    }


def sort_header(path: Path) -> None:
    """Sort the header's keys in place, since the library writes them in a different order each time."""
    with path.open("rb+") as f:
        length = int.from_bytes(f.read(8), "little")
        content = parse_json(f.read(length))
        content["__metadata__"] = dict(sorted(content.get("__metadata__", {}).items()))
        ordered = json.dumps(dict(sorted(content.items())), separators=(",", ":"), ensure_ascii=False).encode()
        if len(ordered) <= length:
            f.seek(8)
            f.write(ordered.ljust(length))
