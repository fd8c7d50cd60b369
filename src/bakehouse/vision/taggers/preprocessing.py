"""Preprocessing and thresholds of ONNX taggers, chosen by the kind of tag list beside the model."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import Field

from bakehouse.core.errors import UsageError
from bakehouse.core.settings import Spec
from bakehouse.data.captions import decode_text
from bakehouse.data.tag_vocabulary import CATEGORIES, read_mapping

Floats = NDArray[np.float32]
SETTINGS_FILE = "tagger.toml"
"""Settings file beside a model that overrides what is known of it."""

_IMAGENET = (np.array([0.485, 0.456, 0.406], np.float32), np.array([0.229, 0.224, 0.225], np.float32))


class Preprocessing(Spec):
    """Input and output of a tagging network; `tagger.toml` beside a model overrides the known values."""

    channels: Literal["rgb", "bgr"] = "rgb"
    """Channel order."""
    scale: Literal["bytes", "unit", "signed", "imagenet"] = "unit"
    """Value range: 0..255, 0..1, -1..1, or ImageNet's mean and standard deviation."""
    pad: Literal["white", "black", "edge", "stretch"] = "white"
    """How an image becomes square: padded with a colour or its edges, or stretched."""
    sigmoid: bool = False
    """Whether the network outputs logits."""
    size: int | None = Field(None, ge=8)
    """Side in pixels, if the network does not fix it."""
    thresholds: dict[str, float] = Field(default_factory=dict)
    """Thresholds by category: `{general = 0.35, character = 0.85}`."""


WD = Preprocessing(channels="bgr", scale="bytes", thresholds={"general": 0.35, "character": 0.85})
"""SmilingWolf's taggers, second and third generation."""

PREPROCESSING: Mapping[str, Preprocessing] = {
    "selected_tags.csv": WD,
    "tag_mapping.json": Preprocessing(
        channels="bgr", scale="signed", sigmoid=True, thresholds={"general": 0.55, "character": 0.6}
    ),
    "metadata.json": Preprocessing(scale="imagenet", sigmoid=True, thresholds={"general": 0.5, "character": 0.5}),
    "tags.txt": Preprocessing(pad="edge", thresholds={"general": 0.5, "character": 0.5}),
}
"""By the name of the tag list: WD, cl_tagger, Camie, DeepDanbooru."""

WD_THRESHOLDS = (
    (r"vit-large.*v3", 0.2606), (r"eva02-large.*v3", 0.5296), (r"vit.*v3", 0.2614), (r"convnext.*v3", 0.2682),
    (r"swinv2.*v3", 0.2653), (r"convnextv2.*v2", 0.371), (r"convnext.*v2", 0.3685), (r"moat.*v2", 0.3771),
    (r"swinv2.*v2", 0.3771), (r"vit.*v2", 0.3537),
)  # fmt: skip
"""WD taggers by name, with the threshold at which precision equals recall for general tags, from their model cards."""


def find_labels(model: Path) -> Path:
    """Return the list of tags beside a model.

    Raises:
        UsageError: there is none.
    """
    for name in PREPROCESSING:
        if (model.parent / name).is_file():
            return model.parent / name
    raise UsageError(
        f"no list of tags for {model.name} in {model.parent}",
        hint=f"put one beside the model: {', '.join(PREPROCESSING)}",
    )


def find_preprocessing(model: Path, labels: Path, name: str = "") -> Preprocessing:
    """Return the preprocessing known by a model's tag list and name, with the overrides of its `tagger.toml`.

    Raises:
        Problems: wrong keys or values in `tagger.toml`.
    """
    preprocessing = PREPROCESSING[labels.name]
    if preprocessing is WD:
        known = f"{name} {model.parent}".lower()
        general = next((p for pattern, p in WD_THRESHOLDS if re.search(rf"wd-.*{pattern}", known)), None)
        if general is not None:
            preprocessing = preprocessing.model_copy(
                update={"thresholds": {**preprocessing.thresholds, "general": general}}
            )
    settings = model.parent / SETTINGS_FILE
    if not settings.is_file():
        return preprocessing
    overrides = Preprocessing.load(settings)
    return preprocessing.model_copy(update={k: getattr(overrides, k) for k in overrides.model_fields_set})


def read_labels(path: Path) -> list[tuple[str, str]]:
    """Return tags and their categories in the order of the network's outputs.

    Raises:
        UsageError: the file contains no tags.
        BakehouseError: the file's format is unknown.
    """
    import csv
    import io

    text, _, _ = decode_text(path.read_bytes())
    if path.suffix == ".json":
        labels = read_mapping(text)
    elif path.suffix == ".csv":
        rows = list(csv.DictReader(io.StringIO(text)))
        if rows and not {"name", "category"} <= set(rows[0]):
            raise UsageError(
                f"{path}: wrong columns {', '.join(rows[0])}", hint="the columns `name` and `category` are required"
            )
        labels = [(row["name"], CATEGORIES.get(int(row["category"]), "general")) for row in rows]
    else:
        labels = [_deepdanbooru(line.strip()) for line in text.splitlines() if line.strip()]
    if not labels:
        raise UsageError(f"{path} contains no tags", hint="download it again from the model's page")
    return labels


def _deepdanbooru(tag: str) -> tuple[str, str]:
    return (tag.removeprefix("rating:"), "rating") if tag.startswith("rating:") else (tag, "general")


def to_input(images: Sequence[Image.Image], preprocessing: Preprocessing, size: int, *, channels_first: bool) -> Floats:
    """Return images as the network's input: [N, size, size, 3], or [N, 3, size, size]."""
    pixels: NDArray[Any] = np.stack(
        [np.asarray(_to_square(image, preprocessing.pad, size), np.float32) for image in images]
    )
    if preprocessing.scale == "imagenet":
        mean, deviation = _IMAGENET
        pixels = (pixels / 255 - mean) / deviation
    elif preprocessing.scale != "bytes":
        pixels = pixels / 255 if preprocessing.scale == "unit" else pixels / 127.5 - 1
    if preprocessing.channels == "bgr":
        pixels = pixels[..., ::-1]
    return np.ascontiguousarray(pixels.transpose(0, 3, 1, 2) if channels_first else pixels, np.float32)


def _to_square(image: Image.Image, pad: str, size: int) -> Image.Image:
    rgb = image.convert("RGB")
    side = max(rgb.size)
    left, top = (side - rgb.width) // 2, (side - rgb.height) // 2
    if pad == "edge" and rgb.width != rgb.height:
        around = ((top, side - rgb.height - top), (left, side - rgb.width - left), (0, 0))
        rgb = Image.fromarray(np.pad(np.asarray(rgb), around, mode="edge"))
    elif pad in ("white", "black") and rgb.width != rgb.height:
        square = Image.new("RGB", (side, side), pad)
        square.paste(rgb, (left, top))
        rgb = square
    return rgb if rgb.size == (size, size) else rgb.resize((size, size), Image.Resampling.BICUBIC)
