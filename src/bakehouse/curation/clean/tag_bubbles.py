"""Tags for speech bubbles that cannot be painted over: what a caption names is learned as the tag's, not the subject's.

The tags are Danbooru's: `speech bubble`, and `spoken heart` beside it for a bubble that holds a heart.
"""

from __future__ import annotations

from collections.abc import Sequence

from bakehouse.curation.changeset import Edit, Move, Remove, Write
from bakehouse.curation.crops.crop_captions import spelled_like
from bakehouse.curation.sidecars import sidecar_files
from bakehouse.data.captions import read_caption, split_tags
from bakehouse.data.compile_captions import RAW_SUFFIX
from bakehouse.data.image_records import ImageRecord, ImageSet
from bakehouse.data.tags import key
from bakehouse.vision.text_detection import TextRegion

BUBBLE_TAG = "speech bubble"
HEART_TAG = "spoken heart"
_HEARTS = frozenset("♡♥❤❥💓💔💕💖💗💘💙💚💛💜💝💞🖤🤍🤎🧡")


def bubble_tags(bubbles: Sequence[TextRegion]) -> tuple[str, ...]:
    """Return the tags of an image with these lines in speech bubbles; none if there are no lines."""
    if not bubbles:
        return ()
    has_heart = any(not _HEARTS.isdisjoint(line.text) for line in bubbles)
    return (BUBBLE_TAG, HEART_TAG) if has_heart else (BUBBLE_TAG,)


def can_be_tagged(record: ImageRecord, images: ImageSet) -> bool:
    """Return whether an image has a caption of its own. A new caption would replace the words of the whole set."""
    return bool(record.captions) and record.caption_path in sidecar_files(record, images)


def missing_tags(record: ImageRecord, tags: Sequence[str]) -> tuple[str, ...]:
    """Return the tags that not all lines of an image's caption have."""
    lines = [{key(tag) for tag in split_tags(line)} for line in record.captions]
    return tuple(tag for tag in tags if any(key(tag) not in line for line in lines))


def tagged_caption(caption: str, tags: Sequence[str]) -> str:
    """Return a caption with the tags that it lacks at its end, spelled as its own. Idempotent."""
    own = split_tags(caption)
    has = {key(tag) for tag in own}
    more = [spelled_like(tag, own) for tag in tags if key(tag) not in has]
    return ", ".join([caption.rstrip(" ,.").strip(), *more]) if more else caption


def add_tags(edits: Sequence[Edit], record: ImageRecord, images: ImageSet, tags: Sequence[str]) -> list[Edit]:
    """Add tags to an image's caption and to the raw tags that it is compiled from; return all edits of the image.

    Args:
        edits: of the image. If one of them moves the caption, the tags are written to where it goes.
        record: the image; see `can_be_tagged`.
        images: its dataset.
        tags: those of `bubble_tags`.
    """
    result = list(edits)
    if not tags:
        return result
    for path in sidecar_files(record, images):
        if path != record.caption_path and path.suffix.lower() != RAW_SUFFIX:
            continue
        old = images.name(path)
        move = next((edit for edit in result if isinstance(edit, Move) and edit.path == old), None)
        to = move.to if move else old
        content = "".join(f"{tagged_caption(line, tags)}\n" for line in read_caption(path).lines).encode()
        if to.suffix.lower() == ".json":
            to = to.with_suffix(".txt")  # which is read in place of the .json, as after every edit of captions
        elif move:
            result = [*(edit for edit in result if edit is not move), Remove(old)]
        result.append(Write(to, content))
    return result
