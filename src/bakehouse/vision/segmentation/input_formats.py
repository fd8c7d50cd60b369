"""How each mask maker wants its pixels, and what to say when one is asked for by another program's name for it."""

from __future__ import annotations

import functools
from importlib import resources
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from bakehouse.core.errors import UsageError
from bakehouse.core.json_toml_yaml import parse_toml
from bakehouse.core.model_catalogue import model_path
from bakehouse.core.settings import Spec

Three = tuple[float, float, float]
Normalize = Literal["auto", "imagenet", "half", "unit"]

NORMALS: dict[str, tuple[Three, Three]] = {
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "half": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    "unit": ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
}
"""Mean and deviation by name."""

_ELSEWHERE = {
    "base": "transparent-background's `base` is InSPyReNet as PyTorch weights",
    "fast": "transparent-background's `fast` is InSPyReNet at 384 pixels as PyTorch weights",
    "base-nightly": "transparent-background's `base-nightly` is InSPyReNet as PyTorch weights",
    "sam": "rembg's `sam` asks for points or boxes, and this does not",
    "u2net_cloth_seg": "rembg's `u2net_cloth_seg` tells clothes apart, not subjects",
    "ben2-base": "rembg's `ben2-base` is not known here by name",
    "withoutbg": "rembg's `withoutbg` is not known here by name",
}


class Form(Spec):
    """What goes in and what comes out of one kind of network."""

    size: Annotated[int, Field(ge=16, le=8192)] | None = None
    mean: Three = NORMALS["imagenet"][0]
    std: Three = NORMALS["imagenet"][1]
    peak: bool = False
    stretch: bool = False
    sigmoid: bool = False
    where: str = ""


@functools.cache
def forms() -> dict[str, Form]:
    """Every known form by the beginning of its networks' names."""
    text = resources.files("bakehouse.vision.segmentation").joinpath("mattes.toml").read_text("utf-8")
    return {name: Form.parse(values, source=f"[{name}]") for name, values in parse_toml(text).items()}


def form_of(name: str, *, size: int | None = None, normalize: Normalize = "auto") -> Form:
    """The form of a network by its name or its file's; ImageNet's colours for one that nobody knows.

    Args:
        name: `u2netp`, `BiRefNet-general-epoch_244`, ...
        size: instead of the known one.
        normalize: instead of the known one; the output is then taken as it comes.
    """
    fitting = [known for known in forms() if name.lower().replace("_", "-").startswith(known)]
    form = forms()[max(fitting, key=len)] if fitting else Form()
    if normalize != "auto":
        mean, std = NORMALS[normalize]
        form = Form(size=form.size, mean=mean, std=std, sigmoid=form.sigmoid)
    return form.model_copy(update={"size": size}) if size else form


def matte_path(name: str) -> Path:
    """The file of a mask maker: a path, or a name on the shelf.

    Raises:
        UsageError: it is not here; says where it can be had.
    """
    try:
        return model_path(name, "matte")
    except UsageError as e:
        key = name.lower()
        known = _ELSEWHERE.get(key) or next(
            (f.where for n, f in forms().items() if f.where and key.replace("_", "-").startswith(n)), ""
        )
        if not known:
            raise
        hint = "with the ONNX file: --model PATH, or `bakehouse models add NAME PATH --kind matte` and --model NAME"
        raise UsageError(f"the mask maker {name!r} is not on this machine; {known}", hint=hint) from e
