"""Taggers in ONNX files: WD, cl_tagger, Camie, DeepDanbooru and their like. The file says what it wants."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from bakehouse.core.errors import BakehouseError, UsageError
from bakehouse.core.files import key_of, sha256_bytes
from bakehouse.vision.onnx_network import OnnxNetwork
from bakehouse.vision.taggers.base import MIN_SCORE, TagPrediction, most_likely_first
from bakehouse.vision.taggers.preprocessing import (
    SETTINGS_FILE,
    Floats,
    find_labels,
    find_preprocessing,
    read_labels,
    to_input,
)

_FINGERPRINT_BYTES = 1 << 20
"""Bytes of a model's beginning and end that tell it from others."""


class OnnxTagger:
    """A network that scores a fixed list of tags."""

    def __init__(self, model: Path, name: str = "") -> None:
        """Opens a model; the list of tags lies beside it.

        Raises:
            UsageError: onnxruntime or the list is missing, the file is no ONNX model, or its input is not known.
            BakehouseError: model and list do not fit.
        """
        self.name = name or model.stem
        labels = find_labels(model)
        self.labels = read_labels(labels)
        self.profile = find_preprocessing(model, labels, name)
        self.thresholds: Mapping[str, float] = self.profile.thresholds
        self._net = OnnxNetwork(model, "tagging with an ONNX model")
        self._first, self._size, self._fixed_batch = _input_layout(self._net, self.profile.size)
        if self._first and labels.name == "selected_tags.csv" and not (model.parent / SETTINGS_FILE).is_file():
            raise _unknown_input(model)
        self._output = _score_output(self._net, len(self.labels), labels)
        self.key = key_of(_fingerprint(model), self.labels, self.profile.model_dump(exclude={"thresholds"}), self._size)

    def look(self, images: Sequence[Image.Image]) -> list[TagPrediction]:
        """One sight for each picture."""
        if not images:
            return []
        pixels = to_input(images, self.profile, self._size, channels_first=self._first)
        step = self._fixed_batch or len(images)
        scores = np.concatenate([self._run(pixels[i : i + step]) for i in range(0, len(images), step)])
        if self.profile.sigmoid:
            scores = 1 / (1 + np.exp(-scores))
        return [self._sight(row) for row in scores]

    def _run(self, pixels: Floats) -> Floats:
        """Scores [n, tags]; a network with a fixed batch is given copies of the last picture to fill it."""
        missing = self._fixed_batch - len(pixels) if self._fixed_batch else 0
        filled = np.concatenate([pixels, np.repeat(pixels[-1:], missing, axis=0)]) if missing else pixels
        return self._net(filled)[self._output].reshape(len(filled), -1)[: len(pixels)]

    def _sight(self, row: Floats) -> TagPrediction:
        scores: dict[str, dict[str, float]] = {}
        for i in np.flatnonzero(row >= MIN_SCORE):
            tag, category = self.labels[i]
            scores.setdefault(category, {})[tag] = float(row[i])
        return TagPrediction(scores=scores)

    def words(self, sight: TagPrediction, thresholds: Mapping[str, float]) -> list[str]:
        """Tags at or above their category's threshold; of ratings, which exclude each other, the likeliest."""
        ratings = dict(sight.scores.get("rating", {}))
        likeliest = {max(ratings, key=lambda tag: ratings[tag]): 1.0} if ratings else {}
        return most_likely_first({**sight.scores, "rating": likeliest}, thresholds)


def _input_layout(net: OnnxNetwork, told: int | None) -> tuple[bool, int, int]:
    """Whether channels come first, side in pixels, batch (0 is any)."""
    shape = net.input_shapes[0]
    if len(shape) != 4 or 3 not in (shape[1], shape[3]):
        raise UsageError(f"{net.path} wants an input of shape {shape}", hint="taggers: [N, H, W, 3] or [N, 3, H, W]")
    channels_first = shape[1] == 3
    said = shape[2] if channels_first else shape[1]
    side = said if isinstance(said, int) and said > 3 else told
    if side is None:
        raise UsageError(
            f"{net.path} does not say how large its pictures are", hint="write size = 448 into tagger.toml"
        )
    return channels_first, side, shape[0] if isinstance(shape[0], int) and shape[0] > 0 else 0


def _score_output(net: OnnxNetwork, tags: int, labels: Path) -> int:
    """The number of the last output that has a score for each tag."""
    shapes = list(net.output_shapes.values())
    fitting = [i for i, shape in enumerate(shapes) if shape and shape[-1] == tags]
    unsaid = [i for i, shape in enumerate(shapes) if shape and not isinstance(shape[-1], int)]
    if fitting or unsaid:
        return (fitting or unsaid)[-1]
    given = ", ".join(f"{name} {shape}" for name, shape in net.output_shapes.items())
    raise BakehouseError(f"{net.path} gives {given}, and {labels.name} has {tags} tags", hint="they are of two models")


def _unknown_input(model: Path) -> UsageError:
    return UsageError(
        f"{model} wants channels first, which no WD tagger does: how pictures go into it is not known",
        hint='say it in tagger.toml beside it, for example: channels = "rgb", scale = "imagenet", sigmoid = true',
    )


def _fingerprint(model: Path) -> str:
    """What tells a model from others without reading all of a gigabyte: its size, beginning and end."""
    with model.open("rb") as f:
        head = f.read(_FINGERPRINT_BYTES)
        f.seek(max(0, model.stat().st_size - _FINGERPRINT_BYTES))
        return f"{model.stat().st_size} {sha256_bytes(head)} {sha256_bytes(f.read())}"
