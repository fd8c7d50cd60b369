"""What taggers have seen, by the content of pictures: what was stopped goes on, another threshold asks no model."""

from __future__ import annotations

import json
from collections.abc import Generator, Sequence
from pathlib import Path

from bakehouse.core.events import Progress
from bakehouse.core.files import cache_dir, writing_to
from bakehouse.core.json_toml_yaml import parse_json
from bakehouse.data.image_records import ImageRecord
from bakehouse.data.open_image import open_image
from bakehouse.vision.taggers.base import Tagger, TagPrediction


class Memory:
    """The predictions of one tagger, in one file of the cache: a line for each picture, added as it is seen."""

    def __init__(self, tagger: Tagger) -> None:
        self._tagger = tagger
        self.path = cache_dir("sights", f"{tagger.key[:32]}.jsonl")
        self._seen = dict(_read(self.path))

    def look(self, records: Sequence[ImageRecord], batch: int) -> Generator[Progress, None, list[TagPrediction]]:
        """Tells how far it is, and returns a prediction for each record; only pictures that were never seen are opened.

        Args:
            records: of images, whose content is known by its sha256.
            batch: pictures at once.
        """
        what = f"tagging with {self._tagger.name}"
        new = list({r.sha256: r for r in records if r.sha256 not in self._seen}.values())
        done = len(records) - len(new)
        yield Progress(what=what, done=done, total=len(records))
        for i in range(0, len(new), batch):
            some = new[i : i + batch]
            predictions = self._tagger.predict([open_image(r.path) for r in some])
            self._keep([(r.sha256, prediction) for r, prediction in zip(some, predictions, strict=True)])
            done += len(some)
            yield Progress(what=what, done=done, total=len(records))
        return [self._seen[r.sha256] for r in records]

    def _keep(self, predictions: Sequence[tuple[str, TagPrediction]]) -> None:
        lines = "".join("\n" + json.dumps({"sha256": sha, **prediction.to_json()}) for sha, prediction in predictions)
        # A line begins with its newline: what a process left unfinished when it was killed spoils no other line.
        with writing_to(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a", encoding="utf-8") as f:
                f.write(lines)
        # As it will be read again: scores are rounded the same way the first time.
        self._seen.update((sha, TagPrediction.from_json(prediction.to_json())) for sha, prediction in predictions)


def _read(path: Path) -> list[tuple[str, TagPrediction]]:
    """The lines that are whole; the last one of a process that was killed may not be."""
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
