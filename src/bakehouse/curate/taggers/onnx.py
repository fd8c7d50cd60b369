"""Taggers in ONNX files: WD, cl_tagger, Camie, DeepDanbooru and their like. The file says what it wants."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from bakehouse.core.errors import BakehouseError, UsageError
from bakehouse.core.files import key_of, sha256_bytes
from bakehouse.curate.extras import need
from bakehouse.curate.taggers.profile import SETTINGS_FILE, Floats, find_labels, profile_of, read_labels, to_input
from bakehouse.curate.taggers.sight import FLOOR, Sight, surest_first

_PROVIDERS = ("CUDAExecutionProvider", "ROCMExecutionProvider", "DmlExecutionProvider", "CPUExecutionProvider")
_ENDS = 1 << 20
"""Bytes of a model's beginning and end that tell it from others."""


class OnnxTagger:
    """A network that scores a fixed list of tags."""

    def __init__(self, model: Path, name: str = "") -> None:
        """Opens a model; the list of tags lies beside it.

        Raises:
            UsageError: onnxruntime or the list is missing, or the network's input is not known.
            BakehouseError: the file is no ONNX model, or does not fit its list.
        """
        self.name = name or model.stem
        labels = find_labels(model)
        self.labels = read_labels(labels)
        self.profile = profile_of(model, labels, name)
        self.thresholds: Mapping[str, float] = self.profile.thresholds
        self._session = _open(model)
        self._input, self._first, self._size, self._fixed_batch = _shape(self._session, model, self.profile.size)
        if self._first and labels.name == "selected_tags.csv" and not (model.parent / SETTINGS_FILE).is_file():
            raise _unknown_input(model)
        self._output = _output(self._session, len(self.labels), model, labels)
        self.key = key_of(_ends_of(model), self.labels, self.profile.model_dump(exclude={"thresholds"}), self._size)

    def look(self, images: Sequence[Image.Image]) -> list[Sight]:
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
        (scores,) = self._session.run([self._output], {self._input: filled})
        return np.asarray(scores, np.float32).reshape(len(filled), -1)[: len(pixels)]

    def _sight(self, row: Floats) -> Sight:
        scores: dict[str, dict[str, float]] = {}
        for i in np.flatnonzero(row >= FLOOR):
            tag, category = self.labels[i]
            scores.setdefault(category, {})[tag] = float(row[i])
        return Sight(scores=scores)

    def words(self, sight: Sight, thresholds: Mapping[str, float]) -> list[str]:
        """Tags at or above their category's threshold; of ratings, which exclude each other, the likeliest."""
        ratings = dict(sight.scores.get("rating", {}))
        likeliest = {max(ratings, key=lambda tag: ratings[tag]): 1.0} if ratings else {}
        return surest_first({**sight.scores, "rating": likeliest}, thresholds)


def _open(model: Path) -> Any:
    ort = need("onnxruntime", "tagging with an ONNX model")
    there = ort.get_available_providers()
    try:
        return ort.InferenceSession(str(model), providers=[p for p in _PROVIDERS if p in there])
    except (RuntimeError, ValueError) as e:  # onnxruntime's own errors are RuntimeErrors
        reason = str(e).splitlines()[0]
        raise BakehouseError(f"{model} cannot be opened as an ONNX model: {reason}", hint="fetch it again") from e


def _shape(session: Any, model: Path, told: int | None) -> tuple[str, bool, int, int]:
    """Name of the input, whether channels come first, side in pixels, batch (0 is any)."""
    first = session.get_inputs()[0]
    shape = first.shape
    if len(shape) != 4 or 3 not in (shape[1], shape[3]):
        raise UsageError(f"{model} wants an input of shape {shape}", hint="taggers want [N, H, W, 3] or [N, 3, H, W]")
    channels_first = shape[1] == 3
    side = shape[2] if channels_first else shape[1]
    side = side if isinstance(side, int) and side > 3 else told
    if side is None:
        raise UsageError(f"{model} does not say how large its pictures are", hint="write size = 448 into tagger.toml")
    return first.name, channels_first, side, shape[0] if isinstance(shape[0], int) and shape[0] > 0 else 0


def _output(session: Any, tags: int, model: Path, labels: Path) -> str:
    """The name of the last output that has a score for each tag."""
    outputs = session.get_outputs()
    fitting = [o.name for o in outputs if o.shape and o.shape[-1] == tags]
    unsaid = [o.name for o in outputs if o.shape and not isinstance(o.shape[-1], int)]
    if fitting or unsaid:
        return str((fitting or unsaid)[-1])
    shapes = ", ".join(f"{o.name} {o.shape}" for o in outputs)
    raise BakehouseError(f"{model} gives {shapes}, and {labels.name} has {tags} tags", hint="they are of two models")


def _unknown_input(model: Path) -> UsageError:
    return UsageError(
        f"{model} wants channels first, which no WD tagger does: how pictures go into it is not known",
        hint='say it in tagger.toml beside it, for example: channels = "rgb", scale = "imagenet", sigmoid = true',
    )


def _ends_of(model: Path) -> str:
    """What tells a model from others without reading all of a gigabyte: its size, beginning and end."""
    with model.open("rb") as f:
        head = f.read(_ENDS)
        f.seek(max(0, model.stat().st_size - _ENDS))
        return f"{model.stat().st_size} {sha256_bytes(head)} {sha256_bytes(f.read())}"
