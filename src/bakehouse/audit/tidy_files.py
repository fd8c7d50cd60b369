"""`dataset tidy`: remove unusable and foreign files, and rename images that share a name; can be undone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path, PurePosixPath

from bakehouse.audit.audit_options import Limits
from bakehouse.audit.foreign_files import foreign_files
from bakehouse.audit.gather_facts import stray_captions
from bakehouse.audit.mask_facts import collect_mask_facts
from bakehouse.core.files import fit_file_name
from bakehouse.core.settings import Spec
from bakehouse.curation.changeset import Edit, Proposal, Remove
from bakehouse.curation.output_images import OutputNames, copy_shared_caption, replace_image
from bakehouse.curation.sidecars import move_with_sidecars, remove_with_sidecars
from bakehouse.data.image_header import ImageHeader, read_image_header
from bakehouse.data.image_records import ImageRecord, ImageSet
from bakehouse.data.open_image import open_image
from bakehouse.data.scan import NO_FILE, list_files, stem_of


class Tidy(Spec):
    """Remove unreadable images, foreign files, stray captions and unusable masks; rename images that share a name."""

    metadata: bool = False
    """Also rewrite images whose metadata has a location or the settings of an image generator."""
    limits: Limits = Limits()
    """Images over `megapixels` or `side` are removed."""

    def propose(self, images: ImageSet) -> Iterator[Proposal]:
        """Yield one proposal for each file."""
        too_large = {r.path: why for r in images if (why := self._oversized(read_image_header(r.path)))}
        yield from self._unusable(images, too_large)
        yield from _foreign(images)
        yield from _unusable_masks(images)
        kept = [r for r in images if r.path not in too_large]
        renamed = dict(_same_names(kept, images))
        for record, to in renamed.items():
            why = f"{images.name(record.path).name} shares its name with another image: renamed to {to.name}"
            yield Proposal(images.name(record.path), why, partial(_rename, record, images, to))
        if self.metadata:
            yield from _private_metadata([r for r in kept if r not in renamed], images)

    def _oversized(self, found: ImageHeader) -> str:
        mega = found.width * found.height / 1e6
        if mega <= self.limits.megapixels and max(found.width, found.height) <= self.limits.side:
            return ""
        return f"{found.width:,} x {found.height:,} pixels: too large to decode"

    def _unusable(self, images: ImageSet, too_large: dict[Path, str]) -> Iterator[Proposal]:
        for record in images:
            if record.path in too_large:
                yield Proposal(
                    images.name(record.path), too_large[record.path], partial(remove_with_sidecars, record, images)
                )
        for skipped in images.skipped:
            if skipped.path.is_symlink() or not skipped.path.is_relative_to(images.root):
                continue  # the target of a link is not part of the dataset; a copy (-o) is without it
            if skipped.reason == NO_FILE:
                continue  # it cannot be kept for `undo`
            record = ImageRecord(skipped.path, 0, 0, "")
            why = f"unusable: {skipped.reason}"
            yield Proposal(images.name(skipped.path), why, partial(remove_with_sidecars, record, images))


def _foreign(images: ImageSet) -> Iterator[Proposal]:
    paths = {record.path: str(images.name(record.path)) for record in images}
    found = foreign_files(images.root, paths)
    strays = [images.name(path).as_posix() for path in stray_captions(list_files(images.root), _all(images))]
    for names, why in (
        (found.junk, "file of another program"),
        (found.stale_caches, "cache older than its image"),
        (strays, "caption without an image"),
    ):
        for name in names:
            if not (images.root / name).is_symlink():
                yield Proposal(PurePosixPath(name), why, partial(_removal, PurePosixPath(name)))


def _all(images: ImageSet) -> list[Path]:
    """Return the paths of usable and unusable images: the caption of an unusable image is no stray caption."""
    return [*(record.path for record in images), *(skipped.path for skipped in images.skipped)]


def _unusable_masks(images: ImageSet) -> Iterator[Proposal]:
    for record in images:
        if record.mask is None or not record.mask.is_relative_to(images.root):
            continue
        name = images.name(record.mask)
        found = collect_mask_facts(record.mask, str(name), str(images.name(record.path)), (record.width, record.height))
        if found.problem:
            yield Proposal(
                name, f"unusable mask of {images.name(record.path)}: {found.problem}", partial(_removal, name)
            )
    for path in list_files(images.root).stray_masks:
        yield Proposal(images.name(path), "mask without an image", partial(_removal, images.name(path)))


def _removal(name: PurePosixPath) -> list[Edit]:
    return [Remove(name)]


def _same_names(records: Iterable[ImageRecord], images: ImageSet) -> Iterator[tuple[ImageRecord, PurePosixPath]]:
    """Yield images whose stem an earlier image has, with a free name for each."""
    stems = {(record.path.parent, stem_of(record.path)) for record in records}
    seen: set[tuple[Path, str]] = set()
    for record in records:
        key = (record.path.parent, stem_of(record.path))
        if key in seen:
            yield record, _free(images.name(record.path), record.path.parent, stems)
        seen.add(key)


def _free(name: PurePosixPath, folder: Path, stems: set[tuple[Path, str]]) -> PurePosixPath:
    """Return `a-jpg.jpg` for `a.jpg`, else `a-2.jpg` and so on: a stem that no image has."""
    endings = [name.suffix.lower().lstrip("."), *map(str, range(2, 10_000))]
    candidates = (name.with_name(fit_file_name(name.stem, f"-{ending}{name.suffix}")) for ending in endings if ending)
    free = next(c for c in candidates if (folder, stem_of(Path(c.name))) not in stems)
    stems.add((folder, stem_of(Path(free.name))))
    return free


def _rename(record: ImageRecord, images: ImageSet, to: PurePosixPath) -> list[Edit]:
    return [*move_with_sidecars(record, images, to), *copy_shared_caption(record, images, to)]


def _private_metadata(records: Iterable[ImageRecord], images: ImageSet) -> Iterator[Proposal]:
    names = OutputNames(images)
    for record in records:
        found = read_image_header(record.path)
        if found.gps or found.generator:
            content = "a GPS position" if found.gps else f"settings of {found.generator}"
            edits = partial(_rewritten, record, images, names.claim(record))
            yield Proposal(images.name(record.path), f"metadata with {content}: rewritten without metadata", edits)


def _rewritten(record: ImageRecord, images: ImageSet, to: PurePosixPath) -> list[Edit]:
    image = open_image(record.path, mode="RGBA" if record.has_alpha else "RGB")
    return replace_image(record, images, to, image)
