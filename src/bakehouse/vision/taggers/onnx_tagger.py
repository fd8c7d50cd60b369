"""Taggers in ONNX files: WD, cl_tagger, Camie, DeepDanbooru and similar ones."""

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
"""Bytes at the beginning and at the end of a model that go into its fingerprint."""


class OnnxTagger:
    """A network that scores a fixed list of tags."""

    def __init__(self, model: Path, name: str = "") -> None:
        """Load a model with the list of tags beside it.

        Raises:
            UsageError: onnxruntime or the list is missing, the file is not an ONNX model, or its input is unknown.
            BakehouseError: model and list do not match.
        """
        self.name = name or model.stem
        labels = find_labels(model)
        self.labels = read_labels(labels)
        self.preprocessing = find_preprocessing(model, labels, name)
        self.thresholds: Mapping[str, float] = self.preprocessing.thresholds
        self._net = OnnxNetwork(model, "tagging with an ONNX model")
        self._first, self._size, self._fixed_batch = _input_layout(self._net, self.preprocessing.size)
        if self._first and labels.name == "selected_tags.csv" and not (model.parent / SETTINGS_FILE).is_file():
            raise _unknown_input(model)
        self._output = _score_output(self._net, len(self.labels), labels)
        self.key = key_of(
            _fingerprint(model), self.labels, self.preprocessing.model_dump(exclude={"thresholds"}), self._size
        )

    def predict(self, images: Sequence[Image.Image]) -> list[TagPrediction]:
        """Return one prediction per image."""
        if not images:
            return []
        pixels = to_input(images, self.preprocessing, self._size, channels_first=self._first)
        step = self._fixed_batch or len(images)
        scores = np.concatenate([self._run(pixels[i : i + step]) for i in range(0, len(images), step)])
        if self.preprocessing.sigmoid:
            scores = 1 / (1 + np.exp(-scores))
        return [self._prediction(row) for row in scores]

    def _run(self, pixels: Floats) -> Floats:
        """Return scores [n, tags]; a fixed batch size is filled with copies of the last image."""
        missing = self._fixed_batch - len(pixels) if self._fixed_batch else 0
        filled = np.concatenate([pixels, np.repeat(pixels[-1:], missing, axis=0)]) if missing else pixels
        return self._net(filled)[self._output].reshape(len(filled), -1)[: len(pixels)]

    def _prediction(self, row: Floats) -> TagPrediction:
        scores: dict[str, dict[str, float]] = {}
        for i in np.flatnonzero(row >= MIN_SCORE):
            tag, category = self.labels[i]
            scores.setdefault(category, {})[tag] = float(row[i])
        return TagPrediction(scores=scores)

    def to_tags(self, prediction: TagPrediction, thresholds: Mapping[str, float]) -> list[str]:
        """Return the tags that reach their category's threshold; of ratings, which are exclusive, the likeliest."""
        ratings = dict(prediction.scores.get("rating", {}))
        likeliest = {max(ratings, key=lambda tag: ratings[tag]): 1.0} if ratings else {}
        return most_likely_first({**prediction.scores, "rating": likeliest}, thresholds)


def _input_layout(net: OnnxNetwork, known_side: int | None) -> tuple[bool, int, int]:
    """Return whether channels come first, the side in pixels, and the batch size (0: any)."""
    shape = net.input_shapes[0]
    if len(shape) != 4 or 3 not in (shape[1], shape[3]):
        raise UsageError(
            f"{net.path} is not a tagger: its input has shape {shape}", hint="supported: [N, H, W, 3] or [N, 3, H, W]"
        )
    channels_first = shape[1] == 3
    declared = shape[2] if channels_first else shape[1]
    side = declared if isinstance(declared, int) and declared > 3 else known_side
    if side is None:
        raise UsageError(
            f"{net.path} has no fixed input size", hint="set it in tagger.toml beside the model, such as size = 448"
        )
    return channels_first, side, shape[0] if isinstance(shape[0], int) and shape[0] > 0 else 0


def _score_output(net: OnnxNetwork, tags: int, labels: Path) -> int:
    """Return the index of the last output that has a score for each tag."""
    shapes = list(net.output_shapes.values())
    fitting = [i for i, shape in enumerate(shapes) if shape and shape[-1] == tags]
    variable = [i for i, shape in enumerate(shapes) if shape and not isinstance(shape[-1], int)]
    if fitting or variable:
        return (fitting or variable)[-1]
    given = ", ".join(f"{name} {shape}" for name, shape in net.output_shapes.items())
    raise BakehouseError(
        f"{net.path} does not match {labels.name}: outputs {given}, {tags} tags",
        hint="use the list of tags that belongs to the model",
    )


def _unknown_input(model: Path) -> UsageError:
    return UsageError(
        f"{model} has channels first, unlike WD taggers: its preprocessing is unknown",
        hint='set it in tagger.toml beside the model, such as: channels = "rgb", scale = "imagenet", sigmoid = true',
    )


def _fingerprint(model: Path) -> str:
    """Return a model's size and the hashes of its beginning and end, instead of hashing a gigabyte."""
    with model.open("rb") as f:
        head = f.read(_FINGERPRINT_BYTES)
        f.seek(max(0, model.stat().st_size - _FINGERPRINT_BYTES))
        return f"{model.stat().st_size} {sha256_bytes(head)} {sha256_bytes(f.read())}"
