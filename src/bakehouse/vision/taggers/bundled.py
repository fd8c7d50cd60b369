"""The embedded tagger as one of many: what `crumb` draws, in crumb's own words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from PIL import Image

from bakehouse.core.bundled_models import BUNDLED_TAGGER
from bakehouse.core.files import sha256_file
from bakehouse.vision.taggers.base import Sight
from bakehouse.vision.taggers.crumb_tagger import CrumbTagger


class EmbeddedTagger:
    """`CrumbTagger` behind the common interface. A sight holds the likeliest value of each group as `group=value`."""

    name = BUNDLED_TAGGER
    thresholds: Mapping[str, float] = {"general": 0.5}

    def __init__(self, folder: Path | None = None) -> None:
        self._tagger = CrumbTagger.load(folder)
        self.key = sha256_file((folder or _folder()) / "model.safetensors")

    def look(self, images: Sequence[Image.Image]) -> list[Sight]:
        """One sight for each picture."""
        result = self._tagger(images)
        best = [result.best(i) for i in range(len(images))]
        return [Sight(scores={"general": {f"{g}={v}": p for g, (v, p) in one.items()}}) for one in best]

    def words(self, sight: Sight, thresholds: Mapping[str, float]) -> list[str]:
        """Caption tags from the values that are sure enough, in the order of the base model's own captions."""
        least = thresholds.get("general")
        if least is None:
            return []
        sure = [value for value, p in sight.scores.get("general", {}).items() if p >= least]
        return self._tagger.vocabulary.tags_of(dict(value.split("=", 1) for value in sure))


def _folder() -> Path:
    from bakehouse.data.crumb_attributes import FOLDER

    return FOLDER
