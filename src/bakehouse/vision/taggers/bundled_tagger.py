"""The bundled tagger behind the `Tagger` protocol; it predicts the tags of the base model `crumb`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from PIL import Image

from bakehouse.core.bundled_models import BUNDLED_TAGGER
from bakehouse.core.files import sha256_file
from bakehouse.vision.taggers.base import TagPrediction
from bakehouse.vision.taggers.crumb_tagger import CrumbTagger


class BundledTagger:
    """`CrumbTagger` as a `Tagger`. A prediction holds the likeliest value of each group as `group=value`."""

    name = BUNDLED_TAGGER
    thresholds: Mapping[str, float] = {"general": 0.5}

    def __init__(self, folder: Path | None = None) -> None:
        self._tagger = CrumbTagger.load(folder)
        self.key = sha256_file((folder or _folder()) / "model.safetensors")

    def predict(self, images: Sequence[Image.Image]) -> list[TagPrediction]:
        """Return one prediction per image."""
        result = self._tagger(images)
        best = [result.best(i) for i in range(len(images))]
        return [TagPrediction(scores={"general": {f"{g}={v}": p for g, (v, p) in one.items()}}) for one in best]

    def to_tags(self, prediction: TagPrediction, thresholds: Mapping[str, float]) -> list[str]:
        """Return caption tags for the values above the threshold, in the order of the base model's own captions."""
        least = thresholds.get("general")
        if least is None:
            return []
        sure = [value for value, p in prediction.scores.get("general", {}).items() if p >= least]
        return self._tagger.vocabulary.tags_of(dict(value.split("=", 1) for value in sure))


def _folder() -> Path:
    from bakehouse.data.crumb_attributes import FOLDER

    return FOLDER
