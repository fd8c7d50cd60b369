"""What a weights file is, told from its keys and shapes alone."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from bakehouse.core.errors import BakehouseError, UsageError

Shapes = Mapping[str, tuple[int, ...]]
Kind = Literal["checkpoint", "adapter", "vae", "unet", "text encoder", "embedding", "controlnet", "unknown"]

UNET = "model.diffusion_model."
VAE = "first_stage_model."
TEXT = "cond_stage_model.transformer."


@dataclass(frozen=True)
class Header:
    """A weights file without its weights."""

    shapes: Shapes
    metadata: Mapping[str, str]


@dataclass(frozen=True)
class FileKind:
    """What a file is, for which family, and the key or shape that tells."""

    kind: Kind
    family: str
    """`sd1`, `sd2`, `sdxl`, `sd3`, `flux`, or empty where it cannot be told."""
    because: str

    def __str__(self) -> str:
        names = {"sd1": "SD 1.x", "sd2": "SD 2.x", "sdxl": "SDXL", "sd3": "SD 3", "flux": "FLUX"}
        family = names.get(self.family, self.family)
        what = {"checkpoint": "model", "unknown": "file of an unknown kind"}.get(self.kind, self.kind)
        article = "an" if (family or what)[0] in "aeiouSF" and not family.startswith("FL") else "a"
        return f"{article} {family + ' ' if family else ''}{what} ({self.because})"


def read_header(path: Path) -> Header:
    """Names, shapes and metadata of a weights file; of a safetensors file only the first kilobytes are read.

    Raises:
        UsageError: not there.
        BakehouseError: broken, or a pickle that holds more than tensors.
    """
    if not path.is_file():
        raise UsageError(f"{path} does not exist")
    if path.suffix == ".safetensors":
        return _safetensors_header(path)
    from bakehouse.families.components import read_tensors

    return Header({k: tuple(v.shape) for k, v in read_tensors(path).items()}, {})


def _safetensors_header(path: Path) -> Header:
    size = path.stat().st_size
    broken = BakehouseError(
        f"{path} is not a safetensors file, or it is cut off ({size} bytes)", hint="fetch the file again"
    )
    with path.open("rb") as f:
        length = int.from_bytes(f.read(8), "little")
        if size < 8 or length > size - 8:
            raise broken
        try:
            content: dict[str, Any] = json.loads(f.read(length))
            metadata = content.pop("__metadata__", None) or {}
            shapes = {k: tuple(v["shape"]) for k, v in content.items()}
            ends = [int(v["data_offsets"][1]) for v in content.values()]
        except (ValueError, KeyError, TypeError, AttributeError, IndexError) as e:
            raise broken from e
    if max(ends, default=0) > size - 8 - length:
        raise broken
    return Header(shapes, metadata)


def identify(shapes: Shapes) -> FileKind:
    """The kind and family of a file with these keys and shapes."""
    for test in (_adapter, _other_networks, _checkpoint, _single_network):
        found = test(shapes)
        if found is not None:
            return found
    first = ", ".join(sorted(shapes)[:3]) or "none"
    return FileKind("unknown", "", f"its first keys are {first}")


_ADAPTER_MARKS = ("lora_down", "lora_up", "lora_A", "lora_B", "lora.up", "lora.down", "_lora.", "lora_linear_layer",
                  "hada_w1", "lokr_w1", "oft_blocks", "dora_scale", "on_input")  # fmt: skip


def _adapter(shapes: Shapes) -> FileKind | None:
    mark = next((k for k in shapes if any(m in k for m in _ADAPTER_MARKS)), None)
    if mark is None:
        return None
    if any(k.startswith("lora_te2_") for k in shapes):
        return FileKind("adapter", "sdxl", "keys lora_te2_...")
    context = next((k for k in shapes if "attn2" in k and "to_k" in k and ("down" in k or "lora_A" in k)), None)
    if context is not None:
        width = shapes[context][1] if len(shapes[context]) > 1 else 0
        return FileKind("adapter", _family_of_context(width), f"{context} takes {width} channels")
    return FileKind("adapter", "", f"key {mark}")


def _family_of_context(width: int) -> str:
    return {768: "sd1", 1024: "sd2", 2048: "sdxl"}.get(width, "")


def _other_networks(shapes: Shapes) -> FileKind | None:
    if any("double_blocks." in k for k in shapes):
        return FileKind("checkpoint", "flux", "keys double_blocks...")
    if any("joint_blocks." in k for k in shapes):
        return FileKind("checkpoint", "sd3", "keys joint_blocks...")
    if any(k.startswith(("control_model.", "controlnet_")) or "zero_convs." in k for k in shapes):
        return FileKind("controlnet", "", "keys control_model... or controlnet_...")
    if set(shapes) & {"emb_params", "string_to_param", "clip_l"}:
        return FileKind("embedding", "", "key emb_params")
    return None


def _checkpoint(shapes: Shapes) -> FileKind | None:
    if f"{UNET}input_blocks.0.0.weight" not in shapes:
        return None
    if any(k.startswith("conditioner.embedders.1.") for k in shapes) or f"{UNET}label_emb.0.0.weight" in shapes:
        return FileKind("checkpoint", "sdxl", "keys conditioner.embedders.1... or label_emb...")
    if any(k.startswith("cond_stage_model.model.") for k in shapes):
        return FileKind("checkpoint", "sd2", "keys cond_stage_model.model... (OpenCLIP)")
    if any(k.startswith(TEXT) for k in shapes):
        return FileKind("checkpoint", "sd1", f"keys {UNET}... and {TEXT}...")
    return FileKind("unet", "", f"keys {UNET}... and no text encoder")


def _single_network(shapes: Shapes) -> FileKind | None:
    if any(k.startswith(("encoder.conv_in", "decoder.conv_in", f"{VAE}encoder.conv_in")) for k in shapes):
        return FileKind("vae", "", "keys encoder.conv_in and decoder.conv_in without a UNet")
    if "conv_in.weight" in shapes and any(k.startswith("down_blocks.") for k in shapes):
        return FileKind("unet", "", "keys down_blocks...")
    if any(k.endswith("embeddings.token_embedding.weight") for k in shapes):
        return FileKind("text encoder", "", "key embeddings.token_embedding.weight")
    return None
