"""Changes of a dataset by hand: captions, tags, masks, and images that go or move. Each is a step of its journal."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from PIL import Image

from bakehouse.curation.apply_and_undo import apply_proposals
from bakehouse.curation.changeset import Edit, Move, Proposal, Remove, Write
from bakehouse.curation.journal import Step
from bakehouse.curation.output_images import encode_png
from bakehouse.curation.sidecars import TEXT_SUFFIXES
from bakehouse.data.masks import SHAPE_TOLERANCE
from bakehouse.data.open_image import image_size
from bakehouse.data.tags import join_tags, key, split_caption
from bakehouse.serve.datasets.image_index import DatasetIndex, IndexedImage
from bakehouse.serve.errors import ServeError, bad_request, not_found
from bakehouse.serve.guard.paths import relative_path


@dataclass(frozen=True)
class CaptionChange:
    """A caption before and after a change."""

    path: str
    before: str | None
    after: str


@dataclass(frozen=True)
class TagChanges:
    """What is done to the tags of captions; spellings of a tag count as one."""

    add: tuple[str, ...] = ()
    remove: tuple[str, ...] = ()
    replace: Mapping[str, str] | None = None
    front: bool = False
    """Add in front, in place of behind."""

    def applied_to(self, caption: str) -> str:
        """Return a caption with its first line changed."""
        first, newline, rest = caption.partition("\n")
        gone = {key(tag) for tag in self.remove}
        others = {key(old): new for old, new in (self.replace or {}).items()}
        tags = [others.get(key(tag), tag) for tag in split_caption(first) if key(tag) not in gone]
        there = {key(tag) for tag in tags}
        new = [tag for tag in dict.fromkeys(self.add) if key(tag) not in there]
        tags = [*new, *tags] if self.front else [*tags, *new]
        unique = list({key(tag): tag for tag in reversed(tags) if tag}.values())[::-1] if others else tags
        return join_tags(unique) + newline + rest


def image_of(index: DatasetIndex, path: str) -> IndexedImage:
    """Return an image of a dataset.

    Raises:
        ServeError: there is none with this path (404).
    """
    return images_of(index, [path])[0]


def images_of(index: DatasetIndex, paths: Sequence[str]) -> list[IndexedImage]:
    """Return images of a dataset by their paths; see `image_of`."""
    known = {image.path: image for image in index.refresh()}
    if missing := [path for path in paths if path not in known]:
        raise not_found(f"the dataset has no image {missing[0][:80]!r}", hint="its list of images has the paths")
    return [known[path] for path in dict.fromkeys(paths)]


def write_captions(
    index: DatasetIndex, captions: Mapping[str, str], was: Mapping[str, str | None], operation: str = "caption"
) -> tuple[Step | None, list[str]]:
    """Write captions as one step; an empty text removes the caption. Returns the step and the paths that changed.

    Raises:
        ServeError: no such image (404), or a caption is no longer what `was` says (409).
    """
    images = images_of(index, [*captions, *was])
    by_path = {image.path: image for image in images}
    for path, before in was.items():
        if (by_path[path].caption or "") != (before or "").strip():
            raise ServeError(
                409, "changed_meanwhile", f"the caption of {path} has changed meanwhile", hint="read it again"
            )
    texts = {path: "\n".join(line.strip() for line in text.strip().splitlines()) for path, text in captions.items()}
    changed = [path for path, text in texts.items() if (by_path[path].caption or "") != text]
    proposals = [_caption_proposal(index.root, by_path[path], texts[path]) for path in changed]
    return apply_proposals(index.root, operation, [one for one in proposals if one is not None]), changed


def tag_changes(index: DatasetIndex, paths: Sequence[str] | None, changes: TagChanges) -> list[CaptionChange]:
    """Return what a change of tags does to captions; `paths` None: to all that the dataset has."""
    images = index.refresh() if paths is None else images_of(index, paths)
    done = [CaptionChange(image.path, image.caption, changes.applied_to(image.caption or "")) for image in images]
    return [change for change in done if change.after != (change.before or "")]


def remove_images(index: DatasetIndex, paths: Sequence[str]) -> Step | None:
    """Remove images with their captions and masks, as one step."""
    return _apply(index, "remove", images_of(index, paths), "removed by hand", lambda file: Remove(file))


def keep_one(index: DatasetIndex, keep: str, drop: str) -> Step | None:
    """Remove one of two copies of a picture, as one step; the other gets its caption and its mask if it has none.

    Raises:
        ServeError: no such image (404), or both are the same (400).
    """
    if keep == drop:
        raise bad_request(f"{keep} cannot be kept and removed")
    kept, gone = image_of(index, keep), image_of(index, drop)
    name, files = PurePosixPath(kept.path), _with_sidecars(index, gone)
    edits: list[Edit] = [Remove(file) for file in files]
    if not kept.caption and gone.caption:
        written = _caption_proposal(index.root, kept, gone.caption)
        edits += [] if written is None else written.make_edits()
    if kept.mask is None and gone.mask is not None and _same_shape(kept, gone):
        with Image.open(gone.mask) as mask:
            edits.append(Write(name.with_name(f"{name.stem}.mask.png"), encode_png(mask.convert("L"))))
    why = f"a copy of it, {drop}, was removed by hand"
    return apply_proposals(index.root, "keep", [Proposal(name, why, lambda: edits)])


def _same_shape(one: IndexedImage, other: IndexedImage) -> bool:
    first, second = one.size(), other.size()
    return (
        first is not None
        and second is not None
        and abs(first[0] * second[1] / (first[1] * second[0]) - 1) <= SHAPE_TOLERANCE
    )


def move_images(index: DatasetIndex, paths: Sequence[str], folder: str) -> Step | None:
    """Move images with their captions and masks into a folder of the dataset; `` is the dataset itself.

    Raises:
        ServeError: not a path (400), no such image (404), or a file of the name is there already (409).
    """
    into = relative_path(folder, "folder") if folder else PurePosixPath()
    images = [image for image in images_of(index, paths) if image.folder != folder]
    for image in images:
        if (index.root / into / image.file.name).exists():
            raise ServeError(409, "exists", f"{folder or 'the dataset'} has a file {image.file.name!r} already")

    def moved(file: PurePosixPath) -> Edit:
        parent = file.parent.name if file.parent.name.lower() in ("mask", "masks") else ""
        return Move(file, into / parent / file.name if parent else into / file.name)

    return _apply(index, "move", images, f"moved to {folder or 'the dataset'} by hand", moved)


def write_mask(index: DatasetIndex, path: str, data: bytes | None) -> Step | None:
    """Write the mask of an image from the bytes of an image, grey: white is learned. None removes it.

    Raises:
        ServeError: no such image (404), or not an image of the same shape (400).
    """
    image = image_of(index, path)
    old = [] if image.mask is None else [image.mask.relative_to(index.root)]
    name = PurePosixPath(image.path)
    target = PurePosixPath(*old[0].parts) if old else name.with_name(f"{name.stem}.mask.png")
    if data is None:
        edits: list[Edit] = [Remove(target)] if old else []
    else:
        edits = [Write(target.with_suffix(".png"), _mask_png(image, data))]
        edits += [Remove(target)] if old and target.suffix != ".png" else []
    proposals = [Proposal(name, "mask drawn by hand" if data else "mask removed by hand", lambda: edits)]
    return apply_proposals(index.root, "mask", proposals if edits else [])


def _mask_png(image: IndexedImage, data: bytes) -> bytes:
    try:
        with Image.open(io.BytesIO(data), formats=["PNG"]) as file:
            shape = image_size(image.file)
            ratio = (file.width / file.height) / (shape[0] / shape[1])
            if abs(ratio - 1) > SHAPE_TOLERANCE or file.width > 2 * shape[0]:
                raise bad_request(f"the mask is {file.width} x {file.height}, and the image {shape[0]} x {shape[1]}")
            return encode_png(file.convert("L"))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as e:
        raise ServeError(400, "not_an_image", "the mask is not a PNG") from e


def _caption_proposal(root: Path, image: IndexedImage, text: str) -> Proposal | None:
    old = None if image.caption_file is None else PurePosixPath(image.caption_file.relative_to(root).as_posix())
    name = PurePosixPath(image.path)
    if not text:
        return None if old is None else Proposal(name, "caption removed by hand", lambda: [Remove(old)])
    # A JSON file is not written over: a .txt file beside it takes precedence.
    target = old if old is not None and old.suffix.lower() != ".json" else name.with_suffix(".txt")
    return Proposal(name, "caption written by hand", lambda: [Write(target, f"{text}\n".encode())])


def _apply(
    index: DatasetIndex,
    operation: str,
    images: Sequence[IndexedImage],
    why: str,
    edit: Callable[[PurePosixPath], Edit],
) -> Step | None:
    files = {image.path: _with_sidecars(index, image) for image in images}
    edits = {path: [edit(file) for file in found] for path, found in files.items()}
    proposals = [
        Proposal(PurePosixPath(path), why, lambda made=made: made)  # type: ignore[misc]
        for path, made in edits.items()
    ]
    return apply_proposals(index.root, operation, proposals)


def _with_sidecars(index: DatasetIndex, image: IndexedImage) -> list[PurePosixPath]:
    """Return an image with the files that belong to it alone."""
    stem = image.file.stem.lower()
    alone = sum(o.folder == image.folder and o.file.stem.lower() == stem for o in index.images) == 1
    captions = [
        file
        for ending in TEXT_SUFFIXES
        for file in (
            image.file.with_name(image.file.name + ending),
            *([image.file.with_suffix(ending)] if alone else []),
        )
        if file.is_file()
    ]
    shared = sum(other.mask == image.mask for other in index.images) > 1
    masks = [] if image.mask is None or shared else [image.mask]
    found = [image.file, *captions, *masks]
    return [PurePosixPath(file.relative_to(index.root).as_posix()) for file in dict.fromkeys(found)]
