"""Cache of tagger predictions by image content: interrupted tagging resumes, and other thresholds need no inference."""

from __future__ import annotations

import json
from collections.abc import Generator, Sequence
from pathlib import Path

from bakehouse.core.events import Progress
from bakehouse.core.files import cache_dir, writing_to
from bakehouse.core.parse_json_toml_yaml import parse_json
from bakehouse.data.image_records import ImageRecord
from bakehouse.data.open_image import open_image
from bakehouse.vision.taggers.base import Tagger, TagPrediction


class TaggerCache:
    """The predictions of one tagger in one file of the cache, with a line for each image."""

    def __init__(self, tagger: Tagger) -> None:
        self._tagger = tagger
        self.path = cache_dir("sights", f"{tagger.key[:32]}.jsonl")
        self._predictions = dict(_read(self.path))

    def predict(self, records: Sequence[ImageRecord], batch: int) -> Generator[Progress, None, list[TagPrediction]]:
        """Yield progress, and return a prediction for each record; only images that are not cached are opened.

        Args:
            records: of images, whose content is identified by its sha256.
            batch: batch size.
        """
        what = f"tagging with {self._tagger.name}"
        new = list({r.sha256: r for r in records if r.sha256 not in self._predictions}.values())
        done = len(records) - len(new)
        yield Progress(what=what, done=done, total=len(records))
        for i in range(0, len(new), batch):
            chunk = new[i : i + batch]
            predictions = self._tagger.predict([open_image(r.path) for r in chunk])
            self._add([(r.sha256, prediction) for r, prediction in zip(chunk, predictions, strict=True)])
            done += len(chunk)
            yield Progress(what=what, done=done, total=len(records))
        return [self._predictions[r.sha256] for r in records]

    def _add(self, predictions: Sequence[tuple[str, TagPrediction]]) -> None:
        lines = "".join("\n" + json.dumps({"sha256": sha, **found.to_json()}) for sha, found in predictions)
        # A line begins with its newline: an unfinished line of a killed process damages no other line.
        with writing_to(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a", encoding="utf-8") as f:
                f.write(lines)
        # Rounded as in the file, so that the first result is that of later reads.
        self._predictions.update((sha, TagPrediction.from_json(found.to_json())) for sha, found in predictions)


def _read(path: Path) -> list[tuple[str, TagPrediction]]:
    """Return the complete lines; the last one of a killed process may be incomplete."""
    if not path.is_file():
        return []
    found = []
    for line in path.read_text("utf-8", errors="replace").split("\n"):
        try:
            value = parse_json(line)
            found.append((str(value["sha256"]), TagPrediction.from_json(value)))
        except (json.JSONDecodeError, KeyError, TypeError):
            continue
    return found
