"""A page of a dataset's images, filtered and sorted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bakehouse.data.tags import key
from bakehouse.serve.datasets.image_index import DatasetIndex, IndexedImage


@dataclass(frozen=True)
class ImageQuery:
    """Which images are wanted, and in which order."""

    text: str = ""
    """Looked for in paths and captions, whatever the case."""
    tags: tuple[str, ...] = ()
    """All of them."""
    without_tags: tuple[str, ...] = ()
    """None of them."""
    folder: str | None = None
    finding: str | None = None
    """Id of a finding of the last audit."""
    caption: str | None = None
    """`yes` or `no`."""
    mask: str | None = None
    sort: str = "name"

    def matches(self, image: IndexedImage, findings: Sequence[str]) -> bool:
        """Whether an image is wanted."""
        text = self.text.casefold()
        tags = {key(tag) for tag in image.tags} if self.tags or self.without_tags else set()
        return (
            (not text or text in image.path.casefold() or text in (image.caption or "").casefold())
            and all(key(tag) in tags for tag in self.tags)
            and not any(key(tag) in tags for tag in self.without_tags)
            and (self.folder is None or image.folder == self.folder)
            and (self.finding is None or self.finding in findings)
            and (self.caption is None or bool(image.caption) == (self.caption == "yes"))
            and (self.mask is None or (image.mask is not None) == (self.mask == "yes"))
        )


def image_rows(
    index: DatasetIndex, query: ImageQuery, findings: Mapping[str, list[str]], *, offset: int, limit: int
) -> dict[str, Any]:
    """Return one page of images, and how many there are in all; only those of the page are opened."""
    found = [image for image in index.refresh() if query.matches(image, findings.get(image.path, ()))]
    if query.sort == "changed":
        found.sort(key=lambda image: -image.changed)
    elif query.sort == "size":
        found.sort(key=lambda image: -image.bytes)
    page = found[offset : offset + limit]
    rows = [_row(image, findings.get(image.path, [])) for image in page]
    return {"total": len(found), "offset": offset, "images": rows}


def _row(image: IndexedImage, findings: list[str]) -> dict[str, Any]:
    size = image.size()
    return {
        "path": image.path,
        "width": size[0] if size else None,
        "height": size[1] if size else None,
        "bytes": image.bytes,
        "changed": image.changed / 1e9,
        "caption": image.caption,
        "tags": list(image.tags),
        "mask": image.mask is not None,
        "findings": findings,
    }
