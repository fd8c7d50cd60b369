"""Identification of a weights file (kind and family) from its keys and shapes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from bakehouse.core.errors import UsageError
from bakehouse.core.files_of_adapter import PEFT_START, adapter_files

Shapes = Mapping[str, tuple[int, ...]]
Kind = Literal[
    "checkpoint",
    "inpainting model",
    "pix2pix model",
    "depth model",
    "unCLIP model",
    "EDM model",
    "refiner",
    "adapter",
    "vae",
    "unet",
    "text encoder",
    "embedding",
    "controlnet",
    "unknown",
]

UNET = "model.diffusion_model."
VAE = "first_stage_model."
TEXT = "cond_stage_model.transformer."
OPEN_CLIP = "cond_stage_model.model."
SDXL_TEXT = "conditioner.embedders.0.transformer."
SDXL_OPEN_CLIP = "conditioner.embedders.1.model."
REFINER_TEXT = "conditioner.embedders.0.model."

NAMES = {
    "sd1": "SD 1.x",
    "sd2": "SD 2.x",
    "sdxl": "SDXL",
    "sd3": "SD 3",
    "flux": "FLUX",
    "cascade": "Stable Cascade",
    "auraflow": "AuraFlow",
    "lumina": "Lumina 2",
    "qwen": "Qwen-Image",
    "wan": "Wan",
    "hunyuan": "HunyuanVideo",
}
"""Names of families in messages."""


@dataclass(frozen=True)
class Header:
    """A weights file without its weights."""

    shapes: Shapes
    metadata: Mapping[str, str]


@dataclass(frozen=True)
class FileKind:
    """What a file is, for which family, and the key or shape that shows it."""

    kind: Kind
    family: str
    """`sd1`, `sd2`, `sdxl`, `sd3`, `flux`, ..., or empty if it cannot be told."""
    because: str

    def __str__(self) -> str:
        family = NAMES.get(self.family, self.family)
        what = {"checkpoint": "model", "unknown": "file of an unknown kind"}.get(self.kind, self.kind)
        words = f"{family} {what}".strip()
        an = words.startswith(("SD", "EDM", "Aura", "adapter", "embedding", "inpainting"))
        return f"{'an' if an else 'a'} {words} ({self.because})"


def read_header(path: Path) -> Header:
    """Return names, shapes and metadata of a weights file; of a safetensors file only the header is read.

    Raises:
        UsageError: not found.
        BakehouseError: damaged, or a pickle that holds more than tensors.
    """
    from bakehouse.models.mmap_weights import read_weights, safetensors_header

    if not path.is_file():
        raise UsageError(f"{path} does not exist")
    if path.suffix == ".safetensors":
        content, _ = safetensors_header(path)
        metadata = content.pop("__metadata__", None) or {}
        return Header({name: tuple(entry["shape"]) for name, entry in content.items()}, metadata)
    weights = read_weights([path])
    return Header({name: tuple(tensor.shape) for name, tensor in weights.items()}, weights.metadata)


def read_adapter_header(path: Path) -> Header:
    """Return the same for an adapter, which may be a folder with a file for each network.

    Raises:
        UsageError: not found.
        BakehouseError: damaged.
    """
    shapes: dict[str, tuple[int, ...]] = {}
    metadata: dict[str, str] = {}
    for part, file in adapter_files(path).items():
        header = read_header(file)
        metadata.update(header.metadata)
        start = f"{part}." if part else ""
        shapes.update({start + (key.removeprefix(PEFT_START) if part else key): s for key, s in header.shapes.items()})
    return Header(shapes, metadata)


def identify(shapes: Shapes) -> FileKind:
    """Return the kind and family of a file with these keys and shapes."""
    for test in (_adapter, _other_networks, _checkpoint, _single_network):
        found = test(shapes)
        if found is not None:
            return found
    first = ", ".join(sorted(shapes)[:3]) or "none"
    return FileKind("unknown", "", f"its first keys are {first}")


_ADAPTER_MARKS = ("lora_down", "lora_up", "lora_A", "lora_B", "lora.up", "lora.down", "_lora.", "lora_linear_layer",
                  "hada_w1", "lokr_w1", "oft_blocks", "dora_scale", "on_input",
                  "oft_R.", "boft_R", "ia3_l")  # fmt: skip
_ADAPTER_STARTS = ("lora_unet_", "lora_te_", "lora_te1_", "lora_te2_", "lycoris_", "oft_unet_", "base_model.model.")

_ADAPTER_FAMILIES = (
    (re.compile(r"^(?:lora_te2_|text_encoder_2\.|text_encoders\.clip_g\.)"), "sdxl"),
    (
        re.compile(r"(?:_blocks|mid_block|middle_block)[._].*transformer_blocks[._][1-9]"),
        "sdxl",
    ),
    (re.compile(r"(?:double_blocks|single_transformer_blocks)[._]"), "flux"),
    (re.compile(r"joint_blocks[._]"), "sd3"),
)
"""Modules that only one family has."""
_CONTEXT = re.compile(r"attn2[._]to_k\b.*(?:down|lora_A|hada_w1_b)|attn2_to_k\.(?:lora_down|hada_w1_b)")
"""Cross-attention tensors [rank, width of the text states]."""


def _adapter(shapes: Shapes) -> FileKind | None:
    mark = next((k for k in shapes if k.startswith(_ADAPTER_STARTS) or any(m in k for m in _ADAPTER_MARKS)), None)
    if mark is None:
        return None
    for telling, family in _ADAPTER_FAMILIES:
        found = next((match[0] for key in shapes if (match := telling.search(key))), None)
        if found is not None:
            return FileKind("adapter", family, f"keys {found.rstrip('._')}...")
    context = next((k for k in shapes if _CONTEXT.search(k)), None)
    if context is not None:
        width = shapes[context][1] if len(shapes[context]) > 1 else 0
        return FileKind("adapter", _family_of_context(width), f"{context} takes {width} channels")
    return FileKind("adapter", "", f"key {mark}")


def _family_of_context(width: int) -> str:
    return {768: "sd1", 1024: "sd2", 2048: "sdxl"}.get(width, "")


_FOREIGN = (
    ("double_blocks.", "flux"),
    ("joint_blocks.", "sd3"),
    ("clip_txt_mapper.", "cascade"),
    ("double_layers.", "auraflow"),
    ("cap_embedder.", "lumina"),
    ("txt_norm.", "qwen"),
    ("head.modulation", "wan"),
    ("individual_token_refiner.", "hunyuan"),
)
"""Parts of names that identify networks of other architectures."""


def _other_networks(shapes: Shapes) -> FileKind | None:
    for mark, family in _FOREIGN:
        if any(mark in k for k in shapes):
            return FileKind("checkpoint", family, f"keys {mark.rstrip('.')}...")
    if any(k.startswith(("control_model.", "controlnet_")) or "zero_convs." in k for k in shapes):
        return FileKind("controlnet", "", "keys control_model... or controlnet_...")
    return _embedding(shapes)


_EMBEDDING_KEYS = ("emb_params", "clip_g", "clip_l", "string_to_param", "text_encoders_0")


def _embedding(shapes: Shapes) -> FileKind | None:
    key = next((k for k in _EMBEDDING_KEYS if k in shapes), None)
    single = next(iter(shapes)) if len(shapes) == 1 else ""
    if key is None and not (single.startswith("<") and single.endswith(">") and len(shapes[single]) in (1, 2)):
        return None
    key = key or single
    family = "sdxl" if key == "clip_g" else _family_of_context(shapes[key][-1] if shapes[key] else 0)
    return FileKind("embedding", family, f"key {key}")


_INPUTS: Mapping[int, Kind] = {5: "depth model", 8: "pix2pix model", 9: "inpainting model"}
"""The kind of a UNet with more input channels than the 4 of the latents."""


def _checkpoint(shapes: Shapes) -> FileKind | None:
    if f"{UNET}input_blocks.0.0.weight" not in shapes:
        return None
    found = _whole_model(shapes)
    if found.kind != "checkpoint":
        return found
    edm = next((k for k in ("edm_mean", "edm_vpred.sigma_max") if k in shapes), None)
    if edm is not None:
        return FileKind("EDM model", found.family, f"key {edm}: an unsupported kind of noise schedule")
    if found.family != "sdxl" and f"{UNET}label_emb.0.0.weight" in shapes:
        return FileKind("unCLIP model", found.family, "keys label_emb...: it is conditioned on images too")
    channels = dict(enumerate(shapes[f"{UNET}input_blocks.0.0.weight"])).get(1, 0)
    return FileKind(_INPUTS.get(channels, "checkpoint"), found.family, _because(found, channels))


def _because(found: FileKind, channels: int) -> str:
    return f"its UNet takes {channels} channels" if channels in _INPUTS else found.because


def _whole_model(shapes: Shapes) -> FileKind:
    """Tell families by their text encoders."""
    if any(k.startswith(SDXL_OPEN_CLIP) for k in shapes):
        return FileKind("checkpoint", "sdxl", f"keys {SDXL_OPEN_CLIP}...")
    if any(k.startswith(REFINER_TEXT) for k in shapes):
        return FileKind("refiner", "sdxl", f"keys {REFINER_TEXT}... and no second text encoder")
    if any(k.startswith(OPEN_CLIP) for k in shapes):
        return FileKind("checkpoint", "sd2", f"keys {OPEN_CLIP}... (OpenCLIP)")
    if any(k.startswith(TEXT) for k in shapes):
        return FileKind("checkpoint", "sd1", f"keys {UNET}... and {TEXT}...")
    family = "sdxl" if f"{UNET}label_emb.0.0.weight" in shapes else ""
    return FileKind("unet", family, f"keys {UNET}... and no text encoder")


def _single_network(shapes: Shapes) -> FileKind | None:
    if any(k.startswith(("encoder.conv_in", "decoder.conv_in", f"{VAE}encoder.conv_in")) for k in shapes):
        return FileKind("vae", "", "keys encoder.conv_in and decoder.conv_in without a UNet")
    if "conv_in.weight" in shapes and any(k.startswith("down_blocks.") for k in shapes):
        return FileKind("unet", "", "keys down_blocks...")
    if any(k.endswith("embeddings.token_embedding.weight") for k in shapes):
        return FileKind("text encoder", "", "key embeddings.token_embedding.weight")
    return None
