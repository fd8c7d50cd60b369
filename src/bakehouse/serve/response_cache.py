"""Finished pictures of equal requests, the newest ones, within a budget of bytes."""

from __future__ import annotations

from collections import OrderedDict

from bakehouse.core.files import key_of
from bakehouse.serve.work.drawing import Drawing, Picture, to_json

_BYTES = 64 << 20


class ResponseCache:
    """Keeps pictures by the request that made them; the least recently used leave first."""

    def __init__(self, budget: int = _BYTES) -> None:
        self._budget, self._bytes = budget, 0
        self._kept: OrderedDict[str, list[Picture]] = OrderedDict()

    @staticmethod
    def key(drawing: Drawing) -> str | None:
        """Return the key of a request; None if it begins from images, whose contents it does not hold."""
        return None if drawing.files else key_of(to_json(drawing))

    def find(self, key: str | None) -> list[Picture] | None:
        """Return the pictures of an equal request."""
        if key is None or key not in self._kept:
            return None
        self._kept.move_to_end(key)
        return self._kept[key]

    def keep(self, key: str | None, pictures: list[Picture]) -> None:
        """Keep the pictures of a request."""
        size = sum(len(picture.data) for picture in pictures)
        if key is None or key in self._kept or size > self._budget:
            return
        self._kept[key] = pictures
        self._bytes += size
        while self._bytes > self._budget:
            _, oldest = self._kept.popitem(last=False)
            self._bytes -= sum(len(picture.data) for picture in oldest)
