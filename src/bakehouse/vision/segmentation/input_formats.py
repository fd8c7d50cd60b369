"""Input and output formats of segmentation models by name, and messages for other programs' names of models."""

from __future__ import annotations

import functools
from importlib import resources
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from bakehouse.core.errors import UsageError
from bakehouse.core.model_catalogue import model_path
from bakehouse.core.parse_json_toml_yaml import parse_toml
from bakehouse.core.settings import Spec

Three = tuple[float, float, float]
Normalize = Literal["auto", "imagenet", "half", "unit"]

NORMALIZATIONS: dict[str, tuple[Three, Three]] = {
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "half": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    "unit": ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
}
"""Mean and standard deviation by name."""

_UNSUPPORTED_NAMES = {
    "base": "transparent-background's `base` is InSPyReNet as PyTorch weights",
    "fast": "transparent-background's `fast` is InSPyReNet at 384 pixels as PyTorch weights",
    "base-nightly": "transparent-background's `base-nightly` is InSPyReNet as PyTorch weights",
    "sam": "rembg's `sam` needs points or boxes as prompts, which are not supported",
    "u2net_cloth_seg": "rembg's `u2net_cloth_seg` segments clothes, not subjects",
    "ben2-base": "rembg's `ben2-base` is not in the catalogue",
    "withoutbg": "rembg's `withoutbg` is not in the catalogue",
}


class InputFormat(Spec):
    """Preprocessing and output format of one kind of network; segmenters.toml explains the keys."""

    size: Annotated[int, Field(ge=16, le=8192)] | None = None
    mean: Three = NORMALIZATIONS["imagenet"][0]
    std: Three = NORMALIZATIONS["imagenet"][1]
    peak: bool = False
    stretch: bool = False
    sigmoid: bool = False
    where: str = ""


@functools.cache
def input_formats() -> dict[str, InputFormat]:
    """Return the known formats by the prefix of their networks' names."""
    text = resources.files("bakehouse.vision.segmentation").joinpath("segmenters.toml").read_text("utf-8")
    return {name: InputFormat.parse(values, source=f"[{name}]") for name, values in parse_toml(text).items()}


def find_input_format(name: str, *, size: int | None = None, normalize: Normalize = "auto") -> InputFormat:
    """Return the format of a network by its name or its file's; ImageNet normalization for unknown ones.

    Args:
        name: `u2netp`, `BiRefNet-general-epoch_244`, ...
        size: overrides the known one.
        normalize: overrides the known one; the output is then not rescaled.
    """
    fitting = [known for known in input_formats() if name.lower().replace("_", "-").startswith(known)]
    format_ = input_formats()[max(fitting, key=len)] if fitting else InputFormat()
    if normalize != "auto":
        mean, std = NORMALIZATIONS[normalize]
        format_ = InputFormat(size=format_.size, mean=mean, std=std, sigmoid=format_.sigmoid)
    return format_.model_copy(update={"size": size}) if size else format_


def segmenter_path(name: str) -> Path:
    """Return the file of a segmentation model, given as a path or as the name of an installed model.

    Raises:
        UsageError: it is not installed; says where to get it.
    """
    try:
        return model_path(name, "matte")
    except UsageError as e:
        key = name.lower()
        known = _UNSUPPORTED_NAMES.get(key) or next(
            (f.where for n, f in input_formats().items() if f.where and key.replace("_", "-").startswith(n)), ""
        )
        if not known:
            raise
        hint = "with an ONNX file: --model PATH, or `bakehouse models add NAME PATH --kind matte` and --model NAME"
        raise UsageError(f"segmentation model {name!r} is not installed; {known}", hint=hint) from e
