"""Collect the facts of a dataset in one pass: each image is decoded once, in worker threads."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from PIL import Image

from bakehouse.audit.audit_options import AuditSpec
from bakehouse.audit.detector_availability import Detectors
from bakehouse.audit.facts import CaptionFacts, Facts, Group, ImageFacts, MaskFacts, Pixels
from bakehouse.audit.foreign_files import foreign_files
from bakehouse.audit.image_stats import blockiness, chroma, outline, sharpness, thumbnail, transparency
from bakehouse.audit.mask_facts import collect_mask_facts
from bakehouse.audit.text_removability import has_inpainter, on_busy_background, unmasked_texts
from bakehouse.audit.trigger_facts import collect_trigger_facts
from bakehouse.captions.tagger_of_base import installed_tagger
from bakehouse.core.files import sha256_file
from bakehouse.core.thread_pool import thread_pool
from bakehouse.curation.dedupe.image_hashes import hash_image
from bakehouse.curation.trim import Trim
from bakehouse.data.buckets import assign, fit
from bakehouse.data.captions import read_caption
from bakehouse.data.dataset_formats import METADATA_FILES, MOST_REPEATS, metadata_rows
from bakehouse.data.image_header import ImageHeader, distinct_frames, header_of_open_image
from bakehouse.data.image_records import ImageRecord
from bakehouse.data.open_image import ImageError, flattened, open_image, opened, upright_srgb
from bakehouse.data.scan import (
    FileTree,
    caption_files,
    check_image_folder,
    has_matching_extension,
    list_files,
    natural_key,
    nfc,
    stem_of,
)

Progress = Callable[[int, int], None]

_TRIM = Trim()
_NUMBERED = re.compile(r"([0-9]+)_(.*)")


@dataclass(frozen=True)
class _Measurer:
    """Measures one image file after the other; shared by the worker threads."""

    root: Path
    spec: AuditSpec
    detectors: Detectors
    found: FileTree
    thumbnails: bool
    rows: Mapping[str, tuple[str, ...]]
    """Captions by the images' names, if a metadata file has them."""

    def name(self, path: Path) -> str:
        return path.relative_to(self.root).as_posix() if path.is_relative_to(self.root) else path.as_posix()

    def measure(self, path: Path) -> tuple[ImageFacts, bytes]:
        """Return the facts of one file and its thumbnail; an unreadable file has facts with a `problem`."""
        name, size = self.name(path), path.stat().st_size if path.exists() else 0
        try:
            with opened(path) as file:
                header = header_of_open_image(file)
                if reason := self._oversized(header):
                    return ImageFacts(name, path, size, reason, oversized=True, header=header), b""
                image = upright_srgb(file)
            frames = distinct_frames(path) if header.frames > 1 else (1, 1)
            return self._measured(name, path, size, header, frames, image)
        except ImageError as e:
            return ImageFacts(name, path, size, e.reason, oversized="megapixels" in e.reason), b""
        except OSError as e:
            return ImageFacts(name, path, size, f"cannot be read ({e.strerror or e})"), b""

    def _oversized(self, header: ImageHeader) -> str:
        limits = self.spec.limits
        mega = header.width * header.height / 1e6
        if mega <= limits.megapixels and max(header.width, header.height) <= limits.side:
            return ""
        return (
            f"{header.width:,} x {header.height:,} = {mega:,.0f} megapixels; "
            f"the limits are {limits.megapixels:g} megapixels and {limits.side:,} pixels a side"
        )

    def _measured(
        self, name: str, path: Path, size: int, header: ImageHeader, frames: tuple[int, int], image: Image.Image
    ) -> tuple[ImageFacts, bytes]:
        transparent, hidden_color = transparency(image) if image.mode == "RGBA" else (0.0, 0.0)
        flat = flattened(image)
        gray = flat.convert("L")
        placement = assign([flat.size], self.spec.buckets)[0]
        pixels = Pixels(
            transparent=transparent,
            hidden_color=hidden_color,
            border=_TRIM.borders(image),
            sharpness=sharpness(fit(gray, placement)),
            blockiness=blockiness(gray),
            chroma=chroma(flat),
            hashes=hash_image(flat),
            outline=outline(flat),
        )
        record = self._record(path, flat.size, has_alpha=transparent > 0, frames=header.frames)
        texts = self.detectors.texts(flat)
        texts = None if texts is None else unmasked_texts(texts, record.mask, flat.size)
        facts = ImageFacts(
            name,
            path,
            size,
            header=header,
            named_right=has_matching_extension(path, header.format),
            frames=frames,
            record=record,
            pixels=pixels,
            placement=placement,
            faces=self.detectors.faces(flat),
            texts=texts,
            busy_texts=on_busy_background(texts or (), flat),
        )
        return facts, thumbnail(flat) if self.thumbnails else b""

    def _record(self, path: Path, size: tuple[int, int], *, has_alpha: bool, frames: int) -> ImageRecord:
        from_metadata = self.rows.get(nfc(self.name(path)), ())
        files = [] if from_metadata else caption_files(path, self.found)
        return ImageRecord(
            path=path,
            width=size[0],
            height=size[1],
            sha256=sha256_file(path),
            captions=read_caption(files[0]).lines if files else from_metadata,
            caption_path=files[0] if files else None,
            mask=self.found.masks.get((path.parent, stem_of(path))),
            has_alpha=has_alpha,
            frames=frames,
        )


def collect_facts(
    folder: Path | str,
    spec: AuditSpec,
    *,
    detectors: Detectors | None = None,
    thumbnails: bool = False,
    progress: Progress | None = None,
) -> Facts:
    """Collect the facts of a dataset.

    Args:
        folder: the dataset, subfolders too.
        spec: its buckets, limits, repeats and folders of class images.
        detectors: of faces and text; None: neither is detected.
        thumbnails: keep a thumbnail of each image.
        progress: called with (done, total) after each image.

    Raises:
        UsageError: the folder does not exist.
    """
    root = Path(folder)
    check_image_folder(root)
    found = list_files(root)
    detectors = detectors or Detectors()
    measurer = _Measurer(root, spec, detectors, found, thumbnails, _metadata_captions(root))
    paths = sorted([*found.images, *found.unnamed, *found.broken], key=lambda path: natural_key(path, root))
    images, small = _measure_all(measurer, paths, progress)
    unnamed = set(found.unnamed)
    images = [i for i in images if not (i.problem and i.path in unnamed)]
    names = {image.path: image.name for image in images}
    groups = group_images([image for image in images if not image.problem], spec)
    foreign = foreign_files(root, names)
    mask_facts = tuple(_masks(measurer, images))
    if thumbnails:
        small |= {m.name: thumbnail(open_image(m.path)) for m in mask_facts if m.faults}
    return Facts(
        root=root,
        images=tuple(images),
        captions=tuple(_captions(measurer, names)),
        masks=mask_facts,
        foreign_files=foreign.junk,
        stale_caches=foreign.stale_caches,
        bad_links=foreign.bad_links,
        groups=groups,
        unnumbered=_unnumbered(groups, spec),
        triggers=collect_trigger_facts(root, groups, spec.triggers),
        detected=detectors.names,
        has_inpainter="text" in detectors.names and has_inpainter(),
        tagger=installed_tagger(spec.family),
        thumbnails=small,
    )


def _metadata_captions(root: Path) -> dict[str, tuple[str, ...]]:
    metadata = next((root / name for name in METADATA_FILES if (root / name).is_file()), None)
    return metadata_rows(metadata)[0] if metadata else {}


def _measure_all(
    measurer: _Measurer, paths: Sequence[Path], progress: Progress | None
) -> tuple[list[ImageFacts], dict[str, bytes]]:
    images, thumbnails = [], {}
    with thread_pool() as pool:
        for facts, small in pool.map(measurer.measure, paths):
            images.append(facts)
            if small:
                thumbnails[facts.name] = small
            if progress is not None:
                progress(len(images), len(paths))
    return images, thumbnails


_NOT_CAPTIONS = frozenset({"readme.txt", "license.txt", "licence.txt", "requirements.txt", "prompts.txt"})


def stray_captions(found: FileTree, images: Iterable[Path]) -> list[Path]:
    """Return caption files without an image. JSON files and files such as README.txt are not counted."""
    owned = {file for path in images for file in caption_files(path, found)}
    return [
        path
        for path in found.captions.values()
        if path not in owned and path.suffix.lower() != ".json" and path.name.lower() not in _NOT_CAPTIONS
    ]


def _captions(measurer: _Measurer, names: dict[Path, str]) -> Iterable[CaptionFacts]:
    owners: dict[Path, tuple[str | None, bool]] = dict.fromkeys(stray_captions(measurer.found, names), (None, False))
    for path, name in names.items():
        for i, file in enumerate(caption_files(path, measurer.found)):
            owners.setdefault(file, (name, i == 0))
    for path, (image, used) in sorted(owners.items(), key=lambda item: natural_key(item[0])):
        data = path.read_bytes()
        read = read_caption(path)
        yield CaptionFacts(
            name=measurer.name(path),
            path=path,
            image=image,
            bytes=len(data),
            encoding=read.encoding,
            notes=read.notes,
            lines=read.lines,
            crlf=b"\r\n" in data,
            used=used,
        )


def _masks(measurer: _Measurer, images: Sequence[ImageFacts]) -> Iterable[MaskFacts]:
    seen: set[Path] = set()
    for image in images:
        mask = image.record.mask if image.record else None
        if mask is not None:
            seen.add(mask)
            yield collect_mask_facts(mask, measurer.name(mask), image.name, image.size)
    for path in measurer.found.stray_masks:
        if path not in seen:
            yield MaskFacts(measurer.name(path), path, None, "there is no image with this name")


# --- groups -----------------------------------------------------------------------------------------------------------


def group_images(images: Sequence[ImageFacts], spec: AuditSpec) -> tuple[Group, ...]:
    """Group images by folder; repeats come from the recipe, else from a name such as `10_red dress`."""
    by_folder: dict[str, list[ImageFacts]] = defaultdict(list)
    for image in images:
        by_folder[image.group].append(image)
    return tuple(_group(name, tuple(members), spec) for name, members in by_folder.items())


def _group(name: str, images: tuple[ImageFacts, ...], spec: AuditSpec) -> Group:
    path = PurePosixPath(name)
    above = [str(p) for p in (path, *path.parents)]
    match = _NUMBERED.fullmatch(path.name)
    numbered = match is not None and 0 < int(match[1]) <= MOST_REPEATS
    given = next((spec.repeats[folder] for folder in above if folder in spec.repeats), None)
    is_reg = any(folder in spec.reg for folder in above) or "reg" in [part.lower() for part in path.parts[:-1]]
    return Group(
        name=name,
        label=match[2].strip() if match and numbered else path.name,
        repeats=given if given is not None else int(match[1]) if match and numbered else None,
        role="reg" if is_reg else "train",
        images=images,
    )


def _unnumbered(groups: Sequence[Group], spec: AuditSpec) -> tuple[str, ...]:
    """Return folders without a number where others have one: kohya skips them silently."""
    if spec.repeats or not any(group.repeats for group in groups):
        return ()
    return tuple(group.name or "." for group in groups if group.repeats is None)
